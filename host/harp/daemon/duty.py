"""How much of a processor the process may take: less than all, in small pieces.

Ref: sched(7) (limits of real-time tasks); Linux Documentation/scheduler/sched-rt-group.rst

Who uses more than 95 % of a processor under SCHED_FIFO for a second is stopped by the kernel until
that second is over, for up to 50 ms: longer than detection at 10 ms × 3. Kernels from 6.12 on give
the rest of the machine the same 5 % in one piece. So a process that has more to do than it can do
rests by itself, a millisecond at most, and others get in these pieces what they would have got in
one. Overload then costs what is worked on, such as Binding Updates, and no deadline.
"""

from __future__ import annotations

import signal
import time

_PERCENT = 88
"""Of a processor: less than the kernel's 95, for the guard and for what came before a limit."""
_SAVED_US = 20_000
"""What a process that did little may work without a rest."""
_REST_US = 500
"""Least rest: a shorter one costs more than it gives."""
_US_PER_S = 1_000_000
_NS_PER_US = 1_000


class Duty:
    """Counts the processor time of all threads against the time that passes."""

    def __init__(self, now_us: int, worked_us: int | None = None) -> None:
        self.rested_us = 0
        """All rests so far, µs."""
        self._left_us = float(_SAVED_US)
        self._worked_us = worked_us_now() if worked_us is None else worked_us
        self._seen_us = now_us

    def rest(self, now_us: int) -> None:
        """Sleeps if the share is used up: a millisecond at most, then more is asked for."""
        wait_us = self.owed_us(worked_us_now(), now_us)
        if wait_us:
            self.rested_us += wait_us
            signal.sigtimedwait((), wait_us / _US_PER_S)

    def owed_us(self, worked_us: int, now_us: int) -> int:
        """How long to rest, µs; 0: not yet. `worked_us`: processor time ever used."""
        gained = (now_us - self._seen_us) * _PERCENT / 100 - (worked_us - self._worked_us)
        self._left_us = max(-_SAVED_US, min(_SAVED_US, self._left_us + gained))
        self._worked_us, self._seen_us = worked_us, now_us
        owed = -self._left_us * 100 / _PERCENT
        return min(int(owed), 2 * _REST_US) if owed >= _REST_US else 0


def worked_us_now() -> int:
    """Processor time of all threads ever used, µs."""
    return time.process_time_ns() // _NS_PER_US
