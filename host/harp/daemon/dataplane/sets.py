"""The nftables table that marks packets to mobile nodes for the table of their group.

Ref: nft(8); harp.md §9 (prepared forwarding behind one rule), §10

A standby has it filled; nothing looks at the mark until the rule is there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from harp.daemon.dataplane.plan import Plan


def hosts_set(group: int) -> str:
    """Name of the set of a group's home addresses."""
    return f"homes{group}"


def networks_set(group: int) -> str:
    """Name of the set of prefixes behind a group's mobile routers."""
    return f"networks{group}"


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
