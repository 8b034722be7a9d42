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
WORD = 16 + LANES.bit_length() - 1
"""Bits of the sum of a word's lanes."""
SUM = 17 + (MAX_MH_OCTETS // 2).bit_length()
"""Bits of the whole sum: an MH's words, the two addresses, and the numbers of the pseudo-header."""

SUMMAND = data.StructLayout({"header_len": 8, "source": 1, "destination": 1, "mh": 1, "first": 1})
"""What a word counts as: half of an address, or a word of the MH; `first`: of its two, or of the
MH, which then says its `header_len`. The last source and destination before the MH are those of its
pseudo-header."""


class Checksum(wiring.Component):
    """Adds words without end-around carries, which are folded in at the end.

    `word` is what comes now, `i` what the word of 2 clocks ago counts as. `good` holds from 4
    clocks after the MH's last word at `i` until another MH begins. Length and next header of the
    pseudo-header are taken from the MH's first word.
    """

    word: In(64)
    i: In(stream.Signature(SUMMAND, always_ready=True))
    good: Out(1)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        lanes = [big_endian(self.word.word_select(n, 16)) for n in range(LANES)]
        halves = [Signal(17, name=f"half_{n}") for n in range(LANES // 2)]
        sum_of_two, word = Signal(WORD), Signal(WORD)
        now, valid = Signal(SUMMAND), Signal()
        mh = valid & now.mh
        m.d.sync += [half.eq(sum(lanes[2 * n : 2 * n + 2])) for n, half in enumerate(halves)]
        m.d.sync += [
            sum_of_two.eq(sum(halves)),
            word.eq(sum_of_two),
            now.eq(self.i.p),
            valid.eq(self.i.valid),
        ]
        source, destination = Signal(WORD + 1), Signal(WORD + 1)
        pseudo, part = Signal(WORD + 2), Signal(WORD + 1)
        adds, begins = Signal(), Signal()
        total = Signal(SUM)
        sum_ = Signal(WORD + 1)
        # Length is (Header Len + 1) x 8; what is the same in every MH goes with the source.
        length = now.header_len * WORD_OCTETS
        # A word is one of three, so that one adder is enough.
        before = Mux(now.source, source, destination)
        first_of = Mux(mh, length, Mux(now.source, WORD_OCTETS + NEXT_HEADER, 0))
        m.d.comb += sum_.eq(word + Mux(now.first, first_of, Mux(mh, 0, before)))
        with m.If(valid & now.source):
            m.d.sync += source.eq(sum_)
        with m.If(valid & now.destination):
            m.d.sync += destination.eq(sum_)
        m.d.sync += [
            pseudo.eq(source + destination),
            part.eq(sum_),
            adds.eq(mh),
            begins.eq(now.first),
        ]
        with m.If(adds):
            m.d.sync += total.eq(part + Mux(begins, pseudo, total))
        # Low half + carries = 0xFFFF; more than one round of carries cannot give it, and the
        # next header keeps the sum from being 0.
        m.d.sync += self.good.eq((total[:16] ^ total[16:]).all())
        return m
