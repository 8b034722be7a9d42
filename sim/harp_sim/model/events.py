"""Pending event flags.

One flag a (kind, index), with the time of its first occurrence since it was last clear and a count.
A flag stays until it is acknowledged with the count that the host knows; an occurrence in between
changes the count, so the acknowledgement of the older one clears nothing and no event is lost.

**Ceiling.** Flags and counts of `replay` and `flood` are exact; what is limited to 10 a second is
the push of each of these two kinds over the link (`next_push`).

Ref: offload.md §5
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from harp_sim.model import golden


class EventKind(StrEnum):
    """Kinds by falling priority (offload.md §5)."""

    WATCHDOG_FIRED = "watchdog_fired"
    FENCED = "fenced"
    LINK = "link"
    PEER_DOWN = "peer_down"
    PEER_LEFT = "peer_left"
    PEER_UP = "peer_up"
    PEER_NEWS = "peer_news"
    PEER_LATE = "peer_late"
    LEASE_LOST = "lease_lost"
    REPLAY = "replay"
    FLOOD = "flood"
    RESET = "reset"


_RANK = {kind: rank for rank, kind in enumerate(EventKind)}
_PUSH_SPACING_US = golden.US_PER_SECOND // golden.LIMITED_EVENTS_PER_SECOND


@dataclass(frozen=True, slots=True)
class Event:
    """One pending flag as the host sees it."""

    kind: EventKind
    index: int
    """Port (0 network, 1 host), peer, or bucket (8: a peer's own); otherwise 0."""
    first_us: int
    count: int
    """Occurrences since it was clear, up to 65535."""


class Events:
    """The flags; `raised` counts every occurrence ever, `observer` hears of each with its time."""

    def __init__(self) -> None:
        self.observer: Callable[[EventKind, int, int], None] = lambda kind, index, at_us: None
        self._pending: dict[tuple[int, int], tuple[int, int]] = {}
        self._pushed_us: dict[EventKind, int] = {}
        self.raised: Counter[EventKind] = Counter()

    def occur(self, kind: EventKind, index: int, at_us: int) -> None:
        """Set the flag, or count once more if it is set."""
        self.raised[kind] += 1
        self.observer(kind, index, at_us)
        key = (_RANK[kind], index)
        first, count = self._pending.get(key, (at_us, 0))
        self._pending[key] = (first, min(count + 1, golden.EVENT_COUNT_MAX))

    def pending(self) -> list[Event]:
        """Every set flag, the most urgent first, then by index."""
        kinds = tuple(EventKind)
        flags = sorted(self._pending.items())
        return [Event(kinds[rank], index, *value) for (rank, index), value in flags]

    def acknowledge(self, kind: EventKind, index: int, count: int) -> bool:
        """Clear the flag if `count` is its count; whether it was cleared."""
        key = (_RANK[kind], index)
        if self._pending.get(key, (0, 0))[1] != count:
            return False
        return self._pending.pop(key, None) is not None

    def next_push(self, now_us: int) -> Event | None:
        """The most urgent flag that may be pushed now; notes the push of a limited kind."""
        for event in self.pending():
            if event.kind not in golden.LIMITED_EVENTS:
                return event
            pushed = self._pushed_us.get(event.kind)
            if pushed is None or now_us >= pushed + _PUSH_SPACING_US:
                self._pushed_us[event.kind] = now_us
                return event
        return None
