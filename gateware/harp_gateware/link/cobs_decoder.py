"""COBS frames in, their messages out.

Ref: offload.md §6; Cheshire and Baker, "Consistent Overhead Byte Stuffing", 1999
"""

from amaranth import Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from harp.tables.link import COBS_BLOCK, DELIMITER
from harp_gateware.link.layouts import OCTET


class CobsDecoder(wiring.Component):
    """Each octet in gives at most one out, a clock later.

    `first` beside the first octet of a message. `end` for a clock when a frame ends that held
    anything, `good` beside it if its code was whole. `spoil` makes the frame not good.
    """

    i: In(stream.Signature(OCTET, always_ready=True))
    spoil: In(1)
    o: Out(stream.Signature(OCTET, always_ready=True))
    first: Out(1)
    end: Out(1)
    good: Out(1)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        octet = self.i.payload
        begun, spoiled, said = Signal(), Signal(), Signal()
        left, full = Signal(OCTET), Signal(init=1)
        m.d.sync += [self.o.valid.eq(0), self.end.eq(0)]
        with m.If(self.spoil):
            m.d.sync += [begun.eq(1), spoiled.eq(1)]
        with m.If(self.i.valid):
            with m.If(octet == DELIMITER):
                m.d.sync += [
                    self.end.eq(begun),
                    self.good.eq((left == 0) & ~spoiled),
                    begun.eq(0),
                    spoiled.eq(0),
                    said.eq(0),
                    left.eq(0),
                    full.eq(1),
                ]
            with m.Else():
                m.d.sync += [begun.eq(1), left.eq(left - 1), self.o.payload.eq(octet)]
                code = left == 0
                with m.If(code):
                    # The zero that the block before ended with, unless that was the longest.
                    m.d.sync += [
                        left.eq(octet - 1),
                        full.eq(octet == COBS_BLOCK + 1),
                        self.o.payload.eq(0),
                    ]
                with m.If(~code | ~full):
                    m.d.sync += [self.o.valid.eq(1), self.first.eq(~said), said.eq(1)]
        return m
