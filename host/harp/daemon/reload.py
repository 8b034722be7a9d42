"""Takes a changed configuration while harpd runs, without giving the role away.

Ref: systemd.service(5) (Type=notify-reload); harp.md §7 ("a running group can be moved to a key
without an outage")
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from harp.cli.common import Failure
from harp.daemon import privileges
from harp.daemon.config.difference import Difference, difference, live_part
from harp.daemon.config.load import load
from harp.daemon.config.model import DaemonConfig
from harp.daemon.log import LOGGER
from harp.daemon.notify import Notifier

Take = Callable[[DaemonConfig, DaemonConfig], Awaitable[None]]
"""Told the configuration before, and after with all that can be taken at once. `Failure`: nothing
of it was taken."""


class Reload:
    """What SIGHUP and `harpctl reload` do; `config` is what harpd runs with."""

    def __init__(
        self,
        path: Path,
        config: DaemonConfig,
        take: Take,
        notifier: Notifier,
        on_fault: Callable[[Exception], None],
    ) -> None:
        """`on_fault`: told what nobody expected, and nobody knows how much was taken then."""
        self.config = config
        """With everything that was taken so far."""
        self._path = path
        self._take = take
        self._notifier = notifier
        self._on_fault = on_fault
        self._alone = asyncio.Lock()
        self._signalled: set[asyncio.Task[None]] = set()

    async def __call__(self) -> Difference:
        """Reads the file and takes what can be taken. `Failure`: the file is not right, and
        everything stays as it is. One after the other."""
        async with self._alone:
            try:
                return await self._reload()
            except Failure:
                raise
            except Exception as fault:
                self._on_fault(fault)
                raise

    async def close(self) -> None:
        """Waits for one that is under way."""
        await asyncio.gather(*self._signalled)

    async def _reload(self) -> Difference:
        self._notifier.reloading()
        try:
            new = await self._loaded()
            found = difference(self.config, new)
            taken = live_part(self.config, new)
            await self._take(self.config, taken)
            self.config = taken
        finally:
            self._notifier.ready("reloaded")
        for line in found.live:
            LOGGER.info("reload: %s", line)
        for line in found.restart:
            LOGGER.warning("reload: %s", line)
        if not found.changes:
            LOGGER.info("reload: nothing has changed in %s", self._path)
        return found

    async def _loaded(self) -> DaemonConfig:
        """On a thread: the keys of a million mobile nodes take longer than a detection time."""
        loop = asyncio.get_running_loop()
        with ThreadPoolExecutor(1, "harpd-reload", privileges.as_the_loop) as thread:
            return await loop.run_in_executor(thread, load, self._path)

    def on_signal(self) -> None:
        """SIGHUP."""
        task = asyncio.create_task(self._on_signal())
        self._signalled.add(task)
        task.add_done_callback(self._signalled.discard)

    async def _on_signal(self) -> None:
        try:
            await self()
        except Failure as error:
            LOGGER.error("reload: %s; going on as before", error.format_message())
        except Exception:  # ours: `on_fault` knows
            LOGGER.exception("reload")
