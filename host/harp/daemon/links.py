"""Our interfaces: present or not, up or down, with our address or without; told as they change.

Ref: rtnetlink(7), netdevice(7), RFC 4862 §5.4 (a tentative address is not to be used)
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from ipaddress import IPv6Address
from struct import Struct
from typing import Any

from pyroute2.netlink.rtnl.ifaddrmsg import ifaddrmsg
from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg

from harp.cli.common import Failure
from harp.daemon.netlink.message import DUMP, request, split
from harp.daemon.parts import Deliver
from harp.engine.effects import Level
from harp.engine.events import LinkChanged

_GROUPS = 0x1 | 0x100
"""RTMGRP_LINK, RTMGRP_IPV6_IFADDR."""
_NEW_LINK, _GET_LINK, _DEL_LINK = 16, 18, 17
_NEW_ADDRESS, _DEL_ADDRESS, _GET_ADDRESS = 20, 21, 22
_ERROR, _DONE = 2, 3
_REQUEST = Struct("=B15x")
"""`struct ifinfomsg` of a dump request: the family alone, as `struct ifaddrmsg` begins too."""
_HEADER_OCTETS = 16
"""`struct nlmsghdr`."""
_RECEIVE_OCTETS = 1 << 18
_UP, _LOWER_UP = 0x1, 0x10000
_TENTATIVE, _DUPLICATE, _OPTIMISTIC = 0x40, 0x08, 0x04
"""IFA_F_*; optimistic addresses may be used (RFC 4429)."""

Tell = Callable[[Level, str], None]
"""A line for people."""


@dataclass(slots=True)
class Link:
    """What is known of one of our interfaces."""

    name: str
    wanted: frozenset[bytes]
    """Our own addresses there."""
    index: int = 0
    """Of the kernel; 0: there is no such interface now."""
    carrier: bool = False
    """Administratively up, and with carrier."""
    addresses: dict[bytes, int] = field(default_factory=dict)
    """Flags of those wanted addresses that it has."""

    @property
    def usable(self) -> bool:
        """Carrier, and every address of ours there and not tentative."""
        return self.carrier and not self.waiting and not self.missing

    @property
    def missing(self) -> list[str]:
        """Addresses that it does not have, or that somebody else has too."""
        bad = [a for a in self.wanted if self.addresses.get(a, _DUPLICATE) & _DUPLICATE]
        return [str(IPv6Address(a)) for a in sorted(bad)]

    @property
    def waiting(self) -> bool:
        """Duplicate address detection still runs for an address."""
        flags = self.addresses.values()
        return any(each & _TENTATIVE and not each & (_OPTIMISTIC | _DUPLICATE) for each in flags)

    def trouble(self) -> str:
        """Why it is not usable, for people."""
        if not self.index:
            return "there is no such interface"
        if not self.carrier:
            return "down or without carrier"
        if self.missing:
            twice = any(flags & _DUPLICATE for flags in self.addresses.values())
            why = "is used by another node too" if twice else "is not there"
            return f"{', '.join(self.missing)} {why}"
        return "duplicate address detection still runs" if self.waiting else ""


class Links:
    """All our interfaces; a `parts.Source` that delivers `LinkChanged`."""

    def __init__(
        self, wanted: Mapping[str, frozenset[bytes]], deliver: Deliver, tell: Tell
    ) -> None:
        self.links = {name: Link(name, addresses) for name, addresses in wanted.items()}
        """By name."""
        self.names: dict[int, str] = {}
        """By index of the kernel; interfaces of ours only."""
        self.up = dict.fromkeys(wanted, False)
        """Whether packets with our addresses may leave there, as last told."""
        self.on_found: list[Callable[[Link], None]] = []
        """Called when an interface appears, or appears again: its multicast groups are to join."""
        self._deliver = deliver
        self._tell = tell
        self._settled = False
        self._trouble = dict.fromkeys(wanted, "")
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)

    def open(self) -> None:
        """Reads how things are. `Failure`: an interface is not there."""
        self._socket.bind((0, _GROUPS))
        self._read_all()
        self._socket.setblocking(False)
        for link in self.links.values():
            if not link.index:
                raise Failure(
                    f"interface {link.name}: there is none; `ip -brief link` lists those there are"
                )

    def check(self) -> None:
        """`Failure` if an interface with carrier lacks an address of ours."""
        for link in self.links.values():
            if link.carrier and link.missing:
                raise Failure(
                    f"interface {link.name}: {link.trouble()}; add it with "
                    f"`ip address add {link.missing[0]}/64 dev {link.name}` or correct the member's"
                    " addresses"
                )

    @property
    def waiting(self) -> bool:
        """Duplicate address detection still runs somewhere."""
        return any(link.carrier and link.waiting for link in self.links.values())

    def index(self, name: str) -> int:
        """Of the kernel; 0: it is not there."""
        link = self.links.get(name)
        return link.index if link else 0

    def settle(self) -> None:
        """From now on changes are told; what is usable now, the engine may use from its start."""
        self._settled = True
        self.up = {link.name: link.usable for link in self.links.values()}

    def tell_down(self) -> None:
        """Delivers the links that are down at the start: the engine believes all to be up."""
        for link in self.links.values():
            if not self.up[link.name]:
                self._told(link)
                self._deliver(LinkChanged(link.name, False))

    def fileno(self) -> int:
        """For the loop."""
        return self._socket.fileno()

    def drain(self, limit: int) -> int:
        """Takes notifications in, as many as one read brings; then tells what is new."""
        try:
            data = self._socket.recv(_RECEIVE_OCTETS)
        except BlockingIOError:
            return 0
        except OSError:  # ENOBUFS: some were lost
            self._socket.setblocking(True)
            self._read_all()
            self._socket.setblocking(False)
        else:
            self._take_all(data)
        for link in self.links.values():
            self._say(link)
        return 0

    def close(self) -> None:
        """Gives the descriptor back."""
        self._socket.close()

    def _say(self, link: Link) -> None:
        """Why a link is of no use is told whenever it is another reason."""
        if not self._settled:
            return
        if link.trouble() != self._trouble[link.name]:
            self._told(link)
        if self.up[link.name] != link.usable:
            self.up[link.name] = link.usable
            self._deliver(LinkChanged(link.name, link.usable))

    def _told(self, link: Link) -> None:
        trouble = self._trouble[link.name] = link.trouble()
        level = Level.WARNING if trouble else Level.INFO
        self._tell(level, f"interface {link.name}: {trouble or 'usable'}")

    def _read_all(self) -> None:
        for kind, family in ((_GET_LINK, socket.AF_UNSPEC), (_GET_ADDRESS, socket.AF_INET6)):
            self._socket.send(request(kind, DUMP, _REQUEST.pack(family)))
            done = False
            while not done:
                done = self._take_all(self._socket.recv(_RECEIVE_OCTETS))

    def _take_all(self, data: bytes) -> bool:
        """The messages of one read; whether a dump ends with them. pyroute2 knows their fields; its
        sockets, which bring an event loop along, are not used."""
        done, at = False, 0
        for answer in split(data):
            message = data[at : at + len(answer.body) + _HEADER_OCTETS]
            at += len(message) + -len(message) % 4
            done |= answer.kind in (_DONE, _ERROR)
            if answer.kind in (_NEW_LINK, _DEL_LINK):
                self._take_link(answer.kind == _NEW_LINK, _decoded(ifinfmsg, message))
            elif answer.kind in (_NEW_ADDRESS, _DEL_ADDRESS):
                self._take_address(answer.kind == _NEW_ADDRESS, _decoded(ifaddrmsg, message))
        return done

    def _take_link(self, there: bool, found: Any) -> None:
        if found["family"] != socket.AF_UNSPEC:  # a bridge tells of its ports in the same words
            return
        link = self.links.get(found.get_attr("IFLA_IFNAME"))
        known = self.names.get(found["index"])
        if known and (not there or link is None or link.name != known):
            self._forget(self.links[known])
        if there and link is not None:
            new = link.index != found["index"]
            link.index = found["index"]
            self.names[link.index] = link.name
            link.carrier = found["flags"] & (_UP | _LOWER_UP) == _UP | _LOWER_UP
            if new:
                for call in self.on_found:
                    with contextlib.suppress(OSError):  # gone again: its removal comes next
                        call(link)

    def _forget(self, link: Link) -> None:
        """Removed, or renamed."""
        self.names.pop(link.index, None)
        link.index, link.carrier = 0, False
        link.addresses.clear()

    def _take_address(self, there: bool, found: Any) -> None:
        name = self.names.get(found["index"])
        if name is None or found["family"] != socket.AF_INET6:
            return
        text = found.get_attr("IFA_LOCAL") or found.get_attr("IFA_ADDRESS")
        address, link = IPv6Address(text).packed, self.links[name]
        if address in link.wanted:
            link.addresses.pop(address, None)
            if there:
                flags = found.get_attr("IFA_FLAGS")
                link.addresses[address] = found["flags"] if flags is None else flags


def _decoded(kind: type[Any], message: bytes) -> Any:
    found = kind(message)
    found.decode()
    return found
