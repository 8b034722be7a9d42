"""A bit clock from the core's: a phase accumulator.

Ref: offload.md §6 (baud error at most 0.5 %)
"""

from amaranth import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from harp.tables.link import MAX_BAUD, MAX_BAUD_ERROR

ACCURACY = MAX_BAUD_ERROR / 10
"""Of the average rate; beside it a bit is up to one clock long or short."""
MIN_CLOCKS = 16
"""A bit: less would make that one clock matter."""


def step_of(clock_hz: int, baud: int) -> tuple[int, int]:
    """Step and width of the accumulator, as narrow as ACCURACY allows.

    Raises ValueError for a rate outside 1 to MAX_BAUD, or too fast for the clock."""
    if not 1 <= baud <= MAX_BAUD or clock_hz < MIN_CLOCKS * baud:
        most = min(MAX_BAUD, clock_hz // MIN_CLOCKS)
        raise ValueError(f"{baud} bit/s from {clock_hz} Hz: 1 to {most}")
    width = 1
    while True:
        step = round((baud << width) / clock_hz)
        if abs(step * clock_hz / (baud << width) - 1) <= ACCURACY:
            return step, width
        width += 1


class BitClock(wiring.Component):
    """`tick` for a clock in each bit while `run`; the first half a bit after it begins if `half`
    was 1 in the clock before, else a whole one."""

    run: In(1)
    half: In(1)
    tick: Out(1)

    def __init__(self, clock_hz: int, baud: int) -> None:
        self._step, self._width = step_of(clock_hz, baud)
        super().__init__()

    def elaborate(self, platform: object) -> Module:
        m = Module()
        phase = Signal(self._width)
        total = Signal(self._width + 1)
        m.d.comb += total.eq(phase + self._step)
        with m.If(self.run):
            m.d.sync += [phase.eq(total), self.tick.eq(total[-1])]
        with m.Else():
            m.d.sync += [phase.eq(self.half << self._width - 1), self.tick.eq(0)]
        return m
