"""The binding store: a million bindings in packed columns, changed by a log or filled by a stream.

Ref: harp.md §6 (log, full sync, keys); RFC 5648 §4.2 (O flag)

Log semantics (`apply`) and literal ones (`load`, `apply_records`, `restore`) are apart: only in
the log do a deletion without BID and the O flag reach the other bindings of a home address.
`apply` is for `Sync` alone, on the active as on standbys: only the log gives positions.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

from harp.engine.columns import LIVE, NIL, RECORD, RECORD_OCTETS, RICH, TOMBSTONE
from harp.engine.entries import UNIT_US, Change, Entry, Key, bid_of, units_left
from harp.engine.table import BindingTable, index_key, pack_position
from harp.tables.mh import LIFETIME_UNIT_S, BuFlag
from harp.wire.messages import BindingCache, SyncPosition

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from harp.wire.bulk import BulkCodec, BindingRecord

__all__ = ["BindingStore", "Change", "Chunk", "Entry", "Key"]

_UNMENTIONED, _STREAMED, _LOGGED = 0, 1, 2
"""Marks while a full sync runs: not met yet; in the stream; changed by the log since it began."""


class Chunk(NamedTuple):
    """A part of the store, ready for an SS-REP (harp.md §6, full sync)."""

    block: bytes
    """Plain bindings and tombstones: a block of `harp.wire.bulk`, 48 octets each."""
    others: list[Change]
    """Those with options, a Binding Identifier included."""
    cursor: int
    """Where the next chunk begins."""
    done: bool
    """Nothing lies behind."""


class BindingStore(BindingTable):
    """Bindings and tombstones of one group, keyed (home address, BID or none)."""

    _marks: bytearray | None = None
    """One octet a slot while a full sync runs."""

    # The log

    def apply(self, change: Change, position: SyncPosition, now: int) -> list[Key]:
        """Applies one change of the log message at `position`; the keys that it changed.

        A deletion without BID deletes all of the home address; the O flag replaces all that is
        not of the same log message (one Binding Update may carry several BIDs).
        """
        raise NotImplementedError

    # The stream

    def entries(
        self, cursor: int = 0, *, tombstones: bool = False, since: SyncPosition | None = None
    ) -> Iterator[tuple[int, Entry]]:
        """(cursor behind it, entry) from `cursor` to the end of now; changed after `since` only.

        Stable whatever changes between two steps: an entry that stays is met exactly once; one
        made meanwhile may be met.
        """
        raise NotImplementedError

    def pack_range(
        self,
        bulk: BulkCodec,
        cursor: int,
        max_records: int,
        now: int,
        since: SyncPosition | None = None,
    ) -> Chunk:
        """Up to `max_records` entries from `cursor` (0: the first) on, tombstones included,
        lifetimes as left at `now`; `since`: only what changed after that position."""
        raise NotImplementedError

    def begin_sync(self) -> None:
        """A full sync begins: from now on notes what the stream and the log mention."""
        raise NotImplementedError

    def apply_records(
        self, records: Iterable[BindingRecord], position: SyncPosition, now: int
    ) -> int:
        """Takes plain entries of a full sync literally, with the stream's `position`; lifetime 0:
        a tombstone. How many were taken: not those that the log changed since `begin_sync`."""
        raise NotImplementedError

    def load(self, change: Change, position: SyncPosition, now: int) -> bool:
        """As `apply_records`, for one entry with options; whether it was taken."""
        raise NotImplementedError

    def end_sync(self) -> list[Key]:
        """Removes, without tombstones, what neither the stream nor the log mentioned since
        `begin_sync`; the keys of the bindings among it."""
        raise NotImplementedError

    def abort_sync(self) -> None:
        """Ended early: nothing is removed (harp.md §6)."""
        raise NotImplementedError
