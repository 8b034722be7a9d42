"""Serves the control socket inside harpd's loop: small steps, nothing that waits for an asker."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import grp
import os
import socket
import stat
from collections.abc import Iterator
from pathlib import Path

from harp.cli.common import Failure
from harp.daemon.config.model import ControlSettings
from harp.daemon.control.answers import COMMANDS, Answers
from harp.daemon.control.events import EventLog
from harp.daemon.control.protocol import (
    MAX_REQUEST_OCTETS,
    Question,
    Refused,
    Request,
    Wrong,
    failure,
    parse_request,
    success,
)
from harp.daemon.log import LOGGER
from harp.daemon.unix import bound_for_owner

MAX_CONNECTIONS = 64
"""More are refused: each is a file descriptor of the daemon."""
BUSY_PATIENCE_S = 1.0
"""How long one too many may take to ask."""


class Control:
    """The socket of `harpctl`."""

    def __init__(self, settings: ControlSettings, answers: Answers, events: EventLog) -> None:
        self._settings = settings
        self._answers = answers
        self._events = events
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()
        self._inode: tuple[int, int] | None = None

    @property
    def connections(self) -> int:
        """How many there are."""
        return len(self._connections)

    async def open(self) -> None:
        """Listens. `Failure`: the socket cannot be made."""
        path = self._settings.socket
        with _told(path):
            listener = _listen(path, int(self._settings.mode, 8), self._settings.group)
            state = path.stat()
            self._inode = state.st_dev, state.st_ino
        self._server = await asyncio.start_unix_server(
            self._connected, sock=listener, limit=MAX_REQUEST_OCTETS
        )

    async def close(self) -> None:
        """Ends every connection and takes the socket away, if it is still ours."""
        if self._server is None:
            return
        self._server.close()
        for task in list(self._connections):
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)
        with contextlib.suppress(OSError):
            state = self._settings.socket.stat()
            if self._inode == (state.st_dev, state.st_ino):
                self._settings.socket.unlink()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        try:
            if len(self._connections) > MAX_CONNECTIONS:
                # Its request first: what is unread at the end turns our answer into a reset.
                async with asyncio.timeout(BUSY_PATIENCE_S):
                    await reader.readline()
                text = f"{MAX_CONNECTIONS} others are connected"
                writer.write(failure(Refused(Wrong.BUSY, text)))
                return
            await self._serve(reader, writer)
        except (ConnectionError, TimeoutError, ValueError, asyncio.CancelledError):
            pass  # the asker has gone, or the daemon goes
        finally:
            self._connections.discard(task)
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Requests of one connection, one after the other, until its end."""
        while True:
            try:
                line = await reader.readline()
            except ValueError:  # longer than the limit; where the next begins is not known
                text = f"a request has at most {MAX_REQUEST_OCTETS} octets"
                writer.write(failure(Refused(Wrong.BAD_REQUEST, text)))
                return
            if not line:
                return
            request = None
            try:
                request = parse_request(line)
                await self._answer(request, reader, writer)
            except Refused as refused:
                writer.write(failure(refused))
            except (ConnectionError, asyncio.CancelledError):
                raise
            except Exception as error:  # ours: told; what left anything half done ends harpd
                LOGGER.exception("control: %s", request)
                text = f"a mistake in harpd: {type(error).__name__}; its log says more"
                writer.write(failure(Refused(Wrong.INTERNAL, text)))
            await writer.drain()

    async def _answer(
        self, request: Request, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        try:
            question = Question(request.command)
        except ValueError:
            there = ", ".join(Question)
            text = f"no command {request.command!r}; there are {there}"
            raise Refused(Wrong.UNKNOWN_COMMAND, text) from None
        if question in COMMANDS:
            writer.write(success(await self._answers.order(question, request)))
        elif question is Question.STATUS:
            writer.write(success(self._answers.status()))
        elif question is Question.EVENTS:
            writer.write(success(self._answers.events(request)))
        elif question is Question.OFFLOAD:
            writer.write(success(await self._answers.offload()))
        elif question is Question.RELOAD:
            writer.write(success(await self._answers.reload()))
        elif question is Question.BINDINGS:
            await self._bindings(request, writer)
        else:
            await self._watch(request, reader, writer)

    async def _bindings(self, request: Request, writer: asyncio.StreamWriter) -> None:
        for page in self._answers.bindings(request):
            if page:
                writer.write(success({"bindings": page}, more=True))
                await writer.drain()
            await asyncio.sleep(0)  # everybody else's turn
        writer.write(success({"bindings": []}))

    async def _watch(
        self, request: Request, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """Until the asker goes, or asks something else."""
        gone = asyncio.ensure_future(reader.read(1))
        try:
            with self._events.feed(request.since) as feed:
                while True:
                    news = asyncio.ensure_future(feed.next())
                    try:
                        await asyncio.wait({news, gone}, return_when=asyncio.FIRST_COMPLETED)
                        if gone.done():
                            raise ConnectionResetError
                        event = news.result()
                    finally:
                        news.cancel()  # of no effect if it came
                    lost, feed.lost = feed.lost, 0
                    writer.write(success({"event": event, "lost": lost}, more=True))
                    await writer.drain()
        finally:
            gone.cancel()


@contextlib.contextmanager
def _told(path: Path) -> Iterator[None]:
    """What the system refuses, as a line."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)  # a path that is too long has no number
        raise Failure(f"control socket {path}: {reason}; [control] socket says where") from None


def _listen(path: Path, mode: int, group: str) -> socket.socket:
    """A listening socket that nobody could reach with other permissions, at no moment."""
    path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    _clear(path)
    listener = bound_for_owner(path)
    try:
        if group:
            os.chown(path, -1, _group_number(group))
        path.chmod(mode)
        listener.listen()
    except BaseException:
        listener.close()
        raise
    return listener


def _clear(path: Path) -> None:
    """Removes what a dead daemon left. `Failure`: somebody lives there, or it is no socket."""
    if not path.exists():
        return
    if not stat.S_ISSOCK(path.stat().st_mode):
        raise Failure(f"control socket {path}: there is something that is no socket; remove it")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        found = probe.connect_ex(str(path))
    if found in (0, errno.EAGAIN):
        raise Failure(f"control socket {path}: another harpd listens there")
    path.unlink()


def _group_number(name: str) -> int:
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError:
        raise Failure(
            f'[control] group = "{name}": no such group; `groupadd --system {name}` makes it'
        ) from None
