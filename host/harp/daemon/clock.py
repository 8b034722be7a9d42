"""The two clocks: monotonic µs for the engine, and how far UNIX time is from it."""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """What the daemon reads the time from; tests bring their own."""

    def now_us(self) -> int:
        """Monotonic time, µs."""

    def offset_us(self) -> int:
        """UNIX time minus `now_us`, µs."""


class SystemClock:
    """CLOCK_MONOTONIC and CLOCK_REALTIME (clock_gettime(2))."""

    def now_us(self) -> int:
        """CLOCK_MONOTONIC, µs: the clock of `timer.Timer` too."""
        return time.monotonic_ns() // 1000

    def offset_us(self) -> int:
        """UNIX time minus `now_us`, µs."""
        return (time.time_ns() - time.monotonic_ns()) // 1000
