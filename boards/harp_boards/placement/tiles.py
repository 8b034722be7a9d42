"""Which LUT or flop is in which lane, and what may be there.

As nextpnr has it: the flops of a tile have the same clock and reset, those of a slice the same
enable; carry chains, distributed RAM and flops behind them stay where they are.
"""

from __future__ import annotations

from typing import TypeAlias

from harp_boards.placement.netlist import LANES, NOWHERE, Cell, Kind, PlacedNetlist

Place: TypeAlias = tuple[int, int, int]
"""Column, row, lane."""
Control: TypeAlias = tuple[object, ...]
LUT, FLOP = 0, 1
_MOVABLE = (Kind.LUT, Kind.FLOP)
WRITE_SLICE = 2
"""Of a tile with distributed RAM: the slice that the write port takes."""


class Tiles:
    """What is where; `exchange` is the only way to change it."""

    def __init__(self, netlist: PlacedNetlist) -> None:
        self._cells = cells = netlist.cells
        self._lanes: dict[Place, list[int | None]] = {}
        self.mates = _mates(netlist)
        self._tile_controls = [_tile_control(cell) for cell in cells]
        self._slice_controls = [_slice_control(cell) for cell in cells]
        for n, cell in enumerate(cells):
            if cell.lane != NOWHERE:
                self._lane((cell.x, cell.y, cell.lane))[cell.kind is Kind.FLOP] = n
        self._logic = {place[:2] for place in self._lanes}
        self._used = sorted(self._logic)
        self._writing = {(cell.x, cell.y) for cell in cells if cell.kind is Kind.WRITE}

    def movable(self, n: int) -> bool:
        """Whether it may leave its place."""
        mate = self.mates.get(n)
        return self._cells[n].kind in _MOVABLE and (
            mate is None or self._cells[mate].kind in _MOVABLE
        )

    def alike(self) -> tuple[dict[Control, list[tuple[int, int]]], list[tuple[int, int]]]:
        """The tiles with flops by what these have in common, and those without."""
        found: dict[Control, list[tuple[int, int]]] = {}
        free = []
        for x, y in self._used:
            flop = next((lane[FLOP] for lane in self._tile(x, y) if lane[FLOP] is not None), None)
            if flop is None:
                free.append((x, y))
            else:
                found.setdefault(self._tile_controls[flop], []).append((x, y))
        return found, free

    def logic(self, tile: tuple[int, int]) -> bool:
        """Whether a tile is known to have lanes: one in use had some from the start."""
        return tile in self._logic

    def control(self, n: int) -> Control | None:
        """What the flop `n`, or the one behind the LUT `n`, must share with its tile."""
        flop = n if self._cells[n].kind is Kind.FLOP else self.mates.get(n)
        return None if flop is None else self._tile_controls[flop]

    def exchanged(self, n: int, to: Place) -> tuple[list[int], tuple[int, ...]] | None:
        """What moves if `n` and what is at `to` change places: cells, and which of LUT and flop.

        None: they may not, for what they are. Whether the flops fit shows once they are there.
        """
        here, there = self.place(n), to
        if here == there:
            return None
        which = FLOP if self._cells[n].kind is Kind.FLOP else LUT
        other = self._lane(there)[which]
        kinds: tuple[int, ...] = (which,)
        if n in self.mates or (other is not None and other in self.mates):
            kinds = (LUT, FLOP)
        moved = []
        for kind in kinds:
            for place, target in ((here, there), (there, here)):
                cell = self._lane(place)[kind]
                if cell is None:
                    continue
                alone = len(kinds) == 1 and cell in self.mates
                if alone or not self.movable(cell):
                    return None
                if kind == LUT and not self._takes_lut(target):
                    return None
                moved.append(cell)
        return moved, kinds

    def exchange(self, here: Place, there: Place, kinds: tuple[int, ...]) -> None:
        """Changes the LUTs, the flops or both of two lanes."""
        for kind in kinds:
            one, other = self._lane(here), self._lane(there)
            one[kind], other[kind] = other[kind], one[kind]
            for place, lane in ((here, one), (there, other)):
                if (n := lane[kind]) is not None:
                    cell = self._cells[n]
                    cell.x, cell.y, cell.lane = place

    def place(self, n: int) -> Place:
        """Where a LUT or flop is."""
        cell = self._cells[n]
        return cell.x, cell.y, cell.lane

    def fits(self, place: Place) -> bool:
        """Whether the flops of the tile, and those of the slice, get on with each other."""
        x, y, lane = place
        flops = [lane[FLOP] for lane in self._tile(x, y)]
        controls = {self._tile_controls[n] for n in flops if n is not None}
        first = lane & ~1
        pair = [n for n in flops[first : first + 2] if n is not None]
        return len(controls) <= 1 and len({self._slice_controls[n] for n in pair}) <= 1

    def _takes_lut(self, place: Place) -> bool:
        """A slice is a carry chain's or a write port's as a whole."""
        x, y, lane = place
        beside = self._lane((x, y, lane ^ 1))[LUT]
        whole = beside is not None and self._cells[beside].kind in (Kind.CARRY, Kind.BLOCKED)
        return not whole and not ((x, y) in self._writing and lane // 2 == WRITE_SLICE)

    def _lane(self, place: Place) -> list[int | None]:
        return self._lanes.setdefault(place, [None, None])

    def _tile(self, x: int, y: int) -> list[list[int | None]]:
        return [self._lane((x, y, lane)) for lane in range(LANES)]


def _mates(netlist: PlacedNetlist) -> dict[int, int]:
    """Each flop behind the LUT of its own lane, and the other way round: they stay together."""
    found = {}
    for n, cell in enumerate(netlist.cells):
        if cell.kind is Kind.FLOP:
            for net, pin in cell.inputs:
                if pin == "DI":
                    lut = netlist.nets[net].driver
                    found[n], found[lut] = lut, n
    return found


def _tile_control(cell: Cell) -> Control:
    pins = (cell.pins.get("CLK"), cell.pins.get("LSR"))
    return (*pins, *(cell.settings.get(name) for name in ("CLKMUX", "LSRMUX", "SRMODE")))


def _slice_control(cell: Cell) -> Control:
    return (cell.pins.get("CE"), cell.settings.get("CEMUX"), cell.settings.get("GSR"))
