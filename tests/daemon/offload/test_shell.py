"""The shell in a real loop on a real pseudo terminal, with the board in plain Python behind it."""

from __future__ import annotations

import asyncio
import contextlib
import random
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from harp.daemon.clock import SystemClock
from harp.daemon.config.model import DaemonConfig, OffloadSettings
from harp.daemon.offload.bridge import Bridge
from harp.daemon.offload.layout import lanes, settings
from harp.daemon.offload.shell import REST_S, SerialOffload, mac_of
from harp.engine.effects import HelloTemplate, Level, WatchPeer
from harp.engine.events import (
    DetectorAttached,
    DetectorLost,
    Event,
    Fenced,
    HelloSlotChanged,
    PeerReported,
)
from harp.offload.driver import Driver
from harp.offload.port import Port, PortFailed, open_port
from harp.tables.codepoints import DEFAULT_CODE_POINTS
from harp.tables.constants import US_PER_MS
from harp.tables.harp_types import HarpType
from harp.tables.offload import SlotFlag
from harp.wire.codec import Codec
from harp.wire.messages import Harp
from harp_sim.device.board import Board
from harp_sim.device.run import RealTime

from .group_world import GROUP, LINK, address, config

MULTICAST = DEFAULT_CODE_POINTS.multicast_group.packed


def hello(n: int, sequence: int) -> bytes:
    """A HELLO as an engine gives it."""
    message = Harp(HarpType.HELLO, GROUP, sequence, flags=0x20, lifetime_s=3, interval_ms=50)
    return Codec(DEFAULT_CODE_POINTS).build(address(n), MULTICAST, message)


class Rig:
    """A board in a thread, and the shell that drives it."""

    def __init__(
        self, url: str | None = None, connect: Callable[[str, int], Port] = open_port
    ) -> None:
        self.board = RealTime(Board(), {})
        self.thread = threading.Thread(target=self.board.run, daemon=True)
        self.events: list[Event] = []
        self.said: list[str] = []
        self.levels: list[Level] = []
        url = url or self.board.terminal.path
        whole = DaemonConfig(config(0), offload=OffloadSettings(device=url, lease_us=200_000))
        through = lanes(whole)
        wanted = settings(whole, through)
        driver = Driver(wanted, whole.offload.baud, random.Random(1))
        bridge = Bridge(through, driver, wanted.lease_ms * US_PER_MS, lambda link: b"\x02" * 6)
        self.offload = SerialOffload(
            url,
            whole.offload.baud,
            driver,
            bridge,
            self.deliver,
            SystemClock(),
            self.tell,
            connect,
        )

    def tell(self, level: Level, text: str) -> None:
        self.levels.append(level)
        self.said.append(text)

    def deliver(self, event: Event) -> None:
        """As an engine does: it is asked for its HELLO, and gives it."""
        self.events.append(event)
        if isinstance(event, HelloSlotChanged) and event.running and not event.sequence:
            payload = hello(1, 9)
            self.offload.template(HelloTemplate(GROUP, LINK, address(1), MULTICAST, payload))

    async def until(self, true: Callable[[], bool], limit_s: float = 10.0) -> None:
        loop, done = asyncio.get_running_loop(), asyncio.Event()

        def look() -> None:
            if true():
                done.set()
            else:
                loop.call_later(0.005, look)

        look()
        async with asyncio.timeout(limit_s):
            await done.wait()

    def had(self, kind: type) -> list[Event]:
        return [event for event in self.events if isinstance(event, kind)]


@contextlib.asynccontextmanager
async def rig(
    url: str | None = None, connect: Callable[[str, int], Port] = open_port
) -> AsyncIterator[Rig]:
    made = Rig(url, connect)
    made.thread.start()
    try:
        await made.offload.open()
        yield made
        await made.offload.close()
    finally:
        made.board.stop()
        made.thread.join(5)
    assert not made.thread.is_alive()


def test_attached_watched_and_left() -> None:
    async def story() -> None:
        async with rig() as r:
            await r.until(lambda: bool(r.had(DetectorAttached)))
            assert r.had(DetectorAttached)[0].group == GROUP  # type: ignore[attr-defined]
            assert all(e.running for e in r.had(HelloSlotChanged))  # type: ignore[attr-defined]
            r.offload.watch(WatchPeer(GROUP, address(2), LINK, 150_000, 100_000, 5))
            # Nobody sends HELLOs here: the board says so.
            await r.until(lambda: bool(r.had(PeerReported)))
            status = r.offload.status()
            assert status.attached and status.version.startswith("gateware")
            assert status.counters["event_peer_down"] >= 1
        assert r.had(DetectorLost) == []
        assert not any(r.board._board.registers.sample("peer", n, "enable") for n in range(32))
        assert r.said[0].startswith("offload attached")
        assert r.levels[0] is Level.INFO

    asyncio.run(story())


def test_pulled_and_plugged() -> None:
    """The port fails; the shell opens it again by itself."""

    async def story() -> None:
        async with rig() as r:
            await r.until(lambda: bool(r.had(DetectorAttached)))
            r.offload.active(GROUP, True)
            await r.until(lambda: r.board._board.model.guard.armed)
            r.offload._failed(PortFailed("pulled"))
            assert [e.fenced for e in r.had(Fenced)] == [True]  # type: ignore[attr-defined]
            assert len(r.had(DetectorLost)) == 1
            assert "pulled; it may fence this member" in r.offload.status().detail
            # Until nothing says A any more, the board that is back is told to fence as before.
            await r.until(lambda: len(r.had(DetectorAttached)) == 2)
            status = r.offload.status()
            assert status.attached and status.detail in ("", "the board fences this member")
            assert bool(status.detail) is (len(r.had(Fenced)) == 1)
            assert status.round_trip_us is not None
            r.offload.active(GROUP, False)
            await r.until(lambda: len(r.had(Fenced)) == 2)
            assert r.offload.status().detail == ""

    asyncio.run(story())


def test_a_port_that_is_not_there_is_said_once() -> None:
    async def story() -> None:
        async with rig("/dev/harp-there-is-none") as r:
            await r.until(lambda: bool(r.said))
            await asyncio.sleep(0.3)
            assert len(r.said) == 1 and r.levels == [Level.WARNING]
            assert "/dev/harp-there-is-none" in r.said[0] and "\n" not in r.said[0]
            assert not r.offload.status().attached

    asyncio.run(story())


def test_a_port_that_opens_slowly_keeps_nobody_waiting() -> None:
    """The loop goes on; a port that comes when nobody wants it any more is given back."""
    opening, go = threading.Event(), threading.Event()
    ports: list[Port] = []

    def slowly(url: str, baud: int) -> Port:
        opening.set()
        assert go.wait(5), "the loop waits for the port"
        ports.append(open_port(url, baud))
        return ports[-1]

    async def story() -> None:
        async with rig(connect=slowly) as r:
            await r.until(opening.is_set)
            await r.offload.close()
            go.set()
            await r.until(lambda: bool(ports) and ports[0].fileno() is None)
            assert r.said == []

    asyncio.run(story())


def test_at_rest_no_slot_sends_and_the_engine_does() -> None:
    """offload.md §4: it counts on above the slot."""

    async def story() -> None:
        async with rig() as r:
            await r.until(lambda: r.board._board.registers.sent[0] > 3)
            await r.offload.rest()
            *_, running, last = r.had(HelloSlotChanged)
            assert isinstance(running, HelloSlotChanged) and running.running
            assert isinstance(last, HelloSlotChanged) and not last.running
            assert last.sequence > 9 + r.board._board.registers.sent[0]
            assert not r.board._board.registers.sample("slot", 0, "flags") & SlotFlag.ENABLE
            assert r.offload.status().attached

    asyncio.run(story())


def test_at_rest_with_a_board_that_says_nothing() -> None:
    """The engine has its HELLOs soon all the same."""

    async def story() -> None:
        async with rig() as r:
            await r.until(lambda: r.board._board.registers.sent[0] > 3)
            r.offload._write = lambda octets: None  # type: ignore[method-assign]
            begin = asyncio.get_running_loop().time()
            await r.offload.rest()
            assert asyncio.get_running_loop().time() - begin < 2 * REST_S
            last = r.had(HelloSlotChanged)[-1]
            assert isinstance(last, HelloSlotChanged) and not last.running and last.sequence > 12
            r.offload._failed(PortFailed("pulled"))

    asyncio.run(story())


@pytest.mark.parametrize(
    ("text", "mac"),
    [
        ("02:00:00:00:00:01\n", bytes.fromhex("020000000001")),
        ("00:00:00:00:00:00", None),
        ("", None),
    ],
)
def test_mac_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, mac: bytes | None
) -> None:
    monkeypatch.setattr(Path, "read_text", lambda self, encoding: text)
    assert mac_of("lan0") == mac
