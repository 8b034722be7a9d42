"""When an unanswered message is repeated (harp.md §6, §8)."""

from __future__ import annotations

from harp.tables.constants import BACKOFF_FACTOR, MAX_UPDATE_RATE_PER_S, US_PER_S

UNLIMITED_REPETITIONS = 3
"""harp.md §8: MAX_UPDATE_RATE holds "for identical retransmissions from the fourth on"."""
LIMITED_GAP_US = -(-US_PER_S // MAX_UPDATE_RATE_PER_S)
"""Least time between repetitions from then on, µs."""


def wait_before(repetition: int, first_us: int, max_us: int) -> int:
    """Wait before the `repetition`-th repetition (from 1) of a message, µs: `first_us`, doubling
    up to `max_us`, never faster than MAX_UPDATE_RATE."""
    wait: int = min(first_us * BACKOFF_FACTOR ** (repetition - 1), max_us)
    return wait if repetition <= UNLIMITED_REPETITIONS else max(wait, LIMITED_GAP_US)
