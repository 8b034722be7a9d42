"""What harpd has made in the kernel, and how it goes: at a stop, at the next start, by `--undo`.

Everything bears harpd's mark (`netlink.protocol`), but another harpd of this machine has the same:
so a file in the run directory says what this one makes, and only that is touched.
"""

from __future__ import annotations

import contextlib
import errno
import json
from dataclasses import asdict, dataclass
from ipaddress import IPv6Address
from pathlib import Path
from typing import TYPE_CHECKING

from harp.daemon.netlink.addresses import addresses, remove_address
from harp.daemon.netlink.connection import Netlink, NetlinkError
from harp.daemon.netlink.links import links, remove_link
from harp.daemon.netlink.nft import remove_table
from harp.daemon.netlink.protocol import PROTOCOL
from harp.daemon.netlink.routes import LOCAL_TABLE, MAIN_TABLE, our_routes, remove_route
from harp.daemon.netlink.rules import remove_rule, rules

if TYPE_CHECKING:
    from harp.daemon.dataplane.plan import Plan

_FILE = "made.json"
_TUNNELS = ("ip6tnl", "tun")
"""Kinds of devices that harpd makes: one of another kind with that name is somebody else's."""
_NOT_ALLOWED = (errno.EPERM, errno.EACCES)
"""Whatever else is refused has gone by itself, such as a route with its device."""


@dataclass(frozen=True, slots=True)
class Made:
    """All that one harpd may make."""

    run_dir: Path
    """Where the file is."""
    addresses: tuple[str, ...]
    """Virtual addresses."""
    rules: tuple[tuple[int, int], ...]
    """(preference, table)."""
    routes: tuple[tuple[str, int], ...]
    """(prefix, length) in the main table."""
    device: str
    """Tunnel device, whose routes go with it, and nftables table."""


def made_by(plan: Plan, run_dir: Path) -> Made:
    """What a plan makes."""
    return Made(
        run_dir,
        tuple(str(IPv6Address(g.address)) for g in plan.groups if g.address),
        (
            *((g.preference, g.table) for g in plan.groups),
            *((g.detour_preference, g.detour_table) for g in plan.groups),
        ),
        tuple(
            (str(IPv6Address(prefix)), length)
            for group in plan.groups
            for prefix, length in (*group.advertised, (group.stand_in, 128))
        ),
        plan.device,
    )


def note(made: Made) -> None:
    """Writes it down before it is made. Raises OSError."""
    made.run_dir.mkdir(parents=True, exist_ok=True)
    document = asdict(made) | {"run_dir": str(made.run_dir)}
    path = made.run_dir / _FILE
    fresh = path.with_suffix(".new")
    fresh.write_text(json.dumps(document))
    fresh.replace(path)


def noted(run_dir: Path) -> Made | None:
    """What a harpd with this run directory has written down; None: nothing that can be read."""
    try:
        document = json.loads((run_dir / _FILE).read_text())
        return Made(
            run_dir,
            tuple(document["addresses"]),
            tuple((preference, table) for preference, table in document["rules"]),
            tuple((prefix, length) for prefix, length in document["routes"]),
            document["device"],
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None


def forget(made: Made) -> None:
    """Nothing is left."""
    with contextlib.suppress(OSError):
        (made.run_dir / _FILE).unlink()


def clean(netlink: Netlink, made: Made) -> list[str]:
    """Removes what a dead harpd left, of this configuration or the one written down; a line for
    each. Addresses and rules go first: then nothing is attracted any more. Raises OSError: not
    permitted."""
    done: list[str] = []
    earlier = noted(made.run_dir)
    for each in (made, earlier) if earlier is not None and earlier != made else (made,):
        done += _clean(netlink, each)
    return done


def _clean(netlink: Netlink, made: Made) -> list[str]:
    requests: list[bytes] = []
    said: list[str] = []
    ours = {IPv6Address(address).packed for address in made.addresses}
    for held in addresses(netlink):
        if held.address in ours and held.protocol == PROTOCOL:
            requests.append(remove_address(held.interface, held.address))
            said.append(f"address {IPv6Address(held.address)}")
    for rule in rules(netlink):
        if rule.protocol == PROTOCOL and (rule.preference, rule.table) in made.rules:
            requests.append(remove_rule(rule.preference, rule.table))
            said.append(f"rule {rule.preference} to table {rule.table}")
    advertised = {(IPv6Address(prefix).packed, length) for prefix, length in made.routes}
    tables = {table for _, table in made.rules}
    for route in our_routes(netlink, {LOCAL_TABLE, MAIN_TABLE} | tables):
        is_local = route.table == LOCAL_TABLE and route.prefix in ours
        is_detour = route.table in tables and route.length == 0
        if is_local or is_detour or (route.prefix, route.length) in advertised:
            requests.append(remove_route(route.table, route.prefix, route.length))
            said.append(f"route to {IPv6Address(route.prefix)}/{route.length}")
    device = links(netlink).get(made.device)
    if device is not None and device.kind in _TUNNELS:
        requests.append(remove_link(made.device))
        said.append(f"device {made.device}")
    failures = netlink.send(requests) if requests else {}
    for index, (code, words) in failures.items():
        if code in _NOT_ALLOWED:
            raise NetlinkError.of(code, f"removing {said[index]}", words)
    with contextlib.suppress(OSError):  # no nftables: then nothing of ours is in there
        remove_table(made.device)
    return [line for index, line in enumerate(said) if index not in failures]
