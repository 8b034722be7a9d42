"""When signals arrive and when they must, in a placed netlist with one clock, by estimate.

Times in ps from the clock's edge. Of what comes from or goes to pins, or is constant, nothing is
said. Carries have no wire.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from harp_boards.placement.delays import ESTIMATED, CellDelays, Wires
from harp_boards.placement.netlist import Cell, Kind, Net, PlacedNetlist

LUT_PINS = ("A", "B", "C", "D")
NEVER = -1_000_000
ALWAYS = 10_000_000
_SIZE = 128
"""Tiles in a row or column, at most."""
_WRITE_PINS = {
    "WADO3": "A0",
    "WDO1": "A1",
    "WADO1": "B0",
    "WDO3": "B1",
    "WADO2": "C0",
    "WDO0": "C1",
    "WADO0": "D0",
    "WDO2": "D1",
}
"""Of a distributed RAM's write port: which input is passed to which output."""


@dataclass(frozen=True, slots=True)
class End:
    """A load at which a path ends."""

    cell: int
    setup: int
    wired: bool


@dataclass(frozen=True, slots=True)
class Step:
    """A load from which the path goes on through its cell to the net `to`."""

    cell: int
    to: int
    delay: int
    wired: bool


class Timing:
    """Arrivals at the drivers of nets, and when they are required there."""

    def __init__(self, netlist: PlacedNetlist, delays: CellDelays) -> None:
        self._netlist = netlist
        cells, nets = netlist.cells, netlist.nets
        self.x = [cell.x for cell in cells]
        self.y = [cell.y for cell in cells]
        self.drivers = [net.driver for net in nets]
        self.starts = [_start(cells[net.driver], net, delays) for net in nets]
        self.ends: list[list[End]] = [[] for _ in nets]
        self.steps: list[list[Step]] = [[] for _ in nets]
        self.feeds: list[list[tuple[int, Step]]] = [[] for _ in nets]
        self.arrival: list[float] = [NEVER] * len(nets)
        self.required: list[float] = [ALWAYS] * len(nets)
        self.wires: list[list[float]] = []
        self._to_flops: list[tuple[int, int, int]] = []
        for n, net in enumerate(nets):
            for cell, pin in net.loads:
                self._load(n, net, cell, pin, delays)
        self._order = self._sorted()

    def _load(self, n: int, net: Net, cell: int, pin: str, delays: CellDelays) -> None:
        wired = net.pin != "FCO"
        load = self._netlist.cells[cell]
        setup = _setup(load, pin, delays)
        if setup is not None:
            if pin == "DI":
                wired = False  # from the LUT beside it, whose place goes with it
                self._to_flops.append((n, len(self.ends[n]), setup))
            self.ends[n].append(End(cell, setup, wired))
        for to in load.outputs:
            delay = _through(load, pin, self._netlist.nets[to].pin, delays)
            if delay is not None:
                step = Step(cell, to, delay, wired)
                self.steps[n].append(step)
                self.feeds[to].append((n, step))

    def _sorted(self) -> list[int]:
        """The nets, each behind those that it depends on."""
        waits = [len(feeds) for feeds in self.feeds]
        order = [n for n, count in enumerate(waits) if count == 0]
        for n in order:
            for step in self.steps[n]:
                waits[step.to] -= 1
                if waits[step.to] == 0:
                    order.append(step.to)
        assert len(order) == len(waits), "a loop without a register"
        return order

    def set_step(self, step_ps: float, wires: Wires = ESTIMATED) -> None:
        """What one step takes, and how many wires have."""
        self.wires = [[step_ps * wires.steps(x, y) for y in range(_SIZE)] for x in range(_SIZE)]
        for n, which, setup in self._to_flops:
            needed = setup + round(step_ps * wires.to_flop)
            self.ends[n][which] = replace(self.ends[n][which], setup=needed)

    def fit(self, period_ps: float) -> float:
        """Finds the step with which the longest path takes `period_ps`; gives it in ps."""
        low, high = 1.0, 500.0
        while high - low > 0.001:
            middle = (low + high) / 2
            self.set_step(middle)
            low, high = (middle, high) if self.longest() < period_ps else (low, middle)
        return high

    def longest(self) -> float:
        """The least period, in ps."""
        return -self.update(0)

    def update(self, period_ps: float) -> float:
        """Finds all arrivals, and when they are required; the least slack."""
        x, y, wires, drivers = self.x, self.y, self.wires, self.drivers
        arrival, required = self.arrival, self.required
        for n in self._order:
            latest = self.starts[n]
            for source, step in self.feeds[n]:
                a, b = drivers[source], step.cell
                wire = wires[abs(x[a] - x[b])][abs(y[a] - y[b])] if step.wired else 0
                latest = max(latest, arrival[source] + wire + step.delay)
            arrival[n] = latest
        slack: float = ALWAYS
        for n in reversed(self._order):
            a = drivers[n]
            soonest: float = ALWAYS
            row_x, row_y = x[a], y[a]
            for end in self.ends[n]:
                b = end.cell
                wire = wires[abs(row_x - x[b])][abs(row_y - y[b])] if end.wired else 0
                soonest = min(soonest, period_ps - end.setup - wire)
            for step in self.steps[n]:
                b = step.cell
                wire = wires[abs(row_x - x[b])][abs(row_y - y[b])] if step.wired else 0
                soonest = min(soonest, required[step.to] - step.delay - wire)
            required[n] = soonest
            slack = min(slack, soonest - arrival[n])
        return slack

    def slack(self, n: int) -> float:
        """Of the paths through a net."""
        return self.required[n] - self.arrival[n]

    def wire(self, n: int, cell: int, wired: bool) -> float:
        """From the driver of a net to a load of it."""
        if not wired:
            return 0
        a = self.drivers[n]
        return self.wires[abs(self.x[a] - self.x[cell])][abs(self.y[a] - self.y[cell])]


def _start(cell: Cell, net: Net, delays: CellDelays) -> float:
    """When a clock's edge shows on a net by itself."""
    if cell.kind is Kind.FLOP:
        return delays.path("SLOGICB", "CLK", "Q0")
    if cell.kind is Kind.RAM:
        return delays.path("SDPRAME", "WCK", "F0")
    if cell.kind is Kind.BLOCK_RAM:
        modes = (f"REGMODE_{side}={cell.settings[f'REGMODE_{side}']}" for side in "AB")
        side = net.pin[2]
        return delays.path(f"DP16KD:{','.join(modes)}", f"CLK{side}", f"DO{side}")
    return NEVER


def _setup(cell: Cell, pin: str, delays: CellDelays) -> int | None:
    """None: no path ends there."""
    if cell.kind is Kind.FLOP:
        return delays.setup("SLOGICB", "M0" if pin == "M" else pin) if pin != "CLK" else None
    if cell.kind is Kind.BLOCK_RAM:
        return delays.setup("DP16KD", pin.rstrip("0123456789"))
    if cell.kind is Kind.RAM and pin not in LUT_PINS:
        return delays.setup("SDPRAME", pin.rstrip("0123456789")) if pin != "WCK" else None
    return None


def _through(cell: Cell, pin: str, to: str, delays: CellDelays) -> int | None:
    """None: no path leads from the one to the other."""
    if cell.kind in (Kind.LUT, Kind.RAM):
        return delays.path("SLOGICB", "A0", "F0") if pin in LUT_PINS else None
    if cell.kind is Kind.WRITE:
        return 0 if _WRITE_PINS[to] == pin else None
    if cell.kind is Kind.CARRY and (pin in LUT_PINS or pin == "FCI"):
        begin = "FCI" if pin == "FCI" else "A0"
        if to == "FCO":
            return delays.path("SCCU2C", begin, "FCO")
        half = cell.lane % 2 if pin == "FCI" else 0
        return delays.path("SCCU2C", begin, f"F{half}")
    return None
