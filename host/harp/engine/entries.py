"""What the binding cache holds: entries, the changes that make them, and their digest.

Ref: harp.md §1 (binding), §2.2 (Binding Cache Information), §2.3 (Cache Digest), §6 (merge, keys)
"""

from __future__ import annotations

from hashlib import sha256
from typing import NamedTuple, TypeAlias

from harp.tables.constants import US_PER_S
from harp.tables.mh import LIFETIME_UNIT_S
from harp.wire.messages import (
    BindingCache,
    BindingIdentifier,
    MobileNetworkPrefix,
    Options,
    SyncPosition,
)

NO_BID = 0
"""Key of a binding without Binding Identifier; RFC 5648 §4.3 reserves the value zero."""
UNIT_US = LIFETIME_UNIT_S * US_PER_S
"""Unit of a lifetime on the wire, in µs."""
MAX_UNITS = 0xFFFF
"""Longest lifetime that the wire can carry, in units of 4 s."""

Key: TypeAlias = tuple[bytes, int]
"""(home address, BID or `NO_BID`): what names a binding (harp.md §6)."""
Change: TypeAlias = tuple[BindingCache, Options]
"""A binding as SS-REPs carry it: Binding Cache Information and the options behind it, a Binding
Identifier included. Lifetime 0 deletes."""


def bid_of(options: Options) -> int:
    """BID among a binding's options, or `NO_BID`."""
    for option in options:
        if isinstance(option, BindingIdentifier):
            return option.bid
    return NO_BID


def key_of(change: Change) -> Key:
    """What a change is about."""
    cache, options = change
    return cache.home_address, bid_of(options)


def prefixes_of(options: Options) -> tuple[tuple[int, bytes], ...]:
    """(length, prefix) of each Mobile Network Prefix, ascending."""
    return tuple(
        sorted((o.length, o.prefix) for o in options if isinstance(o, MobileNetworkPrefix))
    )


def entry_hash(record: bytes, options: Options = ()) -> int:
    """The binding's share of the Cache Digest (harp.md §2.3), 64 bits.

    `record`: home | care-of | flags | sequence | BID, 38 octets, as the store keeps it.
    """
    if options:
        for length, prefix in prefixes_of(options):
            record += bytes((length,)) + prefix
    return int.from_bytes(sha256(record).digest()[:8], "big")


def units_left(expires_us: int, now: int) -> int:
    """Lifetime left, in units of 4 s rounded up (harp.md §2.2); 0 when over."""
    return min(max(0, -((now - expires_us) // UNIT_US)), MAX_UNITS)


class Entry(NamedTuple):
    """One binding or tombstone, taken out of the store: a copy that no later change touches.

    A tuple, since it is made for every Binding Update: a frozen dataclass costs four times as much.
    """

    home_address: bytes
    """16 octets."""
    bid: int
    """Binding Identifier, 1 to 65535, or `NO_BID`."""
    care_of_address: bytes
    """16 octets; of a tombstone the last one."""
    flags: int
    """The Binding Update's own 16 bits."""
    sequence: int
    """Of the Binding Update that made, or of a tombstone that ended, the binding."""
    expires_us: int
    """Binding: when it ends. Tombstone: when it is forgotten. Monotonic µs."""
    longest_units: int
    """Longest lifetime ever granted to the binding, units of 4 s; a tombstone stays so long."""
    position: SyncPosition
    """Of the last change."""
    live: bool
    """False: a tombstone."""
    options: Options = ()
    """As they follow the Binding Cache Information option; the Binding Identifier included."""

    @property
    def key(self) -> Key:
        """What names it."""
        return self.home_address, self.bid

    def change(self, now: int) -> Change:
        """The entry as an SS-REP carries it at `now`; a tombstone has lifetime 0.

        A binding that is over but not yet removed still has one unit: only the active's log ends
        bindings (harp.md §6).
        """
        units = max(1, units_left(self.expires_us, now)) if self.live else 0
        cache = BindingCache(
            self.home_address,
            self.care_of_address,
            self.flags,
            self.sequence,
            units * LIFETIME_UNIT_S,
        )
        return cache, self.options
