"""`harpctl status`, `peers`, `bindings`, `events`, `offload`: what a running harpd knows."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterable, Iterator
from tempfile import SpooledTemporaryFile
from typing import Any

import click
import msgspec
from rich.table import Table

from harp.cli.asking import (
    asks,
    connect,
    console,
    duration,
    group_option,
    json_option,
    print_json,
    table,
    wants_json,
    yes,
)
from harp.cli.common import Failure
from harp.daemon.control.protocol import SCHEMA

SPOOL_OCTETS = 1 << 24
"""JSON of bindings kept in memory; more goes to a file."""

Record = dict[str, Any]


@click.command(epilog="Example: harpctl status --json")
@json_option
@click.pass_context
@asks
def status(context: click.Context, as_json: bool) -> None:
    """Roles, bindings and parts of this harpd, at one moment."""
    with connect(context) as control:
        found = control.call("status")
    if wants_json(context, as_json):
        print_json(found)
        return
    out = console()
    out.print(group_table(found["groups"]))
    for line in part_lines(found):
        out.print(line, markup=False)


@click.command(epilog="Example: harpctl peers --group 7")
@group_option
@json_option
@click.pass_context
@asks
def peers(context: click.Context, group: int | None, as_json: bool) -> None:
    """The other members, as their HELLOs describe them."""
    with connect(context) as control:
        groups = control.call("status")["groups"]
    found = [
        {"group": each["group"], "member": each["member"], "peers": each["peers"]}
        for each in groups
        if group in (None, each["group"])
    ]
    if group is not None and not found:
        there = ", ".join(str(each["group"]) for each in groups)
        raise Failure(f"no group {group} here; there are {there}")
    if wants_json(context, as_json):
        print_json({"groups": found})
    else:
        console().print(peer_table(found))


@click.command(epilog="Example: harpctl bindings 2001:db8:1::1000")
@click.argument("home_address", required=False)
@group_option
@json_option
@click.pass_context
@asks
def bindings(
    context: click.Context, home_address: str | None, group: int | None, as_json: bool
) -> None:
    """The binding cache, or the bindings of one HOME_ADDRESS."""
    with connect(context) as control:
        found = control.bindings(group=group, home_address=home_address)
        if wants_json(context, as_json):
            _print_bindings(found)
        else:
            _show_bindings(found)


@click.command(epilog="Example: harpctl events --since 120")
@click.option("--since", type=click.IntRange(min=0), help="Only events above this number.")
@json_option
@click.pass_context
@asks
def events(context: click.Context, since: int | None, as_json: bool) -> None:
    """What happened last: roles, peers, commands, and what the log says."""
    with connect(context) as control:
        found = control.call("events", since=since)
    if wants_json(context, as_json):
        print_json(found)
        return
    for event in found["events"]:
        click.echo(event_line(event))


@click.command(epilog="Example: harpctl offload --json")
@json_option
@click.pass_context
@asks
def offload(context: click.Context, as_json: bool) -> None:
    """The board, and the filter in software, with their counters."""
    with connect(context) as control:
        found = control.call("offload")
    if wants_json(context, as_json):
        print_json(found)
        return
    board, rules = found["offload"], found["filter"]
    click.echo(offload_line(board))
    if board["counters"]:
        console().print(_board_table(board["counters"], board.get("round_trip_us")))
        zero = sum(not value for value in board["counters"].values())
        click.echo(f"{zero} other counters are 0; --json has them all")
    if rules is None:
        click.echo("software filter: none")
        return
    reasons = table("Filter reason", "Packets", "Dropped", right=("Packets", "Dropped"))
    for reason, packets in rules["frames"].items():
        reasons.add_row(reason, str(packets), str(rules["dropped"].get(reason, 0)))
    console().print(reasons)


_BOARD_COUNTERS = {
    "reason_frames_": "verdict",
    "outcome_frames_": "outcome",
    "event_": "event",
    "network_": "network port",
    "host_": "host port",
    "link_": "serial link",
}
"""What a counter of the board begins with → what it counts."""


def _board_table(counters: Record, round_trip_us: int | None) -> Table:
    """What is not zero, by what it belongs to."""
    found = table("Of", "Counter", "Value", right=("Value",))
    for prefix, of in _BOARD_COUNTERS.items():
        for name, value in counters.items():
            if value and name.startswith(prefix):
                found.add_row(of, name.removeprefix(prefix), str(value))
    if round_trip_us:
        found.add_row("serial link", "round_trip_us", str(round_trip_us))
    return found


def group_table(groups: Iterable[Record]) -> Table:
    """A row a group."""
    found = table(
        *("Group", "Member", "Role", "For", "Why", "Follows", "Bindings", "Synchronised"),
        *("Peers up", "Notes"),
        right=("Bindings",),
    )
    for each in groups:
        names = {peer["identity"]: peer["name"] for peer in each["peers"]}
        up = sum(peer["up"] for peer in each["peers"])
        found.add_row(
            str(each["group"]),
            each["member"],
            each["role"],
            duration(each["for_us"]),
            each["reason"] or "start",
            names.get(each["active"], each["active"]) or "-",
            str(each["bindings"]),
            yes(each["synchronised"]),
            f"{up} of {len(each['peers'])}",
            ", ".join(_notes(each)) or "-",
        )
    return found


def _notes(group: Record) -> Iterator[str]:
    """What an operator should know; nothing on an ordinary day."""
    if group["security"] == "none":
        yield "NOT PROTECTED"
    for key in ("held", "fenced", "syncing", "reconciling"):
        if group[key]:
            yield key
    if not group["quorum_met"]:
        yield "below quorum"
    if group["unprotected"]:
        yield f"{group['unprotected']} unprotected"
    for link in group["links"]:
        if not link["up"]:
            yield f"{link['name']} is down"
    for peer in group["peers"]:
        if peer["agrees"] is False:
            yield f"{peer['name']} has other settings"


def part_lines(status: Record) -> Iterator[str]:
    """The parts beside the groups, a line each."""
    plane, guard = status["data_plane"], status["guard"]
    queued = f", {plane['queued']} changes queued" if plane["queued"] else ""
    detail = f" ({plane['detail']})" if plane["detail"] else ""
    yield f"data plane: {plane['name']}, {plane['routes']} routes{queued}{detail}"
    armed = ", ".join(map(str, guard["armed"])) or "no group"
    fired = f", fired {guard['fired']} times" if guard["fired"] else ""
    yield f"guard: {'runs' if guard['running'] else 'does not run'}, armed for {armed}{fired}"
    yield offload_line(status["offload"])
    harpd = status["harpd"]
    yield f"harpd {harpd['version']}, process {harpd['pid']}, {harpd['configuration']}"


def offload_line(offload: Record) -> str:
    """The board in a line."""
    if offload["device"] == "none":
        return "offload: none"
    state = "attached" if offload["attached"] else "not attached"
    extra = "".join(f", {offload[key]}" for key in ("version", "detail") if offload[key])
    return f"offload: {offload['device']} {state}{extra}"


def peer_table(groups: Iterable[Record]) -> Table:
    """A row a peer."""
    found = table(
        *("Group", "Peer", "Up", "Active", "Synchronised", "Preference", "Position", "Settings"),
        "Links",
        right=("Preference",),
    )
    for group in groups:
        for peer in group["peers"]:
            position = peer["position"]
            links = (
                f"{link['link']} {link['address']} {link['state']} {duration(link['for_us'])}"
                for link in peer["links"]
            )
            found.add_row(
                str(group["group"]),
                peer["name"] + ("" if peer["configured"] else " (discovered)"),
                yes(peer["up"]),
                yes(peer["active"]),
                yes(peer["synchronised"]),
                str(peer["preference"]),
                f"{position['term']}.{position['position']}" if position else "-",
                {True: "same", False: "OTHER", None: "?"}[peer["agrees"]],
                "\n".join(links),
            )
    return found


def event_line(event: Record) -> str:
    """An event for people."""
    group = "" if event["group"] is None else f"group {event['group']}: "
    match event["kind"]:
        case "role":
            text = f"{event['old']} → {event['new']} ({event['reason']})"
        case "peer":
            on = f" on {event['link']}" if event["link"] else ""
            text = f"{event['peer']} {event['change'].replace('_', ' ')}{on}"
        case "command":
            refusals = event["refusals"]
            text = f"command refused: {', '.join(refusals)}" if refusals else "command taken"
        case _:
            text = f"{event.get('level', event['kind'])}: {event.get('text', '')}"
    return f"{event['number']:>6} {event['time']} {group}{text}"


def _print_bindings(pages: Iterable[list[Record]]) -> None:
    """One object, printed when all of it has come: half a cache is never read for a whole one."""
    with SpooledTemporaryFile(max_size=SPOOL_OCTETS) as spool:
        spool.write(b'{"schema":%d,"bindings":[' % SCHEMA)
        separator = b""
        for page in pages:
            for binding in page:
                spool.write(separator + msgspec.json.encode(binding))
                separator = b","
        spool.write(b"]}\n")
        spool.seek(0)
        shutil.copyfileobj(spool, sys.stdout.buffer)
        sys.stdout.flush()


def _show_bindings(pages: Iterable[list[Record]]) -> None:
    row = "{:<39}  {:>5}  {:<39}  {:>8}  {:>8}  {}"
    click.echo(row.format("Home address", "BID", "Care-of address", "Sequence", "Left", "Prefixes"))
    count = 0
    for page in pages:
        for each in page:
            count += 1
            prefixes = " ".join(each["prefixes"]) or "-"
            left, bid = f"{each['lifetime_s']} s", each["bid"] or "-"
            home, care_of = each["home_address"], each["care_of_address"]
            click.echo(row.format(home, bid, care_of, each["sequence"], left, prefixes))
    click.echo(f"{count} bindings", err=sys.stdout.isatty())
