"""What systemd is told: ready, reloading, stopping, alive.

Ref: sd_notify(3), systemd.service(5) (Type=notify-reload)
"""

from __future__ import annotations

import asyncio
import os
import time

from sdnotify import SystemdNotifier

from harp.tables.constants import US_PER_S


class Notifier:
    """Speaks to systemd where there is one; else silent."""

    def __init__(self) -> None:
        self._notifier = SystemdNotifier() if "NOTIFY_SOCKET" in os.environ else None
        self._watchdog: asyncio.Task[None] | None = None
        if self._notifier is not None and self._notifier.socket is not None:
            # A systemd that does not read (it loads its units again) is not waited for.
            self._notifier.socket.setblocking(False)

    def ready(self, status: str) -> None:
        """Started, or reloaded."""
        self._tell(f"READY=1\nSTATUS={status}")

    def reloading(self) -> None:
        """A reload began; `ready` ends it."""
        now_us = time.monotonic_ns() // 1000
        self._tell(f"RELOADING=1\nMONOTONIC_USEC={now_us}")

    def stopping(self) -> None:
        """A clean end began."""
        self._tell("STOPPING=1")

    def start_watchdog(self) -> None:
        """Tells systemd that the loop turns, twice as often as it wants to hear it."""
        interval_us = int(os.environ.get("WATCHDOG_USEC", "0"))
        pid = os.environ.get("WATCHDOG_PID", "")
        if interval_us and pid in ("", str(os.getpid())):
            self._watchdog = asyncio.create_task(self._alive(interval_us / 2 / US_PER_S))

    def close(self) -> None:
        """Says nothing more."""
        if self._watchdog is not None:
            self._watchdog.cancel()
        if self._notifier is not None and self._notifier.socket is not None:
            self._notifier.socket.close()
        self._notifier = None

    def _tell(self, message: str) -> None:
        if self._notifier is not None:
            self._notifier.notify(message)

    async def _alive(self, interval_s: float) -> None:
        while True:
            self._tell("WATCHDOG=1")
            await asyncio.sleep(interval_s)
