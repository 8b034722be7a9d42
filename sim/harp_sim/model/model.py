"""The whole offload as one object: frames and commands with their times in, judgements out.

**Time.** Every call has a time in whole microseconds of the core's `now_us`, never before an
earlier one. A frame's time is `now_us` in the clock in which its last word, with the verdict of its
FCS, enters the core; everything about the frame is judged as of then, cut-through or not.

**Cut-through.** A frame may start to leave before its end only if its headers decide, and either
their action is `pass` or the wire is plain. Everything else waits for its end, so a `bad_frame`
takes no token and leaves no trace. A bad frame that may have started leaves ended by an error, or
not at all: which of the two depends on what was before it in the buffer (`Egress.CUT`).

**Both ways.** MAC control frames (0x8808) end at the MAC and never come here.

Ref: offload.md §1 to §5 and §7
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from harp.tables.reasons import Action, Outcome, Reason
from harp_sim.model import golden
from harp_sim.model.buckets import Buckets
from harp_sim.model.config import Config, Port
from harp_sim.model.counters import Counters
from harp_sim.model.events import Event, EventKind, Events
from harp_sim.model.frame import is_bad
from harp_sim.model.guard import Guard
from harp_sim.model.monitor import Monitor, Watch
from harp_sim.model.slots import Due, Slots
from harp_sim.model.verdict import Decision, Verdict, decide, judge, read_heading


class Egress(StrEnum):
    """What leaves by the other port."""

    WHOLE = "whole"
    """The frame, every octet as it came."""
    NOTHING = "nothing"
    CUT = "cut"
    """A prefix of it that ends with an error, or nothing."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """What the model says of one frame."""

    port: Port
    """Where it came in."""
    reason: Reason | None
    """None: from the host, which is not judged."""
    action: Action | None
    """Action of the reason as it applies to this frame; None: not judged."""
    outcome: Outcome
    """From the host: `pass`, or `drop` by the fence."""
    egress: Egress
    depth: int = 0
    """VLAN tags, for coverage."""
    peer: int | None = None
    """Peer whose HELLO the monitor judged."""
    bucket: int | None = None
    """Bucket that was asked."""


class Model:
    """The offload as offload.md has it.

    After construction it is what it is after reset: `reset` is pending and no lease is live.
    Calls that go back in time raise `ValueError`.
    """

    def __init__(self, config: Config | None = None, now_us: int = 0) -> None:
        self.config = config or Config()
        self.now_us = now_us
        self.counters = Counters()
        self.events = Events()
        self.slots = Slots(self.config.slots)
        self.monitor = Monitor(self.config.peers, self.events, self.config.auth_subtype)
        self.guard = Guard(self.config, self.events, self.slots)
        self._buckets = Buckets(golden.BUCKETS + golden.PEERS)
        self._wake_us = now_us
        self._last_edge_us: int | None = None
        self.events.occur(EventKind.RESET, 0, now_us)

    @property
    def enforced(self) -> bool:
        """Whether verdicts act: filter on, lease live. A monitor counts as if they did."""
        return self.config.filter_enable and self.guard.lease_live

    def frame(
        self, port: Port, octets: bytes, at_us: int, fcs_ok: bool = True, rx_er: bool = False
    ) -> Judgement:
        """A frame, FCS included, whose last word entered the core at `at_us`."""
        self.advance(at_us)
        self.counters.receive(port, octets, fcs_ok, rx_er)
        bad = is_bad(octets, fcs_ok, rx_er)
        if port is Port.HOST:
            return self._from_host(octets, bad)
        return self._bad(octets) if bad else self._good(octets, at_us)

    def advance(self, to_us: int) -> None:
        """Let time pass: everything due by `to_us` happens, each at its own time."""
        if to_us < self.now_us:
            raise ValueError(f"time goes back from {self.now_us} to {to_us} µs")
        self.now_us = to_us
        if to_us >= self._wake_us:
            self._expire()

    def write(self, at_us: int, **changes: Any) -> None:
        """The host writes settings, by the names of `Config`'s fields, all at once.

        Peers keep their state (see `forget`). Slots that changed start anew. `watchdog_armed` arms
        or disarms.
        """
        self.advance(at_us)
        self.config = replace(self.config, **changes)
        self.monitor.configure(self.config.peers, self.config.auth_subtype)
        if "slots" in changes:
            self.slots.configure(self.config.slots, at_us, self.guard.lease_live)
        self.guard.configure(self.config, at_us)
        self._expire()

    def kick(self, at_us: int) -> tuple[int, ...]:
        """Renew the lease; the answer is the last Sequence # of each slot."""
        self.advance(at_us)
        self.guard.kick(at_us)
        self._expire()
        return tuple(self.slots.sequence)

    def link(self, port: Port, up: bool, at_us: int) -> None:
        """A port's link came or went."""
        self.advance(at_us)
        self.guard.link(port, up, at_us)
        self._expire()

    def unfence(self, at_us: int) -> None:
        """The host ends the fence."""
        self.advance(at_us)
        self.guard.unfence(at_us)

    def forget(self, peer: int, at_us: int) -> None:
        """Peer command `forget`: back to unknown."""
        self.advance(at_us)
        self.monitor.forget(peer)

    def arm(self, peer: int, at_us: int) -> None:
        """Peer command `arm`: its times start as if a HELLO had come."""
        self.advance(at_us)
        self.monitor.arm(peer, at_us)
        self._expire()

    def write_sequence(self, peer: int, multicast: bool, sequence: int, at_us: int) -> None:
        """The host writes a peer's last Sequence #; 0: any is accepted next."""
        self.advance(at_us)
        self.monitor.watches[peer].last[multicast] = sequence

    def ack(self, kind: EventKind, index: int, count: int) -> bool:
        """Acknowledge an event as the host knows it; whether its flag was cleared."""
        return self.events.acknowledge(kind, index, count)

    def pending(self) -> list[Event]:
        """Pending events, the most urgent first."""
        return self.events.pending()

    def watch(self, peer: int) -> Watch:
        """State of a peer."""
        return self.monitor.watches[peer]

    def slot_sent(self, octets: bytes, at_us: int, delay_us: int = 0) -> Due | None:
        """A slot's frame was seen to leave; None: no slot owed it then (see `Slots.sent`)."""
        self.advance(at_us)
        return self.slots.sent(octets, at_us, delay_us)

    def near_edge(self, at_us: int, slack_us: int = golden.DEADLINE_SLACK_US) -> bool:
        """Whether a time came or comes due so close to `at_us` that hardware may be on either side.

        A bench keeps frames whose verdict depends on it out of there.
        """
        edges = (self._last_edge_us, self.next_us())
        return any(edge is not None and abs(edge - at_us) <= slack_us for edge in edges)

    def next_us(self) -> int | None:
        """The earliest time that is still to come due."""
        times = (self.monitor.next_us(), self.guard.next_us())
        return min((time for time in times if time is not None), default=None)

    def _expire(self) -> None:
        """Run what is due and note when to look again.

        A HELLO only ever moves times into the future of `_wake_us`, or lowers it in `_good`, so
        looking then is never too late.
        """
        while (at_us := self.next_us()) is not None and at_us <= self.now_us:
            self._last_edge_us = at_us
            self.monitor.expire(at_us)
            self.guard.expire(at_us)
        self._wake_us = at_us if at_us is not None else 1 << 64

    def _from_host(self, octets: bytes, bad: bool) -> Judgement:
        """Never judged; dropped only by the fence. A bad frame stays bad on its way."""
        if bad:
            return Judgement(Port.HOST, None, None, Outcome.PASS, Egress.CUT)
        if self.guard.fenced and self.guard.blocks(octets):
            self.counters.fenced.add()
            return Judgement(Port.HOST, None, None, Outcome.DROP, Egress.NOTHING)
        return Judgement(Port.HOST, None, None, Outcome.PASS, Egress.WHOLE)

    def _bad(self, octets: bytes) -> Judgement:
        heading = read_heading(octets, self.config.local)
        verdict = Verdict(Reason.BAD_FRAME, heading.link.depth)
        decision = Decision(Action.DROP, Outcome.DROP)
        found, passing = heading.found, (Action.PASS, Action.ABSORB)
        starts = isinstance(found, Reason) and (
            not self.enforced or self.config.rules[found].action in passing
        )
        return self._record(verdict, decision, Egress.CUT if starts else Egress.NOTHING)

    def _good(self, octets: bytes, at_us: int) -> Judgement:
        verdict = judge(octets, self.config, self.monitor)
        hello = verdict.hello
        watch = self.monitor.watches[hello.peer] if hello else None
        decision = decide(verdict, self.config, self.enforced, self._buckets, watch, at_us)
        passes = decision.outcome in (Outcome.PASS, Outcome.LIMITED_PASS)
        if decision.outcome is Outcome.LIMITED_DROP and decision.bucket is not None:
            index = min(decision.bucket, golden.FLOOD_PEERS_INDEX)
            self.events.occur(EventKind.FLOOD, index, at_us)
        if hello is not None:
            self.monitor.apply(hello, at_us, passes)
            self._wake_us = min(self._wake_us, _earliest(self.watch(hello.peer), self._wake_us))
        return self._record(verdict, decision, Egress.WHOLE if passes else Egress.NOTHING)

    def _record(self, verdict: Verdict, decision: Decision, egress: Egress) -> Judgement:
        self.counters.judge(verdict.reason, decision.outcome)
        if self.config.ports == 1:
            egress = Egress.NOTHING
        return Judgement(
            Port.NETWORK,
            verdict.reason,
            decision.action,
            decision.outcome,
            egress,
            verdict.depth,
            verdict.hello.peer if verdict.hello else None,
            decision.bucket,
        )


def _earliest(watch: Watch, otherwise: int) -> int:
    times: Iterable[int | None] = (watch.late_at_us, watch.down_at_us)
    return min((time for time in times if time is not None), default=otherwise)
