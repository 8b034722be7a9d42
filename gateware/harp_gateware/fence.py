"""The fence: finds what a fenced host may not send.

Ref: offload.md §4 (HARP with A, NAs for listed addresses), harp.md §2.1, RFC 4861 §4.4
"""

from amaranth import Cat, Module, Mux, Signal, Value
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out

from harp.tables.harp_types import HarpFlag
from harp.tables.icmpv6 import NEIGHBOR_ADVERTISEMENT, NEXT_HEADER
from harp.tables.offload import FENCE_ADDRESSES
from harp.tables.register_schema import WORD_BITS
from harp.tables.registers import BY_NAME
from harp_gateware.align import Align
from harp_gateware.digit_tables import KEY_WORD
from harp_gateware.layouts import (
    ADDRESS,
    VERDICT,
    WORD,
    OutcomeCode,
    ReasonCode,
)
from harp_gateware.params import WORD_OCTETS
from harp_gateware.walk import Walk

OCTETS = ADDRESS // 8
MATCH = FENCE_ADDRESSES + 4
"""Clocks from the word with a target's end to its match."""
FENCE = BY_NAME["fence"]
_PREFIX = data.StructLayout(
    {"length": FENCE.field("prefix_len").width, "own": FENCE.field("own").width}
)
"""The word of an entry behind its address, as the register map has it."""


class Fence(wiring.Component):
    """Marks HARP messages with the A flag and Neighbor Advertisements for listed addresses.

    Looks behind tags and extension headers, however many, and takes what the frame holds for what
    it claims to be: Payload Length and version are not looked at. Lets pass what it cannot read
    (ESP, fragments, an AH that is no multiple of 8). While not `fenced`, `o_early` lets each frame
    go as soon as it has begun; else frames are held to their ends. `o_verdict`, one a frame in
    order, always forwards; `mark` beside it says that it may not pass a fence. It comes 16 to 20
    clocks behind the last word.

    An address matches in its leading `prefix_len` bits; one that begins with an octet of 0, as `::`
    does, is unused (RFC 4291 §2.4 reserves them). The first that matches decides: the host's own
    addresses pass (`own`) before a prefix that covers them. No back-pressure.
    """

    i: In(stream.Signature(WORD, always_ready=True))
    fenced: In(1)
    harp_mh_type: In(8)
    o_early: Out(stream.Signature(data.StructLayout({}), always_ready=True))
    o_verdict: Out(stream.Signature(VERDICT, always_ready=True))
    mark: Out(1)
    word: In(KEY_WORD)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.align = align = Align()
        m.submodules.walk = self._walk = Walk()
        wiring.connect(m, wiring.flipped(self.i), align.i)
        wiring.connect(m, align.o, self._walk.i)
        ip, self._ip = Signal(), Signal()  # beside the walk's `o`, two clocks later
        m.d.sync += [ip.eq(~align.meta.not_ipv6), self._ip.eq(ip)]
        self._asks = Signal()  # `self._target` is complete
        self._target = Signal(ADDRESS)
        self._active = Signal()  # this word says that a HARP message has A
        self._broken = Signal()  # the rest of the frame cannot be read
        self._follow_chain(m)
        self._follow_harp(m)
        self._follow_neighbor(m)
        hit = self._match(m)
        self._judge(m, hit)
        return m

    def _follow_chain(self, m: Module) -> None:
        """Which protocol the header under way announces, and whether it stops the reading."""
        place, valid = self._walk.o.p, self._walk.o.valid
        octets, kind = place.word.data, place.kind
        extension = Cat(kind.options, kind.routing, kind.fragment, kind.ah).any()
        number = Mux(place.word.first, octets.word_select(6, 8), octets.word_select(0, 8))
        # Offset, or more fragments: what follows is not a whole message.
        piece = kind.fragment & (octets[16:32] & 0xF9FF).any()
        odd = kind.ah & octets[8]
        self._announced = Signal()  # ICMPv6
        with m.If(valid & place.start):
            m.d.sync += self._announced.eq((place.word.first | extension) & (number == NEXT_HEADER))
        with m.If(valid & (place.word.first | place.start)):
            m.d.sync += self._broken.eq(~place.word.first & (self._broken | piece | odd))

    def _follow_harp(self, m: Module) -> None:
        """The word behind MH word 0 of a HARP message has the flags in octet 3."""
        place, valid = self._walk.o.p, self._walk.o.valid
        octets = place.word.data
        harp = Signal()
        begins = place.start & place.kind.mobility & ~self._broken
        flags, there = octets.word_select(3, 8), place.word.octets > 3
        m.d.comb += self._active.eq(
            valid & harp & there & ~place.word.first & (flags & int(HarpFlag.A)).any()
        )
        with m.If(valid):
            m.d.sync += harp.eq(begins & self._ip & (octets.word_select(2, 8) == self.harp_mh_type))

    def _follow_neighbor(self, m: Module) -> None:
        """ICMPv6 begins where the chain ends; the target is its octets 8 to 23."""
        place, valid = self._walk.o.p, self._walk.o.valid
        octets, kind = place.word.data, place.kind
        part = Signal(2)  # of the NA: 1, its word 1 follows; 2, its word 2
        header = kind.as_value().any() | place.word.first
        here = place.start & ~header & self._announced & ~self._broken
        advert = here & self._ip & (octets.word_select(0, 8) == NEIGHBOR_ADVERTISEMENT)
        whole = place.word.octets == WORD_OCTETS
        m.d.sync += self._asks.eq(valid & (part == 2) & whole & ~place.word.first)
        with m.If(valid):
            m.d.sync += part.eq(Mux(place.word.first, 0, Mux(advert, 1, part << 1)))
            with m.If(part == 1):
                m.d.sync += self._target[:64].eq(octets)
            with m.If(part == 2):
                m.d.sync += self._target[64:].eq(octets)

    def _match(self, m: Module) -> Value:
        """Compares the target with one address a clock: row, octets, all of it."""
        lengths = FENCE.reset_of(FENCE.field("prefix_len"))
        addresses = memory.Memory(shape=ADDRESS, depth=FENCE_ADDRESSES, init=[])
        prefixes = memory.Memory(
            shape=_PREFIX.size, depth=FENCE_ADDRESSES, init=[lengths] * FENCE_ADDRESSES
        )
        m.submodules.addresses, m.submodules.prefixes = addresses, prefixes
        index, running = Signal(range(FENCE_ADDRESSES)), Signal()
        rows, told = [], self.word
        behind = ADDRESS // WORD_BITS
        for ram, first, bits in ((addresses, 0, WORD_BITS), (prefixes, behind, _PREFIX.size)):
            write, read = ram.write_port(granularity=bits), ram.read_port(domain="comb")
            numbers = range(first, first + len(read.data) // bits)
            m.d.comb += [
                write.addr.eq(told.index),
                write.data.eq(told.data[:bits].replicate(len(numbers))),
                write.en.eq(Cat(told.written & (told.number == n) for n in numbers)),
                read.addr.eq(index),
            ]
            rows.append(read.data)
        with m.If(self._asks):
            m.d.sync += [running.eq(1), index.eq(0)]
        with m.Elif(running):
            m.d.sync += [index.eq(index + 1), running.eq(index != FENCE_ADDRESSES - 1)]
        address, differs = Signal(ADDRESS), Signal(OCTETS)
        # Of the prefix: octets that count whole, the one that counts in part, and its bits.
        whole, partial, bits = Signal(OCTETS), Signal(OCTETS), Signal(8)
        prefix = data.View(_PREFIX, rows[1])
        octets, rest = prefix.length[3:], prefix.length[:3]
        used, steps, hit, decided = Signal(), Signal(2), Signal(), Signal()
        own = Signal(2)  # of the row in `address`, and of that in `differs`
        m.d.sync += [
            address.eq(rows[0]),
            whole.eq(Cat(octets > n for n in range(OCTETS))),
            partial.eq(Cat(octets == n for n in range(OCTETS))),
            bits.eq(Cat(rest > 7 - n for n in range(8))),
            steps.eq(Cat(running, steps)),
            used.eq(address[:8].any()),
            own.eq(Cat(prefix.own, own)),
        ]
        for n in range(OCTETS):
            change = self._target.word_select(n, 8) ^ address.word_select(n, 8)
            counts = whole[n].replicate(8) | (partial[n].replicate(8) & bits)
            m.d.sync += differs[n].eq((change & counts).any())
        with m.If(steps[1] & used & ~differs.any() & ~decided):
            m.d.sync += [hit.eq(~own[1]), decided.eq(1)]
        with m.If(self._asks):
            m.d.sync += [hit.eq(0), decided.eq(0)]
        return hit

    def _judge(self, m: Module, hit: Value) -> None:
        """All that is known of a frame, brought to the time of the slowest, MATCH clocks later."""
        place, valid = self._walk.o.p, self._walk.o.valid
        ends, active, asked = Signal(MATCH + 1), Signal(MATCH + 1), Signal(MATCH)
        marked = Signal()
        m.d.sync += [
            ends.eq(Cat(valid & place.word.last, ends)),
            active.eq(Cat(self._active, active)),
            asked.eq(Cat(self._asks, asked)),
        ]
        last = ends[-1]
        seen = marked | active[-1] | (asked[-1] & hit)
        m.d.sync += [
            marked.eq(seen & ~last),
            self.mark.eq(seen),
            self.o_verdict.valid.eq(last),
        ]
        m.d.comb += [
            self.o_verdict.p.reason.eq(ReasonCode.NOT_MOBILITY),
            self.o_verdict.p.outcome.eq(OutcomeCode.PASS),
            self.o_verdict.p.forward.eq(1),
        ]
        begun = Signal(6)  # frames that have begun and have no verdict
        m.d.sync += begun.eq(begun + (self.i.valid & self.i.p.first) - last)
        m.d.comb += self.o_early.valid.eq((begun != 0) & ~self.fenced)
