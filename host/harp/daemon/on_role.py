"""Runs the operator's command when a role changes: one after the other, never in the way.

Ref: harp.md §9 (4)
"""

from __future__ import annotations

import asyncio

from harp.daemon.config.model import DaemonConfig
from harp.daemon.log import LOGGER
from harp.daemon.parts import PeerEffect
from harp.engine.effects import CommandAnswered, Dropped, Log, StateChanged

PATIENCE_S = 30.0
"""A command that takes longer is ended: the next news is worth more."""
END_S = 5.0
"""For what is still to be told at the end: less than a service manager waits (TimeoutStopSec)."""
MOST_WAITING = 64
"""Changes that are still to be told; of more the oldest are forgotten."""


class OnRole:
    """`parts.Observer` of roles alone.

    The command gets group, old role, new role and reason as its last arguments. It starts when the
    effects that came with the change are done, so it delays no takeover."""

    def __init__(self, config: DaemonConfig) -> None:
        self._commands = {group: each.on_role for group, each in config.groups if each.on_role}
        self._changes: asyncio.Queue[StateChanged] = asyncio.Queue()
        self._task: asyncio.Task[None] | None = None

    def reconfigure(self, config: DaemonConfig) -> None:
        """Other commands from now on."""
        self._commands = {group: each.on_role for group, each in config.groups if each.on_role}

    def role(self, change: StateChanged) -> None:
        """Queued."""
        if change.group in self._commands:
            if self._changes.qsize() >= MOST_WAITING:
                old = self._changes.get_nowait()
                self._changes.task_done()
                LOGGER.warning("on_role: group %d: %s was not told", old.group, old.new)
            self._changes.put_nowait(change)
            if self._task is None:
                self._task = asyncio.create_task(self._run())

    def peer(self, change: PeerEffect) -> None:
        """No role."""

    def dropped(self, drop: Dropped) -> None:
        """No role."""

    def log(self, line: Log) -> None:
        """No role."""

    def answered(self, answer: CommandAnswered) -> None:
        """No role."""

    async def close(self) -> None:
        """Waits for what is still to be told, then ends, and so does a command that does not."""
        if self._task is None:
            return
        try:
            async with asyncio.timeout(END_S):
                await self._changes.join()
        except TimeoutError:
            LOGGER.warning(
                "on_role: not ended in %g s, %d changes wait", END_S, self._changes.qsize()
            )
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        while True:
            change = await self._changes.get()
            command = self._commands.get(change.group)
            if command:
                words = (str(change.group), change.old.value, change.new.value, change.reason)
                try:
                    await _run((*command, *words))
                except Exception as error:  # such as a zero octet in a word: the next is told
                    LOGGER.error("on_role: %s: %s", command[0], error)
            self._changes.task_done()


async def _run(command: tuple[str, ...]) -> None:
    try:
        process = await asyncio.create_subprocess_exec(*command, stdin=asyncio.subprocess.DEVNULL)
    except OSError as error:
        LOGGER.error("on_role: %s: %s", command[0], error.strerror)
        return
    try:
        async with asyncio.timeout(PATIENCE_S):
            status = await process.wait()
    except TimeoutError:
        LOGGER.error("on_role: %s took longer than %.0f s and was ended", command[0], PATIENCE_S)
        return
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if status != 0:
        LOGGER.warning("on_role: %s ended with status %d", command[0], status)
