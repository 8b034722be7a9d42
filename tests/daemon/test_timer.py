"""The timer fires when its time has come, on the clock that the runtime reads."""

from __future__ import annotations

import select
from collections.abc import Iterator

import pytest

from harp.daemon.clock import SystemClock
from harp.daemon.timer import StepWatch, Timer

CLOCK = SystemClock()


@pytest.fixture
def timer() -> Iterator[Timer]:
    made = Timer()
    yield made
    made.close()


def _fires(timer: Timer | StepWatch, within_ms: int) -> bool:
    poll = select.poll()
    poll.register(timer.fileno(), select.POLLIN)
    return bool(poll.poll(within_ms))


def test_never_before_its_time(timer: Timer) -> None:
    for wait_us in (1, 500, 20_000):
        due = CLOCK.now_us() + wait_us
        timer.set(due)
        assert _fires(timer, 10_000)
        assert CLOCK.now_us() >= due
        timer.acknowledge()
        assert not _fires(timer, 0)


def test_a_time_that_is_over_fires_at_once_and_again(timer: Timer) -> None:
    for at in (0, 1, -5, 1):
        timer.set(at)
        assert _fires(timer, 10_000)
        timer.acknowledge()


def test_none_disarms(timer: Timer) -> None:
    timer.set(1)
    timer.set(None)
    assert not _fires(timer, 0)
    timer.acknowledge()  # nothing is there to take: no error


def test_the_same_time_again_is_no_new_wait(timer: Timer) -> None:
    far = CLOCK.now_us() + 3_600_000_000
    timer.set(far)
    timer.set(far)
    assert not _fires(timer, 0)
    timer.set(1)
    assert _fires(timer, 10_000)


def test_the_clocks_agree() -> None:
    before = CLOCK.offset_us()
    assert abs(CLOCK.offset_us() - before) < 60_000_000
    assert before + CLOCK.now_us() > 1_700_000_000_000_000


def test_a_clock_that_nobody_sets_is_silent() -> None:
    watch = StepWatch()
    try:
        assert not _fires(watch, 0)
        watch.acknowledge()
        assert not _fires(watch, 0)
    finally:
        watch.close()


def test_a_deadline_that_moves_on_may_fire_at_the_earlier_time(timer: Timer) -> None:
    """One system call for many: who is woken early sets it again."""
    timer.set(CLOCK.now_us() + 1_000)
    later = CLOCK.now_us() + 200_000
    timer.set(later)
    assert _fires(timer, 10_000) and CLOCK.now_us() < later
    timer.acknowledge()
    timer.set(later)
    assert not _fires(timer, 0)
    timer.set(CLOCK.now_us() + 1_000)
    assert _fires(timer, 10_000) and CLOCK.now_us() < later, "an earlier one counts at once"
