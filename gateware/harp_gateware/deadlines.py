"""State and deadlines of the peers: rows in distributed RAM, and the scan that finds who is late.

Ref: offload.md §3 (deadlines), harp.md §4 (failure detection)
"""

from amaranth import Module, Mux, Signal
from amaranth.lib import data, enum, memory, stream, wiring
from amaranth.lib.wiring import In, Out

from harp.tables.offload import PEERS, PeerState
from harp_gateware.layouts import DEADLINE_US, EVENT, PEER_INDEX, TIME_US, EventCode

DUE = DEADLINE_US + 2
"""Bits of a due time: now and due differ by less than 2^41 µs, so the sign tells which is first."""
DUE_ROW = data.StructLayout({"down": DUE, "late": DUE})


class State(enum.Enum, shape=3):
    """`harp.tables.offload.PeerState`."""

    locals().update({state.name: state.value for state in PeerState})


FLAGS = data.StructLayout(
    {
        "state": State,
        "down": 1,  # has a deadline
        "late": 1,  # has a time at which it is late
        "fresh": 1,  # any Sequence # is accepted
    }
)


class Deadlines(wiring.Component):
    """Keeps a row of `FLAGS` and a `DUE_ROW` of each peer; raises `peer_down` and `peer_late`.

    `flags` is the row of `at`, which was `next_at` a clock ago, as it was then; `write` writes
    `next_flags` there, `set_due` `next_due`, and comes only with `claim`, which is known sooner.
    While `hold` is 1 nothing else writes that row: the scan waits. The scan takes 4 clocks a peer
    and waits for each `claim` or `hold` that meets its end, so an event is raised within 4 x
    `peers` + 16 clocks of the µs in which `now_us` reaches it, if HELLOs come as fast as a line
    carries them. What is written while the scan looks at it is looked at in its next round.

    `ready` is 0 in the `peers` clocks after reset, in which all rows become UNKNOWN (and `clear`
    says which); nothing may be written then.
    """

    def __init__(self, peers: int = PEERS) -> None:
        self._peers = peers
        super().__init__(
            {
                "now_us": In(TIME_US),
                "at": In(PEER_INDEX),
                "next_at": In(PEER_INDEX),
                "flags": Out(FLAGS),
                "hold": In(1),
                "claim": In(1),
                "write": In(1),
                "next_flags": In(FLAGS),
                "set_due": In(1),
                "next_due": In(DUE_ROW),
                "ready": Out(1),
                "clear": Out(PEER_INDEX),
                "o": Out(stream.Signature(EVENT, always_ready=True)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        rows = memory.Memory(shape=FLAGS.size, depth=PEERS, init=[])
        dues = memory.Memory(shape=DUE_ROW.size, depth=PEERS, init=[])
        m.submodules.rows, m.submodules.dues = rows, dues
        self._set, set_due = rows.write_port(), dues.write_port()
        look, scan, due = (ram.read_port(domain="comb") for ram in (rows, rows, dues))
        self._index = Signal(range(self._peers))
        m.d.comb += [
            look.addr.eq(self.next_at),
            scan.addr.eq(self._index),
            due.addr.eq(self._index),
            set_due.addr.eq(self.at),
            set_due.data.eq(self.next_due),
            set_due.en.eq(self.set_due),
            self.clear.eq(self._index),
        ]
        m.d.sync += self.flags.as_value().eq(look.data)
        self._scan(m, data.View(FLAGS, scan.data), data.View(DUE_ROW, due.data))
        return m

    def _scan(self, m: Module, flags: data.View, due: data.View) -> None:
        """One time after the other: read, subtract, then decide; a write goes first.

        The decision hangs on flops: the row as it was a clock before, and what was written then.
        """
        time, past = Signal(DUE), Signal()
        down, late, touched = Signal(), Signal(), Signal()
        row = Signal(FLAGS)
        next_flags = Signal(FLAGS)
        last = self._index == self._peers - 1
        m.d.comb += [
            # The sign: 0 once `now` has come to it.
            past.eq(~(self.now_us[:DUE] - time)[DUE - 1]),
            next_flags.eq(row),
            next_flags.late.eq(0),
            self._set.addr.eq(Mux(self.claim, self.at, self._index)),
            self._set.data.eq(Mux(self.claim, self.next_flags.as_value(), next_flags.as_value())),
        ]
        # `here` is right when the decision asks, for then the index stands.
        here, wrote, was_here = Signal(), Signal(), Signal()
        touched_now = touched | (wrote & was_here)
        waits = self.claim | (self.hold & here)
        m.d.sync += [
            self.o.valid.eq(0),
            wrote.eq(self.write),
            here.eq(self.next_at == self._index),
            was_here.eq(self.at == self._index),
            touched.eq(touched_now),
        ]
        with m.If(self.write):
            m.d.comb += self._set.en.eq(1)
        with m.FSM():
            with m.State("Clear"):
                m.d.comb += [next_flags.eq(FLAGS.const({"fresh": 1})), self._set.en.eq(1)]
                m.d.sync += self._index.eq(Mux(last, 0, self._index + 1))
                with m.If(last):
                    m.d.sync += self.ready.eq(1)
                    m.next = "Read"
            with m.State("Read"):
                # What was written until now is in what is read, but for this clock's.
                m.d.sync += [time.eq(due.late), touched.eq(0)]
                m.next = "Late"
            with m.State("Late"):
                # Before the other, so that a jump of time between them raises one event, not two.
                m.d.sync += [late.eq(past), time.eq(due.down)]
                m.next = "Down"
            with m.State("Down"):
                m.d.sync += [down.eq(past), row.eq(flags)]
                m.next = "Decide"
            with m.State("Decide"):
                go_down, go_late = down & row.down, late & row.late
                with m.If(go_down):
                    m.d.comb += [
                        next_flags.state.eq(State.DOWN),
                        next_flags.down.eq(0),
                        next_flags.fresh.eq(1),
                    ]
                with m.Elif(row.state == State.UP):
                    m.d.comb += next_flags.state.eq(State.LATE)
                with m.If(touched_now | ~waits):
                    m.d.sync += self._index.eq(Mux(last, 0, self._index + 1))
                    m.next = "Read"
                with m.If(~touched_now & ~waits & (go_down | go_late)):
                    m.d.comb += self._set.en.eq(1)
                    m.d.sync += self.o.valid.eq(go_down | (row.state == State.UP))
        m.d.sync += [
            self.o.p.kind.eq(Mux(down & row.down, EventCode.PEER_DOWN, EventCode.PEER_LATE)),
            self.o.p.index.eq(self._index),
        ]
