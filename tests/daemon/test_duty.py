"""A process that would use all of a processor leaves some of it, in small pieces."""

from __future__ import annotations

import itertools

import pytest

from harp.daemon.duty import Duty

S = 1_000_000
LOOK_US = 1_000
KERNEL_SHARE = 0.95
"""What real-time tasks may have of each second (sched(7))."""
DETECTION_US = 30_000


def worked(wanted: float, seconds: int = 3) -> tuple[list[int], int]:
    """Processor time used in each second by who could use a share of it; the longest rest."""
    now, used, longest = 0, 0, 0
    duty = Duty(now, 0)
    at_second = [0]
    while now < seconds * S:
        now += LOOK_US
        used += int(LOOK_US * wanted)
        rest = duty.owed_us(used, now)
        now, longest = now + rest, max(longest, rest)
        if now // S >= len(at_second):
            at_second.append(used)
    return [b - a for a, b in itertools.pairwise(at_second)], longest


def test_who_wants_everything_leaves_what_the_kernel_would_take() -> None:
    each, longest = worked(1.0)
    assert max(each) < KERNEL_SHARE * S, each
    assert min(each) > 0.8 * S, "little more than that is left"
    assert 0 < longest < DETECTION_US // 10


@pytest.mark.parametrize("wanted", [0.1, 0.5, 0.85])
def test_who_wants_less_never_rests(wanted: float) -> None:
    each, longest = worked(wanted)
    assert longest == 0 and max(each) <= wanted * S + LOOK_US


def test_a_burst_needs_no_rest_and_a_long_pause_saves_no_more_than_one() -> None:
    duty = Duty(0, 0)
    assert duty.owed_us(15_000, 15_000) == 0
    assert duty.owed_us(15_000, 60 * S) == 0
    now, used = 60 * S, 15_000
    while not duty.owed_us(used, now):
        now, used = now + LOOK_US, used + LOOK_US
    assert now - 60 * S < S // 4
