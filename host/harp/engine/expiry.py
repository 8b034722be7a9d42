"""Timing wheel over store slots: arm, move and disarm in O(1), expiry without scanning.

A bucket per second that holds anything; within it the slots form a doubly linked list whose links
are packed columns (12 octets a slot), so a slot is in at most one bucket and a wheel never holds
more than there are slots. Buckets are found through a dict and ordered by a heap of their ticks.
"""

from __future__ import annotations

from heapq import heappop, heappush
from typing import TYPE_CHECKING

from harp.engine.columns import NIL
from harp.tables.constants import US_PER_S

if TYPE_CHECKING:
    from collections.abc import Iterable

    from harp.engine.columns import Columns

TICK_US = US_PER_S
"""Resolution: an alarm fires at the first whole tick at or after its time, never before."""


class Wheel:
    """Alarms of slots, µs monotonic. Several wheels share one set of `Columns` links: a slot is in
    one bucket of one of them at most."""

    def __init__(self, links: Columns) -> None:
        self._links = links
        self._heads: dict[int, int] = {}
        """First slot of each bucket; an emptied one stays, as `NIL`, until its tick is reached:
        so `_order` holds a tick once however often its bucket fills and empties."""
        self._order: list[int] = []

    @property
    def deadline(self) -> int | None:
        """Time of the earliest alarm, µs; None: no alarm."""
        while self._order and not self._heads[self._order[0]]:
            del self._heads[heappop(self._order)]
        return self._order[0] * TICK_US if self._order else None

    def arm(self, slot: int, at_us: int) -> None:
        """Puts a slot that is in no bucket into the one of `at_us`."""
        self.arm_run(slot, (at_us,))

    def arm_run(self, first: int, times_us: Iterable[int]) -> None:
        """As `arm`, for slots in a row from `first` on, each with its time."""
        heads, following, previous = self._heads, self._links.next, self._links.previous
        ticks = self._links.tick
        for slot, at_us in enumerate(times_us, first):
            tick = -(-at_us // TICK_US)
            if tick < 1:
                tick = 1  # tick 0 means "in no bucket"
            head = heads.get(tick)
            if head is None:
                heappush(self._order, tick)
                head = NIL
            following[slot], previous[slot], ticks[slot] = head, NIL, tick
            if head:
                previous[head] = slot
            heads[tick] = slot

    def disarm(self, slot: int) -> None:
        """Takes a slot out of its bucket; nothing if it is in none."""
        links = self._links
        tick = links.tick[slot]
        if not tick:
            return
        after, before = links.next[slot], links.previous[slot]
        if before:
            links.next[before] = after
        else:
            self._heads[tick] = after
        if after:
            links.previous[after] = before
        links.tick[slot] = 0

    def take_due(self, now: int, limit: int) -> list[int]:
        """Disarms and returns up to `limit` slots whose tick has come, earliest bucket first."""
        due: list[int] = []
        while len(due) < limit and (at := self.deadline) is not None and at <= now:
            slot = self._heads[at // TICK_US]
            while slot and len(due) < limit:
                due.append(slot)
                after = self._links.next[slot]
                self.disarm(slot)
                slot = after
        return due
