"""Sets the delay cells of a port's receive pins, step by step, for a test of the board.

Ref: Lattice ECP5 high-speed I/O usage guide (DELAYF: LOADN, MOVE, DIRECTION; 25 ps a step)
"""

from amaranth import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

STEP_BITS = 7
MAX_STEPS = (1 << STEP_BITS) - 1
"""Of a delay cell, from 0."""
HOLD_BITS = 3
"""Clocks that each level of its inputs stands: 8, which is 64 ns and more."""


class PinDelay(wiring.Component):
    """The cells have the delay that they were built with, and `steps` on top of it.

    A new value of `steps` reloads them and counts up from there, 16 clocks a step; meanwhile what
    comes in may be wrong. The cells stay at the end of their range. `move` and `load_n` go to all
    cells of a port: they have no clock, and act at a falling edge and while 0.
    """

    steps: In(STEP_BITS)
    load_n: Out(1, init=1)
    move: Out(1)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        wanted, left = Signal(STEP_BITS), Signal(STEP_BITS)
        hold = Signal(HOLD_BITS)
        m.d.sync += hold.eq(hold + 1)
        with m.If(hold == (1 << HOLD_BITS) - 1):
            with m.If(self.steps != wanted):
                m.d.sync += [
                    wanted.eq(self.steps),
                    left.eq(self.steps),
                    self.load_n.eq(0),
                    self.move.eq(0),
                ]
            with m.Elif(~self.load_n):
                m.d.sync += self.load_n.eq(1)
            with m.Elif(self.move):
                m.d.sync += self.move.eq(0)
            with m.Elif(left != 0):
                m.d.sync += [self.move.eq(1), left.eq(left - 1)]
        return m
