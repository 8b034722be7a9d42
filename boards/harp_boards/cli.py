"""`harp-board`: what a board vendor runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from harp.cli.common import Failure, run
from harp_boards.parts import PARTS


@click.group(
    name="harp-board",
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Example: harp-board report core --json",
)
@click.version_option(package_name="harp-offload")
def harp_board() -> None:
    """Build the gateware and see its figures."""


@harp_board.command(epilog="Example: harp-board report core --part LFE5U-25F-6 --seeds 1")
@click.argument("design", type=click.Choice(["core"]))
@click.option(
    "--part",
    "names",
    type=click.Choice([part.name for part in PARTS]),
    multiple=True,
    help="Only it.",
)
@click.option("--seeds", type=click.IntRange(1, 20), default=3, show_default=True, metavar="N")
@click.option("--json", "as_json", is_flag=True, help="One JSON object as the last line.")
@click.pass_context
def report(
    context: click.Context, design: str, names: tuple[str, ...], seeds: int, as_json: bool
) -> None:
    """Synthesise, place and route DESIGN; some minutes a part and seed.

    Exit status 1 where frequency or size is not as asked.
    """
    from harp_boards.report import report_core  # Amaranth and the tools: an extra
    from harp_boards.synthesis import ToolFailed

    console = Console(stderr=True)
    chosen = tuple(part for part in PARTS if not names or part.name in names)
    try:
        with console.status("") as status:
            result = report_core(chosen, seeds, Path("build/synthesis") / design, status.update)
    except (ToolFailed, FileNotFoundError) as error:
        raise Failure(f"{error}; the tools come with harp-offload[gateware]") from None
    if as_json:
        click.echo(json.dumps(result))
    else:
        Console().print(_table(result["parts"]))
    context.exit(0 if result["met"] else 1)


def _table(parts: dict[str, dict[str, Any]]) -> Table:
    table = Table(title="core: worst of all seeds", title_justify="left")
    for column in ("part", "Fmax MHz", "target", "LUTs", "FFs", "block RAM", "met", "limit"):
        table.add_column(column)
    for name, figures in parts.items():
        table.add_row(
            name,
            f"{figures['fmax_mhz']:.1f}",
            str(figures["target_mhz"] or "-"),
            f"{figures['luts']:,} of {figures['luts_available']:,}",
            f"{figures['ffs']:,}",
            f"{figures['block_rams']} of {figures['block_rams_available']}",
            "yes" if figures["met"] else "NO",
            figures["limit"],
        )
    return table


def main() -> None:
    """Entry point."""
    run(harp_board)


if __name__ == "__main__":
    main()
