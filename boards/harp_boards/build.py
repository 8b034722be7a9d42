"""Bitstreams: a board's design through yosys, nextpnr and ecppack, the same octets each time.

One yosys thread, fixed seeds, no absolute paths, no time of day in what is built.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from harp_boards.board import MARGIN, Board, BoardTop
from harp_boards.parts import Part
from harp_boards.synthesis import TIMING_DRIVEN, route, run_tool, short, synthesise
from harp_gateware.core import Identity

_PIN_CLOCK = re.compile(r'(FREQUENCY PORT "[^"]+" )([0-9.]+) HZ')
_SOURCE = re.compile(r'\(\* src = "[^"]*" \*\)')


@dataclass(frozen=True, slots=True)
class ClockFigures:
    """One clock of a bitstream."""

    needed_mhz: float
    """What it runs at."""
    fmax_mhz: float
    """What place and route reached; with MARGIN above `needed_mhz` as its aim."""
    slack_ns: float
    """Period needed less period reached."""


@dataclass(frozen=True, slots=True)
class Built:
    """One bitstream and its figures."""

    board: str
    seed: int
    timing_met: bool
    """Every clock reached its aim."""
    clocks: dict[str, ClockFigures]
    luts: int
    luts_available: int
    ffs: int
    block_rams: int
    block_rams_available: int
    bit: str
    """File."""
    bit_sha256: str


def build(
    board: Board, folder: Path, *, seed: int, identity: Identity, tell: Callable[[str], None]
) -> Built:
    """Builds `folder`/top.bit. Raises `ToolFailed`, `TooSlow`."""
    tell(f"{board.name}: Verilog")
    platform = board.platform()
    plan = platform.prepare(BoardTop(board, identity), "top", debug_verilog=True)
    # Where in the source a line comes from differs from checkout to checkout.
    verilog = _SOURCE.sub("", _text(plan.files["top.debug.v"]))
    tell(f"{board.name}: synthesis")
    synthesise(verilog, folder)
    constraints = with_margin(_text(plan.files["top.lpf"]))
    (folder / "top.lpf").write_text(constraints, encoding="utf-8")
    return place_and_pack(board, folder, seed, tell)


def with_margin(lpf: str) -> str:
    """Constraints with the clocks that come in by a pin MARGIN above what they run at.

    nextpnr derives those of a PLL's outputs from its input's; by name it does not find them, since
    synthesis calls these nets as it likes.
    """
    return _PIN_CLOCK.sub(lambda found: f"{found[1]}{float(found[2]) * MARGIN} HZ", lpf)


def _text(content: str | bytes) -> str:
    return content if isinstance(content, str) else content.decode()


def place_and_pack(board: Board, folder: Path, seed: int, tell: Callable[[str], None]) -> Built:
    """From `folder`/top.json on. Raises `ToolFailed`, `TooSlow`: then there is no bitstream."""
    for made in ("top.bit", "built.json"):
        (folder / made).unlink(missing_ok=True)
    tell(f"{board.name}: place and route, seed {seed}")
    platform = board.platform()
    part = Part(platform.device, platform.speed, platform.package)
    files = ("--lpf", "top.lpf", "--textcfg", "top.config")
    report = route(folder, part, seed, "report", *files, TIMING_DRIVEN)
    tell(f"{board.name}: bitstream")
    run_tool(["yowasp-ecppack", "--compress", "--input", "top.config", "--bit", "top.bit"], folder)
    built = _figures(board, seed, report, folder / "top.bit")
    (folder / "built.json").write_text(json.dumps(asdict(built), indent=2), encoding="utf-8")
    return built


def _figures(board: Board, seed: int, report: dict[str, Any], bit: Path) -> Built:
    use = report["utilization"]
    clocks = {short(name): _clock(figures) for name, figures in report["fmax"].items()}
    return Built(
        board=board.name,
        seed=seed,
        timing_met=all(clock.fmax_mhz >= MARGIN * clock.needed_mhz for clock in clocks.values()),
        clocks=clocks,
        luts=use["TRELLIS_COMB"]["used"],
        luts_available=use["TRELLIS_COMB"]["available"],
        ffs=use["TRELLIS_FF"]["used"],
        block_rams=use["DP16KD"]["used"],
        block_rams_available=use["DP16KD"]["available"],
        bit=str(bit),
        bit_sha256=hashlib.sha256(bit.read_bytes()).hexdigest(),
    )


def _clock(figures: dict[str, float]) -> ClockFigures:
    needed_mhz = round(figures["constraint"] / MARGIN, 1)  # nextpnr counts whole picoseconds
    return ClockFigures(
        needed_mhz=needed_mhz,
        fmax_mhz=round(figures["achieved"], 2),
        slack_ns=round(1000 / needed_mhz - 1000 / figures["achieved"], 3),
    )
