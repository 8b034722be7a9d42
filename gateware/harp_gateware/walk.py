"""The header walk: from the IPv6 header along the extension headers to the Mobility Header.

Ref: RFC 8200 §3, §4 (headers), RFC 4302 §2.2 (AH length), offload.md §2 (limits, reasons)
"""

from amaranth import Cat, Module, Mux, Signal, Value
from amaranth.lib import data, enum, stream, wiring
from amaranth.lib.wiring import In, Out

from harp.tables.mh import NEXT_HEADER as MOBILITY
from harp.tables.offload import MAX_EXTENSION_HEADERS, MAX_EXTENSION_OCTETS
from harp_gateware.layouts import L3_WORD, big_endian
from harp_gateware.params import WORD_OCTETS

HOP_BY_HOP, ROUTING, FRAGMENT, AUTHENTICATION, DESTINATION = 0, 43, 44, 51, 60
FIXED_WORDS = 5
MAX_WORDS = MAX_EXTENSION_OCTETS // WORD_OCTETS
POSITION = 11
"""Bits of a word's number behind the fixed header: a maximum frame has 1,145."""
WORDS = 8
"""Bits of the words of a header behind its first: 255 at most."""

KIND = data.StructLayout({"options": 1, "routing": 1, "fragment": 1, "ah": 1, "mobility": 1})
"""One-hot kind of a header; all 0: something that ends the walk."""

WALKED = data.StructLayout(
    {"word": L3_WORD, "start": 1, "kind": KIND, "fixed": 1, "position": POSITION}
)
"""A word with its place: `start` and `kind` of the header it lies in, `fixed` in the IPv6 header,
`position` counted from the first word behind it."""


def _is_extension(number: Value) -> Value:
    """A next header value that the walk follows."""
    known = (HOP_BY_HOP, ROUTING, FRAGMENT, AUTHENTICATION, DESTINATION)
    return Cat(*(number == value for value in known)).any()


class Found(enum.Enum, shape=3):
    """Where the walk ended."""

    CHAIN_TOO_LONG = 0
    BAD_CHAIN = 1
    FRAGMENTED = 2
    NOT_MOBILITY = 3
    TRUNCATED = 4
    MOBILITY = 5
    """At least 8 octets of a Mobility Header are there."""
    BAD_VERSION = 6


class Walk(wiring.Component):
    """Finds the Mobility Header, one word a clock, even with a header in each.

    `o` repeats the words two clocks later with their places. `o_found` says once a frame where the
    walk ended: five clocks after the word that decides, or after the last word. A header
    of which fewer than 8 octets lie in the payload has no length: it is `BAD_CHAIN` (the Mobility
    Header: `TRUNCATED`), unless it is one too many. Words past the payload are never judged.
    No back-pressure. Of a frame that is not IPv6 the result means nothing.
    """

    i: In(stream.Signature(L3_WORD, always_ready=True))
    o: Out(stream.Signature(WALKED, always_ready=True))
    o_found: Out(stream.Signature(Found, always_ready=True))

    def elaborate(self, platform: object) -> Module:
        m = Module()
        self._decode(m)
        self._follow(m)
        self._measure(m)
        self._decide(m)
        return m

    def _decode(self, m: Module) -> None:
        """First clock: everything that depends on the word alone."""
        octets = self.i.p.data
        self._word = Signal(L3_WORD)
        self._valid = Signal()
        self._next = Signal(KIND)
        self._more_plain = Signal(WORDS)
        self._more_ah = Signal(WORDS)
        self._odd = Signal()
        self._onward = Signal()
        number = Mux(self.i.p.first, octets.word_select(6, 8), octets.word_select(0, 8))
        m.d.sync += [
            self._valid.eq(self.i.valid),
            self._word.eq(self.i.p),
            self._next.options.eq((number == HOP_BY_HOP) | (number == DESTINATION)),
            self._next.routing.eq(number == ROUTING),
            self._next.fragment.eq(number == FRAGMENT),
            self._next.ah.eq(number == AUTHENTICATION),
            self._next.mobility.eq(number == MOBILITY),
            self._more_plain.eq(Mux(self.i.p.first, FIXED_WORDS - 1, octets.word_select(1, 8))),
            self._more_ah.eq(octets[9:16]),
            self._odd.eq(octets[8]),
            self._onward.eq(_is_extension(number)),
        ]

    def _follow(self, m: Module) -> None:
        """Second clock, the loop: is this word a header's first, which kind, how many follow."""
        self._place = Signal(WALKED)
        self._placed = Signal()
        self._after = Signal(KIND)
        self._more = Signal(WORDS)
        self._bad_ah = Signal()
        kind, following = Signal(KIND), Signal(KIND)
        left, ends = Signal(WORDS), Signal()
        position = Signal(POSITION)
        fixed, chained = Signal(), Signal()
        start = self._word.first | ends
        here = Signal(KIND)
        in_fixed = self._word.first | (fixed & ~ends)
        plain = self._word.first | following.options | following.routing | following.mobility
        more = Signal(WORDS)
        m.d.comb += [
            here.eq(Mux(start, Mux(self._word.first, 0, following), kind)),
            more.eq(Mux(plain, self._more_plain, Mux(following.ah, self._more_ah, 0))),
        ]
        with m.If(self._valid):
            m.d.sync += [kind.eq(here), fixed.eq(in_fixed)]
            with m.If(start):
                m.d.sync += [left.eq(more), ends.eq(more == 0)]
                # Behind the end of the chain nothing is a header, whatever it looks like.
                with m.If(self._word.first | chained):
                    m.d.sync += [following.eq(self._next), chained.eq(self._onward)]
                with m.Else():
                    m.d.sync += [following.eq(0), chained.eq(0)]
            with m.Else():
                m.d.sync += [left.eq(left - 1), ends.eq(left == 1)]
            # After the fixed header words are numbered from 0.
            m.d.sync += position.eq(Mux(in_fixed, 0, position + 1))
        m.d.sync += [
            self._placed.eq(self._valid),
            self._place.word.eq(self._word),
            self._place.start.eq(start),
            self._place.kind.eq(here),
            self._place.fixed.eq(in_fixed),
            self._place.position.eq(position),
            self._after.eq(self._next),
            self._more.eq(more),
            self._bad_ah.eq(self._odd & following.ah & ~self._word.first),
        ]
        m.d.comb += [self.o.valid.eq(self._placed), self.o.payload.eq(self._place)]

    def _measure(self, m: Module) -> None:
        """Third clock: the header's end against the payload's, and how many there were."""
        place, octets = self._place, self._place.word.data
        self._step = Signal()
        self._last = Signal()
        self._fresh = Signal()
        self._kind = Signal(KIND)
        self._then = Signal(KIND)
        self._end = Signal(POSITION)
        self._inside = Signal()
        self._beyond = Signal()
        self._bad = Signal()
        self._count = Signal(range(MAX_EXTENSION_HEADERS + 2))
        self._room = Signal(13)
        self._later = Signal()
        self._partial = Signal()
        self._version = Signal(4)
        offset = big_endian(octets[16:32])
        payload = big_endian(octets[32:48])[3:]
        extension = Cat(place.kind.options, place.kind.routing, place.kind.fragment, place.kind.ah)
        m.d.sync += [
            self._step.eq(self._placed & place.start),
            self._last.eq(self._placed & place.word.last),
            self._fresh.eq(place.word.first),
            self._bad.eq(self._bad_ah),
            self._later.eq(offset[3:].any()),
            self._partial.eq(offset[0] & ~offset[3:].any()),
        ]
        with m.If(self._placed & place.start):
            m.d.sync += [
                self._kind.eq(place.kind),
                self._then.eq(self._after),
                self._end.eq(Mux(place.word.first, 0, place.position + self._more)),
                self._inside.eq(place.position < self._room),
                self._beyond.eq(place.position >= MAX_WORDS),
            ]
            with m.If(place.word.first):
                m.d.sync += [
                    self._room.eq(payload),
                    self._count.eq(0),
                    self._version.eq(octets[4:8]),
                ]
            with m.Elif(extension.any() & (self._count <= MAX_EXTENSION_HEADERS)):
                m.d.sync += self._count.eq(self._count + 1)

    def _decide(self, m: Module) -> None:
        """Fourth clock: comparisons; fifth: the first thing that ends the walk."""
        step, last, fresh = Signal(), Signal(), Signal()
        kind, then = Signal(KIND), Signal(KIND)
        long, bad, inside = Signal(), Signal(), Signal()
        later, partial, version, full = Signal(), Signal(), Signal(), Signal()
        end_inside, extension = Signal(), Signal()
        m.d.sync += [
            step.eq(self._step),
            last.eq(self._last),
            fresh.eq(self._fresh),
            kind.eq(self._kind),
            then.eq(self._then),
            long.eq(
                (self._count > MAX_EXTENSION_HEADERS)
                | self._beyond
                | (self._inside & (self._end >= MAX_WORDS))
            ),
            # One more header would be too many: it need not be there to be seen.
            full.eq((self._count == MAX_EXTENSION_HEADERS) | (self._end == MAX_WORDS - 1)),
            end_inside.eq(self._end < self._room),
            bad.eq(self._bad),
            inside.eq(self._inside),
            later.eq(self._later),
            partial.eq(self._partial),
            version.eq(self._version == 6),
            extension.eq(
                self._kind.options | self._kind.routing | self._kind.fragment | self._kind.ah
            ),
        ]
        decided, fragment = Signal(), Signal()
        found = Signal(Found)
        ends = Signal()
        onward = then.options | then.routing | then.fragment | then.ah
        with m.If(step & fresh):
            m.d.comb += [
                ends.eq(~version | ~(onward | then.mobility)),
                found.eq(Mux(version, Found.NOT_MOBILITY, Found.BAD_VERSION)),
            ]
        with m.Elif(step & kind.mobility):
            m.d.comb += [
                ends.eq(1),
                found.eq(
                    Mux(fragment, Found.FRAGMENTED, Mux(inside, Found.MOBILITY, Found.TRUNCATED))
                ),
            ]
        with m.Elif(step & extension):
            with m.If(long):
                m.d.comb += [ends.eq(1), found.eq(Found.CHAIN_TOO_LONG)]
            with m.Elif((inside & bad) | ~inside | ~end_inside):
                m.d.comb += [ends.eq(1), found.eq(Found.BAD_CHAIN)]
            with m.Elif(kind.fragment & later):
                m.d.comb += [
                    ends.eq(1),
                    found.eq(Mux(then.mobility, Found.FRAGMENTED, Found.NOT_MOBILITY)),
                ]
            with m.Elif(~(onward | then.mobility)):
                m.d.comb += [ends.eq(1), found.eq(Found.NOT_MOBILITY)]
        partial_now = ~fresh & (fragment | (kind.fragment & partial))
        at_end = Signal(Found)
        m.d.comb += at_end.eq(
            Mux(
                then.mobility,
                Mux(partial_now, Found.FRAGMENTED, Found.TRUNCATED),
                Mux(full, Found.CHAIN_TOO_LONG, Found.BAD_CHAIN),
            )
        )
        open_ = ~decided | (step & fresh)
        m.d.sync += [
            self.o_found.valid.eq(open_ & (ends | last)),
            self.o_found.payload.eq(Mux(ends, found, at_end)),
        ]
        with m.If(step | last):
            m.d.sync += decided.eq(~open_ | ends | last)
        with m.If(step):
            m.d.sync += fragment.eq(partial_now)
