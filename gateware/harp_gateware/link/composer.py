"""Puts messages together: pieces, then their CRC, as octets for a RAM.

Ref: offload.md §6
"""

from amaranth import Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from harp.tables.link import CRC_OCTETS
from harp.tables.register_schema import WORD_BITS
from harp_gateware.link.crc32 import Crc32
from harp_gateware.link.layouts import LENGTH, OCTET, PIECE


class Composer(wiring.Component):
    """Octet `at` of the message is `data` while `write`; 10 clocks an octet.

    `done` for a clock when the CRC is written: `at` is the message's length then. The next piece
    begins another message.
    """

    i: In(stream.Signature(PIECE))
    write: Out(1)
    at: Out(LENGTH)
    data: Out(OCTET)
    done: Out(1)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.crc = crc = Crc32()
        rest, left = Signal(WORD_BITS), Signal(range(CRC_OCTETS + 1))
        last, checks = Signal(), Signal()
        m.d.comb += [self.data.eq(rest[:OCTET]), crc.i.payload.eq(rest[:OCTET])]
        with m.FSM():
            with m.State("Begin"):
                m.d.comb += crc.clear.eq(1)
                m.d.sync += [self.at.eq(0), checks.eq(0)]
                with m.If(self.i.valid):
                    m.next = "Load"
            with m.State("Load"):
                m.d.comb += self.i.ready.eq(1)
                m.d.sync += [
                    rest.eq(self.i.p.data),
                    left.eq(self.i.p.octets),
                    last.eq(self.i.p.last),
                ]
                with m.If(self.i.valid):
                    m.next = "Octet"
            with m.State("Octet"):
                m.d.comb += [self.write.eq(crc.i.ready), crc.i.valid.eq(~checks)]
                with m.If(crc.i.ready):
                    m.d.sync += [rest.eq(rest >> OCTET), left.eq(left - 1), self.at.eq(self.at + 1)]
                    with m.If(left == 1):
                        m.next = "Load"
                        with m.If(last):
                            m.next = "Check"
                        with m.If(checks):
                            m.next = "Done"
            with m.State("Check"):
                with m.If(crc.i.ready):
                    m.d.sync += [rest.eq(crc.value), left.eq(CRC_OCTETS), checks.eq(1)]
                    m.next = "Octet"
            with m.State("Done"):
                m.d.comb += self.done.eq(1)
                m.next = "Begin"
        return m
