"""A process beside harpd that keeps the routes of its bindings in the kernel.

It has a table of its own, so that a full sync of 100,000 bindings costs harpd no more than passing
the messages on, and none of its time is spent in the kernel's routing code.
"""

from __future__ import annotations

import ctypes
import errno
import json
import os
import select
import signal
import socket
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any, Protocol

from harp.daemon.dataplane.bindings import Bindings
from harp.daemon.dataplane.feed import Frames, Op, Report
from harp.daemon.netlink.connection import Netlink
from harp.daemon.netlink.routes import (
    AT_ONCE,
    Encoder,
    device_routes,
    remove_route,
    tunnel_routes,
)

_READ_OCTETS = 1 << 18
_REPORT_S = 0.1
"""Least time between reports that nobody waits for."""
_PR_SET_PDEATHSIG, _PR_SET_NAME = 1, 15
_GONE = frozenset((errno.ESRCH, errno.ENOENT))
"""What removing a route that is not there answers."""


@dataclass(frozen=True, slots=True)
class WorkerGroup:
    """What the worker is told of a group."""

    group: int
    """Group ID."""
    table: int
    """Routing table."""
    source: bytes
    """Source of outer headers."""


@dataclass(frozen=True, slots=True)
class WorkerPlan:
    """What the worker is told at its start, as JSON: bytes in hexadecimal."""

    groups: tuple[WorkerGroup, ...]
    """All groups."""
    device: int
    """Interface index of the tunnel device."""
    inner_mtu: int
    """Largest packet that goes into a tunnel whole, octets."""
    encap: bool
    """The kernel encapsulates; else the device's reader does."""

    def dump(self) -> bytes:
        """As a line of JSON."""
        document = {
            "groups": [(g.group, g.table, g.source.hex()) for g in self.groups],
            "device": self.device,
            "inner_mtu": self.inner_mtu,
            "encap": self.encap,
        }
        return json.dumps(document).encode() + b"\n"


def load_plan(line: bytes) -> WorkerPlan:
    """`WorkerPlan.dump` undone."""
    document: dict[str, Any] = json.loads(line)
    groups = tuple(
        WorkerGroup(group, table, bytes.fromhex(source))
        for group, table, source in document.pop("groups")
    )
    return WorkerPlan(groups, **document)


class Senders(Protocol):
    """Whoever checks reverse-tunnelled packets from outside the worker."""

    def update(self, group: int, bindings: Bindings, changed: list[tuple[bytes, int]]) -> None:
        """Routes of these prefixes changed: who may send from them may have changed too."""


class Routes:
    """One group's bindings and their routes."""

    def __init__(self, plan: WorkerPlan, group: WorkerGroup, netlink: Netlink) -> None:
        self.bindings = Bindings()
        self.source = group.source
        self.group = group.group
        self.failed = 0
        self.installed: set[tuple[bytes, int]] = set()
        self._netlink = netlink
        self._table = group.table
        self._encode: Encoder = (
            tunnel_routes(group.table, plan.device, group.source)
            if plan.encap
            else device_routes(group.table, plan.device)
        )

    def step(self) -> list[tuple[bytes, int]]:
        """Makes or removes the next routes, at most a hundred; which those were."""
        changed = self.bindings.changed
        prefixes = list(islice(changed, AT_ONCE))
        if not prefixes:
            return []
        messages: list[bytes] = []
        for prefix in prefixes:
            care_of = changed.pop(prefix)
            if care_of is None:
                messages.append(remove_route(self._table, *prefix))
                self.installed.discard(prefix)
            else:
                messages.append(self._encode(*prefix, care_of))
                self.installed.add(prefix)
        for index, (error, _) in self._netlink.send(messages).items():
            if error not in _GONE:
                self.failed += 1
                self.installed.discard(prefixes[index])
        return prefixes


class Worker:
    """Reads the feed, keeps the routes; more descriptors may be watched beside it."""

    def __init__(self, plan: WorkerPlan, feed: socket.socket, netlink: Netlink) -> None:
        self.groups = [Routes(plan, group, netlink) for group in plan.groups]
        self.senders: Senders | None = None
        self._by_id = {group.group: group for group in self.groups}
        self._feed = feed
        self._frames = Frames()
        self._poll = select.epoll()
        self._handlers: dict[int, Callable[[], object]] = {}
        self._flushed = 0
        self._flush_wanted = 0
        self._reported = Report()
        self._report_at = 0.0
        self._open = True
        feed.setblocking(False)
        self.watch(feed.fileno(), self._read_feed)

    def watch(self, descriptor: int, handler: Callable[[], object]) -> None:
        """Calls `handler` whenever the descriptor is readable."""
        self._poll.register(descriptor, select.EPOLLIN)
        self._handlers[descriptor] = handler

    def run(self) -> None:
        """Until harpd closes its end."""
        while self._open:
            pending = any(group.bindings.changed for group in self.groups)
            for descriptor, _ in self._poll.poll(0 if pending else _REPORT_S):
                self._handlers[descriptor]()
            for group in self.groups:
                prefixes = group.step()
                if prefixes and self.senders is not None:
                    self.senders.update(group.group, group.bindings, prefixes)
            self._report()

    def report(self) -> Report:
        """How it stands; the forwarder adds its packets."""
        return Report(
            self._flushed,
            sum(len(group.installed) for group in self.groups),
            sum(len(group.bindings.changed) for group in self.groups),
            sum(group.failed for group in self.groups),
        )

    def _read_feed(self) -> None:
        try:
            data = self._feed.recv(_READ_OCTETS)
        except ConnectionError:
            data = b""
        self._open = bool(data)
        for frame in self._frames.take(data):
            group = self._by_id.get(frame.group)
            if frame.op == Op.FLUSHED:
                self._flush_wanted += 1
            elif group is not None:
                frame.apply(group.bindings)

    def _report(self) -> None:
        """Tells harpd what is new: at once if it waits for it."""
        if self._flush_wanted and not any(group.bindings.changed for group in self.groups):
            self._flushed += self._flush_wanted
            self._flush_wanted = 0
        now = time.monotonic()
        report = self.report()
        urgent = report.flushed != self._reported.flushed
        if report == self._reported or (now < self._report_at and not urgent):
            return
        try:
            self._feed.send(report.pack())
        except BlockingIOError:
            return
        except OSError:
            self._open = False
            return
        self._reported, self._report_at = report, now + _REPORT_S


def begin(name: str) -> tuple[WorkerPlan, socket.socket, Mapping[str, int]]:
    """What every worker does first: its name, its priority, its end with harpd's, its plan.

    Arguments of the process: descriptor of the feed, then `name=descriptor` of others."""
    libc = ctypes.CDLL(None)
    libc.prctl(_PR_SET_NAME, name.encode())
    libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # harpd's real-time priority is for its deadlines: what it forwards waits for them.
    os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
    feed = socket.socket(fileno=int(sys.argv[1]))
    line = bytearray()
    while not line.endswith(b"\n"):
        line += feed.recv(1)
        if not line:
            raise SystemExit(0)
    others = dict(argument.split("=", 1) for argument in sys.argv[2:])
    return load_plan(bytes(line)), feed, {key: int(value) for key, value in others.items()}


def main() -> None:
    """The process that only keeps routes: the kernel forwards."""
    plan, feed, _ = begin("harpd-routes")
    Worker(plan, feed, Netlink()).run()


if __name__ == "__main__":
    main()
