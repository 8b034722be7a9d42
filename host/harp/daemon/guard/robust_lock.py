"""A lock that tells when the thread that holds it dies, however it dies.

Ref: pthread_mutexattr_setrobust(3), pthread_mutex_lock(3) (EOWNERDEAD)

The kernel gives it up first of all that belongs to a dying process. A pipe or a pidfd tell later:
only after the memory was freed, 60 ms for 200 MB, 300 ms for 600 MB.
"""

from __future__ import annotations

import ctypes
import errno
import os
import time
from enum import Enum
from mmap import mmap

OCTETS = 64
"""Room for a `pthread_mutex_t` of any Linux."""
_ROBUST, _PROCESS_SHARED = 1, 1
_NS_PER_US, _NS_PER_S = 1_000, 1_000_000_000
_libc = ctypes.CDLL(None)


class Wait(Enum):
    """How a wait for the lock ended."""

    TIMEOUT = "timeout"
    """The holder lives."""
    DIED = "died"
    """The holder died with it."""
    RELEASED = "released"
    """The holder gave it up."""


class _Timespec(ctypes.Structure):
    _fields_ = (("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long))


class RobustLock:
    """Lies at the beginning of memory that processes share, which must outlive it."""

    def __init__(self, memory: mmap) -> None:
        self._octets = (ctypes.c_char * OCTETS).from_buffer(memory)
        self._address = ctypes.c_void_p(ctypes.addressof(self._octets))

    def make(self) -> None:
        """Once, before anybody uses it. Raises OSError."""
        attributes = ctypes.create_string_buffer(OCTETS)
        _check(_libc.pthread_mutexattr_init(attributes))
        _check(_libc.pthread_mutexattr_setrobust(attributes, _ROBUST))
        _check(_libc.pthread_mutexattr_setpshared(attributes, _PROCESS_SHARED))
        _check(_libc.pthread_mutex_init(self._address, attributes))

    def hold(self) -> None:
        """By the calling thread. Raises OSError."""
        _check(_libc.pthread_mutex_lock(self._address))

    def release(self) -> None:
        """By the thread that holds it. Raises OSError."""
        _check(_libc.pthread_mutex_unlock(self._address))

    def wait(self, until_us: int) -> Wait:
        """Until the holder dies or releases it, or until a monotonic time. Raises OSError."""
        seconds, rest_ns = divmod(until_us * _NS_PER_US, _NS_PER_S)
        end = ctypes.byref(_Timespec(seconds, rest_ns))
        clock = ctypes.c_int(time.CLOCK_MONOTONIC)
        code = _libc.pthread_mutex_clocklock(self._address, clock, end)
        if code == errno.ETIMEDOUT:
            return Wait.TIMEOUT
        if code == errno.EOWNERDEAD:
            return Wait.DIED
        _check(code)
        return Wait.RELEASED

    def forget(self) -> None:
        """Lets go of the memory, so that it can be unmapped."""
        del self._octets


def _check(code: int) -> None:
    if code:
        raise OSError(code, f"robust lock: {os.strerror(code)}")
