"""What the home link carries, with the kernel's time stamps: heartbeats, advertisements, answers.

Ref: packet(7); socket(7) SO_TIMESTAMPNS; Linux Documentation/networking/filter.rst; RFC 4861 §4.4

One packet socket at each member's port of the switch, for what that member says: a frame shows who
sent it and when, before the switch hands it on. A filter in the kernel keeps everything else
away: log messages and tunnelled traffic come by the thousand.
"""

from __future__ import annotations

import socket
import struct
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

from harp.daemon.sockets.filters import (
    JUMP_EQUAL,
    LOAD_BYTE,
    LOAD_HALF,
    LOAD_WORD,
    RETURN,
    Instruction,
    attach,
)
from harp.lab.netns import packets, plan
from harp.lab.netns.namespaces import entered
from harp.lab.netns.threads import Station
from harp.lab.netns.timeline import NS_PER_S, Timeline
from harp.lab.netns.world import SWITCH, World, port_name
from harp.tables.harp_types import HarpFlag, HarpType, Status
from harp.tables.icmpv6 import NEIGHBOR_ADVERTISEMENT
from harp.tables.icmpv6 import NEXT_HEADER as ICMPV6
from harp.tables.ipv6 import ETHERTYPE_IPV6, FIXED_HEADER_OCTETS
from harp.tables.mh import HARP_MH
from harp.tables.mh import NEXT_HEADER as MOBILITY
from harp.wire.codec import parse_harp_head
from harp.wire.fault import Fault
from harp.wire.sequence import newer16

T = TypeVar("T")
ETHERNET_OCTETS = 14
_PAYLOAD = ETHERNET_OCTETS + FIXED_HEADER_OCTETS
_SOURCE = ETHERNET_OCTETS + 8
_DESTINATION = _SOURCE + 16
SO_TIMESTAMPNS = 35
"""`SO_TIMESTAMPNS_OLD` of asm-generic/socket.h: a `struct timespec` of CLOCK_REALTIME."""
SOL_PACKET = 263
PACKET_IGNORE_OUTGOING = 23
"""linux/if_packet.h: only what comes from the member, not what the switch sends it."""
SILENCE_NS = NS_PER_S // 10
"""What the history shows as silence; with HELLOs every 10 ms three detection times."""
_ETH_P_ALL = 3
_VIRTUAL_WORDS = struct.unpack("!4I", plan.VIRTUAL.packed)

PROGRAM = [
    Instruction(LOAD_HALF, 0, 0, 12),
    Instruction(JUMP_EQUAL, 0, 16, ETHERTYPE_IPV6),
    Instruction(LOAD_BYTE, 0, 0, ETHERNET_OCTETS + 6),
    Instruction(JUMP_EQUAL, 6, 0, ICMPV6),
    Instruction(JUMP_EQUAL, 0, 13, MOBILITY),
    Instruction(LOAD_BYTE, 0, 0, _PAYLOAD + 2),
    Instruction(JUMP_EQUAL, 0, 11, HARP_MH.type),
    Instruction(LOAD_BYTE, 0, 0, _PAYLOAD + 6),
    Instruction(JUMP_EQUAL, 9, 0, HarpType.SS_REP),
    Instruction(JUMP_EQUAL, 8, 7, HarpType.SS_ACK),
    Instruction(LOAD_BYTE, 0, 0, _PAYLOAD),
    Instruction(JUMP_EQUAL, 5, 0, NEIGHBOR_ADVERTISEMENT),
    Instruction(JUMP_EQUAL, 0, 5, packets.ECHO_REPLY),
    Instruction(LOAD_WORD, 0, 0, _SOURCE + 8),
    Instruction(JUMP_EQUAL, 0, 3, _VIRTUAL_WORDS[2]),
    Instruction(LOAD_WORD, 0, 0, _SOURCE + 12),
    Instruction(JUMP_EQUAL, 0, 1, _VIRTUAL_WORDS[3]),
    Instruction(RETURN, 0, 0, 0x40000),
    Instruction(RETURN, 0, 0, 0),
]
"""HARP but log messages, Neighbor Advertisements, echo replies of the virtual address."""


@dataclass(slots=True)
class Heard:
    """What the switch heard of one member."""

    flags: int = 0
    """Of its last HELLO."""
    last_ns: int = 0
    """Time of it; 0: none yet."""
    left: bool = False
    """It said HA Lifetime 0."""
    hellos: int = 0
    silences: list[tuple[int, int]] = field(default_factory=list)
    """From, until (ns): without a HELLO for longer than `SILENCE_NS`."""
    longest_gap_ns: int = 0
    """Between two HELLOs, since `forget_gaps`."""
    sequences: dict[bytes, int] = field(default_factory=dict)
    """Destination → last Sequence #."""
    replays: int = 0
    """HELLOs that came behind newer ones: nobody takes them (harp.md §3)."""

    def silence_now(self, now_ns: int) -> list[tuple[int, int]]:
        """The silence that lasts at a time, if it does."""
        lasts = self.last_ns and now_ns - self.last_ns > SILENCE_NS
        return [(self.last_ns, now_ns)] if lasts else []

    def replayed(self, destination: bytes, sequence: int, at_ns: int, detection_ns: int) -> bool:
        """harp.md §3, HELLO replay: the last is forgotten when a peer is down or left."""
        if self.left or at_ns - self.last_ns > detection_ns:
            self.sequences.clear()
        last = self.sequences.get(destination)
        if last is not None and not newer16(sequence, last):
            self.replays += 1
            return True
        self.sequences[destination] = sequence
        return False

    @property
    def active(self) -> bool:
        """It says A."""
        return bool(self.flags & HarpFlag.A) and not self.left

    @property
    def synchronised(self) -> bool:
        """It says S."""
        return bool(self.flags & HarpFlag.S) and not self.left

    @property
    def draining(self) -> bool:
        """It says D."""
        return bool(self.flags & HarpFlag.D) and not self.left


@dataclass(frozen=True, slots=True)
class Seen:
    """One frame that mattered."""

    at_ns: int
    member: str
    what: str
    """`na`: unsolicited advertisement of the virtual address; `answer`: echo reply
    from it; `ss_req`; `A+`, `A-`, `S+`, `S-`, `D+`, `D-`: a flag came or went; `left`."""


class Observer(Station):
    """Listens at the members' ports of the switch."""

    def __init__(self, world: World, timeline: Timeline, detection_ns: int = SILENCE_NS) -> None:
        """`detection_ns`: silence after which the members take each other for down."""
        super().__init__("observer")
        self._detection_ns = detection_ns
        self._timeline = timeline
        self._muted = False
        self._changed = threading.Condition()
        self._sockets: dict[str, socket.socket] = {}
        self.heard = {member: Heard() for member in plan.MEMBERS}
        self.seen: list[Seen] = []
        self.other_advertisements = 0
        """Of home addresses."""
        self._claims: list[tuple[int, str, bool]] = []
        """When (ns) who said A, or that it is active no more."""
        with entered(world.inside(SWITCH)):
            for member in plan.MEMBERS:
                self._sockets[member] = open_tap(port_name(member))

    def descriptors(self) -> dict[int, Callable[[], None]]:
        return {tap.fileno(): partial(self._drain, name) for name, tap in self._sockets.items()}

    def tick(self, now_ns: int) -> int | None:
        return None

    def close(self) -> None:
        for tap in self._sockets.values():
            tap.close()

    def wait(self, found: Callable[[], T | None], timeout_s: float) -> T | None:
        """Waits until `found` finds something, looking after each frame; None: it never did."""
        with self._changed:
            return self._changed.wait_for(found, timeout_s)

    def first(
        self, what: str, after_ns: int, *, but: str | None = None, by: str | None = None
    ) -> Seen | None:
        """First such frame at or after a time, not from `but`, only from `by`."""
        for one in self.since(after_ns):
            if one.what == what and one.member != but and by in (None, one.member):
                return one
        return None

    def all(self, what: str, after_ns: int, *, by: str | None = None) -> list[Seen]:
        """All such frames at or after a time."""
        return [s for s in self.since(after_ns) if s.what == what and by in (None, s.member)]

    def actives(self, within_ns: int) -> list[str]:
        """Members whose last HELLO said A and is not older than that."""
        since_ns = time.time_ns() - within_ns
        return [m for m, heard in self.heard.items() if heard.active and heard.last_ns >= since_ns]

    def two_actives(self) -> list[tuple[int, str, str]]:
        """When (ns) which member said A while which other one was active, to all who hear them: it
        had said A less than a detection time ago, and not taken it back since, by a HELLO or by
        the answer of a planned switch."""
        found: list[tuple[int, str, str]] = []
        last: dict[str, int] = {}
        for at_ns, member, active in sorted(self._claims):
            last.pop(member, None)
            if active:
                found += [
                    (at_ns, member, other)
                    for other, said_ns in last.items()
                    if at_ns - said_ns <= self._detection_ns
                ]
                last[member] = at_ns
        return found

    def forget_claims(self) -> None:
        """Who is active is judged from now on."""
        self._claims.clear()

    def mute(self) -> None:
        """The end: what is seen from now on is of no interest."""
        self._muted = True

    def forget_gaps(self) -> None:
        """Starts the measurement of gaps anew."""
        for heard in self.heard.values():
            heard.longest_gap_ns = 0

    def since(self, after_ns: int) -> list[Seen]:
        """Those at or after a time: the list is almost sorted, so it is searched from its end."""
        index = len(self.seen)
        while index and self.seen[index - 1].at_ns >= after_ns - _DISORDER_NS:
            index -= 1
        return [one for one in self.seen[index:] if one.at_ns >= after_ns]

    def _drain(self, member: str) -> None:
        tap = self._sockets[member]
        with self._changed:
            while True:
                try:
                    frame, control, _, _ = tap.recvmsg(2048, 64)
                except BlockingIOError:
                    break
                except OSError:
                    continue  # the port went down: told once
                self._frame(member, frame, time_of(control))
            self._changed.notify_all()

    def _frame(self, member: str, frame: bytes, at_ns: int) -> None:
        if frame[ETHERNET_OCTETS + 6] == MOBILITY:
            self._harp(member, frame[_DESTINATION:_PAYLOAD], frame[_PAYLOAD:], at_ns)
        elif frame[_PAYLOAD] == packets.ECHO_REPLY:
            self.seen.append(Seen(at_ns, member, "answer"))
        elif frame[_PAYLOAD + 4] & _SOLICITED:
            return  # an answer to one that asked: everybody else learns nothing from it
        elif frame[_PAYLOAD + 8 : _PAYLOAD + 24] == plan.VIRTUAL.packed:
            self._note(Seen(at_ns, member, "na"), "advertises the virtual address", "service")
        else:
            self.other_advertisements += 1

    def _harp(self, member: str, destination: bytes, mh: bytes, at_ns: int) -> None:
        try:
            head = parse_harp_head(mh)
        except Fault:
            return  # of another version, or broken: the members' to judge
        sequence, flags, lifetime_s = head[2], head[4], head[6]
        if head[0] is HarpType.SS_REQ:
            self._note(Seen(at_ns, member, "ss_req"), "asks for state", "note")
        if head[0] is HarpType.SO_REP and head[3] == Status.SUCCESS:
            # Who says "you may" has withdrawn; its HELLO without A follows (harp.md §5).
            self._claims.append((at_ns, member, False))
        if head[0] is not HarpType.HELLO:
            return
        heard = self.heard[member]
        heard.hellos += 1
        if heard.replayed(destination, sequence, at_ns, self._detection_ns):
            return
        if heard.last_ns and at_ns - heard.last_ns > SILENCE_NS:
            heard.silences.append((heard.last_ns, at_ns))
        if heard.last_ns and not heard.left:
            heard.longest_gap_ns = max(heard.longest_gap_ns, at_ns - heard.last_ns)
        active = bool(flags & HarpFlag.A) and lifetime_s > 0
        if active or heard.active:
            self._claims.append((at_ns, member, active))
        self._flags(member, heard, flags, at_ns)
        if lifetime_s == 0 and not heard.left:
            self._note(Seen(at_ns, member, "left"), "says goodbye", "role")
        heard.flags, heard.last_ns, heard.left = flags, at_ns, lifetime_s == 0

    def _flags(self, member: str, heard: Heard, flags: int, at_ns: int) -> None:
        for flag, name in ((HarpFlag.A, "A"), (HarpFlag.S, "S"), (HarpFlag.D, "D")):
            if (flags ^ heard.flags) & flag:
                sign = "+" if flags & flag else "-"
                text = _MEANINGS[name + sign]
                self._note(Seen(at_ns, member, name + sign), text, "role")

    def _note(self, one: Seen, text: str, kind: str) -> None:
        if self._muted:
            return
        self.seen.append(one)
        if one.what != "na" or not self.all("na", one.at_ns - NS_PER_S, by=one.member)[:-1]:
            self._timeline.add(one.member, text, kind, one.at_ns)


_SOLICITED = 0x40
"""S flag of a Neighbor Advertisement (RFC 4861 §4.4)."""
_DISORDER_NS = 50_000_000
"""Frames of different ports may be read so much out of order."""
_MEANINGS = {
    "A+": "is active",
    "A-": "is active no more",
    "S+": "is synchronised",
    "S-": "is not synchronised",
    "D+": "drains",
    "D-": "has drained",
}


def open_tap(interface: str, program: list[Instruction] = PROGRAM) -> socket.socket:
    """What comes in by an interface of the thread's namespace, filtered by the kernel."""
    made = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    attach(made, program)
    made.setsockopt(SOL_PACKET, PACKET_IGNORE_OUTGOING, 1)
    made.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
    made.setblocking(False)
    made.bind((interface, _ETH_P_ALL))
    return made


def time_of(control: list[tuple[int, int, bytes]]) -> int:
    """When the kernel saw a packet, ns of CLOCK_REALTIME."""
    for level, kind, data in control:
        if level == socket.SOL_SOCKET and kind == SO_TIMESTAMPNS:
            seconds, nanoseconds = struct.unpack("@ll", data)
            return int(seconds) * NS_PER_S + int(nanoseconds)
    raise AssertionError("no time stamp")
