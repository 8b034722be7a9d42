"""Ends frames whose end never came: a PHY that is reset in the middle of one.

Ref: offload.md §1 (a bad frame never becomes good, frames never hang the core)
"""

from amaranth import Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from harp_gateware.layouts import WORD, FrameError
from harp_gateware.params import WORD_OCTETS


class FrameCloser(wiring.Component):
    """Passes words on; every frame that begins ends.

    A frame of which no word came for `clocks` clocks, or behind which another begins, is ended with
    a word of its own and RX_ER. Words that belong to no frame are dropped. No latency; a word waits
    a clock when a frame before it must be ended first.
    """

    def __init__(self, clocks: int) -> None:
        self._clocks = clocks
        super().__init__(
            {
                "i": In(stream.Signature(WORD)),
                "o": Out(stream.Signature(WORD, always_ready=True)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        opened = Signal()
        left = Signal(range(self._clocks + 1))
        broken = opened & self.i.valid & self.i.p.first
        late = opened & ~self.i.valid & (left == 0)
        belongs = self.i.valid & (opened | self.i.p.first)
        with m.If(broken | late):
            m.d.comb += [
                self.o.valid.eq(1),
                self.o.p.octets.eq(WORD_OCTETS),
                self.o.p.last.eq(1),
                self.o.p.error.eq(FrameError.RX_ER),
            ]
            m.d.sync += opened.eq(0)
        with m.Else():
            m.d.comb += [
                self.i.ready.eq(1),
                self.o.valid.eq(belongs),
                self.o.payload.eq(self.i.payload),
            ]
            with m.If(belongs):
                m.d.sync += [opened.eq(~self.i.p.last), left.eq(self._clocks)]
            with m.Elif(left != 0):
                m.d.sync += left.eq(left - 1)
        return m
