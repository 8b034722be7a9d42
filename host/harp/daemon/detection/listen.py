"""Tasks that listen to bfdd and keepalived and begin again when these restart."""

from __future__ import annotations

import asyncio
import os
from collections import defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path

from harp.daemon.detection.bfd import SUBSCRIBE, BfdError
from harp.daemon.detection.inputs import BfdInput, BfdInputs, VrrpInput, VrrpInputs
from harp.daemon.parts import Deliver
from harp.engine.events import Event

Tell = Callable[[str], None]
"""Takes one line for people."""

RETRY_S = 1.0
"""Between attempts to reach a daemon that is not there."""
_READ_OCTETS = 1 << 16


class Listeners:
    """All detection inputs of one harpd: a task for each bfdd and each FIFO."""

    def __init__(
        self,
        inputs: Iterable[BfdInput | VrrpInput],
        deliver: Deliver,
        tell: Tell,
        retry_s: float = RETRY_S,
    ) -> None:
        self._deliver, self._tell, self._retry_s = deliver, tell, retry_s
        self._bfd: dict[Path, list[BfdInput]] = defaultdict(list)
        self._vrrp: dict[Path, list[VrrpInput]] = defaultdict(list)
        for each in inputs:
            if isinstance(each, BfdInput):
                self._bfd[each.socket].append(each)
            else:
                self._vrrp[each.fifo].append(each)
        self._tasks: list[asyncio.Task[None]] = []

    def open(self) -> None:
        """Starts listening; a daemon that is absent is waited for."""
        for socket, sessions in self._bfd.items():
            task = self._hear_bfd(socket, BfdInputs(sessions))
            self._tasks.append(asyncio.create_task(task))
        for fifo, instances in self._vrrp.items():
            task = self._hear_vrrp(fifo, VrrpInputs(instances))
            self._tasks.append(asyncio.create_task(task))

    async def close(self) -> None:
        """Stops; what was said holds until the engine stops too."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _hear_bfd(self, path: Path, inputs: BfdInputs) -> None:
        told = ""
        while True:
            try:
                reader, writer = await asyncio.open_unix_connection(path)
                told = ""
                self._tell(f"bfdd: listening at {path}")
                try:
                    writer.write(SUBSCRIBE)
                    await self._follow(reader, inputs.hear)
                finally:
                    writer.close()
                why = "closed"
            except OSError as error:
                why = f"{error.strerror}; is bfdd started with --bfdctl?"
            except BfdError as error:
                why = str(error)
            if why != told:
                self._tell(f"bfdd: {path}: {why}; HELLOs alone watch until it is back")
                told = why
            self._deliver_all(inputs.lost())
            await asyncio.sleep(self._retry_s)

    async def _hear_vrrp(self, path: Path, inputs: VrrpInputs) -> None:
        told = ""
        while True:
            try:
                reader, transport = await _open_fifo(path)
            except OSError as error:
                why = error.strerror or "not a FIFO; name that of `vrrp_notify_fifo`"
                if why != told:
                    self._tell(f"keepalived: {path}: {why}; HELLOs alone watch until it is there")
                    told = why
                await asyncio.sleep(self._retry_s)
                continue
            told = ""
            try:
                await self._follow(reader, inputs.hear)
            finally:
                transport.close()
            self._tell(f"keepalived: closed {path}; HELLOs alone watch until it is back")
            self._deliver_all(inputs.lost())

    async def _follow(
        self, reader: asyncio.StreamReader, hear: Callable[[bytes], Iterable[Event]]
    ) -> None:
        """Until the other end is gone."""
        while octets := await reader.read(_READ_OCTETS):
            self._deliver_all(hear(octets))

    def _deliver_all(self, events: Iterable[Event]) -> None:
        for event in events:
            self._deliver(event)


async def _open_fifo(path: Path) -> tuple[asyncio.StreamReader, asyncio.ReadTransport]:
    """The end of what is read means that keepalived is gone."""
    reader = asyncio.StreamReader()
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(_fifo(path), "rb", buffering=0)
    )
    return reader, transport


def _fifo(path: Path) -> int:
    """Made here where keepalived has not made it yet, with the permissions that it gives."""
    if not path.exists():
        os.mkfifo(path, 0o600)
    if not path.is_fifo():
        raise OSError
    return os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
