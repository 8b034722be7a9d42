"""What a reload changes in a running daemon, and what the start has in common with it."""

from __future__ import annotations

import asyncio

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
        self._moving: asyncio.Task[None] | None = None
        self._mip6 = mip6

    def __call__(self, old: DaemonConfig, new: DaemonConfig) -> None:
        """`Failure`: the filter's new rules were refused; nothing else is changed then."""
        if old.filter != new.filter:
            self._replace_filter(new)
        LOGGER.setLevel(LEVELS[new.log_level])
        if old.scheduling != new.scheduling:
            for line in privileges.apply(new.scheduling):
                LOGGER.warning("%s", line)
        self._assembly.on_role.reconfigure(new)
        if old.metrics_listen != new.metrics_listen:
            self._moving = asyncio.create_task(self._move_metrics(new.metrics_listen))
        for before, after in zip(old.engine.groups, new.engine.groups, strict=True):
            if before != after:
                self._reconfigure(after)
        self._assembly.parts.guard.reconfigure(new)

    def _reconfigure(self, group: GroupConfig) -> None:
        try:
            self._runtime.reconfigure(group)
        except ValueError as error:
            raise Failure(f"group {group.group}: {error}") from None

    async def _move_metrics(self, where: str) -> None:
        try:
            await self._metrics.listen(where)
        except Failure as error:
            LOGGER.error("reload: %s", error.format_message())

    def _replace_filter(self, new: DaemonConfig) -> None:
        """`enabled` itself waits for a start where it would make or remove the table."""
        rules = filter_of(new, mip6=self._mip6)
        if self._rules is not None and rules is not None:
            self._rules.replace(rules)


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
