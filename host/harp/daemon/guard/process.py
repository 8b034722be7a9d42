"""The guard process: waits for harpd's death or silence, withdraws, says goodbye.

Ref: harp.md §9

Descriptors are its arguments: the shared memory, a socket on which the setup comes (keys never
stand in a process list). What a withdrawal needs is open and imported before it is needed.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import signal
import socket
import struct
import sys
import time
from dataclasses import asdict, dataclass, field
from ipaddress import IPv6Address
from typing import Any

from harp.daemon.guard.goodbye import goodbye
from harp.daemon.guard.robust_lock import Wait
from harp.daemon.guard.shared import Hello, Shared
from harp.daemon.netlink.addresses import remove_address
from harp.daemon.netlink.connection import Netlink
from harp.daemon.netlink.neighbors import forget_neighbor
from harp.daemon.netlink.routes import MAIN_TABLE, remove_local, remove_route
from harp.daemon.netlink.rules import remove_rule
from harp.daemon.sockets.quiet import quiet
from harp.engine.config import Key
from harp.tables.codepoints import CodePoints
from harp.tables.constants import GOODBYE_HELLOS
from harp.tables.mh import NEXT_HEADER
from harp.wire.codec import Codec

READY = b"R"
"""Answer to the setup: the guard watches."""
GOODBYE_GAP_S = 0.005
"""Between the goodbyes: the first is at once, the others are for a link that loses one."""
_PR_SET_NAME, _PR_SET_DUMPABLE = 15, 4
_LOCK_ALL = 3
_NO_CHECKSUM = struct.pack("=i", -1)


@dataclass(frozen=True, slots=True)
class GuardedGroup:
    """What withdrawing a group takes."""

    group: int
    """Group ID."""
    interface: str
    """Home interface."""
    address: str
    """Virtual address, in hexadecimal; empty in hard mode."""
    table: int
    """Routing table."""
    preference: int
    """Of the rule that leads there."""
    advertised: list[tuple[str, int]]
    """(prefix in hexadecimal, length) of the routes that others are told of."""
    spi: int
    """SPI of the signing key; 0: none."""
    key: str = field(repr=False)
    """Signing key, in hexadecimal."""


@dataclass(frozen=True, slots=True)
class Setup:
    """All that the guard is told."""

    groups: tuple[GuardedGroup, ...]
    """All groups."""
    slots: int
    """HELLO slots in the shared memory."""
    priority: int
    """SCHED_FIFO priority; 0: as any process."""
    beat_us: int
    """The guard wakes up and shows that it lives at least so often."""
    code_points: dict[str, Any]
    """As numbers and text."""

    def dump(self) -> bytes:
        """As a line of JSON."""
        return json.dumps(asdict(self)).encode() + b"\n"


def load_setup(line: bytes) -> Setup:
    """`Setup.dump` undone."""
    document: dict[str, Any] = json.loads(line)
    groups = tuple(GuardedGroup(**group) for group in document.pop("groups"))
    return Setup(groups, **document)


class Watch:
    """Withdraws once for each death or silence."""

    def __init__(self, setup: Setup, shared: Shared) -> None:
        self._shared = shared
        self._groups = setup.groups
        self._beat_us = setup.beat_us
        points = setup.code_points | {
            "multicast_group": IPv6Address(setup.code_points["multicast_group"])
        }
        self._codec = Codec(CodePoints(**points))
        self._keys = {
            g.group: Key(g.spi, bytes.fromhex(g.key)) if g.spi else None for g in setup.groups
        }
        self._netlink = Netlink()
        self._out = _sender()
        self._fired_at = -1
        """What `fed` was when the guard last withdrew."""

    def run(self) -> None:
        """Until harpd is gone."""
        while True:
            ended = self._shared.lock.wait(self._wake_us())
            if ended is not Wait.TIMEOUT:
                # A daemon that released the lock without saying that it closes is a bug; withdraw.
                if not self._shared.closing:
                    self._withdraw()
                return
            now = time.monotonic_ns() // 1000
            self._shared.beat_us = now
            fed, limit = self._shared.fed_and_limit()
            if limit and now - fed >= limit and fed != self._fired_at:
                # Told first: a daemon that wakes up now must not believe that it serves.
                self._shared.fired += 1
                self._withdraw()

    def _wake_us(self) -> int:
        now = time.monotonic_ns() // 1000
        fed, limit = self._shared.fed_and_limit()
        if not limit or fed == self._fired_at:
            return now + self._beat_us
        return min(fed + limit, now + self._beat_us)

    def _withdraw(self) -> None:
        """Address and rule of every group, then the goodbyes."""
        fed = self._shared.fed_us
        for group in self._groups:
            with contextlib.suppress(OSError):
                self._netlink.send(_off(group))
        if fed == self._fired_at:
            return  # it was silent, and died without a word since: all is said
        self._fired_at = fed
        hellos = self._shared.hellos()
        for copy in range(GOODBYE_HELLOS):
            if copy:
                signal.sigtimedwait((), GOODBYE_GAP_S)
            for hello in hellos:
                packet = self._goodbye(hello)
                if packet is not None:
                    self._send(hello, packet)

    def _goodbye(self, hello: Hello) -> bytes | None:
        key = self._keys.get(hello.group)
        timestamp = self._shared.timestamp(hello.group)
        if timestamp:
            timestamp += 1
            self._shared.set_timestamp(hello.group, timestamp)
        return goodbye(self._codec, hello.source, hello.destination, hello.payload, key, timestamp)

    def _send(self, hello: Hello, packet: bytes) -> None:
        with contextlib.suppress(OSError):  # that link is gone: others may not be
            number = socket.if_nametoindex(hello.link) if hello.link else 0
            control = (
                socket.IPPROTO_IPV6,
                socket.IPV6_PKTINFO,
                hello.source + struct.pack("=i", number),
            )
            to = (socket.inet_ntop(socket.AF_INET6, hello.destination), 0, 0, number)
            self._out.sendmsg([packet], [control], 0, to)


def _off(group: GuardedGroup) -> list[bytes]:
    """The interface may have another number than at the start."""
    requests = [remove_rule(group.preference, group.table)]
    requests += [
        remove_route(MAIN_TABLE, bytes.fromhex(prefix), length)
        for prefix, length in group.advertised
    ]
    if group.address:
        with contextlib.suppress(OSError):
            number = socket.if_nametoindex(group.interface)
            address = bytes.fromhex(group.address)
            return [
                forget_neighbor(number, address),  # what comes yet waits for the next active
                remove_address(number, address),
                remove_local(number, address),
                *requests,
            ]
    return requests


def _sender() -> socket.socket:
    """Mobility Headers with their own checksum, sent as harpd sends (harp.md §2)."""
    sock = socket.socket(socket.AF_INET6, socket.SOCK_RAW, NEXT_HEADER)
    sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_CHECKSUM, _NO_CHECKSUM)
    return quiet(sock)


def main() -> None:
    """The process."""
    libc = ctypes.CDLL(None)
    libc.prctl(_PR_SET_NAME, b"harpd-guard")
    libc.prctl(_PR_SET_DUMPABLE, 0)  # it holds keys
    # A service manager that ends the whole group must not end the guard before its work.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    memory, control = (int(argument) for argument in sys.argv[1:3])
    harpd = socket.socket(fileno=control)
    line = bytearray()
    while not line.endswith(b"\n"):
        octets = harpd.recv(1 << 16)
        if not octets:
            return
        line += octets
    setup = load_setup(bytes(line))
    watch = Watch(setup, Shared(memory, setup.slots))
    if setup.priority:
        with contextlib.suppress(PermissionError):
            os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(setup.priority))
    libc.mlockall(_LOCK_ALL)
    with contextlib.suppress(OSError):  # nobody waits for one that replaces another
        harpd.send(READY)
    watch.run()


if __name__ == "__main__":
    main()
