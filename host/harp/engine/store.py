"""The binding store: a million bindings in packed columns, changed by a log or filled by a stream.

Ref: harp.md §6 (log, full sync, keys); RFC 5648 §4.2 (O flag)

Log semantics (`apply`) and literal ones (`load`, `apply_records`, `restore`) are apart: only in
the log do a deletion without BID and the O flag reach the other bindings of a home address.
On the active `apply` is called with `Sync.stamp`, on a standby with the log message's position.
"""

from __future__ import annotations

from struct import Struct
from typing import TYPE_CHECKING, NamedTuple

from harp.engine.columns import (
    FREE,
    LIVE,
    PLAIN_OCTETS,
    RECORD,
    RECORD_OCTETS,
    RICH,
    TOMBSTONE,
)
from harp.engine.config import ADDRESS_OCTETS
from harp.engine.entries import MAX_UNITS, NO_BID, UNIT_US, Change, Entry, Key, bid_of
from harp.engine.table import NO_BID_OCTETS, BindingTable, pack_position
from harp.tables.mh import LIFETIME_UNIT_S, BuFlag
from harp.tables.options import BINDING_CACHE
from harp.wire.bulk import RECORD_OCTETS as BLOCK_OCTETS
from harp.wire.bulk import BindingRecord
from harp.wire.messages import BindingCache, Options, SyncPosition

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from harp.wire.bulk import BulkCodec

__all__ = ["BindingStore", "Change", "Chunk", "Entry", "Key"]

_OVERWRITE = BuFlag.OVERWRITE.value  # as int: arithmetic with flag members costs ten times as much
_UNMENTIONED, _STREAMED, _LOGGED = 0, 1, 2
"""Marks while a full sync runs: not met yet; in the stream; changed by the log since it began."""


_ANY = BindingRecord(bytes(16), bytes(16), 0, 0, 0)
_LEAD_OCTETS = BLOCK_OCTETS - BINDING_CACHE.lengths[0]
"""Of a block's record before the Home Address: what every record begins with."""
_TAIL = Struct("!Hxx").pack
_ROUND_UP = UNIT_US - 1
_PLAIN = Struct(f"{PLAIN_OCTETS}s{RECORD_OCTETS - PLAIN_OCTETS}x")
"""A record of the columns, its BID left out."""
_BLOCK = Struct(f"!{_LEAD_OCTETS}x{PLAIN_OCTETS}sHxx")
"""A record of a block: all but its lifetime as the columns have it, and that."""


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

        A de-registration without BID deletes all of the home address; the O flag replaces all that
        is not of the same log message (one Binding Update may carry several BIDs). A deletion
        without flags is no Binding Update's but an expiry's: it means its own key alone.
        """
        cache, options = change
        home, bid, at = cache.home_address, bid_of(options), pack_position(position)
        touched: list[Key] = []
        if not cache.lifetime_s:
            alone = bid or not cache.flags
            for each in (bid,) if alone else self.bids(home) or (NO_BID,):
                self._log(cache, each, (), at, now)
                touched.append((home, each))
            return touched
        if cache.flags & _OVERWRITE:
            for each in self.bids(home):
                slot = self._find(home, each)
                if each != bid and self._columns.position[slot] != at:
                    self._log(cache, each, (), at, now, delete=True)
                    touched.append((home, each))
        self._log(cache, bid, options, at, now)
        touched.append((home, bid))
        return touched

    def _log(
        self,
        cache: BindingCache,
        bid: int,
        options: Options,
        at: int,
        now: int,
        *,
        delete: bool = False,
    ) -> None:
        slot = self._slot_for(cache.home_address, bid)
        if self._marks is not None:
            self._mark(slot, _LOGGED)
        self._take(slot, cache, bid, options, at, now, delete=delete)

    def _take(
        self,
        slot: int,
        cache: BindingCache,
        bid: int,
        options: Options,
        at: int,
        now: int,
        *,
        delete: bool = False,
    ) -> None:
        record = RECORD.pack(
            cache.home_address, cache.care_of_address, cache.flags, cache.sequence, bid
        )
        if cache.lifetime_s and not delete:
            units = min(-(-cache.lifetime_s // LIFETIME_UNIT_S), MAX_UNITS)
            self._put(slot, record, options, at, now, units)
        else:
            self._bury(slot, record, at, now)

    # The stream

    @property
    def end(self) -> int:
        """No entry has a cursor behind this."""
        return self._columns.end

    def entries(
        self,
        cursor: int = 0,
        *,
        until: int | None = None,
        tombstones: bool = False,
        since: SyncPosition | None = None,
    ) -> Iterator[tuple[int, Entry]]:
        """(cursor behind it, entry) from `cursor` to the end of now, or to before `until`, which
        bounds the work where nothing is found; changed after `since` only.

        Stable whatever changes between two steps: an entry that stays is met exactly once; one
        made meanwhile may be met.
        """
        c = self._columns
        wanted = LIVE | TOMBSTONE if tombstones else LIVE
        after = -1 if since is None else pack_position(since)
        for slot in range(max(1, cursor), c.end if until is None else min(until, c.end)):
            if c.state[slot] & wanted and c.position[slot] > after:
                yield slot + 1, self._entry(slot)

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
        c, others, parts, taken = self._columns, list[Change](), list[bytes](), 0
        state, expires, position, records = c.state, c.expires, c.position, c.record
        after = -1 if since is None else pack_position(since)
        lead = bulk.pack((_ANY,))[:_LEAD_OCTETS]
        slot, end = max(1, cursor), c.end
        run = slice(slot, min(slot + max_records, end))
        if 0 < max_records == state[run].count(LIVE) and min(position[run]) > after:
            return Chunk(self._pack_run(lead, run, now), others, run.stop, run.stop >= end)
        while slot < end and taken < max_records:
            kind = state[slot]
            if kind != FREE and position[slot] > after:
                taken += 1
                if kind & RICH:
                    others.append(self._entry(slot).change(now))
                else:
                    units = 0
                    if kind == LIVE:  # as `Entry.change`: over but not removed is one unit
                        units = min(max(1, (expires[slot] - now + _ROUND_UP) // UNIT_US), MAX_UNITS)
                    at = slot * RECORD_OCTETS
                    parts += (lead, bytes(records[at : at + PLAIN_OCTETS]), _TAIL(units))
            slot += 1
        return Chunk(b"".join(parts), others, slot, slot >= end)

    def _pack_run(self, lead: bytes, run: slice, now: int) -> bytes:
        """`pack_range` of slots that are all bindings without options: most of a store is."""
        c, base = self._columns, now - _ROUND_UP
        units = [(end - base) // UNIT_US for end in c.expires[run]]
        if min(units) < 1 or max(units) > MAX_UNITS:
            units = [min(max(1, each), MAX_UNITS) for each in units]
        record = c.record[run.start * RECORD_OCTETS : run.stop * RECORD_OCTETS]
        plain = _PLAIN.iter_unpack(record)
        return b"".join(
            [lead + octets + _TAIL(each) for (octets,), each in zip(plain, units, strict=True)]
        )

    def restamp(self, home_address: bytes, old: SyncPosition, new: SyncPosition) -> None:
        """What changed of a home address at `old` changed at `new`: its change fell into a later
        log message than the one it was applied for."""
        was, at, c = pack_position(old), pack_position(new), self._columns
        for key in self.family(home_address):
            slot = self._find(*key)
            if c.position[slot] == was:
                c.position[slot] = at

    def spare_after(self, position: SyncPosition) -> None:
        """A full sync taken at `position` begins late: what the log changed since wins too."""
        assert self._marks is not None
        at = pack_position(position)
        for slot, changed in enumerate(self._columns.position[: len(self._marks)]):
            if changed > at and self._columns.state[slot] != FREE:
                self._marks[slot] = _LOGGED

    def begin_sync(self) -> None:
        """A full sync begins: from now on notes what the stream and the log mention."""
        self._marks = bytearray(self._columns.end)

    def apply_records(
        self, records: Iterable[BindingRecord], position: SyncPosition, now: int
    ) -> int:
        """Takes plain entries of a full sync literally, with the stream's `position`; lifetime 0:
        a tombstone. How many were taken: not those that the log changed since `begin_sync`."""
        at, taken, pack = pack_position(position), 0, RECORD.pack
        for home, care_of, flags, sequence, units in records:
            record = pack(home, care_of, flags, sequence, NO_BID)
            taken += self._take_plain(home, record, at, now, units)
        return taken

    def apply_block(self, block: bytes, position: SyncPosition, now: int) -> int:
        """As `apply_records`, from a block of `harp.wire.bulk`: its records begin as ours do."""
        at = pack_position(position)
        fields = [*_BLOCK.iter_unpack(block)]
        records = [plain + NO_BID_OCTETS for plain, _ in fields]
        units = [each for _, each in fields]
        homes = [record[:ADDRESS_OCTETS] for record in records]
        if fields and all(units) and self._all_new(homes):
            return self._take_new(homes, records, units, at, now)
        return sum(
            self._take_plain(home, record, at, now, each)
            for home, record, each in zip(homes, records, units, strict=True)
        )

    def _all_new(self, homes: list[bytes]) -> bool:
        """Whether they can have slots in a row: each once, none known, no freed slots to be used
        first."""
        once = len(set(homes)) == len(homes)
        return once and not self._columns.has_free and self._index.keys().isdisjoint(homes)

    def _take_new(
        self,
        homes: Sequence[bytes],
        records: Sequence[bytes],
        units: Sequence[int],
        at: int,
        now: int,
    ) -> int:
        """Takes records of home addresses not known into slots in a row."""
        count, first = len(homes), self._put_run(homes, records, units, at, now)
        if self._marks is not None:
            self._marks.extend(bytes(max(0, first + count - len(self._marks))))
            self._marks[first : first + count] = bytes((_STREAMED,)) * count
        return count

    def _take_plain(self, home: bytes, record: bytes, at: int, now: int, units: int) -> bool:
        slot = self._slot_for(home, NO_BID)
        if self._marks is not None and not self._mark(slot, _STREAMED):
            return False
        if units:
            self._put(slot, record, (), at, now, units)
        else:
            self._bury(slot, record, at, now)
        return True

    def load(self, change: Change, position: SyncPosition, now: int) -> bool:
        """As `apply_records`, for one entry with options; whether it was taken."""
        cache, options = change
        bid = bid_of(options)
        slot = self._slot_for(cache.home_address, bid)
        if self._marks is not None and not self._mark(slot, _STREAMED):
            return False
        self._take(slot, cache, bid, options, pack_position(position), now)
        return True

    def end_sync(self) -> list[Key]:
        """Removes, without tombstones, what neither the stream nor the log mentioned since
        `begin_sync`; the keys of the bindings among it."""
        marks, state = self._marks, self._columns.state
        self._marks = None
        removed: list[Key] = []
        # Behind the marks there are only slots that the log filled since.
        for slot, (mark, kind) in enumerate(zip(marks or b"", state, strict=False)):
            if mark == _UNMENTIONED and kind != FREE:
                if kind & LIVE:
                    removed.append(self._key(slot))
                self._remove(slot)
        return removed

    def abort_sync(self) -> None:
        """Ended early: nothing is removed (harp.md §6)."""
        self._marks = None

    def _remove(self, slot: int) -> None:
        super()._remove(slot)
        if self._marks is not None and slot < len(self._marks):
            self._marks[slot] = _UNMENTIONED  # the next entry in the slot is another

    def _mark(self, slot: int, mark: int) -> bool:
        """Notes that a full sync met `slot`; False if the log did so before: it wins."""
        marks = self._marks
        assert marks is not None
        if slot >= len(marks):
            marks.extend(bytes(slot - len(marks) + 1))
        if mark == _STREAMED and marks[slot] == _LOGGED:
            return False
        marks[slot] = mark
        return True
