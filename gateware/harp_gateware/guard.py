"""Lease, watchdog, resign and fence.

Ref: offload.md (the lease), §4 (watchdog, fence, link mirror), §5 (events)
"""

from amaranth import Cat, Module, Mux, Signal, Value
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from harp.tables.offload import (
    MAX_LEASE_MS,
    RESIGN_REPEATS,
    RESIGN_SPACING_US,
    WatchdogAction,
)
from harp_gateware.layouts import EVENT, TIME_US, EventCode
from harp_gateware.priority import lowest

SPAN = 34
"""Bits of the host link's times: its longest wait is 2^32 µs, and the sign tells what is past."""
NEAR = 28
"""Bits of the others, which are at most 200 ms ahead; now may jump by two minutes."""
EVENT_CLOCKS = 16
"""From one event to the next, so that the sources before this one go first."""
KINDS = (
    (EventCode.WATCHDOG_FIRED, 0),
    (EventCode.FENCED, 0),
    (EventCode.LINK, 0),
    (EventCode.LINK, 1),
    (EventCode.LEASE_LOST, 0),
    (EventCode.RESET, 0),
)
"""Events of the guard: kind and index."""


def _reached(now: Value, due: Value) -> Value:
    """`now` is at `due` or past it; both have one bit more than the longest wait."""
    return ~(now[: len(due)] - due)[len(due) - 1]


class Guard(wiring.Component):
    """The one safety rule, and what follows when an armed host is gone.

    A kick at µs t makes the lease live until t + `lease_ms` (at most 200 ms), when it is lost. The
    armed watchdog fires when a live lease is lost, or while the host's link has been down for
    `host_link_grace_us`; then not again before `armed` was 0. `WatchdogAction.EVENT`: nothing
    but the event. Else `run` ends, `resign` is 1 for a clock at once and 1 and 2 ms later, and the
    fence closes with the last (at once if no slot `resigns`), until `unfence`.

    `run`: slots may run. `plain`: nothing is enforced. Everything is registered: 5 clocks behind
    `now_us` and the links.
    """

    now_us: In(TIME_US)
    filter_enable: In(1)
    link_mirror: In(1)
    kick: In(1)
    unfence: In(1)
    armed: In(1)
    action: In(1)
    lease_ms: In(8)
    host_link_grace_us: In(32)
    resigns: In(1)
    """A slot waits to resign."""
    links: In(2)
    """Link up, of network (bit 0) and host; a monitor's host link is always 1."""

    lease: Out(1)
    lease_left_us: Out(32)
    fired: Out(1)
    fenced: Out(1)
    plain: Out(1, init=1)
    run: Out(1)
    resign: Out(1)
    lease_lost: Out(1)
    """1 for a clock, as `watchdog_fired` and `reset`: set sticky bits."""
    watchdog_fired: Out(1)
    reset: Out(1)
    host_link_enable: Out(1, init=1)
    o_event: Out(stream.Signature(EVENT, always_ready=True))

    def elaborate(self, platform: object) -> Module:
        m = Module()
        self._now = Signal(SPAN)
        m.d.sync += self._now.eq(self.now_us)
        self._lost = Signal()  # the live lease ends in this clock
        self._fire = Signal()
        self._fence = Signal()  # the fence closes
        self._stopped = Signal()  # slots were stopped by the watchdog
        self._lease(m)
        self._links(m)
        self._watchdog(m)
        self._resign(m)
        self._announce(m)
        m.d.sync += [
            self.plain.eq(~self.filter_enable | ~self.lease),
            self.run.eq(self.lease & ~self._stopped),
            self.host_link_enable.eq(~self.link_mirror | self.links[0]),
        ]
        return m

    def _lease(self, m: Module) -> None:
        """Kicked: its length in two clocks, its end, what is left, and whether it is over."""
        length_ms, thrice = Signal(8), Signal(10)
        long = self.lease_ms > MAX_LEASE_MS
        length, until = Signal(range(1000 * MAX_LEASE_MS + 1)), Signal(NEAR)
        kicked, lately = Signal(5), Signal()  # clocks ago; in any of them
        left, over = Signal(NEAR), Signal()
        m.d.sync += [
            length_ms.eq(Mux(long, MAX_LEASE_MS, self.lease_ms)),
            thrice.eq(Mux(long, 3 * MAX_LEASE_MS, self.lease_ms + (self.lease_ms << 1))),
            length.eq((length_ms << 7) - thrice << 3),  # 8 x 125
            kicked.eq(Cat(self.kick, kicked)),
            lately.eq(self.kick | kicked[:-1].any()),
            left.eq(until - self._now[:NEAR]),
            over.eq(left[-1] | (left == 0)),
            self.lease_left_us.eq(Mux(self.lease & ~left[-1], left, 0)),
        ]
        m.d.comb += self._lost.eq(self.lease & over & ~lately)
        with m.If(kicked[1]):
            m.d.sync += until.eq(self._now[:NEAR] + length)
        with m.Elif(kicked[2]):
            m.d.sync += self.lease.eq(1)
        with m.Elif(self._lost):
            m.d.sync += self.lease.eq(0)

    def _links(self, m: Module) -> None:
        """For how long the host's link is down."""
        since, gone, grace = Signal(SPAN), Signal(), Signal(SPAN)
        self._host_gone = gone
        m.d.sync += grace.eq(since + self.host_link_grace_us)
        counted = Signal(2)  # since and grace are right
        timed = Signal(2)  # after reset: `now` has been taken
        m.d.sync += timed.eq(Cat(1, timed))
        with m.If(self.links[1] | ~timed.all()):
            m.d.sync += [since.eq(self._now), gone.eq(0), counted.eq(0)]
        with m.Else():
            m.d.sync += counted.eq(Cat(1, counted))
            with m.If(counted[1] & _reached(self._now, grace)):
                m.d.sync += gone.eq(1)

    def _watchdog(self, m: Module) -> None:
        spent = Signal()
        self._stop = self._fire & (self.action == WatchdogAction.RESIGN_FENCE)
        m.d.comb += self._fire.eq(self.armed & ~spent & (self._lost | self._host_gone))
        with m.If(~self.armed | self._fire):
            m.d.sync += spent.eq(self.armed)
        with m.If(self.unfence):
            m.d.sync += [self.fired.eq(0), self._stopped.eq(0), self.fenced.eq(0)]
        with m.Elif(self._fire):
            m.d.sync += [self.fired.eq(1), self._stopped.eq(self._stop | self._stopped)]
        with m.If(self._fence & ~self.unfence):
            m.d.sync += self.fenced.eq(1)

    def _resign(self, m: Module) -> None:
        """At once, and again after 1 and 2 ms; then the fence."""
        left, due = Signal(range(RESIGN_REPEATS)), Signal(NEAR)
        waited, judged = Signal(), Signal()  # `due` is over; so it was, of what it is now
        counted = Signal()  # from what `due` is to be counted is known, but `due` is not yet
        again = (left != 0) & waited & judged
        begins = self._stop | again
        m.d.comb += self._fence.eq(
            ~self.fenced & Mux(self._stop, ~self.resigns, again & (left == 1))
        )
        m.d.sync += [
            self.resign.eq(begins),
            waited.eq(_reached(self._now, due)),
            counted.eq(begins),
            judged.eq(~begins & ~counted),
        ]
        with m.If(self._stop):
            m.d.sync += due.eq(self._now[:NEAR])
        with m.If(counted):
            m.d.sync += due.eq(due + RESIGN_SPACING_US)
        with m.If(self._stop):
            m.d.sync += left.eq(RESIGN_REPEATS - 1)
        with m.Elif(self.unfence):
            m.d.sync += left.eq(0)
        with m.Elif(again):
            m.d.sync += left.eq(left - 1)

    def _announce(self, m: Module) -> None:
        """Events one in EVENT_CLOCKS; each waits in a bit of its own."""
        waiting, before = Signal(len(KINDS)), Signal(2)
        begun = Signal()
        changed = Mux(begun, self.links ^ before, 0)
        news = Cat(self._fire, self._fence, changed, self._lost, ~begun)
        first = lowest(waiting)
        pause = Signal(range(EVENT_CLOCKS))
        sends = waiting.any() & (pause == 0)
        sent = Mux(sends, (1 << first)[: len(KINDS)], 0)
        m.d.sync += [
            begun.eq(1),
            before.eq(self.links),
            waiting.eq(waiting & ~sent | news),
            pause.eq(Mux(sends, EVENT_CLOCKS - 1, pause - (pause != 0))),
            self.o_event.valid.eq(sends),
            self.lease_lost.eq(self._lost),
            self.watchdog_fired.eq(self._fire),
            self.reset.eq(~begun),
        ]
        with m.Switch(first):
            for n, (kind, index) in enumerate(KINDS):
                with m.Case(n):
                    m.d.sync += [self.o_event.p.kind.eq(kind), self.o_event.p.index.eq(index)]
