"""Figures of the core alone: frequency over several seeds, logic, memory, and what limits it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from amaranth.back import verilog

from harp_boards.parts import PARTS, Part
from harp_boards.ring import Ring
from harp_boards.synthesis import Placed, place_core, synthesise
from harp_gateware.core import Core
from harp_gateware.params import CoreParams

MAX_LUT_SHARE = 0.5
"""Of the smallest part's LUTs."""
MAX_BLOCK_RAMS = 40
"""Of the smallest part's 56."""


def report_core(
    parts: tuple[Part, ...], seeds: int, folder: Path, tell: Callable[[str], None]
) -> dict[str, Any]:
    """Places the core on each part with seeds 1 to `seeds`; the worst seed counts.

    The core is built for each part's target clock, 125 MHz where there is none. `met`: frequency
    and size are as asked, on every part with a target.
    """
    results: dict[str, Any] = {}
    for part in parts:
        target_mhz = part.target_mhz or 125.0
        # The core counts whole MHz; a faster clock only shortens its microsecond.
        params = replace(CoreParams(), clock_hz=int(target_mhz) * 1_000_000)
        tell(f"{part.name}: synthesis")
        ring = Ring(Core(params))
        synthesise(verilog.convert(ring, ports=ring.ports), folder / part.name)
        runs = []
        for seed in range(1, seeds + 1):
            tell(f"{part.name}: place and route, seed {seed} of {seeds}")
            runs.append(place_core(folder / part.name, part, seed))
        results[part.name] = _judged(part, runs)
    return {
        "design": "core",
        "parts": results,
        "met": all(result["met"] for result in results.values()),
    }


def _judged(part: Part, runs: list[Placed]) -> dict[str, Any]:
    worst = min(runs, key=lambda run: run.fmax_mhz)
    fast_enough = part.target_mhz is None or worst.fmax_mhz >= part.target_mhz
    small_enough = part is not PARTS[0] or (
        worst.luts <= MAX_LUT_SHARE * worst.luts_available and worst.block_rams <= MAX_BLOCK_RAMS
    )
    figures = {name: value for name, value in asdict(worst).items() if name != "seed"}
    return figures | {
        "target_mhz": part.target_mhz,
        "fmax_mhz_by_seed": [run.fmax_mhz for run in runs],
        "met": fast_enough and small_enough,
    }
