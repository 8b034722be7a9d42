"""What one setting alone cannot tell: members, addresses, tables and protection that fit together.

Only what could never work is a problem here; what is rarely meant is in `advice`. Values that are
missing were told by `tree` and are passed over.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from ipaddress import IPv6Address
from typing import Any

from harp.daemon.config.listen import BadListen, parse_listen
from harp.daemon.config.problem import Problem
from harp.daemon.config.schema import Source
from harp.daemon.config.tree import Node
from harp.daemon.config.values import readable_us
from harp.daemon.dataplane.plan import GROUPS
from harp.engine.config import Security, SwitchMode
from harp.tables.constants import US_PER_MS
from harp.tables.simulated import MIN_HELLO_MS, MIN_LEASE_MS, MIN_MULTIPLIER, SCHEME

_INTERFACE = re.compile(r"[^\s/:]{1,15}")
"""A name that the kernel takes (dev_valid_name, IFNAMSIZ)."""
_KERNEL_TABLES = range(253, 256)
"""default, main, local (rt_tables)."""
_RULE_OF_MAIN = 32766
_NUMBERS = 2 * GROUPS
"""Of tables and rules: one for the tunnels and one for the detour of each Group ID."""
_MIN_HELLO = ("hello_interval_ms", MIN_HELLO_MS)


def check_document(root: Node) -> Iterator[Problem]:
    """What concerns several tables."""
    groups = root.many("group")
    if not groups and "group" not in root.keys:
        yield Problem("", "", "no group is configured", "[[group]] with id, me, link and member")
    yield from _unique(groups, "id", "another group has this id")
    yield from _unique(groups, "virtual_address", "another group has this address")
    daemon = root.one("daemon")
    try:
        parse_listen(daemon.get("metrics_listen") or "")
    except BadListen as bad:
        yield daemon.wrong("metrics_listen", str(bad))
    for node, key in ((daemon, "state_dir"), (daemon, "run_dir"), (root.one("control"), "socket")):
        if not node.get(key).is_absolute():
            yield node.wrong(key, "is not an absolute path")
    if not daemon.get("journal"):
        for group in groups:
            if group.one("sync").get("journal_sync"):
                yield group.one("sync").problem(
                    "journal_sync", "there is no journal: [daemon] says journal = false"
                )
    yield from _tables(root.one("tables"))
    if (root.one("offload").get("device") or "").startswith(SCHEME):
        yield from _simulated(root)


def _simulated(root: Node) -> Iterator[Problem]:
    """A simulated board runs against the wall clock, and is slower than a board."""
    board, groups = root.one("offload"), root.many("group")
    if board.get("device") == SCHEME:
        what = "wants the path of the simulated board's terminal"
        yield Problem(board.place, "device", what, f'device = "{SCHEME}/run/harp/board"')
    marked = [each for each in groups if any(link.get("slots") for link in each.many("link"))]
    for group in marked or groups:
        interval_us, multiplier = group.get("hello_interval") or 0, group.get("multiplier") or 0
        if interval_us < MIN_HELLO_MS * US_PER_MS or multiplier < MIN_MULTIPLIER:
            what = (
                f"{readable_us(interval_us)} x {multiplier} is too fast for a simulated board: at "
                f"least {MIN_HELLO_MS} ms x {MIN_MULTIPLIER}"
            )
            slow = interval_us >= MIN_HELLO_MS * US_PER_MS
            key, value = ("multiplier", MIN_MULTIPLIER) if slow else _MIN_HELLO
            yield Problem(group.place, key, what, f"{key} = {value}")
    if board.get("lease") != MIN_LEASE_MS * US_PER_MS:
        what = f"a simulated board wants a lease of {MIN_LEASE_MS} ms"
        yield Problem(board.place, "lease_ms", what, f"lease_ms = {MIN_LEASE_MS}")


def _tables(node: Node) -> Iterator[Problem]:
    first, preference = node.get("route_table"), node.get("rule_preference")
    if first is not None and any(each in range(first, first + _NUMBERS) for each in _KERNEL_TABLES):
        yield node.wrong("route_table", "tables 253 to 255 are the kernel's, 512 numbers are used")
    if preference is not None and preference + _NUMBERS > _RULE_OF_MAIN:
        yield node.wrong("rule_preference", "the rules must come before that of table main, 32766")
    if _bad_interface(node.get("tunnel")):
        yield node.wrong("tunnel", "is no interface name")


def check_group(node: Node) -> Iterator[Problem]:
    """What concerns one group."""
    links, members = node.many("link"), node.many("member")
    yield from _links(node, links)
    yield from _members(node, members)
    if links and members:
        yield from _addresses(node, links, members)
    yield from _virtual_address(node)
    yield from _protection(node)
    yield from _detection(node)


def _links(node: Node, links: list[Node]) -> Iterator[Problem]:
    if not links:
        yield Problem(node.place, "link", "there is none", '[[group.link]] with interface = "eth0"')
    for link in links:
        if _bad_interface(link.get("interface")):
            yield link.wrong("interface", "is no interface name")
    home = node.get("home_interface")
    if home and _bad_interface(home):
        yield node.wrong("home_interface", "is no interface name")
    yield from _unique(links, "interface", "another link of the group has this interface")


def _bad_interface(name: str | None) -> bool:
    return name is not None and (not _INTERFACE.fullmatch(name) or name in (".", ".."))


def _members(node: Node, members: list[Node]) -> Iterator[Problem]:
    if not members:
        what = "there is none"
        yield Problem(node.place, "member", what, "[[group.member]] with name and addresses")
        return
    names = [each.get("name") for each in members]
    yield from _unique(members, "name", "another member has this name")
    for member in members:
        if member.get("name") == "":
            yield member.wrong("name", "wants a name")
    if node.get("me") is not None and node.get("me") not in names:
        yield node.wrong("me", f"is no member; there are {_listed(names)}")
    if all(each.get("witness") for each in members):
        yield Problem(node.place, "member", "all are witnesses: nobody can serve")


def _addresses(node: Node, links: list[Node], members: list[Node]) -> Iterator[Problem]:
    owner: dict[IPv6Address, str] = {}
    virtual = node.get("virtual_address")
    for member in members:
        addresses = member.get("addresses")
        if addresses is None:
            continue
        if len(addresses) != len(links):
            want = f"{len(addresses)} for {len(links)} links: one for each, in their order"
            yield member.problem("addresses", want)
        for address in addresses:
            fault = unusable(address)
            if fault:
                yield member.problem("addresses", f"{address} is {fault}")
            elif address == virtual:
                yield member.problem("addresses", f"{address} is the group's virtual address")
            elif address in owner:
                yield member.problem("addresses", f"{address} is {owner[address]}'s already")
            owner.setdefault(address, str(member.get("name")))


def unusable(address: IPv6Address) -> str:
    """Why no member can have an address; empty: it can."""
    for name in ("unspecified", "multicast", "loopback"):
        if getattr(address, f"is_{name}"):
            return f"{'an' if name[0] == 'u' else 'a'} {name} address"
    return "an IPv4-mapped address" if address.ipv4_mapped else ""


def _virtual_address(node: Node) -> Iterator[Problem]:
    given = "virtual_address" in node.given
    if node.get("mode") is SwitchMode.HARD:
        if given:
            yield node.problem("mode", 'a virtual address wants mode = "virtual"')
        return
    if not given:
        if "virtual_address" not in node.keys:
            yield node.problem("virtual_address", "is missing: all members share it (harp.md §1)")
        return
    fault = unusable(node.given["virtual_address"])
    if fault:
        yield node.wrong("virtual_address", f"is {fault}")


def _protection(node: Node) -> Iterator[Problem]:
    security, keys = node.get("security"), node.many("key")
    if security is Security.PSK and not keys:
        yield Problem(
            node.place, "security", '"psk" wants a key', "[[group.key]] with spi = 256 and file = …"
        )
    if security is Security.NONE and not node.get("insecure") and "insecure" not in node.keys:
        yield Problem(
            node.place,
            "security",
            '"none" lets everybody on the link take over; who means it writes it down',
            "insecure = true",
        )
    yield from _unique(keys, "spi", "another key has this SPI")
    spis = [each.get("spi") for each in keys]
    signing = node.get("signing_spi")
    if signing is not None and signing not in spis:
        yield node.wrong("signing_spi", f"no key has this SPI; there are {_listed(spis)}")


def _detection(node: Node) -> Iterator[Problem]:
    names = [each.get("name") for each in node.many("member")]
    others = [name for name in names if name != node.get("me")]
    links = [each.get("interface") for each in node.many("link")]
    for each in node.many("detection"):
        if each.get("link") is not None and each.get("link") not in links:
            yield each.wrong("link", f"is no link of the group; there are {_listed(links)}")
        if each.get("source") is not Source.VRRP:
            continue
        if "peer" not in each.given or each.get("peer") not in others:
            yield each.wrong("peer", f"is no other member; there are {_listed(others)}")
        if not each.get("instance"):
            yield each.wrong("instance", "wants the name of a VRRP instance")


def _listed(names: Iterable[object]) -> str:
    return ", ".join(str(each) for each in names if each is not None) or "none"


def _unique(nodes: Iterable[Node], key: str, what: str) -> Iterator[Problem]:
    seen: set[Any] = set()
    for node in nodes:
        if key not in node.given:
            continue
        value = node.given[key]
        if value in seen:
            yield node.wrong(key, what)
        seen.add(value)
