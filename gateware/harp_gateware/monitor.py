"""The heartbeat monitor: what is in a HELLO, who is alive, who is late, who is down.

Ref: offload.md §3 (news, deadlines, sequence windows), harp.md §4 (failure detection)
"""

from amaranth import Array, Cat, Module, Mux, Signal, Value
from amaranth.lib import data, enum, memory, stream, wiring
from amaranth.lib.wiring import In, Out

from harp.tables.offload import PEERS, SEQUENCE_WINDOW, PeerState
from harp.tables.register_schema import WORD_BITS, Register
from harp.tables.registers import BY_NAME
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
from harp_gateware.priority import lowest
from harp_gateware.stored_mh import StoredMh

DUE = DEADLINE_US + 2
"""Bits of a due time: now and due differ by less than 2^41 µs, so the sign tells which is first."""
COUNTER = 48
AREAS = ("peer_timing", "peer_sequence", "peer_state")
TIMING, SEQUENCE, SNAPSHOT = (BY_NAME[area] for area in AREAS)
DUE_ROW = data.StructLayout({"down": DUE, "late": DUE})


class State(enum.Enum, shape=3):
    """`harp.tables.offload.PeerState`."""

    locals().update({state.name: state.value for state in PeerState})


def _word(register: Register, field: str) -> int:
    """The word of an element in which a field begins."""
    return register.field(field).at // WORD_BITS


class Monitor(wiring.Component):
    """Judges HELLOs of peers and watches their deadlines.

    `i_mh` and `i_peer` feed the comparison (`StoredMh`). `i_hello`, at least 5 clocks after the
    last word of its MH, is answered 4 clocks later; `i_hello_done`, 1 to 4 clocks after that,
    applies it. The next `i_hello` comes after it.

    `arrival_us`, read with `i_hello`, is the time of its frame's last word.

    Deadlines: a peer a clock is looked at, so `peer_down` is raised within `peers` + 3 clocks of
    the µs in which `now_us` reaches it, whatever else happens. `o_heard` are events from HELLOs,
    `o_due` those from time; two streams, as both can have one in the same clock.
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
        self._memories(m)
        self._states = [Signal(State, name=f"state_{n}") for n in range(self._peers)]
        self._armed = Signal(self._peers)  # has a deadline
        self._late_armed = Signal(self._peers)
        self._fresh = Signal(self._peers)  # any Sequence # is accepted
        self._sequence_written = Signal()
        self._touched, self._touched_at = Signal(), Signal(PEER_INDEX)
        self._judge(m)
        self._apply(m)
        self._command(m)
        self._serve(m)
        self._scan(m)
        return m

    def _memories(self, m: Module) -> None:
        """Rows by peer. Read ports: `who` for the HELLO, `at` for host and commands, the scan."""
        self._who, self._at = Signal(PEER_INDEX), Signal(PEER_INDEX)
        self._row: dict[str, Value] = {}  # of the HELLO's peer
        self._host_row: dict[str, Value] = {}  # of the host's element
        self._write = {}
        shapes = {
            "down_us": (DEADLINE_US, 0),
            "late_us": (DEADLINE_US, 0),
            "multiplier": (8, TIMING.reset_of(TIMING.field("multiplier"))),
            "sequence": (2 * 16, 0),
            "heard": (TIME_US, 0),
            "accepted": (COUNTER, 0),
            "absorbed": (COUNTER, 0),
            "quiet": (8, 0),
            "due": (DUE_ROW.size, 0),
        }
        for name, (width, init) in shapes.items():
            ram = memory.Memory(shape=width, depth=PEERS, init=[init] * PEERS)
            m.submodules[name] = ram
            write = self._write[name] = ram.write_port()
            if name != "due":
                who, at = ram.read_port(domain="comb"), ram.read_port(domain="comb")
                m.d.comb += [who.addr.eq(self._who), at.addr.eq(self._at)]
                self._row[name], self._host_row[name] = who.data, at.data
            else:
                self._scan_port = ram.read_port(domain="comb")
            m.d.comb += write.addr.eq(self._at)

    def _judge(self, m: Module) -> None:
        """The HELLO's answer: row, distance, window, verdict; a clock each."""
        hello = self._hello = Signal(HELLO_REQUEST)
        self._arrived = Signal(TIME_US)
        steps = Signal(3)
        m.submodules.stored = stored = self._stored = StoredMh(self._peers)
        wiring.connect(m, wiring.flipped(self.i_mh), stored.i_mh)
        wiring.connect(m, wiring.flipped(self.i_peer), stored.i_peer)
        m.d.comb += [
            stored.auth_subtype.eq(self.auth_subtype),
            stored.take.eq(steps[1]),
            stored.peer.eq(hello.peer),
            self._who.eq(hello.peer),
        ]
        m.d.sync += steps.eq(Cat(self.i_hello.valid, steps))
        with m.If(self.i_hello.valid):
            m.d.sync += [hello.eq(self.i_hello.p), self._arrived.eq(self.arrival_us)]
        # First clock: the peer's row.
        last = self._row["sequence"].word_select(~hello.multicast, 16)
        last = Mux(self._fresh.bit_select(hello.peer, 1), 0, last)
        distance, window = Signal(16), Signal(9)
        any_, seen = Signal(), Signal()
        quiet, self._quiet = Signal(9), Signal(8)
        double = Cat(0, self._row["multiplier"])
        m.d.sync += [
            distance.eq(hello.sequence - last),
            any_.eq(last == 0),
            window.eq(Mux(double > SEQUENCE_WINDOW, double, SEQUENCE_WINDOW)),
            seen.eq(self.seen.bit_select(hello.peer, 1)),
            quiet.eq(self._row["quiet"] + 1),
        ]
        # Second: is it in the window, is it news, is it its turn to pass.
        inside, news, turn = Signal(), Signal(), Signal()
        m.d.sync += [
            inside.eq(any_ | ((distance != 0) & (distance <= window))),
            news.eq(~stored.same | hello.reply | (hello.lifetime_zero & seen)),
            turn.eq((self.pass_every != 0) & (quiet >= self.pass_every)),
        ]
        # Third: the verdict.
        self._verdict, self._accepted = Signal(HelloVerdict), Signal()
        self._leaving = Signal()
        beat = Mux(seen | turn, HelloVerdict.HEARTBEAT_PASS, HelloVerdict.HEARTBEAT)
        calm = Mux(inside, beat, HelloVerdict.REPLAY)
        with m.If(steps[2]):
            m.d.sync += [
                self._verdict.eq(Mux(news, HelloVerdict.NEWS, calm)),
                self._accepted.eq(inside),
                self._leaving.eq(hello.lifetime_zero & ~seen),
                self._quiet.eq(Mux(news | seen, quiet - 1, Mux(turn, 0, quiet))),
            ]
        m.d.sync += self.o_hello.valid.eq(steps[2])
        m.d.comb += self.o_hello.p.verdict.eq(self._verdict)
        # What an accepted one writes, made ready meanwhile.
        self._next_down, self._next_late = Signal(DUE), Signal(DUE)
        self._count, self._absorbed = Signal(COUNTER), Signal(COUNTER)
        self._down_set, self._late_set = Signal(), Signal()
        m.d.sync += [
            self._next_down.eq(self._arrived[:DUE] + self._row["down_us"]),
            self._next_late.eq(self._arrived[:DUE] + self._row["late_us"]),
            self._down_set.eq(self._row["down_us"] != 0),
            self._late_set.eq(self._row["late_us"] != 0),
            self._count.eq(self._row["accepted"] + 1),
            self._absorbed.eq(self._row["absorbed"] + 1),
        ]

    def _apply(self, m: Module) -> None:
        """The clock after `i_hello_done`: state, deadline, rows and events, all at once."""
        hello = self._hello
        self._applying = Signal()
        done = Signal(HELLO_COMMIT)
        m.d.sync += [self._applying.eq(self.i_hello_done.valid), done.eq(self.i_hello_done.p)]
        accepted = self._applying & self._accepted
        news = self._verdict == HelloVerdict.NEWS
        state = Signal(State)
        m.d.comb += [
            state.eq(Array(self._states)[hello.peer]),
            self._stored.store.eq(accepted & done.store),
        ]
        old = Mux(self._fresh.bit_select(hello.peer, 1), 0, self._row["sequence"])
        sequence = Signal(32)
        m.d.comb += [
            sequence.eq(old),
            sequence.word_select(~hello.multicast, 16).eq(hello.sequence),
        ]
        was_up = (state == State.UP) | (state == State.LATE)
        later, following = Signal(), Signal(EVENT)
        m.d.sync += [
            self.o_heard.valid.eq(later),
            self.o_heard.p.eq(following),
            later.eq(self._applying & news & done.store),
            following.kind.eq(EventCode.PEER_NEWS),
            following.index.eq(hello.peer),
        ]
        with m.If(self._applying & (self._verdict == HelloVerdict.REPLAY)):
            self._raise(m, EventCode.REPLAY)
        with m.If(accepted):
            with m.If(self._leaving & (state != State.LEFT)):
                self._raise(m, EventCode.PEER_LEFT)
            with m.If(~self._leaving & ~was_up):
                self._raise(m, EventCode.PEER_UP)
            self._touch(m, hello.peer)
            writes = {"absorbed": done.absorbed, "quiet": done.counted}
            for name, value in (
                ("sequence", sequence),
                ("heard", self._arrived),
                ("accepted", self._count),
                ("absorbed", self._absorbed),
                ("quiet", self._quiet),
                ("due", Cat(self._next_down, self._next_late)),
            ):
                m.d.comb += [
                    self._write[name].addr.eq(hello.peer),
                    self._write[name].data.eq(value),
                    self._write[name].en.eq(writes.get(name, 1)),
                ]
        self._heard = accepted

    def _raise(self, m: Module, kind: EventCode) -> None:
        m.d.sync += [
            self.o_heard.valid.eq(1),
            self.o_heard.p.kind.eq(kind),
            self.o_heard.p.index.eq(self._hello.peer),
        ]

    def _touch(self, m: Module, peer: Value) -> None:
        """What the scan has read of this peer is old."""
        m.d.comb += [self._touched.eq(1), self._touched_at.eq(peer)]

    def _command(self, m: Module) -> None:
        """`forget` and `arm` of the host, and its accesses to the rows, between HELLOs."""
        arm, forget = Signal(self._peers), Signal(self._peers)
        now_arm, now_forget = Signal(), Signal()
        here = (1 << self._at)[: self._peers]
        self._arm_now, self._forget_now = now_arm, now_forget
        waiting = arm | forget
        m.d.sync += [
            arm.eq(arm & ~Mux(now_arm, here, 0) | self.arm),
            forget.eq(forget & ~Mux(now_forget, here, 0) | self.forget),
        ]
        self._access, self._area = Signal(RAM_REQUEST), Signal(len(AREAS))
        self._serving = Signal()
        inputs = [getattr(self, f"i_ram_{area}") for area in AREAS]
        for n, port in enumerate(inputs):
            with m.If(port.valid):
                m.d.sync += [self._access.eq(port.p), self._area[n].eq(1)]
        with m.If(self._serving):
            m.d.sync += self._area.eq(0)
        strides = [register.stride.bit_length() - 1 for register in (TIMING, SEQUENCE, SNAPSHOT)]
        element = Cat(*(self._access.address[low : low + 5] for low in strides))
        down, late = Signal(DUE), Signal(DUE)
        m.d.sync += [
            down.eq(self.now_us[:DUE] + self._host_row["down_us"]),
            late.eq(self.now_us[:DUE] + self._host_row["late_us"]),
        ]
        with m.FSM():
            with m.State("Idle"):
                with m.If(waiting.any()):
                    m.d.sync += self._at.eq(lowest(waiting))
                    m.next = "Add"
                with m.Elif(self._area.any()):
                    for n in range(len(AREAS)):
                        with m.If(self._area[n]):
                            m.d.sync += self._at.eq(element.word_select(n, 5))
                    m.next = "Serve"
            with m.State("Add"):
                m.next = "Do"
            with m.State("Do"):
                with m.If(~self._applying):
                    m.d.comb += [
                        now_forget.eq((forget & here).any()),
                        now_arm.eq(~now_forget),
                    ]
                    self._touch(m, self._at)
                    m.next = "Idle"
            with m.State("Serve"):
                with m.If(~self._applying):
                    m.d.comb += self._serving.eq(1)
                    m.next = "Idle"
        with m.If(now_arm):
            m.d.comb += [
                self._write["due"].en.eq(1),
                self._write["due"].data.eq(Cat(down, late)),
            ]
        with m.If(now_forget):
            for name in ("heard", "quiet"):
                m.d.comb += [self._write[name].en.eq(1), self._write[name].data.eq(0)]
        m.d.comb += self._stored.forget.eq(Mux(now_forget, here, 0))

    def _scan(self, m: Module) -> None:
        """A peer a clock: read, subtract, decide. What a HELLO or command touches starts anew."""
        index = Signal(range(self._peers))
        last = index == self._peers - 1
        m.d.sync += index.eq(Mux(last, 0, index + 1))
        m.d.comb += self._scan_port.addr.eq(index)

        def old(at: Value) -> Value:
            return self._touched & (self._touched_at == at)

        row, row_at, row_good = Signal(DUE_ROW), Signal(PEER_INDEX), Signal()
        m.d.sync += [row.eq(self._scan_port.data), row_at.eq(index), row_good.eq(~old(index))]
        down, late, at, good = Signal(), Signal(), Signal(PEER_INDEX), Signal()
        now = self.now_us[:DUE]
        m.d.sync += [
            # The sign: 0 once `now` has come to it.
            down.eq(~(now - row.down)[DUE - 1]),
            late.eq(~(now - row.late)[DUE - 1]),
            at.eq(row_at),
            good.eq(row_good & ~old(row_at)),
        ]
        state = Array(self._states)[at]
        go_down = good & ~old(at) & down & self._armed.bit_select(at, 1)
        go_late = good & ~old(at) & late & self._late_armed.bit_select(at, 1)
        m.d.sync += [
            self.o_due.valid.eq(go_down | (go_late & (state == State.UP))),
            self.o_due.p.kind.eq(Mux(go_down, EventCode.PEER_DOWN, EventCode.PEER_LATE)),
            self.o_due.p.index.eq(at),
        ]
        for n in range(self._peers):
            self._next_state(m, n, go_down & (at == n), go_late & (at == n))

    def _next_state(self, m: Module, n: int, down: Value, late: Value) -> None:
        """State of one peer: the one place where it is written."""
        state = self._states[n]
        with m.If(down):
            m.d.sync += [
                state.eq(State.DOWN),
                self._armed[n].eq(0),
                self._late_armed[n].eq(0),
                self._fresh[n].eq(1),
            ]
        with m.Elif(late):
            m.d.sync += self._late_armed[n].eq(0)
            with m.If(state == State.UP):
                m.d.sync += state.eq(State.LATE)
        with m.If(self._arm_now & (self._at == n)):
            m.d.sync += [
                state.eq(State.UP),
                self._armed[n].eq(self._host_row["down_us"] != 0),
                self._late_armed[n].eq(self._host_row["late_us"] != 0),
            ]
        with m.If(self._forget_now & (self._at == n)):
            m.d.sync += [
                state.eq(State.UNKNOWN),
                self._armed[n].eq(0),
                self._late_armed[n].eq(0),
                self._fresh[n].eq(1),
            ]
        with m.If(self._sequence_written & (self._at == n)):
            m.d.sync += self._fresh[n].eq(0)
        with m.If(self._heard & (self._hello.peer == n)):
            m.d.sync += [
                state.eq(Mux(self._leaving, State.LEFT, State.UP)),
                self._armed[n].eq(self._down_set & ~self._leaving),
                self._late_armed[n].eq(self._late_set & ~self._leaving),
                # Who has left begins anew, whatever Sequence # it comes back with (harp.md §3).
                self._fresh[n].eq(self._leaving),
            ]

    def _serve(self, m: Module) -> None:
        """The host's access to the row of `self._at`."""
        word = self._access.address[:3]
        timing, sequence, snapshot = self._area
        row = self._host_row
        last = Mux(self._fresh.bit_select(self._at, 1), 0, row["sequence"])
        writes = self._serving & self._access.write
        for name, field in (
            ("down_us", "deadline_us"),
            ("late_us", "late_us"),
            ("multiplier", "multiplier"),
        ):
            m.d.comb += [
                self._write[name].en.eq(writes & timing & (word == _word(TIMING, field))),
                self._write[name].data.eq(self._access.data),
            ]
        m.d.comb += self._sequence_written.eq(writes & sequence)
        with m.If(self._sequence_written):
            m.d.comb += [
                self._write["sequence"].en.eq(1),
                self._write["sequence"].data.eq(self._access.data),
            ]
        state = Cat(Value.cast(Array(self._states)[self._at]), self._stored.lengths[self._at])
        answers = (
            {
                _word(TIMING, "deadline_us"): row["down_us"],
                _word(TIMING, "late_us"): row["late_us"],
                _word(TIMING, "multiplier"): row["multiplier"],
            },
            None,
            {
                _word(SNAPSHOT, "heard_us"): row["heard"],
                _word(SNAPSHOT, "state"): state,
                _word(SNAPSHOT, "last_multicast"): last,
                _word(SNAPSHOT, "accepted"): row["accepted"],
                _word(SNAPSHOT, "absorbed"): row["absorbed"],
            },
        )
        answer = Signal(64)
        for chosen, words in zip((timing, sequence, snapshot), answers, strict=True):
            with m.If(chosen):
                if words is None:
                    m.d.sync += answer.eq(last)
                    continue
                with m.Switch(word):
                    for at, value in words.items():
                        with m.Case(at):
                            m.d.sync += answer.eq(value)
        for n, area in enumerate(AREAS):
            port = getattr(self, f"o_ram_{area}")
            m.d.sync += port.valid.eq(self._serving & self._area[n])
            m.d.comb += port.p.data.eq(answer)
