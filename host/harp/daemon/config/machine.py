"""Does the machine fit the configuration? Looked at, never changed; nothing here keeps `harpd` from
starting, since interfaces and addresses may come later.

Ref: /proc/net/if_inet6 (Linux: address, index, prefix length, scope, flags, name)
"""

from __future__ import annotations

import grp
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv6Address, IPv6Interface
from pathlib import Path

from harp.daemon.config.model import DaemonConfig
from harp.daemon.config.problem import Problem
from harp.engine.config import GroupConfig

_ADDRESSES = Path("/proc/net/if_inet6")
_FORWARDING = Path("/proc/sys/net/ipv6/conf/all/forwarding")


@dataclass(frozen=True, slots=True)
class Machine:
    """What matters of this machine."""

    interfaces: frozenset[str]
    """Names."""
    addresses: tuple[tuple[str, IPv6Interface], ...]
    """(interface, address with its prefix)."""
    groups: frozenset[str]
    """Groups of users."""
    forwards: bool = True
    """The kernel forwards IPv6 packets."""

    @classmethod
    def this(cls) -> Machine:
        """The one that this runs on."""
        return cls(
            frozenset(name for _, name in socket.if_nameindex()),
            tuple(_addresses()),
            frozenset(each.gr_name for each in grp.getgrall()),
            _FORWARDING.exists() and _FORWARDING.read_text(encoding="ascii").strip() != "0",
        )


def _addresses() -> Iterator[tuple[str, IPv6Interface]]:
    if not _ADDRESSES.exists():  # a kernel without IPv6
        return
    for line in _ADDRESSES.read_text(encoding="ascii").splitlines():
        octets, _, length, _, _, name = line.split()
        address = IPv6Address(bytes.fromhex(octets))
        yield name, IPv6Interface((address, int(length, 16)))


def misfits(config: DaemonConfig, machine: Machine) -> Iterator[Problem]:
    """What is not as the configuration says."""
    for name in config.interfaces:
        if name not in machine.interfaces:
            there = ", ".join(sorted(machine.interfaces))
            yield Problem("", "interface", f"{name} is not on this machine; there are {there}")
    if not machine.forwards:
        what = "the kernel does not forward IPv6: `sysctl net.ipv6.conf.all.forwarding=1`"
        yield Problem("", "forwarding", what)
    wanted = config.control.group
    if wanted and wanted not in machine.groups:
        what = f'"{wanted}": there is no such group; `groupadd --system {wanted}` makes it'
        yield Problem("control", "group", what)
    for number, group in enumerate(config.engine.groups, 1):
        yield from _links(f"group {number} (id {group.group})", group, machine)


def _links(place: str, group: GroupConfig, machine: Machine) -> Iterator[Problem]:
    for index, link in enumerate(group.links):
        if link.name not in machine.interfaces:
            continue
        own = IPv6Address(group.me.addresses[index])
        on_link = [address for name, address in machine.addresses if name == link.name]
        mine = [each for each in on_link if each.ip == own]
        if not mine:
            what = f"{link.name} does not have {own}: `ip -6 address add {own}/64 dev {link.name}`"
            yield Problem(place, f"member {group.me.name}", what)
            continue
        yield from _peers(place, group, index, mine[0], [each.network for each in on_link])
        if group.virtual_address and any(
            each.ip.packed == group.virtual_address for each in on_link
        ):
            what = (
                f"{IPv6Address(group.virtual_address)} is on {link.name} already: harpd adds it"
                " itself when it is active; `harpd --undo` takes a forgotten one away"
            )
            yield Problem(place, "virtual_address", what)


def _peers(
    place: str, group: GroupConfig, index: int, mine: IPv6Interface, networks: list[object]
) -> Iterator[Problem]:
    """harp.md §2: members of one link demand hop limit 255, so they must be on it."""
    if not group.require_hop_limit:
        return
    for peer in group.peers:
        address = IPv6Address(peer.addresses[index])
        if address not in mine.network and not address.is_link_local:
            what = (
                f"{address} is not on the link of {mine}; peers across a router want it otherwise"
            )
            yield Problem(place, f"member {peer.name}", what, "require_hop_limit = false")
