"""Something for every mobile node, so many a second (harp.md §8 `na_rate`, §9 "paced")."""

from __future__ import annotations

from harp.engine.entries import Entry
from harp.engine.store import BindingStore
from harp.tables.constants import US_PER_MS, US_PER_S

TICK_US = 10 * US_PER_MS
"""Shortest time between two batches: a timer each entry would cost more than the entry."""


class Walk:
    """Goes once through the store's live bindings, `rate` a second, whatever changes meanwhile.

    Of several bindings of one home address (RFC 5648) it meets the first alone. It ends after as
    many as there were at the start, so that new ones cannot keep it going."""

    def __init__(self, store: BindingStore, rate: int) -> None:
        self._store = store
        self.pace(rate)
        self._cursor = 0
        self._left = 0
        self.deadline: int | None = None
        """When the next batch is due, µs; None: not under way."""

    def pace(self, rate: int) -> None:
        """From now on `rate` a second."""
        self._batch = max(1, rate * TICK_US // US_PER_S)
        self._tick_us = max(TICK_US, US_PER_S // rate)

    def start(self, now: int) -> None:
        """From the first binding on, the first batch at once."""
        self._cursor, self._left, self.deadline = 0, len(self._store), now

    def stop(self) -> None:
        """Ends it."""
        self.deadline = None

    def take(self, now: int) -> list[Entry]:
        """The batch that is due at `now`; after the last one it is no longer under way."""
        if self.deadline is None or now < self.deadline:
            return []
        batch: list[Entry] = []
        for cursor, entry in self._store.entries(self._cursor):
            if not self._left:
                break
            self._left -= 1
            self._cursor = cursor
            if self._store.bids(entry.home_address)[0] == entry.bid:
                batch.append(entry)
                if len(batch) == self._batch:
                    self.deadline = now + self._tick_us
                    return batch
        self.deadline = None
        return batch
