"""The Mobility Header's checksum, a word a clock.

Ref: RFC 6275 §6.1.1, RFC 8200 §8.1 (pseudo-header), offload.md §2 (which addresses)
"""

from amaranth import Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from harp.tables.mh import MAX_MH_OCTETS, NEXT_HEADER
from harp_gateware.layouts import big_endian
from harp_gateware.params import WORD_OCTETS

LANES = WORD_OCTETS // 2
SUM = 17 + (MAX_MH_OCTETS // WORD_OCTETS).bit_length()
"""Bits of a lane's sum: an MH's words, the two addresses, and the numbers of the pseudo-header."""

SUMMAND = data.StructLayout({"data": 64, "source": 1, "destination": 1, "mh": 1, "first": 1})
"""A word that counts: half of an address, or a word of the MH; `first`: of its two, or of the MH.
The last source and destination before the MH are those of its pseudo-header."""


class Checksum(wiring.Component):
    """Adds 16-bit lanes without end-around carries, which are folded in at the end.

    `good` holds from 4 clocks after the MH's last word until another MH begins. Length and next
    header of the pseudo-header are taken from the MH's first word.
    """

    i: In(stream.Signature(SUMMAND, always_ready=True))
    good: Out(1)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        lanes = [big_endian(self.i.p.data.word_select(n, 16)) for n in range(LANES)]
        mh, first = Signal(), Signal()
        sums = []
        begins = self.i.p.mh & self.i.p.first
        # (Header Len + 1) x 8, and next header.
        length = self.i.p.data.word_select(1, 8) * WORD_OCTETS + WORD_OCTETS + NEXT_HEADER
        m.d.sync += [mh.eq(self.i.valid & self.i.p.mh), first.eq(self.i.p.first)]
        for n, lane in enumerate(lanes):
            source, destination = Signal(17, name=f"source_{n}"), Signal(17, name=f"to_{n}")
            pseudo, word = Signal(18, name=f"pseudo_{n}"), Signal(17, name=f"word_{n}")
            total = Signal(SUM, name=f"sum_{n}")
            with m.If(self.i.valid & self.i.p.source):
                m.d.sync += source.eq(lane + Mux(self.i.p.first, 0, source))
            with m.If(self.i.valid & self.i.p.destination):
                m.d.sync += destination.eq(lane + Mux(self.i.p.first, 0, destination))
            m.d.sync += [
                pseudo.eq(source + destination),
                word.eq(lane + Mux(begins, length, 0) if n == 0 else lane),
            ]
            with m.If(mh):
                m.d.sync += total.eq(word + Mux(first, pseudo, total))
            sums.append(total)
        whole = Signal(SUM + 2)
        m.d.sync += [
            whole.eq((sums[0] + sums[1]) + (sums[2] + sums[3])),
            # Low half + carries = 0xFFFF; more than one round of carries cannot give it, and the
            # next header keeps the sum from being 0.
            self.good.eq((whole[:16] ^ whole[16:]).all()),
        ]
        return m
