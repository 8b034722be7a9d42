"""A thread that reads and ticks until told to stop: what each station of the laboratory is."""

from __future__ import annotations

import contextlib
import os
import select
import sys
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

PRIORITY = 10
"""Of SCHED_FIFO; harpd has 50 unless told otherwise."""
AUTOGROUP = Path("/proc/self/autogroup")
NICE = -15
"""Of processes in a hurry."""
SWITCH_INTERVAL_S = 0.0002
"""No thread of the laboratory makes another wait for longer."""
IDLE_S = 0.1
"""Longest wait of a station that has nothing to do."""


def sharpen() -> None:
    """The calling thread goes before ordinary processes where that is allowed, but behind harpd:
    an instrument that waits for a processor measures the wait. Its children are ordinary again."""
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    with contextlib.suppress(PermissionError):
        policy = os.SCHED_FIFO | os.SCHED_RESET_ON_FORK
        os.sched_setscheduler(0, policy, os.sched_param(PRIORITY))


def hurry() -> None:
    """Puts this process before other ordinary ones where that is allowed: for what works hard
    beside what is measured. Not real-time: the kernel stops a core's real-time tasks, harpd too,
    when they have used 95 % of a second (sched(7)). In a session of its own, because niceness
    counts between sessions only through their autogroups."""
    with contextlib.suppress(PermissionError, FileNotFoundError):
        os.setsid()
        os.setpriority(os.PRIO_PROCESS, 0, NICE)
        AUTOGROUP.write_text(str(NICE), "utf-8")


def blunt() -> None:
    """The calling thread is ordinary again."""
    with contextlib.suppress(PermissionError):
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))


class Station(ABC):
    """Reads its descriptors and does what is due; a context manager: runs inside of it.

    What its thread raises is raised again at the end of the context, never lost.
    """

    def __init__(self, name: str) -> None:
        self._stop = threading.Event()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    @abstractmethod
    def descriptors(self) -> dict[int, Callable[[], None]]:
        """File descriptors to wait for, and what reads each."""

    @abstractmethod
    def tick(self, now_ns: int) -> int | None:
        """Does what is due; returns when it wants to be called next (monotonic ns), or None."""

    @abstractmethod
    def close(self) -> None:
        """Closes the descriptors."""

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.set()
        self._thread.join()
        self.close()
        if self._failure is not None and error is None:
            raise self._failure

    def _run(self) -> None:
        sharpen()
        try:
            self._loop()
        except BaseException as failure:
            self._failure = failure

    def _loop(self) -> None:
        meanings = self.descriptors()
        while not self._stop.is_set():
            due_ns = self.tick(time.monotonic_ns())
            wait_s = IDLE_S if due_ns is None else min(IDLE_S, (due_ns - time.monotonic_ns()) / 1e9)
            for descriptor in select.select(list(meanings), [], [], max(0.0, wait_s))[0]:
                meanings[descriptor]()
