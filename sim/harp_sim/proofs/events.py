"""Events: none is lost until it is acknowledged, and what is pushed says how many there were.

Ref: offload.md §5 (coalesced, counted, held until acknowledged)

One id, any of two, is watched: its events are counted as they are raised, and as their
acknowledgement clears them.
"""

from __future__ import annotations

from types import ModuleType

from amaranth import Mux, Signal, Value

from harp_sim.proofs.harness import Harness, implies
from harp_sim.proofs.sources import Edit

IDS = 2
COUNT = 4
"""Bits of the counts here: there are fewer than 16 events of an id."""
CLEARED = 4
"""Clocks after reset in which the flags of these few ids are cleared."""
SWEEP = 4 * IDS + 21
"""Clocks until a lone event has been pushed."""

SMALL = (
    Edit("events", "IDS = len(EVENT_KINDS) * EVENT_STRIDE", f"IDS = {IDS}"),
    Edit("events", "ID = (IDS - 1).bit_length()", "ID = 9"),
    Edit("events", "COUNT = 16", f"COUNT = {COUNT}"),
    Edit("events", "QUEUE = 128", "QUEUE = 2"),
    Edit("events", "self._kind == len(EVENT_KINDS) - 1", "1"),
    # Ports to see what is pending, whether an acknowledgement is under way, and when all that
    # came has been entered.
    Edit(
        "events",
        '"lost": Out(1),',
        '"lost": Out(1), "acked": Out(1), "idle": Out(1), "pending": Out(EVENT_STRIDE),',
    ),
    Edit(
        "events",
        "m.d.sync += [self._id.eq(scan), work.eq(0b1000)]",
        "m.d.sync += [self._id.eq(scan), work.eq(0b1000)]\n"
        "                    m.d.comb += self.idle.eq(self._empty & ~self._gathered)",
    ),
    Edit(
        "events",
        "        self._overrun = Signal()\n",
        "        self._overrun, self._empty, self._gathered = Signal(), Signal(), Signal()\n",
    ),
    Edit(
        "events",
        "        m.d.sync += [\n            self._goes.eq(before & self._room),",
        "        m.d.comb += self._gathered.eq(before | self._goes)\n"
        "        m.d.sync += [\n            self._goes.eq(before & self._room),",
    ),
    Edit(
        "events",
        "        read, write = self._queue_read, self._queue_write\n",
        "        read, write = self._queue_read, self._queue_write\n"
        "        m.d.comb += self._empty.eq(head == tail)\n",
    ),
    Edit("events", "self._acked, self._asked = Signal()", "self._acked, self._asked = self.acked"),
    Edit(
        "events",
        "        m.d.sync += [\n            self._row.eq(fetched),",
        '        spy = pending.read_port(domain="comb")\n'
        "        m.d.comb += self.pending.eq(spy.data)\n"
        "        m.d.sync += [\n            self._row.eq(fetched),",
    ),
)


class _Events(Harness):
    """The time stands still: repeats and their ceiling are the tests' business."""

    def __init__(self, module: ModuleType) -> None:
        self.dut = dut = module.Events(2)
        super().__init__(dut)
        m = self.m
        mine = self.chosen(1, "id")
        raised = [self._source(n, mine) for n in range(2)]
        ack, ack_id = self.free(1, "ack"), self.free(1, "ack_id")
        ack_count = self.free(COUNT, "ack_count")
        m.d.comb += [
            dut.ack.eq(ack),
            dut.ack_id.eq(ack_id),
            dut.ack_count.eq(ack_count),
            dut.o.ready.eq(self.free(1, "o_ready")),
        ]
        held_id, held_count = Signal(1), Signal(COUNT)
        with m.If(ack & ~dut.acked):
            m.d.sync += [held_id.eq(ack_id), held_count.eq(ack_count)]
        # What the component looked at a clock ago, if a flag has fallen now.
        by_id, by_count = self.past(held_id), self.past(held_count)
        pending = self.follow(dut.pending.bit_select(mine, 1), "is_pending")
        total, cleared = Signal(COUNT), Signal(COUNT)
        falls = self.past(pending) & ~pending
        gone = self.follow((cleared + Mux(falls, by_count, 0))[:COUNT], "gone")
        m.d.sync += [total.eq(total + raised[0] + raised[1]), cleared.eq(gone)]
        push = dut.o.valid & (dut.o.p.index == mine)
        self.assume(~dut.lost)
        self.claim(self.held(dut.o))
        # A flag falls by an acknowledgement of that id only, and never more than was raised.
        self.claim(implies(falls, by_id == mine))
        self.claim(gone <= total)
        # When all is entered, the flag says whether something is owed.
        self.claim(implies(dut.idle, pending == (gone != total)))
        self.cover(dut.idle & (gone == total) & (total == 2))
        fresh = push & ~self.past(push)
        self.claim(implies(fresh, pending & (dut.o.p.count != 0)))
        self.claim(implies(fresh, dut.o.p.count <= (total - gone)[:COUNT]))
        self.cover(falls & (gone == 2) & (total == 3))
        self.cover(fresh & (dut.o.p.count == 2))
        self._pushed(raised[0], push)

    def _source(self, number: int, mine: Signal) -> Signal:
        port = getattr(self.dut, f"i_{number}")
        valid, ident = self.free(1, f"valid_{number}"), self.free(1, f"id_{number}")
        self.m.d.comb += [port.valid.eq(valid), port.p.index.eq(ident)]
        return self.follow(valid & (ident == mine), f"raised_{number}")

    def _pushed(self, raised: Signal, push: Value) -> None:
        """A lone event is pushed within a sweep when the output is ready."""
        m, dut = self.m, self.dut
        event = dut.i_0.valid | dut.i_1.valid | dut.ack
        alone = raised & ~dut.i_1.valid & ~dut.ack & ~self.sticky(event, "some")
        lone, waits = Signal(), Signal(range(SWEEP + 2))
        m.d.sync += lone.eq(alone | (lone & ~event & ~push & dut.o.ready))
        m.d.sync += waits.eq(Mux(lone, waits + 1, 0))
        self.claim(waits <= SWEEP)
        self.cover(push & lone)


class _AfterReset(Harness):
    """Reset in any clock: what was pending is not any more, though the RAM outlives it."""

    def __init__(self, module: ModuleType) -> None:
        dut = module.Events(2)
        super().__init__(dut, resets=True)
        m = self.m
        valid = [self.free(1, f"valid_{n}") for n in range(2)]
        for n in range(2):
            port = getattr(dut, f"i_{n}")
            ident = self.free(1, f"id_{n}")
            m.d.comb += [port.valid.eq(valid[n]), port.p.index.eq(ident)]
        m.d.comb += [
            dut.ack.eq(self.free(1, "ack")),
            dut.ack_id.eq(self.free(1, "ack_id")),
            dut.ack_count.eq(self.free(COUNT, "ack_count")),
            dut.o.ready.eq(self.free(1, "o_ready")),
        ]
        some = self.sticky(valid[0] | valid[1], "some")
        since = Signal(range(CLEARED + 1))
        with m.If(since != CLEARED):
            m.d.sync += since.eq(since + 1)
        was_pending = Signal(reset_less=True)
        with m.If(dut.pending.any()):
            m.d.sync += was_pending.eq(1)
        cleared = (since == CLEARED) & ~some
        self.claim(implies(cleared, ~dut.pending.any() & ~dut.o.valid))
        self.cover(cleared & was_pending)


def events_reset(module: ModuleType) -> Harness:
    """Two sources, two ids, reset at any time."""
    return _AfterReset(module)


def events(module: ModuleType) -> Harness:
    """Two sources, two ids."""
    return _Events(module)
