"""The thread that reads a port: what it hands over, what keeps it, when it gives the port back."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable

import pytest

from harp.daemon.offload.reader import PIECES, PortReader
from harp.offload.port import PortFailed


class Pipe:
    """A port with octets to read; `held` keeps who reads, as a tty does."""

    def __init__(self) -> None:
        self._there, self.end = os.pipe()
        self.reads = 0
        self.held = threading.Event()
        self.held.set()
        self.reading = threading.Event()
        self.closed = threading.Event()

    def fileno(self) -> int:
        return self._there

    def read(self) -> bytes:
        self.reading.set()
        assert self.held.wait(5)
        self.reads += 1
        octets = os.read(self._there, 1)
        if octets == b"!":
            raise PortFailed("pulled")
        return octets

    def write(self, octets: bytes) -> None:
        os.write(self.end, octets)

    def close(self) -> None:
        os.close(self._there)
        os.close(self.end)
        self.closed.set()


class Hands:
    """What a reader hands over, in the loop."""

    def __init__(self) -> None:
        self.port = Pipe()
        self.octets = b""
        self.failures: list[str] = []
        self._something = asyncio.Event()
        self.reader = PortReader(self.port, self.port.fileno(), self._received, self._failed)

    def _received(self, octets: bytes) -> None:
        assert threading.current_thread() is threading.main_thread()
        self.octets += octets
        self._something.set()

    def _failed(self, error: PortFailed) -> None:
        self.failures.append(str(error))
        self._something.set()

    async def until(self, true: Callable[[], bool]) -> None:
        async with asyncio.timeout(5):
            while not true():
                await self._something.wait()
                self._something.clear()


def test_octets_come_in_order_and_the_port_is_given_back() -> None:
    async def story() -> None:
        hands = Hands()
        hands.port.write(b"one two three")
        await hands.until(lambda: hands.octets == b"one two three")
        hands.reader.stop()
        assert await asyncio.to_thread(hands.port.closed.wait, 5)
        assert hands.failures == []

    asyncio.run(story())


def test_a_port_that_keeps_its_reader_keeps_nobody_else() -> None:
    """Neither the loop, nor who writes, nor who stops it; what it read then comes to nobody."""

    async def story() -> None:
        hands = Hands()
        hands.port.held.clear()
        hands.port.write(b"a")
        assert await asyncio.to_thread(hands.port.reading.wait, 5)
        hands.port.write(b"b")
        hands.reader.stop()
        assert not hands.port.closed.is_set()
        hands.port.held.set()
        assert await asyncio.to_thread(hands.port.closed.wait, 5)
        await asyncio.sleep(0)
        assert hands.octets == b""

    asyncio.run(story())


def test_what_the_loop_does_not_take_waits_in_the_kernel() -> None:
    async def story() -> None:
        hands = Hands()
        hands.port.write(bytes(4 * PIECES))
        full = threading.Event()
        while not full.wait(0.05):  # the loop stands still, and takes nothing
            if hands.port.reads >= PIECES:
                full.wait(0.05)
                full.set()
        assert hands.port.reads == PIECES
        await hands.until(lambda: len(hands.octets) == 4 * PIECES)
        hands.reader.stop()
        assert await asyncio.to_thread(hands.port.closed.wait, 5)

    asyncio.run(story())


def test_a_port_that_is_lost_is_said_once_and_closed_when_nobody_writes_any_more() -> None:
    async def story() -> None:
        hands = Hands()
        hands.port.write(b"x!yz")
        await hands.until(lambda: bool(hands.failures))
        assert (hands.octets, hands.failures) == (b"x", ["pulled"])
        assert not await asyncio.to_thread(hands.port.closed.wait, 0.05)
        hands.port.write(b"still there")
        hands.reader.stop()
        assert await asyncio.to_thread(hands.port.closed.wait, 5)
        assert hands.failures == ["pulled"]

    asyncio.run(story())


@pytest.mark.parametrize("held", [False, True])
def test_a_reader_outlives_its_loop_until_it_is_stopped(held: bool) -> None:
    made: list[Hands] = []

    async def story() -> None:
        made.append(Hands())

    asyncio.run(story())
    (hands,) = made
    if held:
        hands.port.held.clear()
    hands.port.write(b"late")
    assert hands.port.reading.wait(5)
    hands.reader.stop()
    hands.port.held.set()
    assert hands.port.closed.wait(5)
    assert hands.octets == b""
