"""Layer 2 taken off: IPv6 from its first octet on, in whole words, without the FCS.

Ref: IEEE 802.1Q (tags), IEEE 802.3 §3.2.6 (length below 0x600), offload.md §1, §2
"""

from amaranth import Cat, Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from harp.tables.offload import FCS_OCTETS, MAX_FRAME_OCTETS, MIN_FRAME_OCTETS
from harp_gateware.layouts import FRAME_META, L3_WORD, VLAN, WORD, FrameError, big_endian
from harp_gateware.params import WORD_OCTETS

IPV6, CTAG, STAG = 0x86DD, 0x8100, 0x88A8
MIN_WORDS = MIN_FRAME_OCTETS // WORD_OCTETS
MAX_WORDS = MAX_FRAME_OCTETS // WORD_OCTETS
COUNT = 11
"""Bits of a word's number in its frame; it stops at LAST_COUNT."""
LAST_COUNT = (1 << COUNT) - 2

END = data.StructLayout({"octets": 4, "short": 1})
"""The L3 word that follows a frame's last word; `short`: the frame's only one."""


def _is_tag(number: Value) -> Value:
    return (number == CTAG) | (number == STAG)


class Align(wiring.Component):
    """Cuts off L2 and FCS, one word a clock, no back-pressure.

    IPv6 begins at octet 14, 18 or 22, which is octet 6, 2 or 6 of a word: one of two shifts for the
    whole frame. A word leaves a clock after the word that completes it *and* shows whether another
    follows: for the first L3 word that is word 3 (two tags: 4). What is left behind a frame's last
    word follows a clock later, when the next frame's first word comes. `meta` goes with each word,
    `coming` is the data of `o` a clock before.

    Every frame gives at least one word: one that ends before IPv6 could begin gives a single one of
    a single octet, `not_ipv6`, 2 clocks after its last. `o_good` is 1 in the clock of a good
    frame's last word at `i`.
    """

    i: In(stream.Signature(WORD, always_ready=True))
    o: Out(stream.Signature(L3_WORD, always_ready=True))
    coming: Out(64)
    meta: Out(FRAME_META)
    o_good: Out(1)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        self._count(m)
        self._read_tags(m)
        self._measure(m)
        self._shift(m)
        return m

    def _count(self, m: Module) -> None:
        """Number of the word in its frame, and the two words before it."""
        coming, behind = Signal(COUNT), Signal(COUNT, init=1)  # numbers of this word and the next
        full = Signal()  # they stop
        first = self.i.p.first
        self._head = Signal(range(MIN_WORDS + 1))  # the same, up to MIN_WORDS
        head = Signal(range(MIN_WORDS + 1))
        too_long = Signal()
        self._too_long = ~self.i.p.first & too_long
        self._words = Signal(COUNT)
        self._previous, self._older = Signal(64), Signal(64)
        m.d.comb += [
            self._head.eq(Mux(first, 0, head)),
            # Whole words of the frame, if it ends here: this one counts if it is whole.
            self._words.eq(Mux(self.i.p.octets[3], Mux(first, 1, behind), Mux(first, 0, coming))),
        ]
        with m.If(self.i.valid):
            m.d.sync += [
                coming.eq(Mux(first, 1, Mux(full, coming, behind))),
                behind.eq(Mux(first, 2, Mux(full, behind, behind + 1))),
                full.eq(~first & (full | (behind == LAST_COUNT))),
                head.eq(Mux(self._head == MIN_WORDS, MIN_WORDS, self._head + 1)),
                too_long.eq(self._too_long | (~first & (coming == MAX_WORDS - 1))),
                self._previous.eq(self.i.p.data),
                self._older.eq(self._previous),
            ]

    def _read_tags(self, m: Module) -> None:
        """EtherTypes at octets 12, 16 and 20; known from word 3 on."""
        octets = self.i.p.data
        low, high = big_endian(octets[0:16]), big_endian(octets[32:48])
        tagged, plain = Signal(), Signal()
        self._one, self._two = Signal(), Signal()
        self._not_ipv6 = Signal()
        self._vlan = Signal(VLAN)
        outer = Signal(12)
        second = _is_tag(low)
        with m.If(self.i.valid & (self._head == 1)):
            m.d.sync += [
                tagged.eq(_is_tag(high)),
                plain.eq(high == IPV6),
                outer.eq(big_endian(octets[48:64])),
            ]
        with m.If(self.i.valid & (self._head == 2)):
            m.d.sync += [
                self._one.eq(tagged & ~second),
                self._two.eq(tagged & second),
                self._not_ipv6.eq(~Mux(tagged, Mux(second, high == IPV6, low == IPV6), plain)),
                self._vlan.tags.eq(Cat(tagged & ~second, tagged & second)),
                self._vlan.id.eq(
                    Mux(tagged, Mux(second, big_endian(octets[16:32])[:12], outer), 0)
                ),
            ]

    def _measure(self, m: Module) -> None:
        """What `meta` says of the frame that this word ends."""
        word = self.i.p
        runt = (self._head < MIN_WORDS - 1) | (
            (self._head == MIN_WORDS - 1) & (word.octets != WORD_OCTETS)
        )
        # Two tags put IPv6 a word later than one or none do.
        self._started = (self._head >= 4) | ((self._head == 3) & ~self._two)
        self._fresh = self._head == Mux(self._two, 4, 3)
        self._tail = Signal()  # a word follows behind the last, or instead of any
        self._meta = Signal(FRAME_META)
        self._held = Signal(FRAME_META)  # a clock ago
        m.d.sync += self._held.eq(self._meta)
        m.d.comb += [
            self._meta.not_ipv6.eq(self._not_ipv6),
            self._meta.vlan.eq(self._vlan),
            self._meta.octets.eq(Cat(word.octets[:3], self._words)),
            self._meta.error.eq(word.error),
            self._meta.bad.eq((word.error != FrameError.GOOD) | runt | self._too_long),
            self.o_good.eq(self.i.valid & word.last & ~self._meta.bad),
        ]

    def _shift(self, m: Module) -> None:
        """The L3 word that is complete now, or, behind a frame's last word, what is left."""
        word, out, tail = self.i.p, self.o.p, self._tail
        here = self.i.valid & self._started
        ends = self.i.valid & word.last
        # Octets of the word that belong to the next L3 word, FCS taken off; 8 less of the last.
        taken = Mux(self._one, 2 + FCS_OCTETS, FCS_OCTETS - 2)
        more = word.octets > taken
        left = (word.octets - taken)[:3]
        pending = Signal(END)
        m.d.comb += self.coming.eq(
            Mux(
                self._one,
                Cat(self._previous[16:], word.data[:16]),
                Cat(self._older[48:], self._previous[:48]),
            )
        )
        m.d.sync += [
            tail.eq(ends & (more | ~self._started)),
            pending.short.eq(~self._started),
            pending.octets.eq(Mux(self._started, left, 1)),
            self.o.valid.eq(here | tail),
            out.first.eq(Mux(tail, pending.short, self._fresh)),
            out.last.eq(tail | (word.last & ~more)),
            out.octets.eq(
                Mux(tail, pending.octets, Mux(word.last & ~more, Cat(left, left == 0), WORD_OCTETS))
            ),
            out.error.eq(
                Mux(tail, self._held.error, Mux(word.last & ~more, word.error, FrameError.GOOD))
            ),
            out.data.eq(self.coming),
            self.meta.eq(self._meta),
        ]
        with m.If(tail):
            m.d.sync += [
                self.meta.octets.eq(self._held.octets),
                self.meta.error.eq(self._held.error),
                self.meta.bad.eq(self._held.bad),
                self.meta.not_ipv6.eq(self._not_ipv6 | pending.short),
            ]
