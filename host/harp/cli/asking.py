"""What all commands share that ask a running harpd: options, the connection, JSON, tables."""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, cast

import click
from rich.console import Console
from rich.table import Table

from harp.cli.common import Failure
from harp.daemon.control.client import DEFAULT_SOCKET, PATIENCE_S, ControlClient
from harp.daemon.control.protocol import SCHEMA

SOCKET_VARIABLE = "HARP_SOCKET"
"""Environment variable that names another socket."""
WIDE = 200
"""Columns where there is no terminal: nothing is folded."""
_META = "harp.socket"

F = TypeVar("F", bound=Callable[..., Any])


def json_option(command: F) -> F:
    """`--json` behind a command; before it does the same."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON.")(command)


def group_option(command: F) -> F:
    """Which group."""
    return click.option(
        "--group", type=click.IntRange(0, 255), help="Group ID; may be left out if there is one."
    )(command)


def asks(command: F) -> F:
    """A command that asks harpd; an answer of another shape is told in a line."""

    @functools.wraps(command)
    def asking(*arguments: Any, **options: Any) -> Any:
        try:
            return command(*arguments, **options)
        except (LookupError, TypeError, AttributeError, ValueError) as error:
            raise Failure(
                f"harpd's answer is not as expected ({type(error).__name__}: {error}):"
                " harpctl and harpd must be of one version"
            ) from None

    return cast("F", asking)


def keep_socket(context: click.Context, path: Path | None) -> None:
    """Which socket commands of this run use."""
    context.meta[_META] = path or Path(os.environ.get(SOCKET_VARIABLE) or DEFAULT_SOCKET)


def connect(context: click.Context, patience_s: float = PATIENCE_S) -> ControlClient:
    """A connection to harpd; how long an answer is waited for."""
    return ControlClient(context.meta.get(_META, DEFAULT_SOCKET), patience_s)


def wants_json(context: click.Context, as_json: bool) -> bool:
    """Whether a program reads."""
    return as_json or bool(context.obj)


def print_json(result: dict[str, Any]) -> None:
    """One object in one line."""
    click.echo(as_line(result))


def as_line(result: dict[str, Any]) -> str:
    """The object with the schema's version."""
    return json.dumps({"schema": SCHEMA} | result)


def console() -> Console:
    """For people: as wide as the terminal."""
    found = Console(highlight=False)
    return found if found.is_terminal else Console(highlight=False, width=WIDE)


def table(*columns: str, right: tuple[str, ...] = ()) -> Table:
    """Without lines: it is copied into mails."""
    made = Table(box=None, pad_edge=False, header_style="bold")
    for name in columns:
        made.add_column(name, justify="right" if name in right else "left", overflow="fold")
    return made


def duration(us: int | None) -> str:
    """A time for people: the two largest units."""
    if us is None:
        return "-"
    seconds = us // 1_000_000
    if seconds < 1:
        return f"{us // 1000} ms"
    for unit, size, below, small in (("d", 86400, "h", 3600), ("h", 3600, "min", 60)):
        if seconds >= size:
            return f"{seconds // size} {unit} {seconds % size // small} {below}"
    return f"{seconds // 60} min {seconds % 60} s" if seconds >= 60 else f"{seconds} s"


def yes(value: bool | None) -> str:
    """A truth for people."""
    return {True: "yes", False: "no", None: "?"}[value]
