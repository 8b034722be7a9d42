"""Takes what one scrape shows, from the parts of a running harpd."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from harp.cli.common import Failure
from harp.daemon.filter.nft import FilterStatus
from harp.daemon.metrics.families import Snapshot
from harp.daemon.metrics.tally import Tally
from harp.daemon.parts import Parts
from harp.daemon.privileges import as_the_loop
from harp.daemon.runtime import Runtime
from harp.daemon.version import version


class Taker:
    """Called once a scrape."""

    def __init__(
        self,
        runtime: Runtime,
        parts: Parts,
        tally: Tally,
        filter_status: Callable[[], FilterStatus] | None = None,
    ) -> None:
        """`filter_status` runs a program: it is called on a thread that waits for it."""
        self._runtime = runtime
        self._parts = parts
        self._tally = tally
        self._filter_status = filter_status
        self._thread = ThreadPoolExecutor(1, "harpd-filter", as_the_loop)

    async def __call__(self) -> Snapshot:
        """The filter first: it takes milliseconds; the rest is of one moment."""
        found = await self.filter_counts()
        parts = self._parts
        return Snapshot(
            version=version(),
            groups=self._runtime.status(),
            data_plane=parts.data_plane.status(),
            guard=parts.guard.status(),
            offload=parts.offload.status(),
            filter=found,
            tally=self._tally,
            lost=parts.listener.lost(),
            rested_us=self._runtime.rested_us,
            unsent=parts.sender.counters,
            neighbors=parts.announcer.counters,
        )

    async def filter_counts(self) -> FilterStatus | None:
        """What the software filter counted; None: there is none."""
        if self._filter_status is None:
            return None
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(self._thread, self._filter_status)
        except Failure:
            return None  # somebody removed the table: its counters are absent, the rest is shown

    def close(self) -> None:
        """The thread ends."""
        self._thread.shutdown(wait=False, cancel_futures=True)
