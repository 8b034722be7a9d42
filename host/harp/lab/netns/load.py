"""The load generator: up to a hundred thousand mobile nodes that share one packet socket.

Ref: RFC 6275 §11.7 (registration), §6.1.7, §6.1.8; RFC 1071 §2 (incremental checksums)

A node is two 16-bit numbers: the Sequence # it sent last and the one acknowledged last, which is
what must not be lost. Its Binding Update is put together from a template; only addresses, Sequence
# and checksum differ. Time: about 10 µs a Binding Update, most of it the kernel's.
"""

from __future__ import annotations

import statistics
import struct
import time
from array import array
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any

from harp.daemon.sockets.filters import Instruction, attach
from harp.lab.netns import packets, plan
from harp.lab.netns.mobile import packet_socket
from harp.lab.netns.threads import Station
from harp.lab.netns.timeline import NS_PER_S
from harp.tables.ipv6 import ETHERTYPE_IPV6, NextHeader
from harp.tables.mh import LIFETIME_UNIT_S, NEXT_HEADER, NO_NEXT_HEADER, BuFlag, MhType

REFUSED = 128
"""Least Status that rejects a Binding Update (RFC 6275 §6.1.8)."""
RETRY_NS = NS_PER_S
"""INITIAL_BINDACK_TIMEOUT (RFC 6275 §12)."""
BURST = 64
"""Most Binding Updates between two looks at the answers."""
WINDOW = 2_000
"""Most unanswered ones while filling."""
UPDATE_OCTETS = 16
_WRAP = 1 << 16
_FLAGS = BuFlag.ACKNOWLEDGE | BuFlag.HOME_REGISTRATION
_HEAD = struct.Struct("!IHBB")
_UPDATE = struct.Struct("!BBBBHHHHI")
_PADDING = 0x01020000
"""PadN of four octets: a Binding Update without options fills 16."""
_ANSWER_HOME = 48
"""Offset of the home address in an answer: behind the fixed header, in the routing header."""
_ANSWER_MH = 64
_ROUTED = [
    Instruction(0x30, 0, 0, 6),
    Instruction(0x15, 0, 1, NextHeader.ROUTING),
    Instruction(0x06, 0, 0, 0x40000),
    Instruction(0x06, 0, 0, 0),
]
"""Only what has a routing header: acknowledgements (RFC 6275 §6.4)."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where mobile nodes are and what their addresses are."""

    interface: str
    router: bytes
    """Link-layer address of the next hop."""
    first_home: int
    """Home address of node 0 as a number; the next ones follow it."""
    first_care_of: int
    """Its care-of address."""


LABORATORY = Place(
    plan.VISITED,
    plan.mac_octets(plan.CORE_VISITED),
    int.from_bytes(plan.home_address(0), "big"),
    int.from_bytes(plan.care_of_address(0), "big"),
)


class Template:
    """Binding Updates of numbered mobile nodes to one home agent."""

    def __init__(self, agent: bytes, lifetime_s: int, place: Place = LABORATORY) -> None:
        self._place = place
        self._head = _HEAD.pack(6 << 28, 24 + UPDATE_OCTETS, NextHeader.DESTINATION_OPTIONS, 64)
        self._middle = agent + packets.home_address_header(bytes(16))[:8]
        self._units = lifetime_s // LIFETIME_UNIT_S
        fixed = _UPDATE.pack(
            NO_NEXT_HEADER, 1, MhType.BINDING_UPDATE, 0, 0, 0, _FLAGS, self._units, _PADDING
        )
        # One's complement sum of all but home address and Sequence #: 2^16 is 1 modulo 65,535.
        self._sum = int.from_bytes(agent + fixed, "big") + UPDATE_OCTETS + NEXT_HEADER

    def packet(self, number: int, sequence: int) -> bytes:
        """The whole IPv6 packet."""
        home = self._place.first_home + number
        total = (self._sum + home + sequence) % 0xFFFF
        checksum = 0xFFFF - (total or 0xFFFF)
        update = _UPDATE.pack(
            NO_NEXT_HEADER, 1, MhType.BINDING_UPDATE, 0,
            checksum, sequence, _FLAGS, self._units, _PADDING,
        )  # fmt: skip
        care_of = (self._place.first_care_of + number).to_bytes(16, "big")
        return b"".join((self._head, care_of, self._middle, home.to_bytes(16, "big"), update))


class Load(Station):
    """`nodes` mobile nodes, in the namespace of the thread that makes it.

    *Filling* sends to each until it is acknowledged; else the nodes take turns for ever at `rate`
    Binding Updates a second.
    """

    def __init__(
        self, nodes: int, agent: bytes, lifetime_s: int, seed: int, place: Place = LABORATORY
    ) -> None:
        super().__init__("load")
        rng = Random(seed)
        self.nodes = nodes
        self.sent = array("H", (rng.randrange(_WRAP) for _ in range(nodes)))
        """Sequence # sent last."""
        self.acknowledged = array("l", (-1 for _ in range(nodes)))
        """Sequence # acknowledged last; -1: none."""
        self.waits_us = array("l")
        """From each Binding Update to its acknowledgement."""
        self.answers: Counter[int] = Counter()
        """Acknowledgements by status."""
        self.updates = 0
        """Binding Updates sent."""
        self.unsent = 0
        """Those that the kernel had no room for."""
        self.filled = 0
        """Nodes with an acknowledgement."""
        self._template = Template(agent, lifetime_s, place)
        self._first_home = place.first_home
        self._at_ns = array("q", bytes(8 * nodes))
        self._rate, self._filling, self._begun = 0, False, 0
        self._queue: deque[int] = deque()
        self._waiting: deque[int] = deque()
        """Nodes without an acknowledgement yet, in the order of their Binding Updates."""
        self._next_ns = 0
        self._router = (place.interface, ETHERTYPE_IPV6, 0, 0, place.router)
        self._socket = packet_socket(place.interface, 32 << 20)
        attach(self._socket, _ROUTED)

    def start(self, rate: int, *, filling: bool) -> None:
        """Sends from now on; rate 0: nothing more."""
        wanted = (n for n in range(self.nodes) if not filling or self.acknowledged[n] < 0)
        self._queue, self._waiting, self._begun = deque(wanted), deque(), self.filled
        self._filling, self._next_ns = filling, time.monotonic_ns()
        self._rate = rate

    def descriptors(self) -> dict[int, Callable[[], None]]:
        return {self._socket.fileno(): self._answers}

    def tick(self, now_ns: int) -> int | None:
        rate = self._rate
        if not rate or not (self._queue or self._waiting):
            return None
        gap_ns = NS_PER_S // rate
        if now_ns - self._next_ns > NS_PER_S // 10:
            self._next_ns = now_ns  # after a pause no burst makes up for it
        for _ in range(BURST):
            if now_ns < self._next_ns or not self._one(now_ns):
                break
            self._next_ns += gap_ns
        return max(self._next_ns, now_ns + 100_000)

    def close(self) -> None:
        self._socket.close()

    def _one(self, now_ns: int) -> bool:
        """The next node's turn; False: nothing may be sent now."""
        number = self._next_to_fill(now_ns) if self._filling else self._next_in_turn()
        if number is None:
            return False
        self._update(number, now_ns)
        return True

    def _next_in_turn(self) -> int:
        self._queue.rotate(-1)
        return self._queue[-1]

    def _next_to_fill(self, now_ns: int) -> int | None:
        """One whose acknowledgement is late, else a new one while not too many are waited for."""
        waiting = self._waiting
        while waiting and self.acknowledged[waiting[0]] >= 0:
            waiting.popleft()
        if waiting and now_ns - self._at_ns[waiting[0]] >= RETRY_NS:
            number = waiting.popleft()
        elif self._queue and self._begun - self.filled < WINDOW:
            number = self._queue.popleft()
            self._begun += 1
        else:
            return None
        waiting.append(number)
        return number

    def _update(self, number: int, now_ns: int) -> None:
        sequence = (self.sent[number] + 1) % _WRAP
        try:
            self._socket.sendto(self._template.packet(number, sequence), self._router)
        except OSError:
            self.unsent += 1
            return
        self.sent[number] = sequence
        self._at_ns[number] = now_ns
        self.updates += 1

    def _answers(self) -> None:
        for _ in range(BURST):
            try:
                packet = self._socket.recv(512)
            except BlockingIOError:
                return
            self._answer(packet)

    def _answer(self, packet: bytes) -> None:
        if packet[_ANSWER_MH + 2] != MhType.BINDING_ACKNOWLEDGEMENT:
            return
        home = int.from_bytes(packet[_ANSWER_HOME:_ANSWER_MH], "big")
        number = home - self._first_home
        if not 0 <= number < self.nodes:
            return
        status = packet[_ANSWER_MH + 6]
        sequence = int.from_bytes(packet[_ANSWER_MH + 8 : _ANSWER_MH + 10], "big")
        self.answers[status] += 1
        if status < REFUSED:
            self.filled += self.acknowledged[number] < 0
            self.acknowledged[number] = sequence
            if sequence == self.sent[number]:
                self.waits_us.append((time.monotonic_ns() - self._at_ns[number]) // 1000)
        elif sequence != self.sent[number]:
            self.sent[number] = sequence  # "out of window": goes on from there (RFC 6275 §11.7.3)


def report(load: Load) -> dict[str, Any]:
    """Counts since the beginning; waits are those since the last report."""
    waits, load.waits_us = load.waits_us, array("l")
    return {
        "updates": load.updates,
        "unsent": load.unsent,
        "answers": {str(status): count for status, count in sorted(load.answers.items())},
        "filled": load.filled,
        "wait_median_us": statistics.median(waits) if waits else None,
        "wait_p99_us": sorted(waits)[len(waits) * 99 // 100] if waits else None,
    }
