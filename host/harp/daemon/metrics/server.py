"""Serves `/metrics` over HTTP from the loop, a family at a time.

Ref: prometheus.io, "Exposition formats"; RFC 9112 (as much of it as a scrape needs)

No thread: one that runs Python while the loop wants to would make timers late. Between two
families everybody else has a turn.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable

from prometheus_client import ProcessCollector
from prometheus_client.core import Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector, CollectorRegistry

from harp.cli.common import Failure
from harp.daemon.config.listen import parse_listen
from harp.daemon.metrics.families import Snapshot, families

PATIENCE_S = 5.0
"""An asker that takes longer is cut off."""
MAX_HEAD_OCTETS = 16384
"""Of a request's head."""
MAX_ASKERS = 8
"""More at once are refused."""
MAX_CONNECTIONS = 32
"""More than that are not even read: each is a file descriptor of a home agent, and whoever reaches
the port could take them all."""

Take = Callable[[], Awaitable[Snapshot]]
"""Takes a snapshot."""


class _One(Collector):
    """A collector of one family."""

    def __init__(self, family: Metric) -> None:
        self._family = family

    def collect(self) -> Iterable[Metric]:
        return (self._family,)


def rendered(collector: Collector) -> bytes:
    """What a collector collects, as text."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(collector)
    return generate_latest(registry)


class MetricsServer:
    """HTTP on one address; `listen` may change while it runs."""

    def __init__(self, take: Take) -> None:
        self._take = take
        self._process = ProcessCollector(registry=None)
        self._server: asyncio.Server | None = None
        self._askers: set[asyncio.Task[None]] = set()
        self._alone = asyncio.Lock()

    async def listen(self, where: str) -> None:
        """From now on there, and there only; empty: nowhere. `Failure`: it cannot be had, and
        everything stays as it was."""
        async with self._alone:
            await self._move(where)

    async def _move(self, where: str) -> None:
        place = parse_listen(where)
        fresh = None
        if place is not None:
            try:
                fresh = await asyncio.start_server(
                    self._connected, str(place.address), place.port, limit=MAX_HEAD_OCTETS
                )
            except OSError as error:
                raise Failure(
                    f"metrics at {where}: {error.strerror}; [daemon] metrics_listen says where"
                ) from None
        await self._end()
        self._server = fresh

    @property
    def addresses(self) -> list[tuple[str, int]]:
        """Where it listens."""
        sockets = self._server.sockets if self._server else ()
        return [each.getsockname()[:2] for each in sockets]

    async def close(self) -> None:
        """Listens no more; who asks is cut off."""
        async with self._alone:
            await self._end()

    async def _end(self) -> None:
        if self._server is None:
            return
        self._server.close()
        for task in list(self._askers):
            task.cancel()
        await asyncio.gather(*self._askers, return_exceptions=True)
        self._server = None

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        if len(self._askers) >= MAX_CONNECTIONS:
            writer.transport.abort()
            return
        self._askers.add(task)
        try:
            async with asyncio.timeout(PATIENCE_S):
                await self._answer(await _request(reader), writer)
        except (ConnectionError, TimeoutError, asyncio.CancelledError):
            pass  # the asker has gone, is too slow, or the daemon goes
        finally:
            self._askers.discard(task)
            writer.close()

    async def _answer(self, request: tuple[str, str] | None, writer: asyncio.StreamWriter) -> None:
        match request:
            case _ if len(self._askers) > MAX_ASKERS:
                await _send(writer, "503 Service Unavailable", b"others are asking\n")
            case ("GET" | "HEAD", "/metrics"):
                body = await self._page()
                head = request[0] == "HEAD"
                await _send(writer, "200 OK", body, CONTENT_TYPE_LATEST, head_only=head)
            case ("GET", _):
                await _send(writer, "404 Not Found", b"see /metrics\n")
            case (_, _):
                await _send(writer, "405 Method Not Allowed", b"GET only\n")
            case _:
                await _send(writer, "400 Bad Request", b"no HTTP request\n")

    async def _page(self) -> bytes:
        parts = []
        for family in families(await self._take()):
            parts.append(rendered(_One(family)))
            await asyncio.sleep(0)  # everybody else's turn
        parts.append(rendered(self._process))
        return b"".join(parts)


async def _request(reader: asyncio.StreamReader) -> tuple[str, str] | None:
    """Method and path without query; None: that is no HTTP."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except (asyncio.IncompleteReadError, asyncio.LimitOverrunError):
        return None
    words = head.split(b"\r\n", 1)[0].decode("latin-1").split(" ")
    if len(words) != 3 or not words[2].startswith("HTTP/1."):
        return None
    return words[0], words[1].partition("?")[0]


async def _send(
    writer: asyncio.StreamWriter,
    status: str,
    body: bytes,
    kind: str = "text/plain; charset=utf-8",
    *,
    head_only: bool = False,
) -> None:
    head = (
        f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n"
        "Connection: close\r\n\r\n"
    )
    writer.write(head.encode("latin-1") + (b"" if head_only else body))
    await writer.drain()
