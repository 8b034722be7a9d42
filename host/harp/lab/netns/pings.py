"""Pings at a steady rate from one node, each accounted for: what the correspondent notices.

Ref: RFC 4443 §4; icmp6(7) ICMPV6_FILTER
"""

from __future__ import annotations

import socket
import struct
import threading
import time
from array import array
from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import IPv6Address

from harp.lab.netns import packets
from harp.lab.netns.capture import SO_TIMESTAMPNS, time_of
from harp.lab.netns.namespaces import entered
from harp.lab.netns.threads import Station
from harp.lab.netns.timeline import NS_PER_MS, NS_PER_S
from harp.lab.netns.world import World

_ICMPV6_FILTER = 1
_DATA = struct.Struct("!Q")
"""A number that does not wrap, as the 16 bits of an echo request's own do."""
LATE_S = 1.0
"""A reply that takes longer counts as lost."""


@dataclass(frozen=True, slots=True)
class Outage:
    """Pings in a row without an answer."""

    from_ns: int
    """When the first of them was sent."""
    until_ns: int
    """When the first one behind them was sent that was answered."""
    lost: int

    @property
    def ms(self) -> float:
        """Length in ms."""
        return (self.until_ns - self.from_ns) / NS_PER_MS


class Pinger(Station):
    """Pings one address at `rate` a second."""

    def __init__(self, world: World, node: str, target: IPv6Address, rate: int = 1000) -> None:
        self.name = f"pings to {target}"
        super().__init__(self.name)
        self._target = (str(target), 0, 0, 0)
        self._gap_ns = NS_PER_S // rate
        self._identifier = int.from_bytes(target.packed[-2:]) ^ rate
        self._next_ns = time.monotonic_ns()
        self._lock = threading.Lock()
        self.sent_ns = array("q")
        """When each left, wall clock."""
        self.answered_ns = array("q")
        """When its answer came; 0: not yet."""
        with entered(world.inside(node)):
            self._socket = socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6)
        passing = bytearray(b"\xff" * 32)
        passing[packets.ECHO_REPLY // 8] &= ~(1 << packets.ECHO_REPLY % 8)
        self._socket.setsockopt(socket.IPPROTO_ICMPV6, _ICMPV6_FILTER, _native(passing))
        self._socket.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        self._socket.setblocking(False)

    def descriptors(self) -> dict[int, Callable[[], None]]:
        return {self._socket.fileno(): self._answers}

    def tick(self, now_ns: int) -> int | None:
        while now_ns >= self._next_ns:
            self._send()
            self._next_ns += self._gap_ns
        return self._next_ns

    def close(self) -> None:
        self._socket.close()

    def lost(self, from_ns: int, until_ns: int) -> int:
        """How many of those sent in that time have no answer: ask when `LATE_S` is over."""
        return sum(outage.lost for outage in self.outages(from_ns, until_ns))

    def outages(self, from_ns: int, until_ns: int) -> list[Outage]:
        """Where answers stayed away."""
        with self._lock:
            sent, answered = self.sent_ns[:], self.answered_ns[:]
        found: list[Outage] = []
        first: int | None = None
        for index, at_ns in enumerate(sent):
            missing = not answered[index] and from_ns <= at_ns < until_ns
            if missing and first is None:
                first = index
            elif not missing and first is not None:
                found.append(Outage(sent[first], at_ns, index - first))
                first = None
        if first is not None:
            found.append(Outage(sent[first], sent[-1], len(sent) - first))
        return found

    def first_sent(self, after_ns: int) -> int | None:
        """When the first ping left at or after a time."""
        with self._lock:
            index = bisect_left(self.sent_ns, after_ns)
            return self.sent_ns[index] if index < len(self.sent_ns) else None

    def first_answer(self, after_ns: int) -> int | None:
        """When the first ping that was sent at or after a time was answered."""
        with self._lock:
            for at_ns, answer_ns in zip(self.sent_ns, self.answered_ns, strict=True):
                if at_ns >= after_ns and answer_ns:
                    return answer_ns
        return None

    def _send(self) -> None:
        with self._lock:
            number = len(self.sent_ns)
            self.sent_ns.append(time.time_ns())
            self.answered_ns.append(0)
        message = packets.echo_request(self._identifier, number, _DATA.pack(number))
        try:
            self._socket.sendto(message, self._target)
        except OSError:
            return  # no route, no buffer: it counts as lost, which it is

    def _answers(self) -> None:
        while True:
            try:
                message, control, _, _ = self._socket.recvmsg(128, 64)
            except BlockingIOError:
                return
            if struct.unpack_from("!H", message, 4)[0] != self._identifier:
                continue
            number, at_ns = _DATA.unpack_from(message, 8)[0], time_of(control)
            if at_ns - self.sent_ns[number] <= LATE_S * NS_PER_S:
                self.answered_ns[number] = at_ns


def _native(words: bytearray) -> bytes:
    """`struct icmp6_filter`: eight words in the machine's order; bit n of word n / 32 blocks."""
    return struct.pack("@8I", *struct.unpack("<8I", words))
