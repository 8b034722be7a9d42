"""The heartbeat monitor: what is in a HELLO, who is alive, who is late, who is down.

Ref: offload.md §3 (news, deadlines, sequence windows), harp.md §4 (failure detection)
"""

from amaranth import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from harp.tables.offload import PEERS, SEQUENCE_WINDOW
from harp.tables.register_schema import WORD_BITS, Register
from harp.tables.registers import BY_NAME
from harp_gateware.deadlines import DUE, FLAGS, Deadlines, State
from harp_gateware.layouts import (
    DEADLINE_US,
    EVENT,
    HELLO_COMMIT,
    HELLO_REQUEST,
    HELLO_RESPONSE,
    MH_WORD,
    PEER_INDEX,
    PEER_RESPONSE,
    RAM_REQUEST,
    RAM_RESPONSE,
    TIME_US,
    EventCode,
    HelloVerdict,
)
from harp_gateware.peer_ledger import PeerLedger
from harp_gateware.priority import lowest
from harp_gateware.stored_mh import StoredMh

AREAS = ("peer_timing", "peer_sequence", "peer_state")
TIMING, SEQUENCE, SNAPSHOT = (BY_NAME[area] for area in AREAS)


def _word(register: Register, field: str) -> int:
    """The word of an element in which a field begins."""
    return register.field(field).at // WORD_BITS


LAST = _word(SNAPSHOT, "last_multicast")
EVENT_CLOCKS = 4
"""From one event to the next."""
GROUP_BITS = 3
GROUP = 1 << GROUP_BITS
"""Peers whose commands are looked at together."""

WISHES = data.StructLayout(
    {
        "forgets": 1,
        "arms": 1,
        "serves": 1,
        "touches": 1,  # it writes the peer's flags
    }
)
"""What the host's command or access does in a clock without a HELLO."""


class Monitor(wiring.Component):
    """Judges HELLOs of peers and watches their deadlines.

    `i_mh` and `i_peer` feed the comparison (`StoredMh`). `i_hello`, at least 4 clocks after the
    last word of its MH (that is when nothing follows it in its frame), is answered 4 clocks later;
    `i_hello_done`, 1 to 4 clocks after that, applies it. The next `i_hello` comes after it and 10
    clocks after this one at the soonest.

    `arrival_us`, read with `i_hello`, is the time of its frame's last word.

    Deadlines: as `Deadlines` says. `o_heard` are events from HELLOs, `o_due` those from time; two
    streams, as both can have one in the same clock. Commands and the host's accesses are served
    between two HELLOs, for which 4 clocks in a row are enough.
    """

    def __init__(self, peers: int = PEERS) -> None:
        self._peers = peers
        ram: dict[str, wiring.Member] = {}
        for area in AREAS:
            ram[f"i_ram_{area}"] = In(stream.Signature(RAM_REQUEST, always_ready=True))
            ram[f"o_ram_{area}"] = Out(stream.Signature(RAM_RESPONSE, always_ready=True))
        super().__init__(
            {
                "i_mh": In(stream.Signature(MH_WORD, always_ready=True)),
                "i_peer": In(stream.Signature(PEER_RESPONSE, always_ready=True)),
                "i_hello": In(stream.Signature(HELLO_REQUEST, always_ready=True)),
                "o_hello": Out(stream.Signature(HELLO_RESPONSE, always_ready=True)),
                "i_hello_done": In(stream.Signature(HELLO_COMMIT, always_ready=True)),
                "o_heard": Out(stream.Signature(EVENT, always_ready=True)),
                "o_due": Out(stream.Signature(EVENT, always_ready=True)),
                "now_us": In(TIME_US),
                "arrival_us": In(TIME_US),
                "seen": In(peers),
                "arm": In(peers),
                "forget": In(peers),
                "auth_subtype": In(8),
                "pass_every": In(8),
                **ram,
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.deadlines = self._deadlines = Deadlines(self._peers)
        m.submodules.ledger = self._ledger = PeerLedger()
        m.submodules.stored = self._stored = StoredMh()
        connect(m, flipped(self.i_mh), self._stored.i_mh)
        connect(m, flipped(self.i_peer), self._stored.i_peer)
        connect(m, flipped(self.o_due), self._deadlines.o)
        self._busy = Signal()  # a HELLO is under way: rows are read for it
        self._calm = Signal()  # none is under way: `self._at` is what `self._host_at` was
        self._holds = Signal()  # the host's command or access is
        self._applying = Signal()  # it ends
        self._hello = Signal(HELLO_REQUEST)
        self._host_at = Signal(PEER_INDEX)
        self._access, self._area = Signal(RAM_REQUEST), Signal(len(AREAS))
        self._sequence_written = Signal()
        self._wishes = Signal(WISHES)
        self._forgets, self._arms, self._serves = Signal(), Signal(), Signal()
        self._memories(m)
        self._judge(m)
        self._apply(m)
        self._command(m)
        self._serve(m)
        self._set_flags(m)
        return m

    def _memories(self, m: Module) -> None:
        """Rows by peer: of the HELLO's while one is under way, else of the host's element.

        They are read a clock ahead of `self._at`; what is written shows two clocks later.
        """
        self._at = Signal(PEER_INDEX)
        deadlines, stored = self._deadlines, self._stored
        over = ~self._busy | self._applying
        others = Mux(over, self._host_at, self._at)
        next_at = Mux(self.i_hello.valid, self.i_hello.p.peer, others)
        m.d.sync += [
            self._at.eq(next_at),
            self._calm.eq(over & ~self.i_hello.valid & deadlines.ready),
        ]
        self._row: dict[str, Value] = {}
        self._write = {}
        shapes = {
            "down_us": (DEADLINE_US, 0),
            "late_us": (DEADLINE_US, 0),
            "multiplier": (8, TIMING.reset_of(TIMING.field("multiplier"))),
            "sequence": (2 * 16, 0),
            "quiet": (8, 0),
        }
        for name, (width, init) in shapes.items():
            ram = memory.Memory(shape=width, depth=PEERS, init=[init] * PEERS)
            m.submodules[name] = ram
            write, read = ram.write_port(), ram.read_port(domain="comb")
            row = Signal(width, name=f"row_{name}")
            m.d.comb += [read.addr.eq(next_at), write.addr.eq(self._at)]
            m.d.sync += row.eq(read.data)
            self._row[name], self._write[name] = row, write
        self._fresh = deadlines.flags.fresh
        self._last = Mux(self._fresh, 0, self._row["sequence"])
        m.d.comb += [
            deadlines.now_us.eq(self.now_us),
            deadlines.at.eq(self._at),
            deadlines.next_at.eq(next_at),
            deadlines.hold.eq(self._busy | self._holds),
            # After reset no MH is stored, as no state is known.
            stored.peer.eq(Mux(deadlines.ready, self._at, deadlines.clear)),
            stored.forget.eq(self._forgets | ~deadlines.ready),
        ]

    def _judge(self, m: Module) -> None:
        """The HELLO's answer: row, distance, window, verdict; a clock each."""
        hello, stored = self._hello, self._stored
        self._arrived = Signal(TIME_US)
        steps = Signal(3)
        m.d.comb += [stored.auth_subtype.eq(self.auth_subtype), stored.take.eq(steps[1])]
        m.d.sync += steps.eq(Cat(self.i_hello.valid, steps))
        with m.If(self.i_hello.valid):
            m.d.sync += [
                hello.eq(self.i_hello.p),
                self._arrived.eq(self.arrival_us),
                self._busy.eq(1),
            ]
        with m.Else():
            # A command counts from its own time.
            with m.If(~self._busy):
                m.d.sync += self._arrived[:DUE].eq(self.now_us[:DUE])
            with m.If(self._applying):
                m.d.sync += self._busy.eq(0)
        # First clock: the peer's row.
        last = self._last.word_select(~hello.multicast, 16)
        distance, window = Signal(16), Signal(9)
        any_, seen = Signal(), Signal()
        quiet, following, self._quiet = Signal(8), Signal(8), Signal(8)
        turns, least = Signal(), Signal(8)  # HELLOs before the one that passes
        double = Cat(0, self._row["multiplier"])
        m.d.sync += [
            distance.eq(hello.sequence - last),
            any_.eq(last == 0),
            window.eq(Mux(double > SEQUENCE_WINDOW, double, SEQUENCE_WINDOW)),
            seen.eq(self.seen.bit_select(hello.peer, 1)),
            quiet.eq(self._row["quiet"]),
            turns.eq(self.pass_every != 0),
            least.eq(self.pass_every - 1),
        ]
        # Second: is it in the window, is it news, is it its turn to pass.
        inside, asked = Signal(), Signal()
        # In two halves, joined a clock later.
        half = len(quiet) // 2
        above, level, enough = Signal(), Signal(), Signal()
        m.d.sync += [
            inside.eq(any_ | ((distance != 0) & (distance <= window))),
            asked.eq(hello.reply | (hello.lifetime_zero & seen)),
            above.eq(quiet[half:] > least[half:]),
            level.eq(quiet[half:] == least[half:]),
            enough.eq(quiet[:half] >= least[:half]),
            following.eq(quiet + 1),
        ]
        # Third: the verdict. The comparison is over no sooner where the MH ends its frame.
        self._verdict, self._accepted = Signal(HelloVerdict), Signal()
        self._leaving = Signal()
        news, passes = asked | ~stored.same, Signal()
        turn = turns & (above | (level & enough))
        beat = Mux(seen | turn, HelloVerdict.HEARTBEAT_PASS, HelloVerdict.HEARTBEAT)
        calm = Mux(inside, beat, HelloVerdict.REPLAY)
        with m.If(steps[2]):
            m.d.sync += [
                self._verdict.eq(Mux(news, HelloVerdict.NEWS, calm)),
                self._accepted.eq(inside),
                self._leaving.eq(hello.lifetime_zero & ~seen),
                passes.eq(turn),
            ]
        # Fourth, while the answer is read: how many passed none since.
        is_news = self._verdict == HelloVerdict.NEWS
        with m.If(self.o_hello.valid):
            m.d.sync += self._quiet.eq(Mux(is_news | seen, quiet, Mux(passes, 0, following)))
        m.d.sync += self.o_hello.valid.eq(steps[2])
        m.d.comb += self.o_hello.p.verdict.eq(self._verdict)
        # What an accepted one or a command writes, made ready meanwhile.
        down, late = Signal(DEADLINE_US), Signal(DEADLINE_US)
        self._down_set, self._late_set = Signal(), Signal()
        next_due = self._deadlines.next_due
        due = Signal.like(next_due)
        m.d.sync += [
            down.eq(self._row["down_us"]),
            late.eq(self._row["late_us"]),
            due.down.eq(self._arrived[:DUE] + down),
            due.late.eq(self._arrived[:DUE] + late),
            self._down_set.eq(down != 0),
            self._late_set.eq(late != 0),
        ]
        m.d.comb += next_due.eq(due)

    def _apply(self, m: Module) -> None:
        """The clock after `i_hello_done`: state, deadline, rows and events, all at once."""
        hello, ledger = self._hello, self._ledger
        done = self.i_hello_done
        accepted, stores, counts = Signal(), Signal(), Signal()
        replay, news, absorbed = Signal(), Signal(), Signal()
        takes = done.valid & self._accepted
        m.d.sync += [
            self._applying.eq(done.valid),
            accepted.eq(takes),
            stores.eq(takes & done.p.store),
            counts.eq(takes & done.p.counted),
            absorbed.eq(done.p.absorbed),
            replay.eq(done.valid & (self._verdict == HelloVerdict.REPLAY)),
            news.eq(done.valid & done.p.store & (self._verdict == HelloVerdict.NEWS)),
        ]
        # The scan leaves the row alone meanwhile.
        state = self._deadlines.flags.state
        was_up, was_left = Signal(), Signal()
        m.d.sync += [
            was_up.eq((state == State.UP) | (state == State.LATE)),
            was_left.eq(state == State.LEFT),
        ]
        m.d.comb += [
            self._stored.store.eq(stores),
            ledger.add.eq(accepted),
            ledger.clear.eq(self._forgets),
            ledger.peer.eq(self._at),
            ledger.heard_us.eq(self._arrived),
            ledger.absorb.eq(absorbed),
        ]
        sequence = Signal(32)
        m.d.comb += [
            sequence.eq(self._last),
            sequence.word_select(~hello.multicast, 16).eq(hello.sequence),
        ]
        # The second event of a HELLO keeps the distance that is asked of a source.
        later, following = Signal(EVENT_CLOCKS), Signal(EVENT)
        m.d.sync += [
            self.o_heard.valid.eq(later[-1]),
            self.o_heard.p.eq(following),
            later.eq(Cat(news, later)),
            following.kind.eq(EventCode.PEER_NEWS),
        ]
        with m.If(self._applying):
            m.d.sync += following.index.eq(hello.peer)
        with m.If(replay):
            self._raise(m, EventCode.REPLAY)
        with m.If(accepted & self._leaving & ~was_left):
            self._raise(m, EventCode.PEER_LEFT)
        with m.If(accepted & ~self._leaving & ~was_up):
            self._raise(m, EventCode.PEER_UP)
        m.d.comb += [
            self._write["sequence"].data.eq(Mux(self._applying, sequence, self._access.data)),
            self._write["sequence"].en.eq(accepted | self._sequence_written),
            self._write["quiet"].data.eq(Mux(self._applying, self._quiet, 0)),
            self._write["quiet"].en.eq(counts | self._forgets),
        ]
        self._heard = accepted

    def _raise(self, m: Module, kind: EventCode) -> None:
        m.d.sync += [
            self.o_heard.valid.eq(1),
            self.o_heard.p.kind.eq(kind),
            self.o_heard.p.index.eq(self._hello.peer),
        ]

    def _command(self, m: Module) -> None:
        """`forget` and `arm` of the host, and its accesses to the rows, between HELLOs."""
        self._waiting(m)
        for n, area in enumerate(AREAS):
            port = getattr(self, f"i_ram_{area}")
            with m.If(port.valid):
                m.d.sync += [self._access.eq(port.p), self._area[n].eq(1)]
        wide, narrow = (area.stride.bit_length() - 1 for area in (TIMING, SEQUENCE))
        address = self._access.address
        element = Mux(self._area[1], address[narrow:], address[wide:])
        free = self._calm & ~self.i_hello.valid
        wishes = self._wishes  # of this clock, if it is free
        m.d.comb += [
            self._forgets.eq(wishes.forgets & free),
            self._arms.eq(wishes.arms & free),
            self._serves.eq(wishes.serves & free),
            self._deadlines.claim.eq(self._heard | wishes.touches),
            self._deadlines.write.eq(self._heard | (wishes.touches & free)),
        ]
        m.d.sync += wishes.eq(0)
        with m.FSM():
            with m.State("Idle"):
                m.d.sync += self._holds.eq(0)
                with m.If(self._groups.any()):
                    m.d.sync += self._host_at[GROUP_BITS:].eq(lowest(self._groups))
                    m.next = "Group"
                with m.Elif(self._area.any()):
                    m.d.sync += [self._host_at.eq(element), self._holds.eq(1)]
                    m.next = "Reach"
            with m.State("Group"):
                m.next = "Member"
            with m.State("Member"):
                m.d.sync += [
                    self._host_at[:GROUP_BITS].eq(lowest(self._members)),
                    self._holds.eq(1),
                ]
                m.next = "Go"
                with m.If(~self._members.any()):
                    # The group's last one has just been done.
                    m.next = "Idle"
            with m.State("Go"):
                m.next = "Look"
            with m.State("Look"):
                # The row, the sums, the write: a HELLO between them begins it anew.
                with m.If(free):
                    m.next = "Add"
            with m.State("Add"):
                m.d.sync += [
                    wishes.forgets.eq(self._forget_first & free),
                    wishes.arms.eq(~self._forget_first & free),
                    wishes.touches.eq(free),
                ]
                m.next = "Do"
                with m.If(~free):
                    m.next = "Look"
            with m.State("Do"):
                m.next = "Look"
                with m.If(free):
                    m.next = "Idle"
            with m.State("Reach"):
                m.next = "Settle"
            with m.State("Settle"):
                m.d.sync += [
                    wishes.serves.eq(free),
                    wishes.touches.eq(free & self._area[1] & self._access.write),
                ]
                with m.If(free):
                    m.next = "Serve"
            with m.State("Serve"):
                m.next = "Settle"
                with m.If(free):
                    m.next = "Idle"
                    with m.If(self._area[2] & ~self._access.write):
                        m.d.comb += self._ledger.ask.eq(1)
                        m.next = "Ledger"
            with m.State("Ledger"):
                m.d.sync += self._holds.eq(0)
                with m.If(self._ledger.answered):
                    m.next = "Idle"

    def _waiting(self, m: Module) -> None:
        """The commands that wait: in which groups of peers, and those of the group looked at."""
        arm, forget = Signal(self._peers), Signal(self._peers)
        groups = -(-self._peers // GROUP)
        self._groups, self._members = Signal(groups), Signal(GROUP)
        self._forget_first = Signal()  # of `self._host_at`
        forgets = Signal(GROUP)
        # Decoded a clock ahead, and in two halves, so that a bit takes one LUT.
        low, high = Signal(GROUP), Signal(groups)
        m.d.sync += [
            low.eq(1 << self._host_at[:GROUP_BITS]),
            high.eq(1 << self._host_at[GROUP_BITS:]),
        ]
        for waits, new, done in (
            (arm, self.arm, self._arms),
            (forget, self.forget, self._forgets),
        ):
            ended = Mux(done, low, 0)
            here = Cat(ended & bit.replicate(len(low)) for bit in high)
            m.d.sync += waits.eq(waits & ~here[: self._peers] | new)
        which = self._host_at[GROUP_BITS:]
        m.d.sync += [
            self._groups.eq(
                Cat(
                    (arm[n : n + GROUP] | forget[n : n + GROUP]).any()
                    for n in range(0, self._peers, GROUP)
                )
            ),
            self._members.eq((arm | forget).word_select(which, GROUP)),
            forgets.eq(forget.word_select(which, GROUP)),
            self._forget_first.eq(forgets.bit_select(self._host_at[:GROUP_BITS], 1)),
        ]

    def _set_flags(self, m: Module) -> None:
        """The one place where a HELLO or the host writes a peer's state."""
        deadlines, following = self._deadlines, self._deadlines.next_flags
        m.d.comb += [
            following.eq(deadlines.flags),
            deadlines.set_due.eq(self._heard | self._arms),
        ]
        # By what the host wishes, for whether it is written is known late; a Sequence # if nothing.
        with m.If(~self._wishes.arms):
            m.d.comb += following.fresh.eq(0)
        with m.If(self._wishes.arms):
            m.d.comb += [
                following.state.eq(State.UP),
                following.down.eq(self._down_set),
                following.late.eq(self._late_set),
            ]
        with m.If(self._wishes.forgets):
            m.d.comb += following.eq(FLAGS.const({"state": State.UNKNOWN, "fresh": 1}))
        with m.If(self._heard):
            m.d.comb += [
                following.state.eq(Mux(self._leaving, State.LEFT, State.UP)),
                following.down.eq(self._down_set & ~self._leaving),
                following.late.eq(self._late_set & ~self._leaving),
                # Who has left begins anew, whatever Sequence # it comes back with (harp.md §3).
                following.fresh.eq(self._leaving),
            ]

    def _serve(self, m: Module) -> None:
        """The host's access to the row of its element."""
        word, ledger = self._access.address[:3], self._ledger
        timing, sequence, snapshot = self._area
        row = self._row
        m.d.comb += ledger.address.eq(self._access.address)
        answer, counted = Signal(64), Signal()
        state = Cat(self._deadlines.flags.state, self._stored.length)
        last = ~timing & (~snapshot | (word == LAST))
        shown = (
            (self._last, last),
            (row["down_us"], timing & (word == _word(TIMING, "deadline_us"))),
            (row["late_us"], timing & (word == _word(TIMING, "late_us"))),
            (row["multiplier"], timing & (word == _word(TIMING, "multiplier"))),
            (state, snapshot & (word == _word(SNAPSHOT, "state"))),
        )
        # Which it is, is known long before it is served.
        chosen = Signal(len(shown))
        m.d.sync += chosen.eq(Cat(choice for _, choice in shown))
        found: Value = Const(0)
        for (value, _), choice in zip(shown, chosen, strict=True):
            found |= Mux(choice, value, 0)
        writes = self._serves & self._access.write
        for n, name in enumerate(("down_us", "late_us", "multiplier"), start=1):
            write = self._write[name]
            m.d.comb += write.data.eq(self._access.data)
            # A clock later `self._at` is still the host's.
            m.d.sync += write.en.eq(writes & chosen[n])
        m.d.comb += self._sequence_written.eq(writes & sequence)
        with m.If(self._serves):
            m.d.sync += [
                answer.eq(found),
                counted.eq(snapshot & (word != _word(SNAPSHOT, "state")) & (word != LAST)),
            ]
        quick = self._serves & ~(snapshot & ~self._access.write)
        with m.If(quick | ledger.answered):
            m.d.sync += self._area.eq(0)
        for n, area in enumerate(AREAS):
            port = getattr(self, f"o_ram_{area}")
            m.d.sync += port.valid.eq((quick | ledger.answered) & self._area[n])
            m.d.comb += port.p.data.eq(Mux(counted, ledger.answer, answer) if n == 2 else answer)


assert TIMING.stride == SNAPSHOT.stride
