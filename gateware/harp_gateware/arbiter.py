"""Who may use the line to the network: host frames and slots, a frame at a time.

Ref: offload.md §4 (slots first at frame boundaries)
"""

from amaranth import Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from harp_gateware.layouts import WORD


class Arbiter(wiring.Component):
    """Puts two streams of frames on one line; between frames a slot that asks goes first.

    `request` stays until `grant`; the frame granted then comes on `i_slot`, and nothing else goes
    before its last word. `o` is registered: one clock, a word a clock.
    """

    i_host: In(stream.Signature(WORD))
    i_slot: In(stream.Signature(WORD))
    request: In(1)
    grant: Out(1)
    o: Out(stream.Signature(WORD))

    def elaborate(self, platform: object) -> Module:
        m = Module()
        host, slot = Signal(), Signal()  # whose frame is under way
        move = ~self.o.valid | self.o.ready
        take_host, take_slot = Signal(), Signal()
        m.d.comb += [
            self.grant.eq(self.request & ~host & ~slot),
            self.i_host.ready.eq(move & ~slot & (host | ~self.request)),
            self.i_slot.ready.eq(move & slot),
            take_host.eq(self.i_host.valid & self.i_host.ready),
            take_slot.eq(self.i_slot.valid & self.i_slot.ready),
        ]
        with m.If(take_host):
            m.d.sync += host.eq(~self.i_host.p.last)
        with m.If(self.grant):
            m.d.sync += slot.eq(1)
        with m.If(take_slot & self.i_slot.p.last):
            m.d.sync += slot.eq(0)
        with m.If(move):
            m.d.sync += self.o.valid.eq(take_host | take_slot)
            with m.If(take_host | take_slot):
                m.d.sync += self.o.p.eq(Mux(slot, self.i_slot.p, self.i_host.p))
        return m
