"""A process beside harpd that keeps its bindings in the kernel.

It has a table of its own, so that a full sync of 100,000 bindings costs harpd no more than passing
the messages on, and none of its time is spent in the kernel.

What it keeps are sets of addresses, not routes: with 100,000 routes in a namespace Linux walks all
of them whenever a rule is changed or an address goes (`rt_genid_bump_ipv6`), 40 to 100 ms on the
takeover's way.
"""

from __future__ import annotations

import ctypes
import json
import os
import select
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from harp.daemon.dataplane.bindings import HOST_BITS, Bindings, Network
from harp.daemon.dataplane.feed import Frames, Op, Report
from harp.daemon.dataplane.sets import hosts_set, networks_set
from harp.daemon.netlink.nft import (
    Nft,
    add_elements,
    delete_elements,
    key,
    network,
    prefixes,
)

AT_ONCE = 200
"""Changes a transaction: forwarding waits for it, two milliseconds."""
_READ_OCTETS = 1 << 18
_REPORT_S = 0.1
"""Least time between reports that nobody waits for."""
_PR_SET_PDEATHSIG, _PR_SET_NAME = 1, 15


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
    table: str
    """nftables table with the groups' sets."""

    def dump(self) -> bytes:
        """As a line of JSON."""
        document = {
            "groups": [(g.group, g.table, g.source.hex()) for g in self.groups],
            "table": self.table,
        }
        return json.dumps(document).encode() + b"\n"


def load_plan(line: bytes) -> WorkerPlan:
    """`WorkerPlan.dump` undone."""
    document: dict[str, Any] = json.loads(line)
    groups = tuple(
        WorkerGroup(group, table, bytes.fromhex(source))
        for group, table, source in document["groups"]
    )
    return WorkerPlan(groups, document["table"])


class Group:
    """One group's bindings, and the sets of addresses whose packets are marked for its table."""

    def __init__(self, told: WorkerGroup, table: str, nft: Nft) -> None:
        self.bindings = Bindings()
        self.group, self.source = told.group, told.source
        self.failed = 0
        """What the kernel refused."""
        self._nft = nft
        self._table = table
        self.installed = self._found()
        """What it has, and which care-of address it was told; a worker that died may have left
        something."""

    def _found(self) -> dict[Network, bytes]:
        """What there is when this begins."""
        hosts = self._nft.elements(self._table, hosts_set(self.group))
        networks = self._nft.elements(self._table, networks_set(self.group))
        return {(each.key, HOST_BITS): b"" for each in hosts} | {
            (prefix, length): b"" for prefix, length, _ in prefixes(networks)
        }

    def sweep(self) -> None:
        """Every binding has been told: what else is in the kernel goes."""
        for prefix in self._held():
            if prefix not in self.bindings:
                self.bindings.changed[prefix] = None

    def _held(self) -> Iterable[Network]:
        return self.installed

    def step(self) -> None:
        """Carries the next changes to the kernel, at most `AT_ONCE`."""
        changes = self.take()
        if changes:
            self.put(changes)

    def take(self) -> dict[Network, bytes | None]:
        """The next changes: prefix → care-of address, None: gone."""
        changed = self.bindings.changed
        return {prefix: changed.pop(prefix) for prefix in list(islice(changed, AT_ONCE))}

    def put(self, changes: Mapping[Network, bytes | None]) -> None:
        """One transaction: forwarding is as before or as wanted."""
        messages = self._messages(changes)
        if not messages:
            return
        try:
            self._nft.commit(messages, "preparing forwarding")
        except OSError:
            if len(changes) == 1:
                self.failed += 1
                return
            for prefix, care_of in changes.items():  # one that the kernel refuses spoils no other
                self.put({prefix: care_of})
            return
        self._done(changes)

    def _messages(self, changes: Mapping[Network, bytes | None]) -> list[bytes]:
        """Members of the sets that are new or gone; a care-of address alone changes nothing."""
        fresh = [p for p, care_of in changes.items() if care_of and p not in self.installed]
        gone = [p for p, care_of in changes.items() if not care_of and p in self.installed]
        messages: list[bytes] = []
        for changed, make in ((gone, delete_elements), (fresh, add_elements)):
            hosts = [key(prefix) for prefix, length in changed if length == HOST_BITS]
            networks = [network(*prefix) for prefix in changed if prefix[1] != HOST_BITS]
            if hosts:
                messages.append(make(self._table, hosts_set(self.group), hosts))
            if networks:
                messages.append(make(self._table, networks_set(self.group), networks))
        return messages

    def _done(self, changes: Mapping[Network, bytes | None]) -> None:
        for prefix, care_of in changes.items():
            if care_of:
                self.installed[prefix] = care_of
            else:
                self.installed.pop(prefix, None)


class Worker:
    """Reads the feed, keeps the routes; more descriptors may be watched beside it."""

    def __init__(self, groups: Sequence[Group], feed: socket.socket) -> None:
        self.groups = groups
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
                group.step()
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
            elif frame.op == Op.COMPLETE:
                for each in self.groups:
                    each.sweep()
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
    # It was started at once (`privileges.at_once`); but harpd's real-time priority is for its
    # deadlines: what it forwards waits for them.
    os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
    feed = socket.socket(fileno=int(sys.argv[1]))
    line = bytearray()
    while not line.endswith(b"\n"):
        octet = feed.recv(1)
        if not octet:  # harpd died before it had told everything
            raise SystemExit(0)
        line += octet
    others = dict(argument.split("=", 1) for argument in sys.argv[2:])
    return load_plan(bytes(line)), feed, {key: int(value) for key, value in others.items()}
