"""What a reload changes in a running daemon, and what the start has in common with it."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor

from harp.cli.common import Failure
from harp.daemon import privileges
from harp.daemon.assembly import Assembly
from harp.daemon.config.model import DaemonConfig
from harp.daemon.filter.nft import NftFilter
from harp.daemon.filter.ruleset import Filter, Rates
from harp.daemon.log import LEVELS, LOGGER
from harp.daemon.metrics.server import MetricsServer
from harp.daemon.runtime import Runtime
from harp.engine.config import GroupConfig
from harp.engine.reconfigure import check


class Taken:
    """A `reload.Take`: hands each changed setting to who has it."""

    def __init__(
        self,
        runtime: Runtime,
        rules: NftFilter | None,
        assembly: Assembly,
        metrics: MetricsServer,
        *,
        mip6: bool,
    ) -> None:
        self._runtime = runtime
        self._rules = rules
        self._assembly = assembly
        self._metrics = metrics
        self._mip6 = mip6

    async def __call__(self, old: DaemonConfig, new: DaemonConfig) -> None:
        """`Failure`: a group's change or the filter's new rules were refused; nothing is changed
        then."""
        changed = [
            (before, after)
            for before, after in zip(old.engine.groups, new.engine.groups, strict=True)
            if before != after
        ]
        for before, after in changed:
            _demand_live(before, after)
        if old.filter != new.filter:
            await self._replace_filter(new)
        LOGGER.setLevel(LEVELS[new.log_level])
        if old.scheduling != new.scheduling:
            for line in privileges.apply(new.scheduling):
                LOGGER.warning("%s", line)
        self._assembly.on_role.reconfigure(new)
        for _, after in changed:
            self._runtime.reconfigure(after)
        self._assembly.parts.guard.reconfigure(new)
        if old.metrics_listen != new.metrics_listen:
            try:  # last: all else is taken by now
                await self._metrics.listen(new.metrics_listen)
            except Failure as error:
                LOGGER.error("reload: %s", error.format_message())

    async def _replace_filter(self, new: DaemonConfig) -> None:
        """`enabled` itself waits for a start where it would make or remove the table. On a thread:
        a program runs for it, which may take longer than a detection time."""
        rules = filter_of(new, mip6=self._mip6)
        if self._rules is None or rules is None:
            return
        loop = asyncio.get_running_loop()
        with ThreadPoolExecutor(1, "harpd-reload", privileges.as_the_loop) as thread:
            await loop.run_in_executor(thread, self._rules.replace, rules)


def _demand_live(before: GroupConfig, after: GroupConfig) -> None:
    try:
        check(before, after)
    except ValueError as error:
        raise Failure(str(error)) from None


def filter_of(config: DaemonConfig, *, mip6: bool) -> Filter | None:
    """The rules of the software filter; None: nothing is to be filtered. With a board that judges,
    or without `filter.enabled`, only what the kernel would answer wrongly is dropped."""
    settings, board = config.filter, config.offload
    judged_there = board.filter and board.has_board
    judge = settings.enabled and not judged_there
    if mip6 and not judge:
        return None
    rates = Rates(
        settings.malformed_rate,
        settings.unknown_type_rate,
        settings.stranger_rate,
        settings.peer_rate,
        settings.mobile_rate,
    )
    return Filter.of(config.engine, rates=rates, judge=judge, originals=not mip6)
