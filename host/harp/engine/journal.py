"""Journal records: how a group's state outlives a restart. Octets only; the daemon has the file.

Ref: harp.md §4 (Restart Counter), §5 (base), §6 (tombstones, durability), §7 (timestamps)

```
0        2      3      4          8                10
+--------+------+------+----------+----------------+-------------
| "HJ"   | kind | 0    | CRC-32   | payload octets | payload ...
+--------+------+------+----------+----------------+-------------
```
The CRC covers kind, 0, payload octets and payload. A record that does not hold is set aside
together with what follows up to the next one that does. Times are UNIX µs: the monotonic clock
starts anew with the machine. Later records overrule earlier ones of the same thing.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple, TypeAlias

from harp.engine.columns import RECORD
from harp.engine.entries import Entry
from harp.engine.table import Row, pack_position, unpack_position
from harp.wire.codec import Codec
from harp.wire.fault import Fault
from harp.wire.messages import SyncPosition

_MAGIC = b"HJ"
_HEAD = struct.Struct("!2sBxIH")
_ENTRY = struct.Struct("!qHBQH")
_STATE = struct.Struct("!IIIII")
_RESTART = struct.Struct("!I")
_TIMESTAMP = struct.Struct("!16sQ")
_KEY = struct.Struct("!16sH")


@dataclass(frozen=True, slots=True)
class EntryKept:
    """A binding or tombstone as it is now."""

    entry: Entry
    """With monotonic times; on disk they are UNIX times."""


@dataclass(frozen=True, slots=True)
class EntryForgotten:
    """An entry is gone without a tombstone: swept by a full sync, or its time was over."""

    home_address: bytes
    """16 octets."""
    bid: int
    """Binding Identifier or 0."""


@dataclass(frozen=True, slots=True)
class StateKept:
    """Where this member stands in the log."""

    position: SyncPosition
    """Its own."""
    base: SyncPosition
    """Its position before it became active (harp.md §5)."""
    term_known: int
    """Highest Term heard or used."""


@dataclass(frozen=True, slots=True)
class RestartKept:
    """The Restart Counter in use (harp.md §4)."""

    counter: int
    """32 bits."""


@dataclass(frozen=True, slots=True)
class TimestampKept:
    """Last timestamp of a sender (harp.md §7): "kept over restarts"."""

    sender: bytes
    """Its identity, 16 octets."""
    timestamp: int
    """NTP, 64 bits."""


Record: TypeAlias = EntryKept | EntryForgotten | StateKept | RestartKept | TimestampKept
_KINDS: dict[type[Record], int] = {
    EntryKept: 1,
    EntryForgotten: 2,
    StateKept: 3,
    RestartKept: 4,
    TimestampKept: 5,
}


_ENTRY_SUBJECT = b"HJE"
"""Begins the subject of an entry, kept or forgotten; then home address and BID."""


class Damage(NamedTuple):
    """Octets that hold no record."""

    offset: int
    """Where they begin."""
    octets: bytes
    """What they are: for the daemon to set aside."""
    at_end: bool
    """The file ends with them: most likely a write that was cut short."""


class Split(NamedTuple):
    """A journal taken apart."""

    records: list[bytes]
    """Those that hold, oldest first, for `JournalCodec.decode`."""
    damage: list[Damage]
    """What lay between."""


def split(journal: bytes) -> Split:
    """Takes a journal apart; whatever it holds, never raises."""
    records: list[bytes] = []
    damage: list[Damage] = []
    at, good_until, size = 0, 0, len(journal)
    while at < size:
        end = _end_of_record(journal, at)
        if end is None:
            found = journal.find(_MAGIC, at + 1)
            at = size if found < 0 else found
            continue
        if at > good_until:
            damage.append(Damage(good_until, journal[good_until:at], at_end=False))
        records.append(journal[at:end])
        at = good_until = end
    if size > good_until:
        damage.append(Damage(good_until, journal[good_until:], at_end=True))
    return Split(records, damage)


def subject(record: bytes) -> bytes:
    """What a record of `split` is about: of two with the same subject the later one overrules. A
    record of an unknown kind is about itself."""
    kind, at = record[2], _HEAD.size
    if kind == _KINDS[EntryKept]:
        return (
            _ENTRY_SUBJECT + record[at : at + 16] + record[at + RECORD.size - 2 : at + RECORD.size]
        )
    if kind == _KINDS[EntryForgotten]:
        return _ENTRY_SUBJECT + record[at:]
    if kind == _KINDS[TimestampKept]:
        return record[:3] + record[at : at + 16]
    return record[:3] if kind in _KINDS.values() else record


def forgets(record: bytes) -> bool:
    """It says that an entry is gone: of no use once nothing older about it is there."""
    return record[2] == _KINDS[EntryForgotten]


def _end_of_record(journal: bytes, at: int) -> int | None:
    """Where the record at an offset ends; None: there is none that holds."""
    if len(journal) - at < _HEAD.size:
        return None
    magic, kind, crc, length = _HEAD.unpack_from(journal, at)
    end = at + _HEAD.size + length
    if magic != _MAGIC or end > len(journal):
        return None
    return end if crc == _crc(kind, journal[at + _HEAD.size : end]) else None


def _crc(kind: int, payload: bytes) -> int:
    return zlib.crc32(payload, _head_crc(kind, len(payload)))


@lru_cache(maxsize=64)
def _head_crc(kind: int, octets: int) -> int:
    return zlib.crc32(struct.pack("!BxH", kind, octets))


def _framed(kind: int, payload: bytes) -> bytes:
    return _HEAD.pack(_MAGIC, kind, _crc(kind, payload), len(payload)) + payload


class JournalCodec:
    """Records to octets and back, under one codec's code points.

    `clock_offset_us`: UNIX time minus `now`, µs; set it anew when the clock is stepped.
    """

    def __init__(self, codec: Codec, clock_offset_us: int) -> None:
        self.clock_offset_us = clock_offset_us
        """UNIX time minus `now`, µs."""
        self._options = codec.options

    def encode(self, record: Record) -> bytes:
        """The octets of one record."""
        return _framed(_KINDS[type(record)], self._payload(record))

    def encode_row(self, row: Row) -> bytes:
        """The octets of an `EntryKept`, straight from the store: one for every Binding Update."""
        return _framed(1, self._row_payload(row))

    def decode(self, octets: bytes) -> Record | None:
        """One record of `split`; None: of a kind or form that this version does not know."""
        kind, payload = octets[2], octets[_HEAD.size :]
        try:
            match kind:
                case 1:
                    return EntryKept(self._entry(payload))
                case 2:
                    return EntryForgotten(*_KEY.unpack(payload))
                case 3:
                    term, position, base_term, base, known = _STATE.unpack(payload)
                    return StateKept(
                        SyncPosition(term, position), SyncPosition(base_term, base), known
                    )
                case 4:
                    return RestartKept(*_RESTART.unpack(payload))
                case 5:
                    return TimestampKept(*_TIMESTAMP.unpack(payload))
                case _:
                    return None
        except (struct.error, Fault):
            return None

    def _payload(self, record: Record) -> bytes:
        if isinstance(record, EntryKept):
            return self._entry_payload(record.entry)
        if isinstance(record, EntryForgotten):
            return _KEY.pack(record.home_address, record.bid)
        if isinstance(record, StateKept):
            at, base = record.position, record.base
            return _STATE.pack(at.term, at.position, base.term, base.position, record.term_known)
        if isinstance(record, RestartKept):
            return _RESTART.pack(record.counter)
        return _TIMESTAMP.pack(record.sender, record.timestamp)

    def _entry_payload(self, entry: Entry) -> bytes:
        record = RECORD.pack(
            entry.home_address, entry.care_of_address, entry.flags, entry.sequence, entry.bid
        )
        position = pack_position(entry.position)
        row = Row(
            record, entry.expires_us, entry.longest_units, entry.live, position, entry.options
        )
        return self._row_payload(row)

    def _row_payload(self, row: Row) -> bytes:
        record, expires_us, longest, live, position, options = row
        fields = _ENTRY.pack(expires_us + self.clock_offset_us, longest, live, position, 0)
        if not options:
            return record + fields
        payload = bytearray(record + fields)
        self._options.append(payload, options)
        return bytes(payload)

    def _entry(self, payload: bytes) -> Entry:
        home, care_of, flags, sequence, bid = RECORD.unpack_from(payload)
        expires, longest, live, position, _ = _ENTRY.unpack_from(payload, RECORD.size)
        return Entry(
            home_address=home,
            bid=bid,
            care_of_address=care_of,
            flags=flags,
            sequence=sequence,
            expires_us=expires - self.clock_offset_us,
            longest_units=longest,
            position=unpack_position(position),
            live=bool(live),
            options=self._options.parse(payload, RECORD.size + _ENTRY.size),
        )
