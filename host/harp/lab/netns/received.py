"""Mobility Headers that reach one member's interface: what a board in front of it let through.

Ref: packet(7), Linux Documentation/networking/filter.rst
"""

from __future__ import annotations

import socket
from collections.abc import Callable

from harp.daemon.sockets.filters import Instruction
from harp.lab.netns import plan
from harp.lab.netns.capture import ETHERNET_OCTETS, open_tap
from harp.lab.netns.namespaces import entered
from harp.lab.netns.threads import Station
from harp.lab.netns.world import World
from harp.tables.harp_types import HarpType
from harp.tables.ipv6 import ETHERTYPE_IPV6, FIXED_HEADER_OCTETS
from harp.tables.mh import HARP_MH, NEXT_HEADER

_NEXT_HEADER = ETHERNET_OCTETS + 6
_SOURCE = ETHERNET_OCTETS + 8
_MH = ETHERNET_OCTETS + FIXED_HEADER_OCTETS
_HALF, _BYTE, _EQUAL, _RETURN = 0x28, 0x30, 0x15, 0x06
PROGRAM = [
    Instruction(_HALF, 0, 0, 12),
    Instruction(_EQUAL, 0, 3, ETHERTYPE_IPV6),
    Instruction(_BYTE, 0, 0, _NEXT_HEADER),
    Instruction(_EQUAL, 0, 1, NEXT_HEADER),
    Instruction(_RETURN, 0, 0, 0x40000),
    Instruction(_RETURN, 0, 0, 0),
]


class Received(Station):
    """Counts from now on; a context manager."""

    def __init__(self, world: World, member: str) -> None:
        super().__init__(f"received by {member}")
        self.frames = 0
        """Mobility Headers of any kind."""
        self.hellos = 0
        """HELLOs of members."""
        with entered(world.inside(member)):
            self._socket: socket.socket = open_tap(plan.HOME, PROGRAM)

    def descriptors(self) -> dict[int, Callable[[], None]]:
        return {self._socket.fileno(): self._drain}

    def tick(self, now_ns: int) -> int | None:
        return None

    def close(self) -> None:
        self._socket.close()

    def _drain(self) -> None:
        while True:
            try:
                frame = self._socket.recv(2048)
            except BlockingIOError:
                return
            except OSError:
                continue  # the interface went down: told once
            self.frames += 1
            harp = frame[_MH + 2] == HARP_MH.type and frame[_MH + 6] == HarpType.HELLO
            self.hellos += harp and frame[_SOURCE : _SOURCE + 16] in plan.MEMBER_OF_ADDRESS
