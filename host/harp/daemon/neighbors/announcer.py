"""Tells and answers the home link where home addresses are: here, while this member is active.

Ref: RFC 6275 §10.4.1; RFC 4861 §7.2; RFC 4862 §5.4; harp.md §9
"""

from __future__ import annotations

import asyncio
import contextlib
import select
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from ipaddress import IPv6Address
from typing import TYPE_CHECKING, TypeAlias

from harp.cli.common import Failure
from harp.daemon.log import tell
from harp.daemon.neighbors.link_socket import LinkSocket
from harp.daemon.neighbors.messages import (
    ALL_NODES,
    Flag,
    Neighbor,
    advertisement,
    multicast_mac,
    parse,
    probe,
    solicited_node,
)
from harp.daemon.netlink.addresses import addresses
from harp.daemon.netlink.connection import Netlink
from harp.daemon.netlink.links import links
from harp.daemon.netlink.neighbors import forget_neighbor, unanswered
from harp.engine.addresses import link_local_of
from harp.engine.config import GroupConfig, Prefix
from harp.engine.effects import AnnounceNeighbor, Level, SetServing, StartDad
from harp.engine.events import DadFinished
from harp.tables.mh import BuFlag

if TYPE_CHECKING:
    from harp.daemon.config.model import DaemonConfig
    from harp.daemon.links import Tell
    from harp.daemon.parts import Deliver

RETRANS_S = 1.0
"""RetransTimer: how long an answer to a probe is waited for (RFC 4862 §5.1, RFC 4861 §10)."""

Lookup: TypeAlias = Callable[[int, bytes], int | None]
"""(Group ID, home address) → flags of its binding (`BuFlag`); None: there is none."""
Later: TypeAlias = Callable[[float, Callable[[], None]], object]
"""Calls back after so many seconds."""


@dataclass(slots=True)
class _Group:
    """What is known of one group."""

    group: int
    interface: str
    source: bytes
    """Our own address on the home link: source of advertisements (RFC 6275 §10.4.1)."""
    virtual: bytes
    prefixes: tuple[Prefix, ...]
    serving: bool = False


class Announcer:
    """A `parts.Announcer`, and a `parts.Source`: one descriptor for all interfaces."""

    def __init__(
        self,
        config: DaemonConfig,
        lookup: Lookup,
        deliver: Deliver,
        tell: Tell = tell,
        later: Later | None = None,
    ) -> None:
        self.counters: Counter[str] = Counter()
        """`advertised`, `answered`, `conflicts`, `unsent`."""
        self._groups = {
            each.group: _of_group(each, config.group(each.group).home_interface)
            for each in config.engine.groups
        }
        self._lookup = lookup
        self._deliver = deliver
        self._tell = tell
        self._later = later
        self._poll = select.epoll()
        self._netlink: Netlink | None = None
        self._links: dict[str, LinkSocket] = {}
        self._indices: dict[str, int] = {}
        """Numbers of interfaces."""
        self._probed: dict[tuple[str, bytes], list[int]] = {}
        """(interface, address) under detection: Group IDs that wait."""
        self._in_conflict: set[int] = set()
        """Groups whose conflict was told since they serve."""

    def open(self) -> None:
        """Sockets on every home interface. Raises Failure."""
        self._netlink = Netlink()
        for group in self._groups.values():
            try:
                self.link_found(group.interface)
            except OSError as error:
                raise Failure(
                    f"neighbor discovery on {group.interface}: {error.strerror}; harpd needs "
                    "CAP_NET_RAW, or root"
                ) from None
            if not group.source:
                group.source = _own_address(group.interface)

    def link_found(self, interface: str) -> None:
        """An interface is there, or there again. Raises OSError."""
        if not any(group.interface == interface for group in self._groups.values()):
            return
        old = self._links.pop(interface, None)
        if old is not None:
            with contextlib.suppress(OSError):
                self._poll.unregister(old.fileno())
            old.close()
        link = LinkSocket(interface)
        self._links[interface] = link
        if self._netlink is not None:
            self._indices |= {name: each.number for name, each in links(self._netlink).items()}
        self._poll.register(link.fileno(), select.EPOLLIN)
        self._listen(interface)

    def fileno(self) -> int:
        """Readable when neighbor discovery was heard."""
        return self._poll.fileno()

    def drain(self, limit: int) -> int:
        """Answers what waits, at most `limit` packets; how many there were."""
        taken = 0
        for interface, link in list(self._links.items()):
            while taken < limit and (found := link.receive()) is not None:
                taken += 1
                neighbor = parse(found[0])
                if neighbor is not None:
                    self._heard(interface, neighbor, found[1])
        return taken

    def announce(self, neighbor: AnnounceNeighbor) -> None:
        """An unsolicited advertisement to all nodes: S clear, O set (RFC 6275 §10.4.1)."""
        group = self._groups[neighbor.group]
        flags = Flag.OVERRIDE | (Flag.ROUTER if neighbor.router else Flag(0))
        if self._advertise(group, ALL_NODES, multicast_mac(ALL_NODES), neighbor.address, flags):
            self.counters["advertised"] += 1
        if neighbor.address == group.virtual:
            self._ask_again(group.interface)

    def serving(self, serving: SetServing) -> None:
        """Answers for the group's home addresses, or stops."""
        group = self._groups[serving.group]
        group.serving = serving.serving
        self._in_conflict.discard(group.group)
        self._listen(group.interface)

    def start_dad(self, dad: StartDad) -> None:
        """One probe (RFC 4862 §5.1: DupAddrDetectTransmits 1), then a second of listening."""
        interface = self._groups[dad.group].interface
        place = (interface, dad.address)
        waiting = self._probed.setdefault(place, [])
        waiting.append(dad.group)
        if len(waiting) > 1:
            return
        self._listen(interface)
        self._send(interface, probe(dad.address), multicast_mac(solicited_node(dad.address)))
        later = self._later or asyncio.get_running_loop().call_later

        def over() -> None:
            if self._probed.get(place) is waiting:
                self._finish_dad(place, duplicate=False)

        later(RETRANS_S, over)

    def close(self) -> None:
        """Stops answering."""
        for link in self._links.values():
            link.close()
        self._links.clear()
        self._poll.close()
        if self._netlink is not None:
            self._netlink.close()
            self._netlink = None

    def _ask_again(self, interface: str) -> None:
        """Who is sent to must know the way back. What the kernel asked neighbors while the link
        came up is lost, and asked again after a second only (RFC 4861 §10, RETRANS_TIMER), while
        answers wait or are dropped: without these entries the next packet asks anew."""
        index = self._indices.get(interface)
        if self._netlink is None or index is None:
            return
        with contextlib.suppress(OSError):  # the interface may have gone
            for address in unanswered(self._netlink, index):
                self._netlink.ask(forget_neighbor(index, address), "forgetting a neighbor")

    def _listen(self, interface: str) -> None:
        """Idle members are not woken by their home link's neighbor discovery."""
        serving = any(g.serving for g in self._groups.values() if g.interface == interface)
        probing = any(place[0] == interface for place in self._probed)
        link = self._links.get(interface)
        if link is not None:
            link.listen(serving or probing)

    def _heard(self, interface: str, neighbor: Neighbor, mac: bytes) -> None:
        place = (interface, neighbor.target)
        if place in self._probed and (neighbor.is_probe or not neighbor.solicits):
            # RFC 4862 §5.4.3, §5.4.4: somebody has it, or wants it at the same time.
            self._finish_dad(place, duplicate=True)
            return
        for group in self._groups.values():
            if group.serving and group.interface == interface:
                if neighbor.solicits:
                    self._answer(group, neighbor, mac)
                elif neighbor.target == group.virtual:
                    self._conflict(group, mac)

    def _answer(self, group: _Group, neighbor: Neighbor, mac: bytes) -> None:
        """RFC 6275 §10.4.1: solicitations for a mobile node that is away are answered by its home
        agent; a probe is told to all nodes that the address is taken."""
        flags = self._flags_of(group, neighbor.target)
        if flags is None:
            return
        router = Flag.ROUTER if flags & BuFlag.MOBILE_ROUTER else Flag(0)
        if neighbor.is_probe:
            to, at, kind = ALL_NODES, multicast_mac(ALL_NODES), Flag.OVERRIDE | router
        else:
            to, at, kind = neighbor.source, mac, Flag.OVERRIDE | Flag.SOLICITED | router
        if self._advertise(group, to, at, neighbor.target, kind):
            self.counters["answered"] += 1

    def _flags_of(self, group: _Group, target: bytes) -> int | None:
        """Flags of the binding that a target belongs to: a home address, or the link-local address
        of one with L (RFC 6275 §10.4.1)."""
        if not (target[0] == 0xFE and target[1] & 0xC0 == 0x80):
            return self._lookup(group.group, target)
        for prefix in group.prefixes:
            home = prefix.address[:8] + target[8:]
            flags = self._lookup(group.group, home)
            if flags is not None and flags & BuFlag.LINK_LOCAL and link_local_of(home) == target:
                return flags
        return None

    def _conflict(self, group: _Group, mac: bytes) -> None:
        """Another node says that it has the virtual address."""
        if mac == self._links[group.interface].mac:
            return
        self.counters["conflicts"] += 1
        if group.group not in self._in_conflict:
            self._in_conflict.add(group.group)
            self._tell(
                Level.ERROR,
                f"group {group.group}: {mac.hex(':')} on {group.interface} answers for the virtual "
                f"address {IPv6Address(group.virtual)} too; is another active, or another host?",
            )

    def _finish_dad(self, place: tuple[str, bytes], *, duplicate: bool) -> None:
        groups = self._probed.pop(place, None)
        if groups is None:
            return
        self._listen(place[0])
        for group in groups:
            self._deliver(DadFinished(group, place[1], duplicate))

    def _advertise(self, group: _Group, to: bytes, at: bytes, target: bytes, flags: Flag) -> bool:
        link = self._links.get(group.interface)
        mac = link.mac if link is not None else b""
        return self._send(group.interface, advertisement(group.source, to, target, flags, mac), at)

    def _send(self, interface: str, packet: bytes, mac: bytes) -> bool:
        try:
            self._links[interface].send(packet, mac)
        except (OSError, KeyError):
            self.counters["unsent"] += 1
            return False
        return True


def _of_group(config: GroupConfig, interface: str) -> _Group:
    own = [
        address
        for link, address in zip(config.links, config.me.addresses, strict=True)
        if link.name == interface
    ]
    source = own[0] if own else b""
    return _Group(config.group, interface, source, config.virtual_address, config.home_prefixes)


def _own_address(interface: str) -> bytes:
    """Any address of an interface that carries no HELLOs. Raises Failure."""
    netlink = Netlink()
    try:
        number = links(netlink)[interface].number
        found: Iterable[bytes] = (a.address for a in addresses(netlink) if a.interface == number)
        return next(iter(found))
    except StopIteration:
        raise Failure(f"{interface}: no IPv6 address; the home link needs one") from None
    finally:
        netlink.close()
