"""`harp-lab run` and `harp-lab traffic`: the laboratory of network namespaces."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click
from rich.console import Console
from rich.table import Table

from harp.lab.netns import privilege
from harp.lab.netns.run import USUAL_HELLO_MS, Options, execute, last_line
from harp.lab.netns.scenarios import SCENARIOS, about
from harp.lab.netns.scenarios import hello_ms as usual_hello_ms
from harp.lab.netns.traffic import traffic
from harp.tables.simulated import MIN_HELLO_MS

REPORTS = Path("build/lab")

_Command = TypeVar("_Command", bound=Callable[..., Any])


def _list(context: click.Context, _: click.Parameter, wanted: bool) -> None:
    if wanted:
        for name in SCENARIOS:
            click.echo(f"{name:18} {about(name)}")
        context.exit()


def _number(
    name: str, kind: click.ParamType[Any], default: float, metavar: str, about: str | None = None
) -> Callable[[_Command], _Command]:
    """An option that takes a number and shows the one it has otherwise."""
    return click.option(
        name, type=kind, default=default, show_default=True, metavar=metavar, help=about
    )


@click.command(
    "run", epilog="Example: harp-lab run kill-active --runs 20 --load --json > kill-active.json"
)
@click.argument("name", type=click.Choice(list(SCENARIOS)), metavar="NAME")
@_number("--seed", click.IntRange(0), 1, "S")
@_number("--runs", click.IntRange(1), 5, "N", "Faults, in a scenario that repeats one.")
@click.option(
    "--hello-ms",
    type=click.IntRange(1, 10_000),
    show_default=f"{USUAL_HELLO_MS}; {MIN_HELLO_MS} with a simulated board",
    metavar="M",
    help="HELLO interval.",
)
@_number("--multiplier", click.IntRange(2, 255), 3, "K", "HELLOs missed until a peer is down.")
@_number("--nodes", click.IntRange(1, 100_000), 1000, "N", "Mobile nodes of the load generator.")
@_number("--seconds", click.FloatRange(0.1), 5.0, "T", "Length of a flood or a load.")
@click.option("--load", is_flag=True, help="Every core busy beside it.")
@click.option(
    "--report",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help=f"HTML report; {REPORTS}/NAME.html unless told.",
)
@click.option(
    "--list",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_list,
    help="List the scenarios.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object as the last line.")
def run_command(
    name: str, report: Path | None, as_json: bool, hello_ms: int | None, **given: Any
) -> None:
    """Run the scenario NAME with real daemons in network namespaces.

    Progress goes to stderr. Exit status: 0 pass, 1 fail, 2 wrong usage. Without root it runs in a
    user namespace of its own where the kernel allows that.
    """
    privilege.ensure()
    errors = Console(stderr=True)
    options = Options(hello_ms=hello_ms or usual_hello_ms(name), **given)
    result = execute(name, SCENARIOS[name], options, lambda line: errors.out(line))
    place = report or REPORTS / f"{name}.html"
    write_report([result], place)
    if as_json:
        click.echo(last_line(result))
    else:
        show(result)
        click.echo(f"report: {place}")
    sys.exit(0 if result["verdict"] == "pass" else 1)


def write_report(results: list[dict[str, Any]], place: Path) -> None:
    """The report; matplotlib is imported only here: it takes its second."""
    from harp.lab.netns.report import write

    write(results, place)


def show(result: dict[str, Any]) -> None:
    """A result for people."""
    table = Table(
        title=f"{result['scenario']}: {result['verdict']}", title_justify="left", show_header=False
    )
    for name, value in result["figures"].items():
        table.add_row(
            name.replace("_", " "), value if isinstance(value, str) else json.dumps(value)
        )
    Console().print(table)
    for line in result["why"]:
        click.echo(f"failed: {line}")


COMMANDS = (run_command, traffic)
