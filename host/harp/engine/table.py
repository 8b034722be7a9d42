"""The table under the binding store: packed columns, index, digest, alarms; no log, no stream.

Ref: harp.md §2.3 (Cache Digest), §6 (keys, tombstones); RFC 6275 §9.1 (Binding Cache)

Every operation on one entry is O(1), but for the few bindings that share a home address. Nothing
expires by itself: the active takes what is due and puts deletions into its log (harp.md §6).
"""

from __future__ import annotations

from array import array
from hashlib import sha256
from struct import unpack
from typing import TYPE_CHECKING, NamedTuple

from harp.engine.columns import (
    FREE,
    LIVE,
    NIL,
    PLAIN_OCTETS,
    RECORD,
    RECORD_OCTETS,
    RICH,
    TOMBSTONE,
    Columns,
)
from harp.engine.config import ADDRESS_OCTETS
from harp.engine.entries import MAX_UNITS, NO_BID, UNIT_US, Entry, Key, entry_hash
from harp.engine.expiry import TICK_US, Wheel
from harp.wire.maker import maker
from harp.wire.messages import BindingIdentifier, CacheDigest, Options, SyncPosition

if TYPE_CHECKING:
    from collections.abc import Sequence

_make_position, _make_digest = maker(SyncPosition), maker(CacheDigest)
HASH_MASK = 0xFFFF_FFFF_FFFF_FFFF
NO_LIMIT = 1 << 30
NO_BID_OCTETS = bytes(2)
NO_CARE_OF = bytes(ADDRESS_OCTETS)


class Due(NamedTuple):
    """What `BindingTable.take_due` found."""

    over: list[Key]
    """Bindings whose lifetime has ended; they stay until the log deletes them."""
    refresh: list[Key]
    """Bindings that end within the refresh margin: each once per granted lifetime."""


class Update(NamedTuple):
    """What the last Binding Update of a key left: `Entry` in short."""

    live: bool
    """False: it is a tombstone now."""
    flags: int
    """Its 16 bits; 0: the binding expired."""
    sequence: int
    """Its Sequence Number."""
    buried_us: int
    """Tombstone: since when, monotonic µs."""


class Row(NamedTuple):
    """An entry as the columns have it: `Entry` not taken apart."""

    record: bytes
    """Home address, care-of address, flags, sequence, BID: 38 octets."""
    expires_us: int
    """As `Entry.expires_us`."""
    longest_units: int
    """As `Entry.longest_units`."""
    live: bool
    """False: a tombstone."""
    position: int
    """Of the last change, packed."""
    options: Options
    """As `Entry.options`."""


def pack_position(position: SyncPosition) -> int:
    """Both parts in 64 bits, in an order that compares (harp.md §2.3)."""
    return position.term << 32 | position.position


def unpack_position(position: int) -> SyncPosition:
    """What `pack_position` packed."""
    return _make_position(position >> 32, position & 0xFFFF_FFFF)


def is_bare(options: Options, bid: int) -> bool:
    """Whether a binding's options say no more than its key does."""
    return not options or options == (BindingIdentifier(bid),)


class BindingTable:
    """Bindings and tombstones by (home address, BID or none).

    `refresh_margin_us`: `take_due` reports a binding so long before its end, once, if it was ever
    granted at least four times as long; 0: never.
    `tombstone_units`: how long, in units of 4 s, a tombstone stays when the longest lifetime of
    its binding is not known (it came by a full sync).
    """

    def __init__(self, *, refresh_margin_us: int = 0, tombstone_units: int = MAX_UNITS) -> None:
        self._columns = Columns()
        self._index: dict[bytes, int] = {}
        """First slot of each home address; `Columns.sibling` has the others, few as they are."""
        self._used = 0
        """Slots in use."""
        self._count = 0
        self._hash = 0
        self.refresh_margin_us = refresh_margin_us
        self.tombstone_units = tombstone_units
        self._alarms = Wheel(self._columns)
        self._graves = Wheel(self._columns)
        self._options: dict[int, Options] = {}
        """Options of the slots that have more than a Binding Identifier."""

    def __len__(self) -> int:
        """Live bindings."""
        return self._count

    @property
    def tombstones(self) -> int:
        """Tombstones kept now."""
        return self._used - self._count

    @property
    def digest(self) -> CacheDigest:
        """Count and hash of the live bindings (harp.md §2.3); every change keeps it up to date."""
        return _make_digest(self._count, self._hash)

    def get(self, home_address: bytes, bid: int = NO_BID) -> Entry | None:
        """The live binding of a key."""
        slot = self._find(home_address, bid)
        return self._entry(slot) if self._columns.state[slot] & LIVE else None

    def find(self, home_address: bytes, bid: int = NO_BID) -> Entry | None:
        """The binding or tombstone of a key."""
        slot = self._find(home_address, bid)
        return self._entry(slot) if slot else None

    def last_update(self, home_address: bytes, bid: int = NO_BID) -> Update | None:
        """What is known of the last Binding Update of a key."""
        slot = self._find(home_address, bid)
        if not slot:
            return None
        c = self._columns
        _, _, flags, sequence, _ = RECORD.unpack_from(c.record, slot * RECORD_OCTETS)
        live = c.state[slot] & LIVE != 0
        return Update(live, flags, sequence, c.expires[slot] - c.longest[slot] * UNIT_US)

    def care_of(self, home_address: bytes) -> bytes | None:
        """Care-of address of a home address's live binding without BID."""
        slot = self._find(home_address, NO_BID)
        if not self._columns.state[slot] & LIVE:
            return None
        at = slot * RECORD_OCTETS + ADDRESS_OCTETS
        return bytes(self._columns.record[at : at + ADDRESS_OCTETS])

    def bids(self, home_address: bytes) -> tuple[int, ...]:
        """BIDs of a home address's live bindings, ascending; `NO_BID` for the one without."""
        return self._family(home_address, LIVE)

    def family(self, home_address: bytes) -> list[Key]:
        """Keys of all bindings and tombstones of a home address."""
        return [(home_address, bid) for bid in self._family(home_address, LIVE | TOMBSTONE)]

    def rows(self, home_address: bytes) -> list[Row]:
        """All bindings and tombstones of a home address, as they are kept."""
        c, rows, slot = self._columns, list[Row](), self._index.get(home_address, NIL)
        while slot:
            rows.append(self._row(slot))
            slot = c.sibling[slot]
        return rows

    def row(self, home_address: bytes, bid: int = NO_BID) -> Row | None:
        """The binding or tombstone of a key, as it is kept."""
        slot = self._find(home_address, bid)
        return self._row(slot) if slot else None

    def forget(self, home_address: bytes, bid: int = NO_BID) -> bool:
        """Removes an entry without a tombstone; False if there is none."""
        slot = self._find(home_address, bid)
        if slot:
            self._remove(slot)
        return slot != NIL

    def restore(self, entry: Entry) -> None:
        """Puts an entry in as it is: times, position and all."""
        slot = self._slot_for(entry.home_address, entry.bid)
        record = RECORD.pack(
            entry.home_address, entry.care_of_address, entry.flags, entry.sequence, entry.bid
        )
        self._columns.longest[slot] = entry.longest_units
        position = pack_position(entry.position)
        if entry.live:
            self._write_live(slot, record, entry.options, position, entry.expires_us)
        else:
            self._write_tombstone(slot, record, position, entry.expires_us)

    # Time

    @property
    def deadline(self) -> int | None:
        """When a binding may be over, or due for a refresh request: for the active, µs."""
        return self._alarms.deadline

    def take_due(self, now: int, limit: int = NO_LIMIT) -> Due:
        """Up to `limit` bindings that are over or due for a refresh request at `now`.

        One that is over stays, and is reported again a tick later unless the log deleted it.
        """
        due = Due([], [])
        for slot in self._alarms.take_due(now, limit):
            end = self._columns.expires[slot]
            alarm = self._alarm(slot, end)
            if end <= now:
                due.over.append(self._key(slot))
                self._alarms.arm(slot, now + TICK_US)
            elif alarm <= now:
                due.refresh.append(self._key(slot))
                self._alarms.arm(slot, end)
            else:  # extended meanwhile: an extension leaves the alarm where it was
                self._alarms.arm(slot, alarm)
        return due

    def _alarm(self, slot: int, end: int) -> int:
        """When to look at the binding in `slot` that ends at `end`."""
        margin = self.refresh_margin_us
        return end - margin if self._columns.longest[slot] * UNIT_US >= 4 * margin else end

    @property
    def tombstone_deadline(self) -> int | None:
        """When a tombstone may be forgotten: on every member, µs."""
        return self._graves.deadline

    def purge_tombstones(self, now: int, limit: int = NO_LIMIT) -> int:
        """Forgets up to `limit` tombstones whose time is over; how many."""
        over = self._graves.take_due(now, limit)
        for slot in over:
            self._remove(slot)
        return len(over)

    # Slots

    def _find(self, home: bytes, bid: int) -> int:
        """The slot of a key, or `NIL`: O(1) but for the siblings of a multihomed mobile node."""
        slot = self._index.get(home, NIL)
        while slot and self._bid(slot) != bid:
            slot = self._columns.sibling[slot]
        return slot

    def _bid(self, slot: int) -> int:
        at, record = slot * RECORD_OCTETS + PLAIN_OCTETS, self._columns.record
        return record[at] << 8 | record[at + 1]

    def _family(self, home: bytes, kinds: int) -> tuple[int, ...]:
        """BIDs of the entries of a home address that are of these kinds, ascending."""
        slot, c = self._index.get(home, NIL), self._columns
        if not c.sibling[slot]:
            return (self._bid(slot),) if c.state[slot] & kinds else ()
        bids: list[int] = []
        while slot:
            if c.state[slot] & kinds:
                bids.append(self._bid(slot))
            slot = c.sibling[slot]
        return tuple(sorted(bids))

    def _key(self, slot: int) -> Key:
        home, _, _, _, bid = RECORD.unpack_from(self._columns.record, slot * RECORD_OCTETS)
        return home, bid

    def _entry(self, slot: int) -> Entry:
        c = self._columns
        home, care_of, flags, sequence, bid = RECORD.unpack_from(c.record, slot * RECORD_OCTETS)
        position = c.position[slot]
        options = self._options_of(slot, bid)
        return Entry(
            home,
            bid,
            care_of,
            flags,
            sequence,
            c.expires[slot],
            c.longest[slot],
            unpack_position(position),
            c.state[slot] & LIVE != 0,
            options,
        )

    def _row(self, slot: int) -> Row:
        c, at = self._columns, slot * RECORD_OCTETS
        record, state = bytes(c.record[at : at + RECORD_OCTETS]), c.state[slot]
        options = self._options_of(slot, self._bid(slot)) if state & RICH else ()
        live = state & LIVE != 0
        return Row(record, c.expires[slot], c.longest[slot], live, c.position[slot], options)

    def _options_of(self, slot: int, bid: int) -> Options:
        return self._options.get(slot) or ((BindingIdentifier(bid),) if bid else ())

    def _slot_for(self, home: bytes, bid: int) -> int:
        """The slot of a key; a new one, `FREE` and with no lifetime granted, if it has none."""
        slot, c = self._find(home, bid), self._columns
        if not slot:
            slot = c.take()
            RECORD.pack_into(c.record, slot * RECORD_OCTETS, home, NO_CARE_OF, 0, 0, bid)
            c.sibling[slot] = self._index.get(home, NIL)
            self._index[home] = slot
            self._used += 1
        return slot

    def _put(
        self, slot: int, record: bytes, options: Options, position: int, now: int, units: int
    ) -> None:
        """Makes the entry in `slot` a binding that ends `units` of 4 s from `now`."""
        longest = self._columns.longest
        # The longest lifetime of *this* binding: what a tombstone remembers ended with it.
        if not self._columns.state[slot] & LIVE or units > longest[slot]:
            longest[slot] = units
        self._write_live(slot, record, options, position, now + units * UNIT_US)

    def _put_run(
        self,
        homes: Sequence[bytes],
        records: Sequence[bytes],
        units: Sequence[int],
        position: int,
        now: int,
    ) -> int:
        """Adds bindings without options of as many home addresses, none of them known, in one
        piece: a full sync is mostly these. The first of their slots, which lie in a row."""
        c, count = self._columns, len(records)
        first = c.take_run(count)
        end = first + count
        self._index.update(zip(homes, range(first, end), strict=True))
        shares = unpack(f">{count}Q", b"".join([sha256(each).digest()[:8] for each in records]))
        self._hash = (self._hash + sum(shares)) & HASH_MASK
        self._count += count
        self._used += count
        c.record[first * RECORD_OCTETS : end * RECORD_OCTETS] = b"".join(records)
        c.hash[first:end] = array("Q", shares)
        c.state[first:end] = bytes((LIVE,)) * count
        c.longest[first:end] = array("H", units)
        c.position[first:end] = array("Q", (position,)) * count
        c.expires[first:end] = ends = array("q", [now + each * UNIT_US for each in units])
        margin = self.refresh_margin_us
        if margin:  # as `_alarm`
            ends = array("q", [self._alarm(slot, end) for slot, end in enumerate(ends, first)])
        self._alarms.arm_run(first, ends)
        return first

    def _bury(self, slot: int, record: bytes, position: int, now: int) -> None:
        """Makes the entry in `slot` a tombstone; one that is one already keeps its end."""
        c = self._columns
        state, expires = c.state[slot], c.expires[slot]
        if not state & TOMBSTONE:
            if state == FREE:
                c.longest[slot] = self.tombstone_units
            expires = now + c.longest[slot] * UNIT_US
        self._write_tombstone(slot, record, position, expires)

    def _write_live(
        self, slot: int, record: bytes, options: Options, position: int, expires: int
    ) -> None:
        c, bid = self._columns, int.from_bytes(record[-2:])
        state, alarm = c.state[slot], self._alarm(slot, expires)
        extra = not is_bare(options, bid)
        if not state & LIVE:
            self._count += 1
            self._graves.disarm(slot)
            self._alarms.arm(slot, alarm)
        elif -(-alarm // TICK_US) < c.tick[slot]:  # earlier by a bucket at least
            self._alarms.disarm(slot)
            self._alarms.arm(slot, alarm)
        at = slot * RECORD_OCTETS
        known = state == LIVE and not options and c.record[at : at + RECORD_OCTETS] == record
        if not known:
            share = entry_hash(record, options)
            self._hash = (self._hash + share - c.hash[slot]) & HASH_MASK
            c.hash[slot] = share
        self._write(slot, record, LIVE | RICH if extra or bid else LIVE, position, expires)
        if extra:
            self._options[slot] = options
        elif state & RICH:
            self._options.pop(slot, None)

    def _write_tombstone(self, slot: int, record: bytes, position: int, expires: int) -> None:
        self._end_life(slot)
        self._graves.disarm(slot)
        self._graves.arm(slot, expires)
        has_bid = record[PLAIN_OCTETS:] != NO_BID_OCTETS
        self._write(slot, record, TOMBSTONE | RICH if has_bid else TOMBSTONE, position, expires)

    def _write(self, slot: int, record: bytes, state: int, position: int, expires: int) -> None:
        c, at = self._columns, slot * RECORD_OCTETS
        c.record[at : at + RECORD_OCTETS] = record
        c.state[slot], c.position[slot], c.expires[slot] = state, position, expires

    def _end_life(self, slot: int) -> None:
        """Takes a live entry out of count, digest, alarms and options; nothing for others."""
        c = self._columns
        if c.state[slot] & LIVE:
            self._count -= 1
            self._hash = (self._hash - c.hash[slot]) & HASH_MASK
            c.hash[slot] = 0
            self._alarms.disarm(slot)
            self._options.pop(slot, None)

    def _remove(self, slot: int) -> None:
        """Forgets the entry in `slot` altogether."""
        home, c = self._key(slot)[0], self._columns
        self._end_life(slot)
        self._graves.disarm(slot)
        after, before = c.sibling[slot], self._index[home]
        if before != slot:
            while c.sibling[before] != slot:
                before = c.sibling[before]
            c.sibling[before] = after
        elif after:
            self._index[home] = after
        else:
            del self._index[home]
        c.release(slot)
        self._used -= 1
