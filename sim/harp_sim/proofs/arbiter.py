"""The arbiter: every frame goes on whole, once, in its order; a slot that asks waits for one frame.

Ref: offload.md §4 (slots first at frame boundaries)

One word of each side, any, is watched; bits of the data say which side's it is and that it is it.
"""

from __future__ import annotations

from types import ModuleType

from amaranth import Cat, Mux, Signal
from amaranth.lib import stream

from harp_sim.proofs.harness import Harness, implies

LONGEST = 4
"""Words of a frame."""
COUNT = 3
"""Bits of how many words of a side came, and left."""


class _Arbiter(Harness):
    def __init__(self, module: ModuleType) -> None:
        self.dut = dut = module.Arbiter()
        super().__init__(dut)
        m = self.m
        request = self.free(1, "request")
        m.d.comb += [dut.request.eq(request), dut.o.ready.eq(self.free(1, "o_ready"))]
        asked = self.past(request & ~dut.grant)
        self.assume(implies(asked, request))
        granted = Signal()  # the frame that follows a grant has not ended
        self.assume(implies(granted, ~request))
        host_place = self._side(dut.i_host, "host", 0)
        slot_place = self._side(dut.i_slot, "slot", 1, granted)
        with m.If(dut.grant):
            m.d.sync += granted.eq(1)
        with m.If(dut.i_slot.valid & dut.i_slot.ready & dut.i_slot.p.last):
            m.d.sync += granted.eq(0)
        self._leaving()
        # A slot is granted between frames, and host words wait for it.
        self.claim(implies(dut.grant, request & (host_place == 0) & (slot_place == 0)))
        self.claim(implies(request & (host_place == 0), ~dut.i_host.ready))
        self.claim(implies(request & (host_place == 0) & ~granted, dut.grant))
        self.claim(implies(granted, ~dut.i_host.ready))
        self.cover(self.past(dut.grant & dut.i_host.valid))
        self.cover(dut.o.valid & dut.o.p.last & self.past(granted) & (self.numbers[0] > 2))

    def _side(
        self, source: stream.Interface, name: str, side: int, allowed: Signal | int = 1
    ) -> Signal:
        """Frames of words numbered modulo 8; returns the place of the next word in its frame."""
        m = self.m
        place, number = Signal(range(LONGEST), name=f"{name}_place"), Signal(COUNT)
        last = self.free(1, f"{name}_last")
        m.d.comb += [
            source.valid.eq(self.free(1, f"{name}_valid")),
            source.p.data.eq(Cat(number, side)),
            source.p.first.eq(place == 0),
            source.p.last.eq(last),
        ]
        self.assume(self.held(source))
        self.assume(implies(place == LONGEST - 1, last))
        self.assume(implies(source.valid, allowed))
        with m.If(source.valid & source.ready):
            m.d.sync += [place.eq(Mux(last, 0, place + 1)), number.eq(number + 1)]
        self.numbers = [*getattr(self, "numbers", []), number]
        return place

    def _leaving(self) -> None:
        """Each side's words leave in order, none twice, none missing, frames not mixed."""
        m, o = self.m, self.dut.o
        moved = o.valid & o.ready
        inside, whose = Signal(), Signal()
        side = o.p.data[COUNT]
        self.claim(self.held(o))
        self.claim(implies(o.valid, o.p.first == ~inside))
        self.claim(implies(o.valid & inside, side == whose))
        with m.If(moved):
            m.d.sync += [inside.eq(~o.p.last), whose.eq(side)]
        for n, came in enumerate(self.numbers):
            left = Signal(COUNT, name=f"left_{n}")
            mine = o.valid & (side == n)
            self.claim(implies(mine, o.p.data[:COUNT] == left))
            self.claim(came == (left + mine)[:COUNT])
            with m.If(moved & mine):
                m.d.sync += left.eq(left + 1)


def arbiter(module: ModuleType) -> Harness:
    """Host frames and slots of up to 4 words."""
    return _Arbiter(module)
