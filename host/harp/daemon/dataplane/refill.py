"""Every binding as it is, a slice at a time, to whoever knows none of them.

100,000 bindings take 150 ms and more in one go; the loop that gives them has deadlines of
milliseconds, and a guard that takes it for dead (harp.md §9).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from harp.daemon.clock import Clock
from harp.engine.effects import PrepareRoute

SLICE_US = 500
"""Longest part of the loop's turn."""


class Refill:
    """What is left to give. A binding that changes meanwhile is told as the change that it is,
    before or after it is met here: the last word is how it stands."""

    def __init__(self, source: Callable[[], Iterable[PrepareRoute]], clock: Clock) -> None:
        self._source = source
        self._clock = clock
        self._left: Iterator[PrepareRoute] | None = None

    @property
    def waiting(self) -> bool:
        """Something may be left."""
        return self._left is not None

    def begin(self) -> None:
        """From the first binding on."""
        self._left = iter(self._source())

    def stop(self) -> None:
        """Nobody is there to be told."""
        self._left = None

    def slice(self) -> Iterator[PrepareRoute]:
        """The next bindings, until their time is over."""
        if self._left is None:
            return
        end = self._clock.now_us() + SLICE_US
        for route in self._left:
            yield route
            if self._clock.now_us() >= end:
                return
        self._left = None
