"""A placed netlist as nextpnr writes it (`--no-route --write`), and places in it.

Ref: Lattice FPGA-DS-02012 (ECP5 family data sheet): a logic tile has four slices of two lanes, each
of a LUT and a flop.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

_BEL = re.compile(r"X(?P<x>\d+)/Y(?P<y>\d+)/(?:SLICE(?P<slice>[A-D])\.(?:K|FF)(?P<half>[01])$)?")
_SLICES = "ABCD"
LANES = 2 * len(_SLICES)
NOWHERE = -1
"""The lane of what is not a lane's LUT or flop."""


class Kind(Enum):
    """What a cell is to timing and placement."""

    LUT = "LOGIC"
    CARRY = "CCU2"
    RAM = "DPRAM"
    BLOCKED = "RAMW_BLOCK"  # a LUT whose place a RAM's write port needs
    WRITE = "TRELLIS_RAMW"
    FLOP = "TRELLIS_FF"
    BLOCK_RAM = "DP16KD"
    OTHER = "other"


@dataclass(slots=True)
class Cell:
    """One cell and its place."""

    name: str
    kind: Kind
    x: int
    y: int
    lane: int
    settings: dict[str, str]
    pins: dict[str, int]
    """What is on each pin that is connected: the netlist's number of it."""
    inputs: list[tuple[int, str]] = field(default_factory=list)
    """Nets and pins; not clocks."""
    outputs: list[int] = field(default_factory=list)


@dataclass(slots=True)
class Net:
    """One net: what drives it, and what it goes to."""

    name: int
    """The netlist's number of it."""
    driver: int
    pin: str
    loads: list[tuple[int, str]] = field(default_factory=list)


class PlacedNetlist:
    """`cells` and `nets`, by number; clock nets are left out."""

    def __init__(self, document: dict[str, Any]) -> None:
        (self._module,) = document["modules"].values()
        self.document = document
        self.cells: list[Cell] = []
        self.nets: list[Net] = []
        found: dict[int, int] = {}
        for name, raw in self._module["cells"].items():
            cell = _cell(name, raw)
            if raw["type"] != "DCCA":  # the clock's way to its network
                for pin, bit in cell.pins.items():
                    if raw["port_directions"][pin] == "output":
                        found[bit] = len(self.nets)
                        cell.outputs.append(len(self.nets))
                        self.nets.append(Net(bit, len(self.cells), pin))
            self.cells.append(cell)
        for n, cell in enumerate(self.cells):
            directions = self._module["cells"][cell.name]["port_directions"]
            for pin, bit in cell.pins.items():
                if bit in found and directions[pin] != "output":
                    cell.inputs.append((found[bit], pin))
                    self.nets[found[bit]].loads.append((n, pin))

    def write_places(self) -> None:
        """Brings `document` up to date with the places of LUTs and flops."""
        for cell in self.cells:
            if cell.lane != NOWHERE:
                what = "FF" if cell.kind is Kind.FLOP else "K"
                place = f"SLICE{_SLICES[cell.lane // 2]}.{what}{cell.lane % 2}"
                attributes = self._module["cells"][cell.name]["attributes"]
                attributes["NEXTPNR_BEL"] = f"X{cell.x}/Y{cell.y}/{place}"


def _cell(name: str, raw: dict[str, Any]) -> Cell:
    place = _BEL.match(raw["attributes"]["NEXTPNR_BEL"])
    assert place is not None
    lane = NOWHERE
    if place["slice"] is not None:
        lane = 2 * _SLICES.index(place["slice"]) + int(place["half"])
    # nextpnr ends a text that could be read as a number with a blank.
    settings = {key: str(value).strip() for key, value in raw["parameters"].items()}
    pins = {
        pin: bits[0]
        for pin, bits in raw["connections"].items()
        if len(bits) == 1 and isinstance(bits[0], int)
    }
    kind = _kind(raw["type"], settings)
    return Cell(name, kind, int(place["x"]), int(place["y"]), lane, settings, pins)


def _kind(type_: str, settings: dict[str, str]) -> Kind:
    if type_ == "TRELLIS_COMB":
        return Kind(settings.get("MODE", "LOGIC"))
    try:
        return Kind(type_)
    except ValueError:
        return Kind.OTHER
