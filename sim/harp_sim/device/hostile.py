"""A serial line that drops, flips, doubles and holds up octets; seeded.

A line keeps the order of its octets whatever it does to them.
"""

from __future__ import annotations

import random
from collections import deque


class HostileLine:
    """One direction. Each fault befalls an octet with probability `rate` / 4."""

    def __init__(
        self, rng: random.Random, rate: float, octet_us: int = 10, hold_us: int = 30_000
    ) -> None:
        self.faults = 0
        """Octets that were not what was sent, or came late."""
        self._rng = rng
        self._rate = rate
        self._octet_us = octet_us
        self._hold_us = hold_us
        self._free_us = 0
        self._waiting: deque[tuple[int, int]] = deque()

    @property
    def deadline(self) -> int | None:
        """When the next octet arrives, µs."""
        return self._waiting[0][0] if self._waiting else None

    def send(self, octets: bytes, now: int) -> None:
        """Octets leave one after the other."""
        rng = self._rng
        for octet in octets:
            self._free_us = max(self._free_us, now) + self._octet_us
            copies = 1
            if rng.random() < self._rate:
                self.faults += 1
                match rng.randrange(4):
                    case 0:
                        copies = 0
                    case 1:
                        octet ^= rng.randrange(1, 256)
                    case 2:
                        copies = 2
                    case _:
                        self._free_us += rng.randrange(self._hold_us)
            self._waiting.extend((self._free_us, octet) for _ in range(copies))

    def arrived(self, now: int) -> bytes:
        """Octets that are there by now."""
        octets = bytearray()
        while self._waiting and self._waiting[0][0] <= now:
            octets.append(self._waiting.popleft()[1])
        return bytes(octets)
