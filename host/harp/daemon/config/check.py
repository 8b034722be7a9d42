"""`harpd --check`: is a configuration right, and what would be done with it; for people or as JSON.

Keys of the JSON object, kept once shipped: `schema`, `file`, `valid`, `problems` and `warnings`
(each with `place`, `key`, `what`, `example`), `plan` (`plan.Plan`; null if there are problems).
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path

import click

from harp.daemon.config.load import Examined, examine
from harp.daemon.config.machine import Machine, misfits
from harp.daemon.config.plan import GroupPlan, KeyPlan, Plan, plan_of
from harp.daemon.config.problem import Problem
from harp.daemon.config.values import readable_us
from harp.daemon.dataplane.plan import GROUPS

SCHEMA = 1
"""Version of the JSON object."""


def check(path: Path, as_json: bool) -> int:
    """Prints what is wrong, what is doubtful and what would be done; 0, or 1 if it is wrong."""
    found = examine(path)
    warnings = list(found.warnings)
    if found.config:
        warnings += misfits(found.config, Machine.this())
    plan = plan_of(found.config) if found.config else None
    if as_json:
        click.echo(json.dumps(as_object(found, warnings, plan)))
    else:
        for problem in found.problems:
            click.echo(f"{path}: {problem}", err=True)
        for line in _for_people(path, warnings, plan):
            click.echo(line)
    return 0 if found.config else 1


def as_object(found: Examined, warnings: list[Problem], plan: Plan | None) -> dict[str, object]:
    """The JSON object."""
    return {
        "schema": SCHEMA,
        "file": str(found.path),
        "valid": plan is not None,
        "problems": [dataclasses.asdict(each) for each in found.problems],
        "warnings": [dataclasses.asdict(each) for each in warnings],
        "plan": dataclasses.asdict(plan) if plan else None,
    }


def _for_people(path: Path, warnings: list[Problem], plan: Plan | None) -> Iterator[str]:
    if plan:
        yield f"{path} is valid. harpd would"
        yield f"  take commands at {plan.control_socket}"
        yield f"  serve metrics at {plan.metrics or 'no address'}"
        yield f"  keep its journal in {plan.state_dir}" if plan.state_dir else "  keep no journal"
        yield f"  forward with data plane {plan.data_plane}, tunnel device {plan.tunnel}"
        yield f"  use offload device {plan.offload}"
        yield f"  {'run' if plan.guard else 'not run'} the guard that withdraws when it dies"
        for group in plan.groups:
            yield from _group(group)
    for each in warnings:
        yield f"warning: {each}"


def _group(group: GroupPlan) -> Iterator[str]:
    yield f"group {group.id}, {group.mode} switch, as {group.me} with preference {group.preference}"
    for link in group.links:
        slot = ", by the board's slot" if link.slot else ""
        beside = f", beside {' and '.join(link.watched_by).upper()}" if link.watched_by else ""
        yield f"  HELLO {link.hello} on {link.interface} from {link.address}{slot}{beside}"
    every, after = readable_us(group.hello_interval_us), readable_us(group.detection_us)
    yield f"  every {every}; a member is down after {after} of silence"
    for peer in group.peers:
        witness = ", a witness" if peer.witness else ""
        yield f"  peer {peer.name} at {', '.join(peer.addresses)}{witness}"
    if group.quorum:
        yield f"  active only while {group.quorum} members hear each other"
    yield f"  home prefixes {', '.join(group.home_prefixes) or 'none'}"
    rule = f"rule {group.rule_preference}: mark {group.fwmark} to table {group.route_table}"
    yield f"  when active: {_address(group)}{rule}"
    if group.virtual_address is not None:
        number, table = group.rule_preference + GROUPS, group.route_table + GROUPS
        yield f"  while another is: rule {number}: mark {group.fwmark} to table {table}"
    yield f"  protection {_protection(group)}"


def _address(group: GroupPlan) -> str:
    if group.virtual_address is None:
        return ""
    return f"{group.virtual_address} on {group.home_interface}, "


def _protection(group: GroupPlan) -> str:
    if not group.keys:
        return group.security
    return f"{group.security}, {group.auth}, {', '.join(map(_key, group.keys))}"


def _key(key: KeyPlan) -> str:
    return f"SPI {key.spi} from {key.source}{' (signs)' if key.signs else ''}"
