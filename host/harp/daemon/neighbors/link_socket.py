"""A packet socket on one interface that hears neighbor discovery for every address.

Ref: packet(7); RFC 4861 §7.2.2 (solicitations go to solicited-node groups)

The groups of 100,000 home addresses cannot be joined one by one: the interface takes all multicast
while a socket of this kind is open (PACKET_MR_ALLMULTI). A switch that snoops MLD must treat the
port as a router's.
"""

from __future__ import annotations

import socket
import struct

from harp.daemon.sockets.filters import (
    JUMP_EQUAL,
    LOAD_BYTE,
    RETURN,
    Instruction,
    attach,
    nothing,
)
from harp.tables.icmpv6 import NEIGHBOR_ADVERTISEMENT, NEIGHBOR_SOLICITATION, NEXT_HEADER
from harp.tables.ipv6 import ETHERTYPE_IPV6, FIXED_HEADER_OCTETS

_SOL_PACKET, _ADD_MEMBERSHIP, _ALL_MULTICAST = 263, 1, 2
_BUFFER_OCTETS = 1 << 20
_OCTETS = 2048
_NEXT_HEADER_AT = 6

_NEIGHBORS = [
    Instruction(LOAD_BYTE, 0, 0, _NEXT_HEADER_AT),
    Instruction(JUMP_EQUAL, 0, 4, NEXT_HEADER),
    Instruction(LOAD_BYTE, 0, 0, FIXED_HEADER_OCTETS),
    Instruction(JUMP_EQUAL, 1, 0, NEIGHBOR_SOLICITATION),
    Instruction(JUMP_EQUAL, 0, 1, NEIGHBOR_ADVERTISEMENT),
    Instruction(RETURN, 0, 0, _OCTETS),
    Instruction(RETURN, 0, 0, 0),
]


class LinkSocket:
    """Sends and hears neighbor discovery on one interface. Raises OSError where there is none."""

    def __init__(self, interface: str) -> None:
        # Bound to no protocol until the filter is there: nothing unwanted is queued.
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        try:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER_OCTETS)
            self.listen(False)
            number = socket.if_nametoindex(interface)
            membership = struct.pack("=iHH8s", number, _ALL_MULTICAST, 0, b"")
            self._socket.setsockopt(_SOL_PACKET, _ADD_MEMBERSHIP, membership)
            self._socket.bind((interface, ETHERTYPE_IPV6))
        except OSError:
            self._socket.close()
            raise
        self._interface = interface
        self.mac: bytes = self._socket.getsockname()[4]
        """Hardware address; empty: the interface has none."""

    def fileno(self) -> int:
        """Readable when something was heard."""
        return self._socket.fileno()

    def listen(self, wanted: bool) -> None:
        """Whether neighbor discovery wakes anybody."""
        attach(self._socket, _NEIGHBORS if wanted else nothing())

    def receive(self) -> tuple[bytes, bytes] | None:
        """The next IPv6 packet and the hardware address it came from; None: nothing waits, or the
        interface is gone."""
        try:
            packet, peer = self._socket.recvfrom(_OCTETS)
        except OSError:
            return None
        return packet, peer[4]

    def send(self, packet: bytes, mac: bytes) -> None:
        """An IPv6 packet to a hardware address. Raises OSError."""
        self._socket.sendto(packet, (self._interface, ETHERTYPE_IPV6, 0, 0, mac))

    def close(self) -> None:
        """The interface takes all multicast no longer."""
        self._socket.close()
