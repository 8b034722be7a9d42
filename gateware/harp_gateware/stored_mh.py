"""Each peer's last accepted HELLO, and whether the Mobility Header that passes differs from it.

Ref: offload.md §3 (news), harp.md §2 (padding, authentication option last), §2.3 (types 9, 10)
"""

from amaranth import Array, Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out

from harp.tables.offload import PEERS, STORED_MH_OCTETS
from harp.tables.options import AUTHENTICATION, HA_HA_AUTH_LENGTH, REPLAY_PROTECTION
from harp_gateware.layouts import MH_WORD, PEER_INDEX, PEER_RESPONSE
from harp_gateware.params import WORD_OCTETS

STORED_WORDS = STORED_MH_OCTETS // WORD_OCTETS
PAGES = PEERS + 2
"""One a peer, and two that are being written: a HELLO is decided while the next MH comes in."""
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
    """

    def __init__(self, peers: int = PEERS) -> None:
        self._peers = peers
        super().__init__(
            {
                "i_mh": In(stream.Signature(MH_WORD, always_ready=True)),
                "i_peer": In(stream.Signature(PEER_RESPONSE, always_ready=True)),
                "auth_subtype": In(8),
                "same": Out(1),
                "take": In(1),
                "store": In(1),
                "peer": In(PEER_INDEX),
                "forget": In(peers),
                "lengths": Out(data.ArrayLayout(4, peers)),  # words stored, 0: none
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.ram = self._ram = memory.Memory(shape=64, depth=PAGES * STORED_WORDS, init=[])
        self._base = [
            Signal(range(PAGES * STORED_WORDS), init=n * STORED_WORDS, name=f"base_{n}")
            for n in range(PAGES)
        ]
        self._turn = Signal()
        self._await_match(m)
        self._fetch(m)
        self._locate(m)
        self._compare(m)
        self._swap(m)
        return m

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
        following, target = Signal.like(read.addr), Signal.like(write.addr)
        number = Signal(range(STORED_WORDS + 1))  # saturates
        here = Mux(self._word.first, 0, number)
        begins = self._word.first
        spare = Mux(self._turn, self._base[-1], self._base[-2])
        m.d.comb += [
            read.addr.eq(Mux(begins, Array(self._base)[self.i_peer.p.index], following)),
            write.addr.eq(Mux(begins, spare, target)),
            write.data.eq(self._word.data),
            write.en.eq(self._valid & (here != STORED_WORDS)),
        ]
        self._word_1, self._valid_1 = Signal(MH_WORD), Signal()
        self._word_2, self._valid_2 = Signal(MH_WORD), Signal()
        self._stored = Signal(64)
        length, self._length = Signal(4), Signal(4)
        with m.If(self._valid):
            m.d.sync += [
                following.eq(read.addr + 1),
                target.eq(write.addr + 1),
                number.eq(Mux(here == STORED_WORDS, here, here + 1)),
            ]
            with m.If(begins):
                m.d.sync += [
                    length.eq(self.lengths[self.i_peer.p.index]),
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
        page = Mux(taken, self._base[-2], self._base[-1])
        for index in range(self._peers):
            with m.If(self.store & (self.peer == index)):
                m.d.sync += [
                    self._base[index].eq(page),
                    self.lengths[index].eq(length),
                ]
            with m.If(self.forget[index]):
                m.d.sync += self.lengths[index].eq(0)
        old = Array(self._base)[self.peer]
        with m.If(self.store):
            with m.If(taken):
                m.d.sync += self._base[-2].eq(old)
            with m.Else():
                m.d.sync += self._base[-1].eq(old)
