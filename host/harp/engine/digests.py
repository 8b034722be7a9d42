"""Whether a standby's cache is the active's: digests compared at one position of the log.

Ref: harp.md §5 (reconcile's end), §6 (S, drift)
"""

from __future__ import annotations

from collections import OrderedDict
from enum import Enum
from typing import NamedTuple

from harp.tables.constants import DIGESTS_KEPT
from harp.wire.messages import CacheDigest, SyncPosition

DIFFERENCES = 2
"""harp.md §6: "Different twice in a row: full sync"."""


class Finding(Enum):
    """What a comparison says."""

    EQUAL = "equal"
    """The same bindings at the same position."""
    DIFFERENT = "different"
    """Not the same."""
    UNKNOWN = "unknown"
    """No longer, or not yet, known here."""


class Awaited(NamedTuple):
    """The active's digest at a position that is not reached here yet."""

    position: SyncPosition
    digest: CacheDigest
    heard_at: int
    """When it was heard, µs."""


class Digests:
    """Own digests by position, the last 1,024, and the active's that wait to be compared."""

    def __init__(self) -> None:
        self._own: OrderedDict[SyncPosition, CacheDigest] = OrderedDict()
        self.awaited: Awaited | None = None
        self.differences = 0
        """In a row."""

    def forget(self) -> None:
        """Another log, or a full sync: nothing kept compares any more."""
        self._own.clear()
        self.awaited = None
        self.differences = 0

    def note(self, position: SyncPosition, digest: CacheDigest) -> Finding:
        """Own digest once `position` is applied, compared with an awaited one."""
        self._own[position] = digest
        if len(self._own) > DIGESTS_KEPT:
            self._own.popitem(last=False)
        awaited = self.awaited
        if awaited is None or position < awaited.position:
            return Finding.UNKNOWN
        self.awaited = None
        return self.compare(awaited.position, awaited.digest)

    def wait(self, position: SyncPosition, digest: CacheDigest, now: int) -> None:
        """Compare when `position` is reached. The oldest one stays: it says how long a gap is."""
        if self.awaited is None:
            self.awaited = Awaited(position, digest, now)

    def compare(self, position: SyncPosition, digest: CacheDigest) -> Finding:
        """The active's digest against the own one at the same position."""
        own = self._own.get(position)
        if own is None:
            return Finding.UNKNOWN
        if own == digest:
            self.differences = 0
            return Finding.EQUAL
        self.differences += 1
        return Finding.DIFFERENT
