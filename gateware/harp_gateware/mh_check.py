"""The Mobility Header as it passes: what is wrong with it, and what others need of it.

Ref: RFC 6275 §6.1.1 (checksum), §6.3 (Home Address option), §6.4 (type 2 routing header), §9.2;
     RFC 8200 §4.2 (PadN); harp.md §2.1 (HARP message);
     offload.md §2 (the rows behind `not_mobility`)
"""

from amaranth import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from harp.tables.harp_types import HarpFlag, HarpType
from harp.tables.mh import HOP_LIMIT, NO_NEXT_HEADER
from harp_gateware.checksum import Checksum
from harp_gateware.digit_tables import KEY_WORD, key_rows
from harp_gateware.layouts import (
    L3_WORD,
    MH_WORD,
    RAM_REQUEST,
    RAM_RESPONSE,
    big_endian,
)
from harp_gateware.local_table import LOCAL, LocalTable
from harp_gateware.type_table import TypeTable
from harp_gateware.walk import HOP_BY_HOP, WALKED

RAM_AREAS = ("mh_type",)
"""Areas of the register map whose RAM lies here."""
HOME_ADDRESS = bytes((2, 1, 2, 0, 0, 201, 16))
"""Octets 1 to 7 of the one layout: Hdr Ext Len 2, PadN of 2, option 201 of 16; octets 4 and 5 are
padding and may be anything."""
PADN = 1
PADDED = 4
"""Length of the PadN that fills an options header of 8 octets; 8 more for each 8 octets more."""
TYPE_2 = bytes((2, 2, 1))
"""Octets 1 to 3 of a type 2 routing header with one segment left."""

MH_FACTS = data.StructLayout(
    {
        "transit": 1,  # neither local nor multicast
        "long": 1,  # reaches past the payload
        "unchecked": 1,
        "bad_checksum": 1,
        "unknown_type": 1,
        "bad_proto": 1,
        "short": 1,  # Header Len below the type's minimum
        "blocked": 1,
        "limited": 1,  # this type has a bucket
        "bucket": 3,
        "harp": 1,  # the rest is of HARP alone
        "unknown_harp_type": 1,
        "no_sequence": 1,
        "bad_hop_limit": 1,
        "hello": 1,
        "multicast": 1,
        "sequence": 16,
        "reply": 1,
        "lifetime_zero": 1,
    }
)
"""Of the last Mobility Header. All true at once if need be; `verdict` takes the first."""


class MhCheck(wiring.Component):
    """Captures addresses and judges the Mobility Header.

    `i` are the words as `align` gives them, `coming` the data of `i` a clock before, `walked` the
    same words with their places, 2 clocks later. `o_mh` comes a clock behind `walked`, `o_peer`
    with its first word. `facts` are complete 6 clocks behind a frame's last word at `i`, hold 2
    clocks at least, and mean something only if the walk has found a Mobility Header (`transit`:
    also if it was truncated).
    """

    def __init__(self) -> None:
        request = stream.Signature(RAM_REQUEST, always_ready=True)
        response = stream.Signature(RAM_RESPONSE, always_ready=True)
        super().__init__(
            {
                "i": In(stream.Signature(L3_WORD, always_ready=True)),
                "walked": In(stream.Signature(WALKED, always_ready=True)),
                "o_mh": Out(stream.Signature(MH_WORD, always_ready=True)),
                "o_peer": Out(stream.Signature(data.StructLayout({}), always_ready=True)),
                "coming": In(64),
                "local_rows": In(key_rows(LOCAL.count)),
                "local_word": In(KEY_WORD),
                "facts": Out(MH_FACTS),
                "demand_hop_limit": In(1),
                "harp_mh_type": In(8),
                "harp_types": In(32),
                **{f"i_ram_{area}": In(request) for area in RAM_AREAS},
                **{f"o_ram_{area}": Out(response) for area in RAM_AREAS},
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.checksum = self._checksum = Checksum()
        m.submodules.local = self._local = LocalTable()
        m.submodules.types = self._types = TypeTable()
        self._preview(m)
        self._place(m)
        self._follow(m)
        self._capture(m)
        self._extensions(m)
        self._sum(m)
        self._first_word(m)
        self._second_word(m)
        return m

    def _preview(self, m: Module) -> None:
        """What a word says if it is a header's first, or an MH's second: before that is known."""
        octets = [self.i.p.data.word_select(n, 8) for n in range(8)]
        header = ("home", "padded", "type_2", "segments", "hop_by_hop")
        head = data.StructLayout(dict.fromkeys((*header, "no_sequence", "no_lifetime"), 1))
        early, self._said = Signal(head), Signal(head)
        following = Mux(self.i.p.first, octets[6], octets[0])
        fixed = [n for n in range(1, 8) if n not in (4, 5)]
        m.d.sync += [
            early.home.eq(Cat(octets[n] == HOME_ADDRESS[n - 1] for n in fixed).all()),
            early.padded.eq(
                (octets[2] == PADN) & (Cat(octets[3], 0, 0, 0) == Cat(Const(PADDED, 3), octets[1]))
            ),
            early.type_2.eq(Cat(octets[n] == TYPE_2[n - 1] for n in (1, 2, 3)).all()),
            early.segments.eq(octets[3] != 0),
            early.hop_by_hop.eq(following == HOP_BY_HOP),
            early.no_sequence.eq(self.i.p.data[:16] == 0),
            early.no_lifetime.eq(self.i.p.data[48:64] == 0),
            self._said.eq(early),
        ]

    def _place(self, m: Module) -> None:
        """Number of the word in its header, 0 to 7 or more."""
        walked = self.walked.p
        coming = Signal(3)
        self._word, self._valid = walked.word, self.walked.valid
        self._start = walked.start
        self._index = Signal(3)
        self._address_half = Signal()  # words 1 and 2 of a header
        m.d.comb += [
            self._index.eq(Mux(self._start, 0, coming)),
            self._address_half.eq((self._index == 1) | (self._index == 2)),
        ]
        with m.If(self._valid):
            m.d.sync += coming.eq(self._index + (self._index != 7))

    def _follow(self, m: Module) -> None:
        """The frame's Mobility Header, to its end: `o_mh`."""
        octets = self._word.data
        active = Signal()
        left = Signal(8)
        inside = ~self._word.first & active
        # Once a frame: behind it the walk starts no header of a kind.
        self._begins = self._valid & self._start & self.walked.p.kind.mobility
        length = octets.word_select(1, 8)
        self._in_mh = self._begins | (self._valid & inside)
        last = Mux(self._begins, length == 0, left == 1)
        with m.If(self._valid):
            m.d.sync += [
                active.eq(self._in_mh & ~last),
                left.eq(Mux(self._begins, length, left - 1)),
            ]
        m.d.sync += [
            self.o_mh.valid.eq(self._in_mh),
            self.o_mh.p.data.eq(octets),
            self.o_mh.p.first.eq(self._begins),
            self.o_mh.p.last.eq(last),
        ]

    def _capture(self, m: Module) -> None:
        """Fields of the fixed header: the local table's answer, and what later checks need."""
        octets, local = self._word.data, self._local
        connect(m, flipped(self.i), local.i)
        connect(m, flipped(self.local_rows), local.rows)
        connect(m, flipped(self.local_word), local.word)
        fixed = self._valid & self.walked.p.fixed
        self._payload_words = Signal(13)
        self._bad_hop_limit = Signal()
        with m.If(fixed & (self._index == 0)):
            m.d.sync += [
                self._payload_words.eq(big_endian(octets[32:48])[3:]),
                self._bad_hop_limit.eq(octets.word_select(7, 8) != HOP_LIMIT),
            ]
        m.d.comb += [
            local.coming.eq(self.coming),
            self.facts.transit.eq(~local.local),
            self.facts.multicast.eq(local.multicast),
        ]

    def _extensions(self, m: Module) -> None:
        """Which header carries an address, and whether one makes the checksum unknowable."""
        kind, said = self.walked.p.kind, self._said
        starts, first = self._valid & self._start, self._word.first
        after_fixed = Signal()  # this header is Hop-by-Hop Options
        had_home, had_route, opaque = Signal(), Signal(), Signal()
        self._home, self._route = Signal(), Signal()  # of the header under way
        options = kind.options & ~after_fixed
        home, route = options & said.home, kind.routing & said.type_2
        strange = (
            (kind.routing & said.segments & ~(route & ~had_route))
            | (options & ~said.home & ~said.padded)
            | (home & had_home)
        )
        with m.If(starts):
            m.d.sync += [
                after_fixed.eq(said.hop_by_hop),
                self._home.eq(home),
                self._route.eq(route & ~had_route),
                had_home.eq(~first & (had_home | home)),
                had_route.eq(~first & (had_route | route)),
                opaque.eq(~first & (opaque | strange)),
            ]
        with m.If(self._begins):
            m.d.sync += self.facts.unchecked.eq(opaque)

    def _sum(self, m: Module) -> None:
        """Feeds the checksum: addresses as they come, the last ones count, and the MH."""
        summand, fixed = self._checksum.i, self.walked.p.fixed
        to_here = (self._index == 3) | (self._index == 4)
        m.d.comb += [
            summand.valid.eq(self._valid),
            self._checksum.word.eq(self.i.p.data),
            summand.p.header_len.eq(self._word.data.word_select(1, 8)),
            summand.p.source.eq(self._address_half & (fixed | (self._home & ~self._start))),
            summand.p.destination.eq(
                (fixed & to_here) | (~fixed & self._route & self._address_half)
            ),
            summand.p.mh.eq(self._in_mh),
            summand.p.first.eq(
                self._begins | (~self._in_mh & (self._index == Mux(fixed & to_here, 3, 1)))
            ),
            self.facts.bad_checksum.eq(~self._checksum.good),
        ]

    def _first_word(self, m: Module) -> None:
        """Proto, Header Len, MH Type, and of HARP Type and Group ID."""
        octets = [self._word.data.word_select(n, 8) for n in range(8)]
        facts, types = self.facts, self._types
        for area in RAM_AREAS:
            for name in (f"i_ram_{area}", f"o_ram_{area}"):
                connect(m, flipped(getattr(self, name)), getattr(types, name))
        begun = Signal(2)
        header_len = [Signal(8, name=f"header_len_{n}") for n in range(3)]
        end = Signal(9)  # words of the chain and the MH, less one
        known = self.harp_types.bit_select(octets[6][:5], 1) & (octets[6][5:] == 0)
        m.d.comb += [types.i.valid.eq(self._begins), types.i.payload.eq(octets[2])]
        m.d.sync += [
            begun.eq(Cat(self._begins, begun)),
            self.o_peer.valid.eq(self._begins),
            header_len[1].eq(header_len[0]),
            header_len[2].eq(header_len[1]),
        ]
        with m.If(self._begins):
            m.d.sync += [
                header_len[0].eq(octets[1]),
                end.eq(self.walked.p.position[:8] + octets[1]),
                facts.bad_proto.eq(octets[0] != NO_NEXT_HEADER),
                facts.harp.eq(octets[2] == self.harp_mh_type),
                facts.unknown_harp_type.eq(~known),
                facts.hello.eq(octets[6] == HarpType.HELLO),
                facts.bad_hop_limit.eq(self._bad_hop_limit & self.demand_hop_limit),
            ]
        with m.If(begun[0]):
            m.d.sync += facts.long.eq(end >= self._payload_words)
        m.d.sync += facts.short.eq(header_len[2] < types.entry.min_header_len)
        m.d.comb += [
            facts.unknown_type.eq(~types.entry.known),
            facts.blocked.eq(~types.entry.allowed),
            facts.limited.eq(types.entry.limited),
            facts.bucket.eq(types.entry.bucket),
        ]

    def _second_word(self, m: Module) -> None:
        """Sequence #, flag R and HA Lifetime; octets that a short MH lacks read as zero."""
        octets = self._word.data
        with m.If(self._begins):
            m.d.sync += self.facts.no_sequence.eq(1)
        with m.If(self._in_mh & ~self._start & (self._index == 1)):
            sequence: Value = big_endian(octets[:16])
            m.d.sync += [
                self.facts.no_sequence.eq(self._said.no_sequence),
                self.facts.sequence.eq(sequence),
                self.facts.reply.eq((octets.word_select(3, 8) & HarpFlag.R).any()),
                self.facts.lifetime_zero.eq(self._said.no_lifetime),
            ]
