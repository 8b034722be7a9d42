"""What the data plane makes in the kernel, worked out once from the configuration.

Ref: harp.md §9 (one address, one rule), §10 (tunnels, inner path MTU); RFC 2473 §7.1
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from harp.tables.constants import US_PER_S
from harp.tables.ipv6 import FIXED_HEADER_OCTETS

if TYPE_CHECKING:
    from harp.daemon.config.model import DaemonConfig
    from harp.daemon.netlink.links import Link
    from harp.engine.config import Prefix

GROUPS = 256
"""Group IDs there are: so many numbers of each kind of the kernel's."""
MIN_MTU = 1280
"""Every link carries so much (RFC 8200 §5)."""
_LIFETIME_DETECTIONS = 3
_MIN_LIFETIME_S = 5
_DISCARD = bytes((1, 0, 0, 0, 0, 0, 0, 0))
"""100::/64."""


@dataclass(frozen=True, slots=True)
class GroupPlan:
    """What one group needs."""

    group: int
    """Group ID."""
    interface: str
    """Home interface: where the virtual address is."""
    address: bytes
    """The virtual address; empty in hard mode."""
    source: bytes
    """Of outer headers: the virtual address, or the own one in hard mode."""
    table: int
    """Routing table that leads into the tunnel device."""
    preference: int
    """Preference of the rule that switches it on."""
    mark: int
    """Firewall mark of packets to the group's mobile nodes."""
    lifetime_s: int
    """Valid lifetime of the address, seconds; renewed thrice within it."""
    advertised: tuple[tuple[bytes, int], ...] = ()
    """(prefix, length) of the routes that a routing daemon is to tell others while this serves."""

    @property
    def detour_table(self) -> int:
        """Routing table that leads to the virtual address, wherever that is."""
        return self.table + GROUPS

    @property
    def detour_preference(self) -> int:
        """Preference of the rule that leads there while that of `table` is off."""
        return self.preference + GROUPS

    @property
    def stand_in(self) -> bytes:
        """What the kernel's tunnel puts where the care-of address belongs, until that is known:
        one of the addresses that go nowhere (RFC 6666)."""
        return _DISCARD + self.mark.to_bytes(8)


@dataclass(frozen=True, slots=True)
class Plan:
    """What all groups need."""

    groups: tuple[GroupPlan, ...]
    """In the order of the configuration."""
    device: str
    """Name of the tunnel device, and of the nftables table."""

    def group(self, group: int) -> GroupPlan | None:
        """That of one Group ID."""
        return next((each for each in self.groups if each.group == group), None)


def plan_of(config: DaemonConfig) -> Plan:
    """The plan of a configuration."""
    groups: list[GroupPlan] = []
    for each in config.engine.groups:
        lifetime_s = -(-_LIFETIME_DETECTIONS * each.detection_us // US_PER_S)
        groups.append(
            GroupPlan(
                each.group,
                config.group(each.group).home_interface,
                each.virtual_address,
                each.virtual_address or each.identity,
                config.tables.route_table + each.group,
                config.tables.rule_preference + each.group,
                config.tables.fwmark + each.group,
                max(_MIN_LIFETIME_S, lifetime_s),
                tuple(half for prefix in each.home_prefixes for half in halves(prefix)),
            )
        )
    return Plan(tuple(groups), config.tables.tunnel)


def halves(prefix: Prefix) -> tuple[tuple[bytes, int], ...]:
    """The two prefixes that a home prefix consists of.

    harp.md §9 (4): the active "makes its home-prefix route the better one". A route to the prefix
    itself would not do: every member is connected to it, and a routing daemon tells of no other
    route beside that. Its halves are longer, and lead to the same link.
    """
    if prefix.length >= 127:
        return ()
    upper = int.from_bytes(prefix.address) | 1 << 127 - prefix.length
    return (prefix.address, prefix.length + 1), (upper.to_bytes(16), prefix.length + 1)


def inner_mtu(links: Mapping[str, Link], names: tuple[str, ...]) -> int:
    """Largest packet that goes into a tunnel whole: what the links carry less the outer header,
    at least 1,280 octets (RFC 2473 §7.1)."""
    carried = [links[name].mtu for name in names if name in links]
    return max(MIN_MTU, min(carried, default=MIN_MTU) - FIXED_HEADER_OCTETS)
