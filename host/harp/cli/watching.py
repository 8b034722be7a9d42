"""`harpctl watch`: what happens, while it happens."""

from __future__ import annotations

from collections import deque
from typing import Any

import click
from rich.console import Group as Stack
from rich.live import Live
from rich.text import Text

from harp.cli.asking import as_line, asks, connect, console, json_option, wants_json
from harp.cli.looking import event_line, group_table, part_lines, peer_table
from harp.daemon.control.client import ControlClient

REFRESH_S = 1.0
"""The tables show times: they are drawn anew so often even if nothing happens."""
SHOWN = 12
"""Newest events below the tables."""


@click.command(epilog="Example: harpctl watch --json | jq .kind")
@json_option
@click.pass_context
@asks
def watch(context: click.Context, as_json: bool) -> None:
    """Roles, peers and events, live; Ctrl-C ends it.

    With --json, or where no terminal is, one line an event.
    """
    with connect(context) as control:
        try:
            if wants_json(context, as_json):
                for event in control.watch():
                    click.echo(as_line(event))
            elif not console().is_terminal:
                for event in control.watch():
                    click.echo(event_line(event))
            else:
                _live(context, control)
        except KeyboardInterrupt:
            context.exit(0)


def _live(context: click.Context, control: ControlClient) -> None:
    newest: deque[str] = deque(maxlen=SHOWN)
    with connect(context) as asking, Live(console=console(), auto_refresh=False) as live:
        last = asking.call("events")
        newest.extend(event_line(event) for event in last["events"][-SHOWN:])
        live.update(_screen(asking.call("status"), newest), refresh=True)
        for event in control.ticking(last["last"], REFRESH_S):
            if event is not None:
                newest.append(event_line(event))
            live.update(_screen(asking.call("status"), newest), refresh=True)


def _screen(status: dict[str, Any], newest: deque[str]) -> Stack:
    return Stack(
        group_table(status["groups"]),
        Text(),
        peer_table(status["groups"]),
        Text(),
        *(Text(line) for line in part_lines(status)),
        Text(),
        *(Text(line) for line in newest),
    )
