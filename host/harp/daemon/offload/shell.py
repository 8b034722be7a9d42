"""Runs a device and its bridge in the loop: port, timer, reconnection (`parts.Offload`).

Ref: offload.md §6 (re-open, identify, re-program, resume)
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from harp.daemon.clock import Clock
from harp.daemon.offload.bridge import Bridge
from harp.daemon.offload.reader import PortReader
from harp.daemon.parts import Deliver, OffloadStatus
from harp.daemon.privileges import as_the_loop
from harp.daemon.timer import Timer
from harp.engine.effects import HelloTemplate, Level, WatchPeer
from harp.offload.device import Attached, Noted, Notice, Refused
from harp.offload.driver import Close, Driver
from harp.offload.port import Port, PortFailed, latency_warning, open_port
from harp.offload.session import Send
from harp.tables.constants import US_PER_MS, US_PER_S

REOPEN_US = 200 * US_PER_MS
"""From a connection that ended to the next try; doubled while nothing is there."""
REOPEN_MAX_US = 5 * US_PER_S
REST_S = 0.1
"""For the slots to stop: the engine's goodbye waits for it."""
LEAVE_S = 2.0
"""For a clean end."""
ASK_US = 2 * US_PER_MS
"""Between looks at a port that has no descriptor."""


def mac_of(interface: str) -> bytes | None:
    """An interface's address; None: it has none, or is not there."""
    try:
        text = Path(f"/sys/class/net/{interface}/address").read_text(encoding="ascii")
        mac = bytes.fromhex(text.strip().replace(":", ""))
    except (OSError, ValueError):
        return None
    return mac if len(mac) == 6 and any(mac) else None


class SerialOffload:
    """A board behind a serial port. Everything happens in the loop's thread, but that the port is
    opened in one of its own, as `socket://` may take seconds, and read in another."""

    def __init__(
        self,
        url: str,
        baud: int,
        driver: Driver,
        bridge: Bridge,
        deliver: Deliver,
        clock: Clock,
        tell: Callable[[Level, str], None],
        connect: Callable[[str, int], Port] = open_port,
    ) -> None:
        self._url, self._baud = url, baud
        self._driver, self._bridge = driver, bridge
        self._deliver, self._clock, self._tell = deliver, clock, tell
        self._connect_to = connect
        self._port: Port | None = None
        self._reader: PortReader | None = None
        self._timer: Timer | None = None
        self._open_at: int | None = None
        self._wait_us = REOPEN_US
        self._said = ""
        self._thread: ThreadPoolExecutor | None = None
        self._rested = asyncio.Event()
        self._leaving: asyncio.Event | None = None
        self._busy = False

    async def open(self) -> None:
        """Starts to look for the device; a device that is absent is no error."""
        self._timer = Timer()
        self._thread = ThreadPoolExecutor(1, "harpd-offload", as_the_loop)
        asyncio.get_running_loop().add_reader(self._timer.fileno(), self._timer_fired)
        warning = latency_warning(self._url)
        if warning:
            self._say(warning)
        self._open_at = self._clock.now_us()
        self._work()

    async def rest(self) -> None:
        """Before the engine stops: the slots do, so that nothing of ours follows its goodbye."""
        self._rested.clear()
        self._bridge.rest()
        self._work()
        if self._bridge.sends:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(REST_S):
                    await self._rested.wait()
        for event in self._bridge.take_back():
            self._deliver(event)

    async def close(self) -> None:
        """Resigns the slots, gives the lease back."""
        if self._timer is None:
            return
        self._open_at = None
        if self._thread is not None:
            self._thread.shutdown(wait=False, cancel_futures=True)
            self._thread = None
        if self._port is not None:
            self._leaving = asyncio.Event()
            self._driver.leave()
            self._work()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LEAVE_S):
                    await self._leaving.wait()
        self._close_port()
        asyncio.get_running_loop().remove_reader(self._timer.fileno())
        self._timer.close()
        self._timer = None

    def watch(self, peer: WatchPeer) -> None:
        """Watch a peer, or stop."""
        self._bridge.watch(peer, self._clock.now_us())
        self._work()

    def template(self, template: HelloTemplate) -> None:
        """Content of a HELLO slot."""
        for event in self._bridge.template(template):
            self._deliver(event)
        self._work()

    def active(self, group: int, serving: bool) -> None:
        """The watchdog is armed while this member is active anywhere."""
        self._bridge.active(group, serving)
        self._work()

    def link_changed(self, link: str, up: bool) -> None:
        """Packets with our addresses may leave on an interface, or no more."""
        for event in self._bridge.link(link, up):
            self._deliver(event)
        self._work()

    def status(self) -> OffloadStatus:
        """For people and metrics."""
        status = self._driver.status()
        attached = status.state == "attached"
        why = [] if attached else [status.detail or ("" if self._port else "the port is not open")]
        if self._bridge.fenced:
            why.append("the board fences this member" if attached else "it may fence this member")
        detail = "; ".join(filter(None, why))
        version = str(status.identity) if attached and status.identity else ""
        round_trip_us = status.round_trip_us if attached else None
        counters = dict(status.counters)
        return OffloadStatus(self._url, attached, version, counters, detail, round_trip_us)

    # The loop's calls

    def _received(self, octets: bytes) -> None:
        self._driver.receive(octets, self._clock.now_us())
        self._work()

    def _ask(self, port: Port) -> None:
        """One that has no descriptor."""
        try:
            octets = port.read()
        except PortFailed as error:
            self._failed(error)
        else:
            self._received(octets)

    def _timer_fired(self) -> None:
        assert self._timer is not None
        self._timer.acknowledge()
        now = self._clock.now_us()
        if self._open_at is not None and now >= self._open_at:
            self._connect()
        if self._port is not None and self._reader is None:
            self._ask(self._port)
        self._work()

    def _connect(self) -> None:
        self._open_at = None
        if self._thread is not None:
            opened = self._thread.submit(self._connect_to, self._url, self._baud)
            asyncio.wrap_future(opened).add_done_callback(self._connected)

    def _connected(self, opened: asyncio.Future[Port]) -> None:
        if opened.cancelled():
            return
        now = self._clock.now_us()
        try:
            port = opened.result()
        except PortFailed as error:
            self._say(f"offload: {error}")
            self._again(now)
            self._set_timer()
            return
        if self._thread is None:  # closed meanwhile
            port.close()
            return
        self._port, descriptor = port, port.fileno()
        if descriptor is not None:
            self._reader = PortReader(port, descriptor, self._received, self._failed)
        self._driver.connected(now)
        self._work()

    def _again(self, now: int) -> None:
        """Another try after a while, ever longer."""
        if self._thread is not None:
            self._open_at = now + self._wait_us
            self._wait_us = min(2 * self._wait_us, REOPEN_MAX_US)

    def _failed(self, error: PortFailed) -> None:
        self._close_port()
        self._driver.disconnected(f"{self._url}: {error}", self._clock.now_us())
        self._work()

    def _close_port(self) -> None:
        if self._reader is not None:
            self._reader.stop()  # it closes the port
        elif self._port is not None:
            self._port.close()
        self._port = self._reader = None

    def _work(self) -> None:
        """Everything that follows from what happened, until nothing does; then the timer.

        What is delivered to the engine comes back as commands, within this call or later."""
        if self._busy:
            return
        self._busy = True
        try:
            now = self._clock.now_us()
            self._driver.expire(now)
            for event in self._bridge.expire(now):
                self._deliver(event)
            self._driver.expire(now)
            while out := self._driver.take():
                for one in out:
                    self._do(one, now)
                self._driver.expire(now)
        finally:
            self._busy = False
        self._set_timer()

    def _do(self, one: Send | Close | Notice, now: int) -> None:
        match one:
            case Send(octets):
                self._write(octets)
            case Close():
                self._close_port()
                self._again(now)
                if self._leaving is not None:
                    self._leaving.set()
            case _:
                self._heed(one, now)

    def _write(self, octets: bytes) -> None:
        if self._port is None:
            return
        try:
            self._port.write(octets)
        except PortFailed as error:
            self._close_port()
            self._driver.disconnected(f"{self._url}: {error}", self._clock.now_us())

    def _heed(self, notice: Notice, now: int) -> None:
        match notice:
            case Attached(identity):
                self._wait_us = REOPEN_US
                self._say(f"offload attached: {identity}", Level.INFO)
            case Refused(reason):
                self._say(f"offload not used: {self._url}: {reason}")
            case Noted():
                return
            case _:
                pass
        for event in self._bridge.notice(notice, now):
            self._deliver(event)
        if not self._bridge.sends:
            self._rested.set()
        for problem in self._bridge.problems:
            self._say(problem)
        self._bridge.problems.clear()

    def _say(self, text: str, level: Level = Level.WARNING) -> None:
        """The same thing once, not at each try."""
        if text != self._said:
            self._said = text
            self._tell(level, text)

    def _set_timer(self) -> None:
        if self._timer is None:
            return
        polled = self._port is not None and self._reader is None
        times = (
            self._driver.deadline,
            self._bridge.deadline,
            self._open_at,
            self._clock.now_us() + ASK_US if polled else None,
        )
        self._timer.set(min((time for time in times if time is not None), default=None))
