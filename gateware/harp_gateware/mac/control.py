"""Ends MAC Control frames: they concern the two ends of a cable and go no further.

Ref: IEEE 802.3 §31.3 (Length/Type 88-08); offload.md §1 (MAC control ends at the MAC)
"""

from amaranth import Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from harp_gateware.layouts import WORD
from harp_gateware.params import WORD_OCTETS

MAC_CONTROL = 0x8808
TYPE_AT = 12
"""Octet of a frame in which its EtherType begins."""


class ControlFilter(wiring.Component):
    """Passes every frame but those of EtherType MAC_CONTROL, of which nothing is left.

    The first word of a frame waits for the second; all others leave a clock later. Frames are
    well-formed (`FrameCloser`); one too short for an EtherType passes.
    """

    i: In(stream.Signature(WORD, always_ready=True))
    o: Out(stream.Signature(WORD, always_ready=True))

    def elaborate(self, platform: object) -> Module:
        m = Module()
        held, holds, dropping = Signal(WORD, reset_less=True), Signal(), Signal()
        # Octet 12 is the higher one, and the lower one of a word's two.
        low = 8 * (TYPE_AT % WORD_OCTETS)
        kind = self.i.p.data[low : low + 16]
        swapped = int.from_bytes(MAC_CONTROL.to_bytes(2, "big"), "little")
        second = holds & held.first & self.i.valid & ~self.i.p.first
        control = second & (kind == swapped) & (self.i.p.octets >= TYPE_AT % WORD_OCTETS + 2)
        starts = self.i.valid & self.i.p.first
        waits = held.first & ~held.last & ~self.i.valid
        m.d.comb += [
            self.o.payload.eq(held),
            self.o.valid.eq(holds & ~waits & ~control),
        ]
        with m.If(self.i.valid & (starts | ~(dropping | control))):
            m.d.sync += [held.eq(self.i.payload), holds.eq(1)]
        with m.Elif(~waits):
            m.d.sync += holds.eq(0)
        with m.If(self.i.valid):
            m.d.sync += dropping.eq((control | dropping) & ~starts & ~self.i.p.last)
        return m
