"""The binding cache in pages: each small enough that no timer of the loop is late for it.

Keys of a binding, kept once shipped: `group`, `home_address`, `bid` (null: none),
`care_of_address`, `flags` (names of `mh.BuFlag`), `sequence`, `lifetime_s` (left), `prefixes`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache
from itertools import islice
from socket import AF_INET6, inet_ntop

from harp.engine.entries import NO_BID, Entry, prefixes_of, units_left
from harp.engine.store import BindingStore
from harp.tables.mh import LIFETIME_UNIT_S, BuFlag

PAGE = 64
"""Bindings of one page."""
SLOTS = 4096
"""Slots of the store looked at without a pause where they hold no binding."""

Binding = dict[str, object]
"""One binding, as JSON has it."""


def pages(store: BindingStore, group: int, now: Callable[[], int]) -> Iterator[list[Binding]]:
    """All bindings; a page may be empty. Between two pages the cache may change: what stays is met
    exactly once."""
    cursor = 0
    while cursor < store.end:
        entries = store.entries(cursor, until=cursor + SLOTS)
        at = now()
        while page := [_binding(entry, group, at) for _, entry in islice(entries, PAGE)]:
            yield page
            at = now()
        cursor += SLOTS
        yield []


def of_home_address(
    store: BindingStore, group: int, home_address: bytes, now: int
) -> list[Binding]:
    """The bindings of one mobile node."""
    found = (store.get(home_address, bid) for bid in store.bids(home_address))
    return [_binding(entry, group, now) for entry in found if entry]


def _binding(entry: Entry, group: int, now: int) -> Binding:
    # inet_ntop: an IPv6Address of Python takes ten times as long
    return {
        "group": group,
        "home_address": inet_ntop(AF_INET6, entry.home_address),
        "bid": None if entry.bid == NO_BID else entry.bid,
        "care_of_address": inet_ntop(AF_INET6, entry.care_of_address),
        "flags": _flags(entry.flags),
        "sequence": entry.sequence,
        "lifetime_s": units_left(entry.expires_us, now) * LIFETIME_UNIT_S,
        "prefixes": [
            f"{inet_ntop(AF_INET6, prefix)}/{length}"
            for length, prefix in prefixes_of(entry.options)
        ],
    }


@lru_cache(maxsize=256)
def _flags(flags: int) -> list[str]:
    return [flag.name for flag in BuFlag if flags & flag and flag.name]
