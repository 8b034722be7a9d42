"""Packed columns of the binding store: 82 octets a slot instead of an object with its fields.

Ref: harp.md §2.2, §2.3
"""

from __future__ import annotations

from array import array
from struct import Struct

NIL = 0
"""Slot that is never used: a link to it ends a list."""
RECORD = Struct(">16s16sHHH")
"""home | care-of | flags | sequence | BID: also what the digest of a plain binding is taken over
(harp.md §2.3)."""
RECORD_OCTETS = RECORD.size

FREE = 0
LIVE = 1
TOMBSTONE = 2
RICH = 4
"""Flag of a state: it has options, a Binding Identifier included, so its record is not plain."""
PLAIN_OCTETS = RECORD_OCTETS - 2
"""Of a record without its BID: as Binding Cache Information begins (harp.md §2.2)."""

_GROW_LEAST = 64
_GROW_SHARE = 16
"""Columns grow by this share: more often wastes time and leaves holes in the heap, less often
wastes memory."""


class Columns:
    """One array a field, indexed by slot; freed slots are used again, last freed first.

    A slot keeps its number as long as it is used, so a cursor over slots is stable whatever
    changes meanwhile.
    """

    def __init__(self) -> None:
        self.record = bytearray(RECORD_OCTETS)
        self.state = bytearray(1)
        """`FREE`, or `LIVE` or `TOMBSTONE`, with `RICH`."""
        self.expires = array("q", [0])
        """Monotonic µs: end of the binding, or when the tombstone is forgotten."""
        self.longest = array("H", [0])
        """Longest lifetime granted, units of 4 s."""
        self.position = array("Q", [0])
        """Term in the upper, Position in the lower 32 bits: compares as harp.md §2.3 wants."""
        self.hash = array("Q", [0])
        """Share of the digest; 0 while not live."""
        self.next = array("I", [NIL])
        """Next slot of the wheel bucket, or of the free list."""
        self.previous = array("I", [NIL])
        self.tick = array("I", [0])
        """Tick of the wheel bucket that holds the slot; 0: in none."""
        self.sibling = array("I", [NIL])
        """Next slot of the same home address: bindings with other BIDs, and tombstones."""
        self.end = 1
        """No slot from here on was ever used."""
        self._free = NIL

    def take(self) -> int:
        """A free slot; the caller writes its fields."""
        slot = self._free
        if slot:
            self._free = self.next[slot]
            return slot
        slot = self.end
        if slot == len(self.state):
            self._grow(max(_GROW_LEAST, slot // _GROW_SHARE))
        self.end += 1
        return slot

    @property
    def has_free(self) -> bool:
        """Some slots were used before and are free."""
        return self._free != NIL

    def take_run(self, count: int) -> int:
        """The first of `count` slots in a row that were never used, all zero."""
        slot = self.end
        while slot + count > len(self.state):
            self._grow(max(_GROW_LEAST, slot // _GROW_SHARE))
        self.end += count
        return slot

    def release(self, slot: int) -> None:
        """Gives a slot back; it is in no wheel bucket any more."""
        self.state[slot] = FREE
        self.next[slot] = self._free
        self._free = slot

    def _grow(self, slots: int) -> None:
        self.record.extend(bytes(slots * RECORD_OCTETS))
        self.state.extend(bytes(slots))
        for column in (self.expires, self.longest, self.position, self.hash):
            column.frombytes(bytes(slots * column.itemsize))
        for links in (self.next, self.previous, self.tick, self.sibling):
            links.frombytes(bytes(slots * links.itemsize))
