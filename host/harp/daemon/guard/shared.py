"""What harpd and its guard tell each other: memory that both have mapped.

```
0     robust lock, held by harpd's main thread
64    fed (64 bits, monotonic µs)      72  limit (64, µs; 0: nothing is armed)
80    fired (64, how often)            88  beat (64, monotonic µs, of the guard)
96    closing (64, 1: harpd ends by itself)
104   last timestamp signed with, of each Group ID (64 each)
2152  slots of `SLOT_OCTETS`, two copies each; which one is valid is their first octet
```

A slot holds the last HELLO to one destination on one link: from it the guard knows what a goodbye
looks like. harpd may die while it writes: so it writes the copy that is not valid, then says that
it is.
"""

from __future__ import annotations

import mmap
import os
import struct
from typing import NamedTuple

from harp.daemon.guard.robust_lock import OCTETS as LOCK_OCTETS
from harp.daemon.guard.robust_lock import RobustLock

_FED, _LIMIT, _FIRED, _BEAT, _CLOSING = range(LOCK_OCTETS, LOCK_OCTETS + 40, 8)
_STAMPS = LOCK_OCTETS + 40
_SLOTS = _STAMPS + 8 * 256
_WORD = struct.Struct("=Q")
MAX_HELLO_OCTETS = 256
"""A HELLO with every option of this version takes 136."""
_COPY = struct.Struct(f"=HHH16s16s16s{MAX_HELLO_OCTETS}s")
"""Group ID, octets of the name, octets of the HELLO, name, source, destination, HELLO."""
SLOT_OCTETS = 8 + 2 * _COPY.size


class Hello(NamedTuple):
    """The last HELLO of a group to a destination."""

    group: int
    """Group ID."""
    link: str
    """Interface; empty: as routed."""
    source: bytes
    """16 octets."""
    destination: bytes
    """16 octets."""
    payload: bytes
    """The Mobility Header."""


class Shared:
    """The memory, by its file descriptor."""

    def __init__(self, descriptor: int, slots: int) -> None:
        self._memory = mmap.mmap(descriptor, _size(slots))
        self._slots = slots
        self.lock = RobustLock(self._memory)

    @property
    def fed_us(self) -> int:
        """When harpd was last alive, monotonic µs."""
        return self._read(_FED)

    @fed_us.setter
    def fed_us(self, value: int) -> None:
        _WORD.pack_into(self._memory, _FED, value)

    @property
    def limit_us(self) -> int:
        """Silence after which the guard withdraws, µs; 0: nothing is armed."""
        return self._read(_LIMIT)

    @limit_us.setter
    def limit_us(self, value: int) -> None:
        _WORD.pack_into(self._memory, _LIMIT, value)

    def fed_and_limit(self) -> tuple[int, int]:
        """`fed_us`, `limit_us`. They are written in this order, so they are read in the other: a
        limit that is new comes with the feed before it."""
        limit = self.limit_us
        return self.fed_us, limit

    @property
    def fired(self) -> int:
        """How often the guard withdrew because harpd was silent."""
        return self._read(_FIRED)

    @fired.setter
    def fired(self, value: int) -> None:
        _WORD.pack_into(self._memory, _FIRED, value)

    @property
    def beat_us(self) -> int:
        """When the guard was last alive, monotonic µs."""
        return self._read(_BEAT)

    @beat_us.setter
    def beat_us(self, value: int) -> None:
        _WORD.pack_into(self._memory, _BEAT, value)

    @property
    def closing(self) -> bool:
        """The daemon ends by itself: there is nothing to guard any more."""
        return bool(self._read(_CLOSING))

    @closing.setter
    def closing(self, value: bool) -> None:
        _WORD.pack_into(self._memory, _CLOSING, value)

    def timestamp(self, group: int) -> int:
        """The last one that a HARP message of a group was signed with; 0: none was."""
        return self._read(_STAMPS + 8 * group)

    def set_timestamp(self, group: int, value: int) -> None:
        """The daemon and its guard share one row of them, which never goes back (harp.md §7)."""
        _WORD.pack_into(self._memory, _STAMPS + 8 * group, value)

    def put(self, slot: int, hello: Hello) -> None:
        """The newest HELLO of a slot."""
        at = _SLOTS + slot * SLOT_OCTETS
        valid = self._memory[at]
        fresh = 2 if valid == 1 else 1
        name = hello.link.encode()
        _COPY.pack_into(
            self._memory,
            at + 8 + (fresh - 1) * _COPY.size,
            hello.group,
            len(name),
            len(hello.payload),
            name,
            hello.source,
            hello.destination,
            hello.payload,
        )
        self._memory[at] = fresh

    def clear(self, slot: int) -> None:
        """Nothing is in a slot any more."""
        self._memory[_SLOTS + slot * SLOT_OCTETS] = 0

    def hellos(self) -> list[Hello]:
        """What is in the slots."""
        found: list[Hello] = []
        for slot in range(self._slots):
            at = _SLOTS + slot * SLOT_OCTETS
            valid = self._memory[at]
            if valid:
                group, name_octets, octets, name, source, destination, payload = _COPY.unpack_from(
                    self._memory, at + 8 + (valid - 1) * _COPY.size
                )
                link = name[:name_octets].decode()
                found.append(Hello(group, link, source, destination, payload[:octets]))
        return found

    def close(self) -> None:
        """Unmaps it; nobody may hold the lock."""
        self.lock.forget()
        self._memory.close()

    def _read(self, at: int) -> int:
        value: int = _WORD.unpack_from(self._memory, at)[0]
        return value


def make_memory(slots: int) -> int:
    """Descriptor of fresh memory, all zero."""
    descriptor = os.memfd_create("harpd-guard", os.MFD_CLOEXEC)
    os.ftruncate(descriptor, _size(slots))
    return descriptor


def _size(slots: int) -> int:
    return _SLOTS + slots * SLOT_OCTETS
