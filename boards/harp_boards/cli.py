"""`harp-board`: what a board vendor runs."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any, NoReturn

import click
from rich.console import Console
from rich.table import Table

from harp.cli.common import Failure, run
from harp_boards.as_json import print_json
from harp_boards.cli_device import registers, selftest
from harp_boards.parts import PARTS

BUILT = Path("build/boards")
"""Where bitstreams are built, a folder a board."""


@click.group(
    name="harp-board",
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Example: harp-board report core --json",
)
@click.version_option(package_name="harp-offload")
def harp_board() -> None:
    """Build the gateware and see its figures."""


@harp_board.command(epilog="Example: harp-board report core --part LFE5U-25F-6 --seeds 1")
@click.argument("design", metavar="core|BOARD")
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
    """The figures of a BOARD's last build; or synthesise, place and route the core alone.

    The core takes some minutes a part and seed. Exit status 1 where frequency or size is not as
    asked.
    """
    if design != "core":
        _report_board(context, BoardName().convert(design, None, context), as_json)
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
        print_json(result)
    else:
        Console().print(_table(result["parts"]))
    context.exit(0 if result["met"] else 1)


def _report_board(context: click.Context, board: str, as_json: bool) -> NoReturn:
    file = BUILT / board / "built.json"
    if not file.exists():
        raise Failure(f"{file} is not there: run `harp-board build {board}` first")
    built = json.loads(file.read_text(encoding="utf-8"))
    _tell_built(built, as_json)
    context.exit(0 if built["timing_met"] else 1)


@harp_board.command("list", epilog="Example: harp-board list --json")
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
def list_boards(as_json: bool) -> None:
    """The boards that can be built."""
    from harp_boards.boards import BOARDS  # Amaranth: an extra

    if as_json:
        boards = [
            {"name": b.name, "number": b.number, "title": b.title, "ports": b.ports}
            for b in BOARDS.values()
        ]
        print_json({"boards": boards})
        return
    table = Table(title="No hardware has run any of them yet.", title_justify="left")
    for column in ("board", "what it is", "ports", "core clock", "notes"):
        table.add_column(column)
    for board in BOARDS.values():
        clock = f"{board.pll.core_hz / 1e6:g} MHz"
        table.add_row(board.name, board.title, str(board.ports), clock, "\n".join(board.notes))
    Console().print(table)


class BoardName(click.ParamType[str]):
    """The name of a board."""

    name = "board"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        from harp_boards.boards import BOARDS  # Amaranth: an extra

        if value not in BOARDS:
            self.fail(f"{value!r} is no board; there are {', '.join(BOARDS)}", param, ctx)
        return str(value)


@harp_board.command(epilog="Example: harp-board build colorlight_5a75b_r7 --seed 1 --json")
@click.argument("board", type=BoardName())
@click.option("--seed", type=click.IntRange(1), default=1, show_default=True, metavar="S")
@click.option(
    "--folder",
    type=click.Path(file_okay=False, path_type=Path),
    help="Where to build; else build/boards/BOARD.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object as the last line.")
@click.pass_context
def build(
    context: click.Context, board: str, seed: int, folder: Path | None, as_json: bool
) -> None:
    """Make the bitstream of BOARD; about ten minutes.

    The same sources and seed give the same file, octet for octet. Exit status 1 where a clock does
    not reach its aim.
    """
    from harp_boards.boards import BOARDS  # Amaranth and the tools: an extra
    from harp_boards.build import build as build_board
    from harp_boards.identity import identity
    from harp_boards.synthesis import ToolFailed, TooSlow

    chosen = BOARDS[board]
    folder = folder or BUILT / board
    try:
        with Console(stderr=True).status("") as status:
            built = build_board(
                chosen, folder, seed=seed, identity=identity(chosen), tell=status.update
            )
    except (ToolFailed, FileNotFoundError) as error:
        raise Failure(f"{error}; the tools come with harp-offload[gateware]") from None
    except TooSlow as error:
        if as_json:
            print_json({"board": board, "seed": seed, "timing_met": False, "error": str(error)})
        raise Failure(f"{board}, seed {seed}: {error}; try another --seed") from None
    _tell_built(asdict(built), as_json)
    context.exit(0 if built.timing_met else 1)


def _tell_built(built: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print_json(built)
        return
    table = Table(title=f"{built['board']}, seed {built['seed']}", title_justify="left")
    for column in ("clock", "needed MHz", "reached MHz", "slack ns"):
        table.add_column(column)
    for name, clock in built["clocks"].items():
        figures = (clock["needed_mhz"], clock["fmax_mhz"], clock["slack_ns"])
        table.add_row(name, *map(str, figures))
    console = Console()
    console.print(table)
    console.print(
        f"LUTs {built['luts']:,} of {built['luts_available']:,}, FFs {built['ffs']:,}, block RAM "
        f"{built['block_rams']} of {built['block_rams_available']}"
    )
    console.print(f"{built['bit']}, SHA-256 {built['bit_sha256']}", soft_wrap=True)
    if not built["timing_met"]:
        console.print("A clock is below its aim: do not use this file; try another --seed.")


@harp_board.command(epilog="Example: harp-board flash colorlight_5a75b_r7 --cable ft232RL")
@click.argument("board", type=BoardName())
@click.option(
    "--bit",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Bitstream; else what `build` made.",
)
@click.option(
    "--golden",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Bitstream kept behind it for the case that it is damaged.",
)
@click.option("--sram", is_flag=True, help="Load the FPGA only, until its power goes.")
@click.option("--cable", metavar="NAME", help="Cable of openFPGALoader, if not the board's own.")
def flash(board: str, bit: Path | None, golden: Path | None, sram: bool, cable: str | None) -> None:
    """Write a bitstream into BOARD and read it back."""
    from harp_boards.boards import BOARDS  # Amaranth: an extra
    from harp_boards.flash import flash_image, program
    from harp_boards.synthesis import ToolFailed

    bit = bit or BUILT / board / "top.bit"
    if not bit.exists():
        raise Failure(f"{bit} is not there: run `harp-board build {board}` first, or give --bit")
    if sram and golden:
        raise click.UsageError("--golden is about the flash; leave --sram out")
    try:
        image = flash_image(BOARDS[board], bit, golden)
    except (ToolFailed, FileNotFoundError) as error:
        raise Failure(f"{error}; the tools come with harp-offload[gateware]") from None
    with Console(stderr=True).status(f"writing {image}"):
        program(BOARDS[board], image, sram=sram, cable=cable)
    click.echo(f"{board}: {image} is {'loaded' if sram else 'written and verified'}")


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


harp_board.add_command(registers)
harp_board.add_command(selftest)


def main() -> None:
    """Entry point."""
    run(harp_board)


if __name__ == "__main__":
    main()
