"""What systemd is told: ready, reloading, stopping, alive.

Ref: sd_notify(3), systemd.service(5) (Type=notify-reload)
"""

from __future__ import annotations

import asyncio
import os
import time

from sdnotify import SystemdNotifier

_US_PER_S = 1_000_000


class Notifier:
    """Speaks to systemd where there is one; else silent."""

    def __init__(self) -> None:
        self._notifier = SystemdNotifier()
        self._watchdog: asyncio.Task[None] | None = None

    def ready(self, status: str) -> None:
        """Started, or reloaded."""
        self._notifier.notify(f"READY=1\nSTATUS={status}")

    def status(self, status: str) -> None:
        """One line that `systemctl status` shows."""
        self._notifier.notify(f"STATUS={status}")

    def reloading(self) -> None:
        """A reload began; `ready` ends it."""
        now_us = time.monotonic_ns() // 1000
        self._notifier.notify(f"RELOADING=1\nMONOTONIC_USEC={now_us}")

    def stopping(self) -> None:
        """A clean end began."""
        self._notifier.notify("STOPPING=1")

    def start_watchdog(self) -> None:
        """Tells systemd that the loop turns, twice as often as it wants to hear it."""
        interval_us = int(os.environ.get("WATCHDOG_USEC", "0"))
        pid = os.environ.get("WATCHDOG_PID", "")
        if interval_us and pid in ("", str(os.getpid())):
            self._watchdog = asyncio.create_task(self._alive(interval_us / 2 / _US_PER_S))

    def close(self) -> None:
        """The watchdog rests."""
        if self._watchdog is not None:
            self._watchdog.cancel()

    async def _alive(self, interval_s: float) -> None:
        while True:
            self._notifier.notify("WATCHDOG=1")
            await asyncio.sleep(interval_s)
