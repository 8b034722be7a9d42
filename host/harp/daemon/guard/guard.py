"""The guard as harpd sees it: started, fed, told what a goodbye looks like.

Ref: harp.md §9
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from contextlib import suppress
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, NamedTuple

from harp.cli.common import Failure
from harp.daemon.clock import SystemClock
from harp.daemon.config.model import Policy
from harp.daemon.dataplane.plan import plan_of
from harp.daemon.guard.goodbye import timestamp_of
from harp.daemon.guard.process import READY, GuardedGroup, Setup
from harp.daemon.guard.shared import MAX_HELLO_OCTETS, Hello, Shared, make_memory
from harp.daemon.log import tell
from harp.daemon.parts import GuardStatus
from harp.engine.effects import Level, SendPacket, SetServing
from harp.engine.events import Fenced, HelloSlotChanged
from harp.tables.harp_types import HarpType
from harp.wire.codec import Codec

if TYPE_CHECKING:
    from harp.daemon.config.model import DaemonConfig
    from harp.daemon.links import Tell
    from harp.daemon.parts import Deliver
    from harp.engine.config import GroupConfig

_START_S = 30
"""A guard that takes longer to start has failed: on a busy machine interpreters are slow."""
_END_S = 2
"""A guard that takes longer to end is killed."""
_BEAT_US = 200_000
"""A guard wakes up at least so often."""
_LOOK_US = 1_000_000
"""How often harpd looks whether its guard lives."""
_HUNG_US = 5_000_000
"""A guard that has not woken up for so long guards nobody."""
_FEEDS = 4
"""Feeds within the time after which the guard withdraws."""
_SPARE_SLOTS = 32
"""For members that are discovered."""
_TYPE_AT = 6
"""Octet of a HARP message that holds its Type (harp.md §2.1)."""
_MH_TYPE_AT = 2
_MODULE = "harp.daemon.guard.process"


class _Coming(NamedTuple):
    """A guard that does not watch yet."""

    process: subprocess.Popen[bytes]
    """It."""
    said: socket.socket
    """What it says."""
    setup: Setup
    """What it was told."""

    def watches(self) -> bool:
        """Waits as long as the socket's time-out is; False: not yet. Raises OSError: it failed."""
        try:
            said = self.said.recv(1)
        except BlockingIOError:
            return False
        except ConnectionError:
            said = b""
        if said != READY:
            raise OSError("it ended before it watched")
        return True

    def end(self) -> None:
        """Whatever it does."""
        self.said.close()
        _end(self.process)


class Guard:
    """A `parts.Guard`. Opened by the loop's thread: its death is what the guard waits for."""

    def __init__(self, config: DaemonConfig, deliver: Deliver, tell: Tell = tell) -> None:
        self._groups = {each.group: each for each in config.engine.groups}
        self._deliver = deliver
        self._tell = tell
        self._slots: dict[tuple[int, str, bytes], int] = {}
        self._setup = self._known = _setup_of(config)
        """What a guard is to know; what this one does."""
        points = next(iter(self._groups.values())).code_points
        self._codec = Codec(points)
        self._clock = SystemClock()
        self._mh_type = points.mh_type_harp
        self._by_board: set[tuple[int, str]] = set()
        """Groups and links where a board sends the HELLOs."""
        self._armed: set[int] = set()
        self._fired_before = 0
        self._look_at = 0
        self._feed_at = 0
        self._coming: _Coming | None = None
        """Takes the place of `_process` as soon as it watches."""
        self._memory = -1
        self._shared: Shared | None = None
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def deadline(self) -> int | None:
        """When to call `feed` at the latest, µs."""
        return min(self._feed_at, self._look_at) if self._armed else self._look_at

    def open(self) -> None:
        """Starts the process. Raises Failure."""
        self._memory = make_memory(self._setup.slots)
        self._shared = Shared(self._memory, self._setup.slots)
        coming: _Coming | None = None
        try:
            self._shared.lock.make()
            self._shared.lock.hold()
            coming = self._start()
            coming.said.settimeout(_START_S)
            coming.watches()
        except OSError as error:
            if coming is not None:
                coming.end()
            self.close()  # the thread lists its locks: no memory may go with one that it holds
            raise Failure(
                f"the guard process did not start: {error}; `guard = false` goes without it"
            ) from None
        coming.said.close()
        self._process = coming.process
        self._shared.beat_us = self._clock.now_us()

    def reconfigure(self, config: DaemonConfig) -> None:
        """Keys and intervals of running groups are others: a guard that knows them takes the place
        of this one, which watches until that one does."""
        if self._shared is None:
            return
        before = self._limits()
        self._groups = {each.group: each for each in config.engine.groups}
        if self._limits() != before:
            self._arm()
        setup = replace(_setup_of(config), slots=self._setup.slots)  # the memory stays
        if setup != self._setup:
            self._setup = setup
            self._replace()

    def _limits(self) -> dict[int, int]:
        return {number: group.detection_us for number, group in self._groups.items()}

    def feed(self, now_us: int) -> None:
        """The loop lives. Every now and then: does the guard?"""
        shared = self._shared
        if shared is None:
            return
        shared.fed_us = now_us
        self._feed_at = now_us + shared.limit_us // _FEEDS
        if shared.fired != self._fired_before:
            self._fired_before = shared.fired
            self._tell(
                Level.ERROR,
                "the guard withdrew: harpd did not run for its own detection time; is the machine "
                "overloaded, or was harpd stopped?",
            )
            self._deliver(Fenced(True))
            self._deliver(Fenced(False))
        if self._coming is not None:
            self._take_over(shared, self._coming)
        if now_us >= self._look_at:
            self._look_at = now_us + _LOOK_US
            self._look_after(shared, now_us)

    def sent(self, packet: SendPacket) -> None:
        """Keeps what a goodbye has to follow: each HELLO, and the timestamp of anything signed."""
        shared, payload, group = self._shared, packet.payload, packet.group
        if shared is None or group is None or payload[_MH_TYPE_AT] != self._mh_type:
            return
        timestamp = timestamp_of(self._codec, payload)
        if timestamp:
            shared.set_timestamp(group, timestamp)
        if payload[_TYPE_AT] != HarpType.HELLO or len(payload) > MAX_HELLO_OCTETS:
            return
        if (group, packet.link) in self._by_board:
            return
        place = (group, packet.link, packet.destination)
        slot = self._slots.setdefault(place, len(self._slots))
        if slot < self._setup.slots:
            hello = Hello(group, packet.link, packet.source, packet.destination, payload)
            shared.put(slot, hello)

    def slot(self, change: HelloSlotChanged) -> None:
        """No goodbye by the guard where a board speaks: its slot would go on to say the contrary
        until the lease is over, and then says goodbye itself (offload.md §4)."""
        place = change.group, change.link
        if not change.running:
            self._by_board.discard(place)
        elif place not in self._by_board and self._shared is not None:
            self._by_board.add(place)
            for (group, link, _), slot in self._slots.items():
                if (group, link) == place and slot < self._setup.slots:
                    self._shared.clear(slot)

    def serving(self, serving: SetServing) -> None:
        """Armed while a group is served: by the shortest detection time of those."""
        if serving.serving:
            self._armed.add(serving.group)
        else:
            self._armed.discard(serving.group)
        self._arm()

    def _arm(self) -> None:
        if self._shared is not None:
            times = [self._groups[group].detection_us for group in self._armed]
            # Nothing had to be fed as often as now: fed first, and only then a shorter limit.
            self._shared.fed_us = self._clock.now_us()
            self._shared.limit_us = min(times, default=0)
        self._feed_at = 0

    def close(self, *, withdraw: bool = False) -> None:
        """The guard ends; nothing is withdrawn by it unless that is wanted."""
        shared, process = self._shared, self._process
        if shared is None:
            return
        shared.closing = not withdraw
        shared.lock.release()
        if self._coming is not None:
            self._coming.end()
        if process is not None:
            with suppress(subprocess.TimeoutExpired):
                process.wait(_END_S)
            _end(process)
        shared.close()
        os.close(self._memory)
        self._shared = self._process = self._coming = None

    def status(self) -> GuardStatus:
        """As of now."""
        running = self._process is not None and self._process.poll() is None
        return GuardStatus(running, tuple(sorted(self._armed)), self._fired_before)

    def _start(self) -> _Coming:
        """Starts a process, which says on the socket when it watches. Raises OSError."""
        mine, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        mine.setblocking(False)
        try:
            with theirs:
                mine.sendall(self._setup.dump())
                process = subprocess.Popen(
                    [sys.executable, "-m", _MODULE, str(self._memory), str(theirs.fileno())],
                    pass_fds=(self._memory, theirs.fileno()),
                    stdin=subprocess.DEVNULL,
                    # A Ctrl-C at the terminal is for harpd.
                    start_new_session=True,
                )
        except OSError:
            mine.close()
            raise
        return _Coming(process, mine, self._setup)

    def _look_after(self, shared: Shared, now_us: int) -> None:
        """A guard that died or hangs is replaced, which the loop does not wait for. Nobody guards
        until then, so it is told loudly. So is one that could not be replaced at a reload."""
        assert self._process is not None
        if self._coming is not None:
            return
        status = self._process.poll()
        hangs = status is None and now_us - shared.beat_us > _HUNG_US
        if status is not None or hangs:
            what = "does not run any more" if hangs else f"ended with status {status}"
            self._tell(Level.ERROR, f"the guard {what}: starting another")
        if status is not None or hangs or self._known != self._setup:
            self._replace()

    def _replace(self) -> None:
        """Starts the next guard; one that does not watch yet is none to wait for any more."""
        if self._coming is not None:
            self._coming.end()
            self._coming = None
        try:
            self._coming = self._start()
        except OSError as error:
            self._tell(Level.ERROR, f"the guard does not start: {error}")

    def _take_over(self, shared: Shared, coming: _Coming) -> None:
        """The next guard watches: the one before may go."""
        assert self._process is not None
        try:
            if not coming.watches():
                return
        except OSError as error:
            self._tell(Level.ERROR, f"the guard does not start: {error}")
            coming.end()
        else:
            coming.said.close()
            _end(self._process)
            shared.beat_us = self._clock.now_us()
            self._process, self._known = coming.process, coming.setup
        self._coming = None


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()


def _setup_of(config: DaemonConfig) -> Setup:
    guarded: list[GuardedGroup] = []
    slots = _SPARE_SLOTS
    for plan, group in zip(plan_of(config).groups, config.engine.groups, strict=True):
        key = group.protection.signing_key
        guarded.append(
            GuardedGroup(
                plan.group,
                plan.interface,
                plan.address.hex(),
                plan.table,
                plan.preference,
                [(prefix.hex(), length) for prefix, length in plan.advertised],
                key.spi if key else 0,
                key.key.hex() if key else "",
            )
        )
        slots += _destinations(group)
    points = asdict(config.engine.groups[0].code_points)
    points["multicast_group"] = str(points["multicast_group"])
    fifo = config.scheduling.policy is Policy.FIFO
    # Above harpd: one that runs wild must not keep its guard from running.
    priority = min(99, config.scheduling.priority + 1) if fifo else 0
    # One that sleeps while a limit is set must wake up before that has passed.
    beat_us = min(_BEAT_US, *(group.detection_us for group in config.engine.groups))
    return Setup(tuple(guarded), slots, priority, beat_us, points)


def _destinations(group: GroupConfig) -> int:
    """Links times multicast and each other member."""
    return len(group.links) * (1 + len(group.members))
