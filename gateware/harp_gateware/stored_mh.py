"""Each peer's last accepted HELLO, and whether the Mobility Header that passes differs from it.

Ref: offload.md §3 (news), harp.md §2 (padding, authentication option last), §2.3 (types 9, 10)
"""

from amaranth import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out

from harp.tables.offload import PEERS, STORED_MH_OCTETS
from harp.tables.options import AUTHENTICATION, HA_HA_AUTH_LENGTH, REPLAY_PROTECTION
from harp_gateware.layouts import MH_WORD, PEER_INDEX, PEER_RESPONSE
from harp_gateware.params import WORD_OCTETS

STORED_WORDS = STORED_MH_OCTETS // WORD_OCTETS
SPARE = 2
"""Pages that are being written: a HELLO is decided while the next MH comes in."""
PAGES = PEERS + SPARE
BASE = range(PAGES * STORED_WORDS)
PAGE = data.StructLayout({"base": (PAGES * STORED_WORDS - 1).bit_length(), "length": 4})
MATCH_CLOCKS = 3
"""From MH word 0 to the peer table's answer."""
OPTIONS_FROM = 3
"""First word of a HARP message with nothing but options (harp.md §2.1)."""


class StoredMh(wiring.Component):
    """Compares the words of a Mobility Header with those stored of the peer that sent it.

    `i_mh` begins; the match is on `i_peer` 3 clocks after its word 0. `same` is right
    from 7 clocks after its last word until 7 after the first of the next. `take` in that time
    remembers them; then `store` makes the MH taken last the stored one of `peer`.

    Ignored: Sequence #, Checksum, and of an HA-HA option in the last 23 octets its tag, and then
    of a timestamp option whose value lies 36 to 28 octets before the end this value. Longer than
    96 octets (then nothing is stored), of another length, or nothing stored: not the same.
    `forget`, never with `store`, makes it that nothing is stored of `peer`. What is stored outlives
    a reset.
    """

    def __init__(self) -> None:
        super().__init__(
            {
                "i_mh": In(stream.Signature(MH_WORD, always_ready=True)),
                "i_peer": In(stream.Signature(PEER_RESPONSE, always_ready=True)),
                "auth_subtype": In(8),
                "same": Out(1),
                "take": In(1),
                "store": In(1),
                "peer": In(PEER_INDEX),
                "forget": In(1),
                "length": Out(4),  # words stored of `peer`, 0: none
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        # What is read is never of a page that is being written, or not looked at.
        m.submodules.ram = self._ram = memory.Memory(
            shape=64, depth=PAGES * STORED_WORDS, init=[], attrs={"no_rw_check": 1}
        )
        self._pages(m)
        self._turn = Signal()
        self._await_match(m)
        self._fetch(m)
        self._locate(m)
        self._compare(m)
        self._swap(m)
        return m

    def _pages(self, m: Module) -> None:
        """Where each peer's MH lies, and how long it is: the row of the match, that of `peer`."""
        rows = [PAGE.const({"base": n * STORED_WORDS}) for n in range(PEERS)]
        m.submodules.pages = pages = memory.Memory(shape=PAGE, depth=PEERS, init=rows)
        matched, mine = pages.read_port(domain="comb"), pages.read_port(domain="comb")
        self._set_page = pages.write_port()
        self._matched, self._mine = matched.data, mine.data
        # The pages outlive a reset, so the spare ones must, too.
        self._spare = [
            Signal(BASE, init=(PEERS + n) * STORED_WORDS, reset_less=True, name=f"spare_{n}")
            for n in range(SPARE)
        ]
        m.d.comb += [
            matched.addr.eq(self.i_peer.p.index),
            mine.addr.eq(self.peer),
            self._set_page.addr.eq(self.peer),
            self.length.eq(self._mine.length),
        ]

    def _await_match(self, m: Module) -> None:
        """The words, three clocks later, when the peer is known."""
        word, valid = self.i_mh.p, self.i_mh.valid
        for _ in range(MATCH_CLOCKS):
            later, held = Signal(MH_WORD), Signal()
            m.d.sync += [later.eq(word), held.eq(valid)]
            word, valid = later, held
        self._word, self._valid = word, valid

    def _fetch(self, m: Module) -> None:
        """Read the stored word, write the new one: address clock, RAM, register."""
        read, write = self._ram.read_port(), self._ram.write_port()
        read_last, written_last = Signal.like(read.addr), Signal.like(write.addr)
        number = Signal(range(STORED_WORDS + 1))  # saturates
        here = Mux(self._word.first, 0, number)
        begins = self._word.first
        # A page becomes spare clocks before the MH that is written there.
        spare = Signal.like(write.addr)
        m.d.sync += spare.eq(Mux(self._turn, self._spare[1], self._spare[0]))
        m.d.comb += [
            read.addr.eq(Mux(begins, self._matched.base, read_last + 1)),
            write.addr.eq(Mux(begins, spare, written_last + 1)),
            write.data.eq(self._word.data),
            write.en.eq(self._valid & (here != STORED_WORDS)),
        ]
        self._word_1, self._valid_1 = Signal(MH_WORD), Signal()
        self._word_2, self._valid_2 = Signal(MH_WORD), Signal()
        self._stored = Signal(64, reset_less=True)
        length, self._length = Signal(4), Signal(4)
        with m.If(self._valid):
            m.d.sync += [
                read_last.eq(read.addr),
                written_last.eq(write.addr),
                number.eq(Mux(here == STORED_WORDS, here, here + 1)),
            ]
            with m.If(begins):
                m.d.sync += [
                    length.eq(self._matched.length),
                    self._turn.eq(~self._turn),
                ]
        m.d.sync += [
            self._word_1.eq(self._word),
            self._valid_1.eq(self._valid),
            self._word_2.eq(self._word_1),
            self._valid_2.eq(self._valid_1),
            self._stored.eq(read.data),
            self._length.eq(length),
        ]

    def _locate(self, m: Module) -> None:
        """The word's place from the beginning and from the end, and which octets differ."""
        word, octets = self._word_2, self._word_2.data
        number, left = Signal(2), Signal(8)  # of this word: saturates; words behind it
        here = Mux(word.first, 0, number)
        behind = Mux(word.first, octets.word_select(1, 8), left)
        self._step = Signal()
        self._differs = Signal(8)
        self._place = Signal(data.StructLayout({"first": 1, "second": 1, "tag": 1, "option": 1}))
        self._time = Signal(2)  # word with the timestamp's first half, with its second
        self._auth_here, self._time_here = Signal(), Signal()
        self._fits = Signal()
        self._behind = Signal(8)
        may = here == OPTIONS_FROM
        with m.If(self._valid_2):
            m.d.sync += [
                number.eq(Mux(here == OPTIONS_FROM, here, here + 1)),
                left.eq(behind - 1),
            ]
        m.d.sync += [
            self._step.eq(self._valid_2),
            self._differs.eq(
                Cat(octets.word_select(n, 8) != self._stored.word_select(n, 8) for n in range(8))
            ),
            self._place.first.eq(word.first),
            self._place.second.eq(here == 1),
            self._place.tag.eq((behind <= 1) & may),
            self._time.eq(Cat(behind == 4, behind == 3)),
            self._auth_here.eq(
                may
                & (behind == 2)
                & (octets.word_select(1, 8) == AUTHENTICATION.number)
                & (octets.word_select(2, 8) == HA_HA_AUTH_LENGTH)
                & (octets.word_select(3, 8) == self.auth_subtype)
            ),
            self._time_here.eq(
                may
                & (behind == 4)
                & (octets.word_select(2, 8) == REPLAY_PROTECTION.number)
                & (octets.word_select(3, 8) == REPLAY_PROTECTION.lengths[0])
            ),
            self._fits.eq((behind < STORED_WORDS) & (behind + 1 == self._length)),
        ]
        m.d.sync += self._behind.eq(behind)

    def _compare(self, m: Module) -> None:
        """Gathers differences by what may excuse them."""
        place, differs = self._place, self._differs
        rest, time, tag = Signal(), Signal(), Signal()
        signed, timed, fits = Signal(), Signal(), Signal()
        ignored: list[Value] = [Const(0, 1)] * 8
        ignored[0] = ignored[1] = place.second  # Sequence #
        ignored[4] = ignored[5] = place.first  # Checksum
        counts = Cat(differs[n] & ~ignored[n] for n in range(8))
        stamp = Cat(counts[n] & self._time[0 if n >= 4 else 1] for n in range(8))
        open_ = counts & ~stamp & ~place.tag.replicate(8)
        with m.If(self._step):
            fresh = place.first
            m.d.sync += [
                rest.eq((rest & ~fresh) | open_.any()),
                time.eq((time & ~fresh) | stamp.any()),
                tag.eq((tag & ~fresh) | (place.tag & counts.any())),
                signed.eq((signed & ~fresh) | self._auth_here),
                timed.eq((timed & ~fresh) | self._time_here),
            ]
            with m.If(fresh):
                m.d.sync += fits.eq(self._fits)
        m.d.comb += self.same.eq(fits & ~rest & ~(time & ~(signed & timed)) & ~(tag & ~signed))

    def _swap(self, m: Module) -> None:
        """Store: the page written becomes the peer's, the peer's becomes a spare one."""
        turn, size = Signal(), Signal(4)
        with m.If(self._step & self._place.first):
            # `_turn` has moved on since this MH began.
            m.d.sync += [
                turn.eq(self._turn),
                size.eq(Mux(self._behind < STORED_WORDS, self._behind + 1, 0)),
            ]
        taken, length = Signal(), Signal(4)
        with m.If(self.take):
            m.d.sync += [taken.eq(turn), length.eq(size)]
        m.d.comb += [
            self._set_page.en.eq(self.store | self.forget),
            self._set_page.data.base.eq(
                Mux(self.forget, self._mine.base, Mux(taken, self._spare[0], self._spare[1]))
            ),
            self._set_page.data.length.eq(Mux(self.forget, 0, length)),
        ]
        for n, spare in enumerate(self._spare):
            with m.If(self.store & (taken == 1 - n)):
                m.d.sync += spare.eq(self._mine.base)
