"""One timer for all deadlines: a timerfd, because asyncio's own are a millisecond late.

Ref: timerfd_create(2). Python has it from 3.13 on; here it comes from the C library.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import time

from harp.tables.constants import US_PER_S

_ABSOLUTE = 1
"""TFD_TIMER_ABSTIME."""
_CANCEL_ON_SET = 2
"""TFD_TIMER_CANCEL_ON_SET: a step of the wall clock ends the wait with ECANCELED."""
_FAR_S = 1 << 40
"""A time that does not come."""

_libc = ctypes.CDLL(None, use_errno=True)


class _Timespec(ctypes.Structure):
    """`struct timespec`."""

    _fields_ = (("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long))


class _Setting(ctypes.Structure):
    """`struct itimerspec`."""

    _fields_ = (("interval", _Timespec), ("value", _Timespec))


def _create(clock: int) -> int:
    descriptor: int = _libc.timerfd_create(clock, os.O_NONBLOCK | os.O_CLOEXEC)
    if descriptor < 0:
        raise OSError(ctypes.get_errno(), "timerfd_create")
    return descriptor


def _arm(descriptor: int, flags: int, setting: _Setting) -> None:
    if _libc.timerfd_settime(descriptor, flags, ctypes.byref(setting), None) < 0:
        raise OSError(ctypes.get_errno(), "timerfd_settime")


class Timer:
    """Readable when the monotonic time it was set to has come."""

    def __init__(self) -> None:
        self._descriptor = _create(time.CLOCK_MONOTONIC)
        self._setting = _Setting()
        self._at: int | None = None

    def fileno(self) -> int:
        """For the loop."""
        return self._descriptor

    def set(self, at_us: int | None) -> None:
        """Monotonic µs; None: never. A time that is over fires at once. It may fire at an earlier
        time that was set before: a deadline that moves on is not worth a system call each time."""
        if at_us == self._at or (self._at is not None and at_us is not None and self._at < at_us):
            return
        self._at = at_us
        # An absolute time of zero would disarm.
        seconds, rest_us = divmod(max(at_us, 1), US_PER_S) if at_us is not None else (0, 0)
        value = self._setting.value
        value.seconds, value.nanoseconds = seconds, rest_us * 1000
        _arm(self._descriptor, _ABSOLUTE, self._setting)

    def acknowledge(self) -> None:
        """It fired, or may have: not readable until it is set again."""
        self._at = None
        with contextlib.suppress(BlockingIOError):
            os.read(self._descriptor, 8)

    def close(self) -> None:
        """Gives the descriptor back."""
        os.close(self._descriptor)


class StepWatch:
    """Readable when somebody sets the wall clock."""

    def __init__(self) -> None:
        self._descriptor = _create(time.CLOCK_REALTIME)
        self._setting = _Setting(value=_Timespec(_FAR_S, 0))
        _arm(self._descriptor, _ABSOLUTE | _CANCEL_ON_SET, self._setting)

    def fileno(self) -> int:
        """For the loop."""
        return self._descriptor

    def acknowledge(self) -> None:
        """Ready for the next step."""
        with contextlib.suppress(OSError):  # ECANCELED is the news itself
            os.read(self._descriptor, 8)
        _arm(self._descriptor, _ABSOLUTE | _CANCEL_ON_SET, self._setting)

    def close(self) -> None:
        """Gives the descriptor back."""
        os.close(self._descriptor)
