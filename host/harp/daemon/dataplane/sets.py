"""The nftables table that marks packets to mobile nodes for the table of their group.

Ref: nft(8); harp.md §9 (prepared forwarding behind one rule), §10

A standby has it filled; nothing looks at the mark until the rule is there.
"""

from __future__ import annotations

from ipaddress import IPv6Address
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from harp.daemon.dataplane.plan import Plan


def hosts_set(group: int) -> str:
    """Name of the set of a group's home addresses."""
    return f"homes{group}"


def networks_set(group: int) -> str:
    """Name of the set of prefixes behind a group's mobile routers."""
    return f"networks{group}"


def care_of_map(group: int) -> str:
    """Name of the map from a group's home addresses to their care-of addresses."""
    return f"careof{group}"


def network_care_of_map(group: int) -> str:
    """Name of the map from prefixes behind a group's mobile routers to their care-of addresses."""
    return f"routercareof{group}"


SENDER_NETWORKS = "routers{}"
"""Name of the set of a group's (outer source, prefix of the inner one)."""


def senders_set(group: int) -> str:
    """Name of the set of a group's (outer source, inner source)."""
    return f"senders{group}"


def checking_table(plan: Plan) -> str:
    """A script for nft: what comes out of the kernel's tunnels is checked before it goes in
    (RFC 6275 §10.4.5).

    The inner source is 16 octets at offset 8 of the inner header, which begins at octet 40 of the
    outer packet, or at 48 behind one extension header of 8 octets: Destination Options with a
    Tunnel Encapsulation Limit (RFC 2473 §4.1.1), or the Fragment header of a first fragment.
    Whatever else holds a tunnelled packet is dropped; a packet whose first fragment is dropped is
    never put together.
    """
    lines = [f"table ip6 {plan.device} {{"]
    for each in plan.groups:
        pair = "typeof ip6 saddr . @nh,384,128;"
        lines += [
            f"set {senders_set(each.group)} {{ {pair} }}",
            f"set {SENDER_NETWORKS.format(each.group)} {{ {pair} flags interval; }}",
            f"chain tunnel{each.group} {{",
        ]
        for name in (senders_set(each.group), SENDER_NETWORKS.format(each.group)):
            lines += [
                f"ip6 nexthdr 41 ip6 saddr . @nh,384,128 @{name} accept",
                f"ip6 nexthdr 60 @nh,320,16 0x2900 ip6 saddr . @nh,448,128 @{name} accept",
                f"ip6 nexthdr 44 @nh,320,8 41 @nh,336,13 0 ip6 saddr . @nh,448,128 @{name} accept",
            ]
        lines += ["ip6 nexthdr 44 @nh,336,13 != 0 accept", "meta l4proto 41 counter drop", "}"]
    lines.append("chain checking { type filter hook prerouting priority raw;")
    lines += [
        f"ip6 daddr {IPv6Address(each.source)} jump tunnel{each.group}" for each in plan.groups
    ]
    return "\n".join((*lines, "}", "}", ""))


def tunnelling_table(plan: Plan) -> str:
    """A script for nft: what the kernel's tunnel has encapsulated gets its care-of address.

    All packets to mobile nodes take one route, to an address that stands in for the care-of
    address; the map has that by the inner destination, 16 octets at offset 24 behind the outer
    header of 40. A `route` chain looks for the way again; before connection tracking, so that this
    sees each tunnel as it is. What finds nothing has lost its binding on the way: dropped.
    """
    lines = [f"table ip6 {plan.device} {{"]
    ways: list[str] = []
    for each in plan.groups:
        maps = (care_of_map(each.group), network_care_of_map(each.group))
        for name, flags in zip(maps, ("", " flags interval;"), strict=True):
            lines.append(f"map {name} {{ typeof @nh,512,128 : ip6 daddr;{flags} }}")
        # The mark has led here, and would again.
        lines += [f"chain careof{each.group} {{", "meta mark set 0"]
        lines += [f"ip6 daddr set @nh,512,128 map @{name} accept" for name in maps]
        lines += ["counter drop", "}"]
        ways.append(f"ip6 daddr {IPv6Address(each.stand_in)} goto careof{each.group}")
    lines.append("chain sending { type route hook output priority raw;")
    return "\n".join((*lines, *ways, "}", "}", ""))


def marking_table(plan: Plan) -> str:
    """A script for nft: sets and marks, for packets that come in and for the router's own."""
    sets: list[str] = []
    marks: list[str] = []
    for each in plan.groups:
        sets.append(f"set {hosts_set(each.group)} {{ type ipv6_addr; }}")
        sets.append(f"set {networks_set(each.group)} {{ type ipv6_addr; flags interval; }}")
        for name in (hosts_set(each.group), networks_set(each.group)):
            marks.append(f"ip6 daddr @{name} meta mark set {each.mark}")
    lines = "\n".join(marks)
    chains = (
        f"chain arriving {{ type filter hook prerouting priority mangle;\n{lines}\n}}",
        f"chain leaving {{ type route hook output priority mangle;\n{lines}\n}}",
    )
    return "\n".join((f"table ip6 {plan.device} {{", *sets, *chains, "}", ""))
