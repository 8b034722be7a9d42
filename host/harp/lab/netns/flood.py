"""A flood of malformed Mobility Headers, one process, a hundred frames a system call.

Ref: sendmmsg(2), packet(7); harp.md §3 (each kind has its reason)
"""

from __future__ import annotations

import ctypes
import json
import os
import socket
import subprocess
import sys
import threading
import time
from random import Random

from harp.cli.common import Failure
from harp.lab.netns import packets, plan
from harp.lab.netns.board import check_flood
from harp.lab.netns.threads import hurry
from harp.lab.netns.world import CORE, World
from harp.tables.harp_types import HarpType
from harp.tables.ipv6 import ETHERTYPE_IPV6
from harp.tables.mh import HOP_LIMIT, MAX_MH_OCTETS, NEXT_HEADER
from harp.tables.reasons import Reason
from harp.wire.checksum import checksum
from harp.wire.codec import DEFAULT_CODEC
from harp.wire.messages import Harp

BATCH = 100
FRAMES = 5 * BATCH
"""Different frames that go round."""
KINDS = (
    Reason.BAD_CHECKSUM,
    Reason.UNKNOWN_TYPE,
    Reason.BAD_PAYLOAD_PROTO,
    Reason.BAD_LENGTH,
    Reason.UNKNOWN_HARP_TYPE,
    Reason.BAD_SEQUENCE,
    Reason.BAD_OPTION,
    Reason.NOT_A_PEER,
)
"""What is wrong with them, in turn."""


def malformed(kind: Reason, source: bytes, destination: bytes) -> bytes:
    """A HELLO that `harp.md §3` drops for that reason, and for no earlier one."""
    hello = Harp(HarpType.HELLO, plan.GROUP, 1, lifetime_s=1, interval_ms=10)
    mh = bytearray(DEFAULT_CODEC.build(source, destination, hello))
    match kind:
        case Reason.UNKNOWN_TYPE:
            mh[2] = 99
        case Reason.BAD_PAYLOAD_PROTO:
            mh[0] = 6
        case Reason.BAD_LENGTH:
            mh[1] = 1  # a HARP message has at least 24 octets
        case Reason.UNKNOWN_HARP_TYPE:
            mh[6] = 200
        case Reason.BAD_SEQUENCE:
            mh[8:10] = bytes(2)
        case Reason.BAD_OPTION:
            mh[20:24] = bytes((1, MAX_MH_OCTETS % 251, 0, 0))
        case _:
            pass
    covered = mh[: 8 * (mh[1] + 1)]
    covered[4:6] = bytes(2)
    value = checksum(source, destination, covered)
    mh[4:6] = (value ^ (kind is Reason.BAD_CHECKSUM)).to_bytes(2, "big")
    return bytes(mh)


def frames(target: bytes, mac: bytes, seed: int) -> list[bytes]:
    """Ethernet frames to one home agent, from addresses that nobody has."""
    rng = Random(seed)
    head = mac + plan.mac_octets(plan.CORE_HOME) + ETHERTYPE_IPV6.to_bytes(2, "big")
    made = []
    for number in range(FRAMES):
        source = plan.HOME_PREFIX[(0xBAD << 48) + rng.randrange(1 << 32)].packed
        mh = malformed(KINDS[number % len(KINDS)], source, target)
        made.append(head + packets.ipv6(source, target, NEXT_HEADER, mh, HOP_LIMIT))
    return made


class _Iovec(ctypes.Structure):
    _fields_ = (("base", ctypes.c_void_p), ("length", ctypes.c_size_t))


class _Header(ctypes.Structure):
    """`struct msghdr`, with the octets that the C compiler puts behind it."""

    _fields_ = (
        ("name", ctypes.c_void_p),
        ("name_length", ctypes.c_uint32),
        ("vectors", ctypes.c_void_p),
        ("vector_count", ctypes.c_size_t),
        ("control", ctypes.c_void_p),
        ("control_length", ctypes.c_size_t),
        ("flags", ctypes.c_int),
    )


class _Message(ctypes.Structure):
    """`struct mmsghdr`."""

    _fields_ = (("header", _Header), ("sent", ctypes.c_uint32))


class Batches:
    """Frames laid out for sendmmsg(2) once; `send` gives the next hundred to the kernel."""

    def __init__(self, descriptor: int, made: list[bytes]) -> None:
        self._descriptor = descriptor
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._held = [ctypes.create_string_buffer(frame, len(frame)) for frame in made]
        self._vectors = (_Iovec * len(made))(
            *(_Iovec(ctypes.addressof(held), len(held)) for held in self._held)
        )
        self._messages = (_Message * len(made))()
        for number, message in enumerate(self._messages):
            at = ctypes.addressof(self._vectors) + number * ctypes.sizeof(_Iovec)
            message.header.vectors, message.header.vector_count = at, 1
        self._next = 0

    def send(self) -> int:
        """Returns how many the kernel took."""
        at = ctypes.byref(self._messages, self._next * ctypes.sizeof(_Message))
        self._next = (self._next + BATCH) % len(self._messages)
        sent = self._libc.sendmmsg(self._descriptor, at, BATCH, 0)
        if sent < 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))
        return int(sent)


def flood(target: bytes, mac: bytes, rate: int, seconds: float, seed: int) -> dict[str, float]:
    """Sends for some seconds from the thread's namespace; what came of it."""
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as link:
        link.bind((plan.HOME, ETHERTYPE_IPV6))
        batches = Batches(link.fileno(), frames(target, mac, seed))
        begin, sent, rest = time.monotonic(), 0, threading.Event()
        while (passed := time.monotonic() - begin) < seconds:
            if sent < rate * passed:
                sent += batches.send()
            else:
                rest.wait(BATCH / rate / 2)
    return {"sent": sent, "seconds": passed, "rate": sent / passed}


class FloodProcess:
    """A flood from the router's namespace, begun at once."""

    def __init__(self, world: World, member: str, rate: int, seconds: float, seed: int) -> None:
        if member in world.boards:
            check_flood(rate)
        port = plan.HOME_PORTS[member]
        words = (port.address.packed.hex(), plan.mac_octets(port).hex(), rate, seconds, seed)
        command = (sys.executable, "-m", __name__, *map(str, words))
        self._process = subprocess.Popen(world.command(CORE, *command), stdout=subprocess.PIPE)

    def result(self) -> dict[str, float]:
        """Waits for its end."""
        output, _ = self._process.communicate()
        if self._process.returncode:
            raise Failure(f"the flood ended with {self._process.returncode}")
        found: dict[str, float] = json.loads(output)
        return found


def main() -> None:
    """The process's end."""
    hurry()
    target, mac, rate, seconds, seed = sys.argv[1:]
    made = flood(bytes.fromhex(target), bytes.fromhex(mac), int(rate), float(seconds), int(seed))
    sys.stdout.write(json.dumps(made) + "\n")


if __name__ == "__main__":
    main()
