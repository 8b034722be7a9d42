"""The guard as harpd sees it: started, fed, told what a goodbye looks like.

Ref: harp.md §9
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from dataclasses import asdict, replace
from typing import TYPE_CHECKING

from harp.cli.common import Failure
from harp.daemon.config.model import Policy
from harp.daemon.dataplane.plan import plan_of
from harp.daemon.guard.goodbye import timestamp_of
from harp.daemon.guard.process import READY, GuardedGroup, Setup
from harp.daemon.guard.shared import MAX_HELLO_OCTETS, Hello, Shared, make_memory
from harp.daemon.log import tell
from harp.daemon.parts import GuardStatus
from harp.engine.effects import Level, SendPacket, SetServing
from harp.engine.events import Fenced
from harp.tables.harp_types import HarpType
from harp.wire.codec import Codec

if TYPE_CHECKING:
    from harp.daemon.config.model import DaemonConfig
    from harp.daemon.links import Tell
    from harp.daemon.parts import Deliver
    from harp.engine.config import GroupConfig

_START_S = 10
"""A guard that takes longer to start has failed."""
_LOOK_US = 1_000_000
"""How often harpd looks whether its guard lives."""
_FEEDS = 4
"""Feeds within the time after which the guard withdraws."""
_SPARE_SLOTS = 32
"""For members that are discovered."""
_TYPE_AT = 6
"""Octet of a HARP message that holds its Type (harp.md §2.1)."""
_MH_TYPE_AT = 2
_MODULE = "harp.daemon.guard.process"


class Guard:
    """A `parts.Guard`. Opened by the loop's thread: its death is what the guard waits for."""

    def __init__(self, config: DaemonConfig, deliver: Deliver, tell: Tell = tell) -> None:
        self._groups = {each.group: each for each in config.engine.groups}
        self._deliver = deliver
        self._tell = tell
        self._slots: dict[tuple[int, str, bytes], int] = {}
        self._setup = _setup_of(config)
        points = next(iter(self._groups.values())).code_points
        self._codec = Codec(points)
        self._mh_type = points.mh_type_harp
        self._armed: set[int] = set()
        self._fired_before = 0
        self._look_at = 0
        self._feed_at = 0
        self._retiring: subprocess.Popen[bytes] | None = None
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
        self._shared.lock.make()
        self._shared.lock.hold()
        with self._start() as said:
            said.settimeout(_START_S)
            try:
                ready = said.recv(1) == READY
            except OSError:
                ready = False
        if not ready:
            raise Failure("the guard process did not start; `guard = false` goes without it")

    def reconfigure(self, config: DaemonConfig) -> None:
        """Keys and intervals of running groups are others: a guard that knows them takes the place
        of this one, which watches on until then."""
        process, shared = self._process, self._shared
        if shared is None or process is None:
            return
        self._groups = {each.group: each for each in config.engine.groups}
        slots = self._setup.slots  # the memory stays
        self._setup = replace(_setup_of(config), slots=slots)
        self._arm()
        self._retire()
        self._retiring = process
        self._replace()

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
        if now_us >= self._look_at:
            self._look_at = now_us + _LOOK_US
            self._look_after()
            self._retire()

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
        place = (group, packet.link, packet.destination)
        slot = self._slots.setdefault(place, len(self._slots))
        if slot < self._setup.slots:
            hello = Hello(group, packet.link, packet.source, packet.destination, payload)
            shared.put(slot, hello)

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
            self._shared.limit_us = min(times, default=0)
        self._feed_at = 0

    def close(self, *, withdraw: bool = False) -> None:
        """The guard ends; nothing is withdrawn by it unless that is wanted."""
        shared, process = self._shared, self._process
        if shared is None:
            return
        shared.closing = not withdraw
        shared.lock.release()
        self._retire()
        if process is not None:
            process.wait()
        shared.close()
        os.close(self._memory)
        self._shared = self._process = None

    def status(self) -> GuardStatus:
        """As of now."""
        running = self._process is not None and self._process.poll() is None
        return GuardStatus(running, tuple(sorted(self._armed)), self._fired_before)

    def _start(self) -> socket.socket:
        """Starts a process; on the socket it says when it watches."""
        mine, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", _MODULE, str(self._memory), str(theirs.fileno())],
                pass_fds=(self._memory, theirs.fileno()),
                stdin=subprocess.DEVNULL,
                # A Ctrl-C at the terminal is for harpd.
                start_new_session=True,
            )
        mine.sendall(self._setup.dump())
        return mine

    def _look_after(self) -> None:
        """A guard that died is replaced, which the loop does not wait for. Nobody guards until
        then, so it is told loudly."""
        assert self._process is not None
        status = self._process.poll()
        if status is None:
            return
        self._tell(Level.ERROR, f"the guard ended with status {status}: starting another")
        self._replace()

    def _retire(self) -> None:
        """The guard that another one took the place of."""
        if self._retiring is not None:
            self._retiring.kill()
            self._retiring.wait()
            self._retiring = None

    def _replace(self) -> None:
        try:
            self._start().close()
        except OSError as error:
            self._tell(Level.ERROR, f"the guard does not start: {error}")


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
    return Setup(tuple(guarded), slots, priority, points)


def _destinations(group: GroupConfig) -> int:
    """Links times multicast and each other member."""
    return len(group.links) * (1 + len(group.members))
