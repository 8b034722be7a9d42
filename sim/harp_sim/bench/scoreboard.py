"""What the core owes and what it gave: frames in order per port, events, every counter.

Ref: offload.md §2 (counters), §5 (events), §7 (the scoreboard)

A mismatch is noted with the frame that it is about; `mismatches` counts them and the first few are
kept as text. Nothing may be owed in the end.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass, field

from harp.tables.offload import EVENT_KINDS
from harp.tables.reasons import OFFLOAD_REASONS, OUTCOMES
from harp_gateware.layouts import FrameError
from harp_sim.bench.device import Frame, Judged, Push
from harp_sim.model.config import Port
from harp_sim.model.events import EventKind
from harp_sim.model.model import Egress, Judgement

VERDICT_CLOCKS = 16
"""From a frame's last word to its verdict at most (docs/gateware.md)."""
KEPT = 100
"""Mismatches whose text is kept."""
OTHER = {Port.NETWORK: Port.HOST, Port.HOST: Port.NETWORK}


@dataclass(frozen=True, slots=True)
class Owed:
    """A frame that came in, and what is to leave by the other port."""

    label: str
    octets: bytes
    egress: Egress
    start: int
    """Clock of its first word at the core."""
    judgement: Judgement | None = None
    """None: a frame of which only the octets are watched."""


@dataclass
class Mismatches:
    """How many, and the text of the first."""

    count: int = 0
    texts: list[str] = field(default_factory=list)

    def note(self, text: str) -> None:
        """One more."""
        self.count += 1
        if len(self.texts) < KEPT:
            self.texts.append(text)

    def check(self) -> None:
        """AssertionError with the texts, if there are any."""
        assert not self.count, f"{self.count} mismatches:\n" + "\n".join(self.texts)


class FrameBoard:
    """Frames in order per port. A bad one may have left as a prefix that ends with an error."""

    def __init__(self, mismatches: Mismatches) -> None:
        self._mismatches = mismatches
        self._owed: dict[Port, deque[Owed]] = {port: deque() for port in Port}
        self.out: dict[Port, Counter[str]] = {port: Counter() for port in Port}
        """What left by each port: `frames`, `octets` with FCS, `errors`, `whole`."""
        self.latency: Counter[tuple[str, int]] = Counter()
        """(reason, first word in to first word out in clocks) of whole frames network → host."""

    def owe(self, port: Port, owed: Owed) -> None:
        """A frame that came in by the other port than `port` is to leave by it."""
        if owed.egress is not Egress.NOTHING:
            self._owed[port].append(owed)

    def left(self, frame: Frame) -> None:
        """A frame left, not one of a slot."""
        port, good = frame.port, frame.error == FrameError.GOOD
        self.out[port].update(frames=1, octets=len(frame.octets), errors=not good, whole=good)
        owed = self._whole(frame) if good else self._cut(frame)
        if owed is None:
            kind = "a whole frame" if good else "a cut frame"
            self._mismatches.note(
                f"{kind} that nobody owes left to {port} at clock {frame.begin}: "
                f"{len(frame.octets)} octets {frame.octets[:80].hex()}"
            )
        elif good and owed.judgement is not None and owed.judgement.reason is not None:
            self.latency[owed.judgement.reason, frame.begin - owed.start] += 1

    def _whole(self, frame: Frame) -> Owed | None:
        """The frame that this one is; whole ones before it are missing."""
        queue = self._owed[frame.port]
        for n, owed in enumerate(queue):
            if owed.egress is Egress.WHOLE and owed.octets == frame.octets:
                for _ in range(n):
                    self._forget(frame.port, queue.popleft())
                return queue.popleft()
        return None

    def _cut(self, frame: Frame) -> Owed | None:
        """The bad frame that begins with this one; none before it need have left."""
        queue = self._owed[frame.port]
        for n, owed in enumerate(queue):
            if owed.egress is Egress.WHOLE:
                return None
            if owed.octets.startswith(frame.octets):
                for _ in range(n + 1):
                    queue.popleft()
                return owed
        return None

    def _forget(self, port: Port, owed: Owed) -> None:
        if owed.egress is Egress.WHOLE:
            reason = owed.judgement.reason if owed.judgement else None
            self._mismatches.note(
                f"never left to {port}: {owed.label}, {len(owed.octets)} octets, {reason}, "
                f"in at clock {owed.start}: {owed.octets[:80].hex()}"
            )

    def settle(self) -> None:
        """Note what is still owed; forget it."""
        for port, queue in self._owed.items():
            while queue:
                self._forget(port, queue.popleft())


class VerdictBoard:
    """Verdicts one by one: reason, outcome, and that none comes late."""

    def __init__(self, mismatches: Mismatches) -> None:
        self._mismatches = mismatches
        self._owed: deque[tuple[Owed, int]] = deque()
        self.latest_clocks = 0
        """Most clocks from a frame's last word to its verdict."""

    def owe(self, owed: Owed, end: int) -> None:
        """A frame whose last word comes in at clock `end` is to be judged."""
        self._owed.append((owed, end))

    def judged(self, judged: Judged) -> None:
        """The core judged the next frame."""
        reason, outcome = OFFLOAD_REASONS[judged.reason], OUTCOMES[judged.outcome]
        if not self._owed:
            self._mismatches.note(f"verdict {reason} at clock {judged.clock} for no frame")
            return
        owed, end = self._owed.popleft()
        late = judged.clock - end
        self.latest_clocks = max(self.latest_clocks, late)
        wanted = owed.judgement
        assert wanted is not None and wanted.reason is not None
        if (wanted.reason, wanted.outcome) != (reason, outcome):
            self._mismatches.note(
                f"{owed.label}: {reason} {outcome} for {wanted.reason} {wanted.outcome}, "
                f"{len(owed.octets)} octets in at clock {owed.start} to {end}: "
                f"{owed.octets[:400].hex()}"
            )
        if not 0 < late <= VERDICT_CLOCKS:
            self._mismatches.note(f"{owed.label}: verdict {late} clocks behind its last word")

    def settle(self) -> None:
        """Note what has not been judged; forget it."""
        for owed, _ in self._owed:
            self._mismatches.note(f"never judged: {owed.label}")
        self._owed.clear()


@dataclass(slots=True)
class _Flag:
    """A flag of the core as it was last seen."""

    first_us: int
    count: int


class EventBoard:
    """Occurrences of the model against the flags of the core, each acknowledged by its count."""

    def __init__(self, mismatches: Mismatches, late_us: int) -> None:
        self._mismatches = mismatches
        self._late_us = late_us
        self._wanted: dict[tuple[EventKind, int], deque[int]] = {}
        self._flags: dict[tuple[EventKind, int], list[_Flag]] = {}
        self.seen: Counter[EventKind] = Counter()
        """Occurrences of each kind that the core counted."""

    def occurred(self, kind: EventKind, index: int, at_us: int) -> None:
        """The model says so."""
        self._wanted.setdefault((kind, index), deque()).append(at_us)

    def pushed(self, push: Push) -> None:
        """The core pushed an event or shows it in its registers."""
        key = (EventKind(EVENT_KINDS[push.kind].value), push.index)
        flags = self._flags.setdefault(key, [])
        if flags and flags[-1].first_us == push.first_us:
            flags[-1].count = push.count
        else:
            flags.append(_Flag(push.first_us, push.count))

    def settle(self) -> None:
        """Everything has been acknowledged: both sides must have the same occurrences."""
        for key in sorted(self._wanted.keys() | self._flags.keys()):
            self._compare(key, self._wanted.get(key, deque()), self._flags.get(key, []))
        self._wanted.clear()
        self._flags.clear()

    def _compare(self, key: tuple[EventKind, int], wanted: deque[int], flags: list[_Flag]) -> None:
        kind, index = key
        total = sum(flag.count for flag in flags)
        self.seen[kind] += total
        if total != len(wanted):
            self._mismatches.note(f"event {kind} {index}: {total} times for {len(wanted)}")
            return
        times = iter(wanted)
        for flag in flags:
            due_us = next(times)
            latest_us = due_us + self._late_us
            if not due_us <= flag.first_us <= latest_us:
                self._mismatches.note(
                    f"event {kind} {index}: first at {flag.first_us} µs for {due_us} to {latest_us}"
                )
            _skip(times, flag.count - 1)


def _skip(items: Iterator[int], count: int) -> None:
    for _ in range(count):
        next(items)
