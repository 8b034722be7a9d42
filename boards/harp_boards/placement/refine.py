"""Moves the few cells on paths that are too long; all others stay where nextpnr placed them.

nextpnr weighs wires by how critical they are in the mean; a path's last nanosecond is left to
chance. Here each cell of such a path is tried at other places, one after the other, and stays
where the paths through it have more time. What is worth it: of the core some hundred of 27,000
cells are moved, in a minute, for an eighth more frequency.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

from harp_boards.placement.netlist import LANES, NOWHERE, Kind, PlacedNetlist
from harp_boards.placement.tiles import Control, Place, Tiles
from harp_boards.placement.timing import ALWAYS, NEVER, Timing

ROUNDS = 150
"""At most; in each, all critical cells are tried."""
PATIENCE = 30
"""Rounds without gain after which it ends."""
SEARCH_AFTER = 5
"""Rounds without gain after which some cells are tried at every place around."""
SEARCHED = 8
"""How many: those on the worst paths."""
AIM = 0.97
"""Of the best period so far: what is aimed at."""
MARGIN_PS = 200
"""Slack up to which a path counts."""
TRIES, TRIES_WORST = 12, 48
"""Places for a critical cell, and for one on the very worst paths."""
NEAR, FAR = 2, 5
"""Tiles around what a cell is connected to, and around itself."""
WIRE_COST = 2000
"""What a tile of wire counts, in ps² of missing slack: what is not critical should not suffer."""
WIDE = 60
"""Loads of a net from which on its length is not looked at."""
LOOKED_AT = 20
"""Neighbours of a cell of which one is chosen to go to."""


@dataclass(frozen=True, slots=True)
class Refined:
    """What it came to."""

    before_ps: float
    after_ps: float
    moved: int


class Refiner:
    """`timing` is of the same netlist, and has its step. Same seed, same result."""

    def __init__(self, netlist: PlacedNetlist, timing: Timing, seed: int) -> None:
        self._cells, self._nets = netlist.cells, netlist.nets
        self._timing = timing
        self._tiles = Tiles(netlist)
        self._random = random.Random(seed)
        self._period: float = 0
        self._around: dict[int, list[int]] = {}

    def run(self) -> Refined:
        """Leaves the best places found in `netlist`."""
        before = best = self._timing.longest()
        begun = self._places()
        kept = begun
        idle = 0
        for _ in range(ROUNDS):
            self._period = AIM * best
            slack = self._timing.update(self._period)
            if self._period - slack < best:
                best, kept, idle = self._period - slack, self._places(), 0
            elif idle == PATIENCE:
                break
            else:
                idle += 1
            self._round(search=idle > 0 and idle % SEARCH_AFTER == 0)
        self._restore(kept)
        moved = sum(now != then for now, then in zip(kept, begun, strict=True))
        return Refined(before, self._timing.longest(), moved)

    def _round(self, search: bool) -> None:
        critical = self._critical()
        self._random.shuffle(critical)
        alike, free = self._tiles.alike()
        for n in critical:
            self._try(n, alike, free)
        if search:
            for n in sorted(critical, key=self._worst)[:SEARCHED]:
                self._search(n)

    def _search(self, n: int) -> None:
        """Tries every place between a cell and what it is connected to, and a bit around."""
        places = [*self._neighbours(n), self._tiles.place(n)[:2]]
        columns, rows = [place[0] for place in places], [place[1] for place in places]
        for x in range(min(columns) - NEAR, max(columns) + NEAR + 1):
            for y in range(min(rows) - NEAR, max(rows) + NEAR + 1):
                if self._tiles.logic((x, y)):
                    for lane in range(LANES):
                        self._move(n, (x, y, lane))

    def _critical(self) -> list[int]:
        """What may be moved and has a path through it, or to it, with less than the margin."""
        timing, found = self._timing, set[int]()
        for n, driver in enumerate(timing.drivers):
            if timing.slack(n) < MARGIN_PS:
                found.add(driver)
                found.update(
                    end.cell
                    for end in timing.ends[n]
                    if self._slack(n, end.cell, end.setup, end.wired) < MARGIN_PS
                )
        return sorted(n for n in found if self._tiles.movable(n))

    def _slack(self, n: int, cell: int, setup: int, wired: bool) -> float:
        wire = self._timing.wire(n, cell, wired)
        return self._period - setup - wire - self._timing.arrival[n]

    def _try(
        self,
        n: int,
        alike: dict[Control, list[tuple[int, int]]],
        free: list[tuple[int, int]],
    ) -> None:
        """Tries places for one cell; each that is better is taken at once."""
        draw = self._random
        control = self._tiles.control(n)
        fitting = alike.get(control, []) if control is not None else []
        for _ in range(TRIES_WORST if self._worst(n) < 0.3 * MARGIN_PS else TRIES):
            neighbours = self._neighbours(n)
            x, y, _ = self._tiles.place(n)
            if fitting and draw.random() < 0.5:
                # Few tiles take a flop; one that is further away is no use.
                tile = draw.choice(fitting if draw.random() < 0.6 or not free else free)
                if neighbours:
                    to_x, to_y = draw.choice(neighbours)
                    if _apart(tile, (to_x, to_y)) > _apart((x, y), (to_x, to_y)) + 2:
                        continue
            else:
                reach = FAR
                if neighbours and draw.random() < 0.6:
                    to_x, to_y = draw.choice(neighbours)
                    part = draw.random()
                    x, y = round(x + (to_x - x) * part), round(y + (to_y - y) * part)
                    reach = NEAR
                tile = x + draw.randint(-reach, reach), y + draw.randint(-reach, reach)
            if self._tiles.logic(tile):
                self._move(n, (*tile, draw.randrange(LANES)))

    def _neighbours(self, n: int) -> list[tuple[int, int]]:
        """Where what drives it critically is, and what it drives."""
        timing, cell = self._timing, self._cells[n]
        near = [timing.drivers[net] for net, _ in cell.inputs if timing.slack(net) < 2 * MARGIN_PS]
        loads = [load for net in cell.outputs for load, _ in self._nets[net].loads[:LOOKED_AT]]
        return [(self._cells[m].x, self._cells[m].y) for m in near + loads[:LOOKED_AT]]

    def _worst(self, n: int) -> float:
        """The least slack of the paths through a cell."""
        timing = self._timing
        slacks = [timing.slack(net) for net in self._cells[n].outputs]
        for net, _ in self._cells[n].inputs:
            slacks += [
                self._slack(net, n, end.setup, end.wired)
                for end in timing.ends[net]
                if end.cell == n
            ]
        return min(slacks, default=ALWAYS)

    def _move(self, n: int, to: Place) -> None:
        tiles = self._tiles
        allowed = tiles.exchanged(n, to)
        if allowed is None:
            return
        moved, kinds = allowed
        here = tiles.place(n)
        before = self._cost(moved)
        self._exchange(here, to, kinds, moved)
        fits = 1 not in kinds or (tiles.fits(here) and tiles.fits(to))
        if not fits or self._cost(moved) >= before:
            self._exchange(here, to, kinds, moved)

    def _exchange(self, here: Place, to: Place, kinds: tuple[int, ...], moved: list[int]) -> None:
        self._tiles.exchange(here, to, kinds)
        for n in moved:
            self._timing.x[n], self._timing.y[n] = self._cells[n].x, self._cells[n].y

    def _cost(self, moved: list[int]) -> float:
        """Missing slack around cells, squared, all others as they are; and their wire."""
        nets = {net for n in moved for net in self._connected(n)}
        return sum(map(self._lateness, moved)) + WIRE_COST * sum(map(self._length, nets))

    def _lateness(self, n: int) -> float:
        timing, cell = self._timing, self._cells[n]
        if cell.kind is Kind.FLOP:
            cost = sum(self._late_out(net, timing.arrival[net])[0] for net in cell.outputs)
            for net, _ in cell.inputs:
                for end in timing.ends[net]:
                    if end.cell == n:
                        cost += _late(self._slack(net, n, end.setup, end.wired))
            return cost
        cost = 0.0
        for net in cell.outputs:
            arrivals = [
                timing.arrival[source] + timing.wire(source, n, step.wired) + step.delay
                for source, step in timing.feeds[net]
            ]
            late, soonest = self._late_out(net, max(arrivals, default=NEVER))
            cost += late + sum(_late(soonest - arrival) for arrival in arrivals)
        return cost

    def _late_out(self, net: int, arrival: float) -> tuple[float, float]:
        """Of a net's loads if it arrives then; and when it is required."""
        timing = self._timing
        cost, soonest = 0.0, float(ALWAYS)
        for end in timing.ends[net]:
            required = self._period - end.setup - timing.wire(net, end.cell, end.wired)
            cost += _late(required - arrival)
            soonest = min(soonest, required)
        for step in timing.steps[net]:
            wire = timing.wire(net, step.cell, step.wired)
            required = timing.required[step.to] - step.delay - wire
            cost += _late(required - arrival)
            soonest = min(soonest, required)
        return cost, soonest

    def _connected(self, n: int) -> list[int]:
        """The nets of a cell whose length counts."""
        if n not in self._around:
            cell = self._cells[n]
            nets = {net for net, _ in cell.inputs} | set(cell.outputs)
            self._around[n] = sorted(net for net in nets if len(self._nets[net].loads) <= WIDE)
        return self._around[n]

    def _length(self, net: int) -> int:
        """Half the way around all that a net connects, in tiles."""
        x, y = self._timing.x, self._timing.y
        ends = [self._nets[net].driver, *(cell for cell, _ in self._nets[net].loads)]
        columns, rows = [x[n] for n in ends], [y[n] for n in ends]
        return max(columns) - min(columns) + max(rows) - min(rows)

    def _places(self) -> list[Place]:
        return [(cell.x, cell.y, cell.lane) for cell in self._cells]

    def _restore(self, places: list[Place]) -> None:
        for n, (cell, place) in enumerate(zip(self._cells, places, strict=True)):
            if cell.lane != NOWHERE:
                cell.x, cell.y, cell.lane = place
                self._timing.x[n], self._timing.y[n] = place[:2]


def _late(slack: float) -> float:
    return (MARGIN_PS - slack) ** 2 if slack < MARGIN_PS else 0.0


def _apart(one: tuple[int, int], other: tuple[int, int]) -> int:
    return abs(one[0] - other[0]) + abs(one[1] - other[1])
