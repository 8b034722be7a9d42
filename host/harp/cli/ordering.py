"""`harpctl switchover`, `switchback`, `hold`, `release`, `resync`, `rekey`, `reload`: orders."""

from __future__ import annotations

from typing import Any

import click

from harp.cli.asking import asks, connect, group_option, json_option, print_json, wants_json
from harp.cli.common import Failure
from harp.cli.looking import event_line
from harp.tables.constants import HARELIABILITY_TIMEOUT_US, SWITCH_DRAIN_TIMEOUT_US, US_PER_S

SWITCH_PATIENCE_S = (HARELIABILITY_TIMEOUT_US + 2 * SWITCH_DRAIN_TIMEOUT_US) / US_PER_S
"""A planned switch is over by then, one way or the other (harp.md §5)."""
RELOAD_PATIENCE_S = 60.0
"""The keys of a million mobile nodes are read, and nft may have to wait for a processor."""
_SETTLED = ("STANDBY", "ACTIVE", "DRAINING", "INIT")
"""Roles in which no switch is under way."""

_to = click.option("--to", help="Name or address of the member that is to be active.")
_force = click.option(
    "--force", is_flag=True, help="Override what this member has against it; not what others have."
)


@click.command(epilog="Example: harpctl switchover --check")
@click.option("--check", is_flag=True, help="Only say what is against it.")
@_to
@_force
@group_option
@json_option
@click.pass_context
@asks
def switchover(
    context: click.Context,
    check: bool,
    to: str | None,
    force: bool,
    group: int | None,
    as_json: bool,
) -> None:
    """Make this standby active; or, on the active, the member named with --to."""
    name = "check" if check else "switchover"
    _order(context, name, as_json, group=group, to=to, force=force)


@click.command(epilog="Example: harpctl switchback --to ha1")
@_to
@_force
@group_option
@json_option
@click.pass_context
@asks
def switchback(
    context: click.Context, to: str | None, force: bool, group: int | None, as_json: bool
) -> None:
    """Give the active role away: to --to, or to the best standby."""
    _order(context, "switchback", as_json, group=group, to=to, force=force)


def _plain(name: str, about: str, example: str = "") -> click.Command:
    """An order that takes nothing but a group."""

    @click.command(name, help=about, epilog=f"Example: harpctl {example or name}")
    @group_option
    @json_option
    @click.pass_context
    @asks
    def order(context: click.Context, group: int | None, as_json: bool) -> None:
        _order(context, name, as_json, group=group)

    return order


hold = _plain("hold", "Keep this member from ever taking over, until `release`.")
release = _plain("release", "End `hold`.")
resync = _plain("resync", "Fetch the whole binding cache from the active again.")
rekey = _plain(
    "rekey", "Ask every mobile node to run IKE again with this home agent.", "rekey --group 7"
)


@click.command(name="reload", epilog="Example: harpctl reload")
@json_option
@click.pass_context
@asks
def reload(context: click.Context, as_json: bool) -> None:
    """Read the configuration file again, as SIGHUP does; the role stays."""
    with connect(context, RELOAD_PATIENCE_S) as control:
        found = control.call("reload")
    if wants_json(context, as_json):
        print_json(found)
        return
    for line in found["taken"]:
        click.echo(line)
    for line in found["at_next_start"]:
        click.echo(line)
    if not found["taken"] and not found["at_next_start"]:
        click.echo("nothing changed")


def _order(context: click.Context, name: str, as_json: bool, **arguments: Any) -> None:
    """Gives an order; a switch is awaited. Exit 1 if it was refused or failed."""
    as_json = wants_json(context, as_json)
    with connect(context) as control:
        last = control.call("events")["last"]
        answer = control.call(name, **arguments)
    if answer["done"] and name in ("switchover", "switchback"):
        answer |= {"role": _await_switch(context, answer["group"], last, quiet=as_json)}
    if as_json:
        print_json(answer)
    else:
        _tell(name, answer)
    if not answer["done"]:
        context.exit(1)


def _tell(name: str, answer: dict[str, Any]) -> None:
    group = answer["group"]
    if not answer["done"]:
        click.echo(f"group {group}: {name} refused")
        for each in answer["refusals"]:
            click.echo(f"  {each['name']}: {each['text']}")
    elif name == "check":
        click.echo(f"group {group}: nothing is against a switch")
    elif "role" in answer:
        click.echo(f"group {group}: this member is {answer['role']} now")
    else:
        click.echo(f"group {group}: {name} done")


def _await_switch(context: click.Context, group: int, since: int, *, quiet: bool) -> str:
    """The role in which a switch that was begun ends. `Failure`: it came to nothing."""
    before = None
    with connect(context) as control:
        for event in control.watch(since, timeout_s=SWITCH_PATIENCE_S):
            if event["group"] != group:
                continue
            if not quiet:
                click.echo(event_line(event), err=True)
            if event["kind"] != "role":
                continue
            before = before or event["old"]
            if event["new"] in _SETTLED:
                gave_up = event["old"] == "CLAIMING" and event["new"] != "ACTIVE"
                if gave_up or event["new"] == before:
                    why = event["reason"]
                    raise Failure(f"group {group}: not switched: {why}; see `harpctl events`")
                return str(event["new"])
    raise Failure(
        f"group {group}: nothing switched within {SWITCH_PATIENCE_S:g} s; see `harpctl events`"
    )
