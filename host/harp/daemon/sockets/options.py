"""Socket options that Python has no name for, and the few lines each socket begins with.

Ref: ipv6(7), packet(7), socket(7), RFC 3542 (advanced sockets API for IPv6)
"""

from __future__ import annotations

import contextlib
import socket
import struct

SO_ATTACH_FILTER = 26
SO_RCVBUFFORCE = 33
IPV6_JOIN_ANYCAST = 27
IPV6_LEAVE_ANYCAST = 28
IPV6_FREEBIND = 78

PKTINFO = struct.Struct("@16sI")
"""`struct in6_pktinfo`: address, interface."""
SOCKADDR = struct.Struct("@HHI16sI")
"""`struct sockaddr_in6`: family, port, flow, address, interface."""
RECEIVE_OCTETS = 8 << 20
"""Receive buffer: a second of a flood of 50,000 packets, whatever the machine's maximum is."""


def roomy(opened: socket.socket) -> None:
    """A receive buffer that outlasts a pause of the loop."""
    try:
        opened.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, RECEIVE_OCTETS)
    except PermissionError:  # without CAP_NET_ADMIN: as far as net.core.rmem_max goes
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_OCTETS)


def join(opened: socket.socket, multicast: bytes, interface: int) -> None:
    """Hears a multicast group on an interface; once more does no harm."""
    request = multicast + struct.pack("@I", interface)
    with contextlib.suppress(OSError):  # EADDRINUSE: joined; ENODEV: gone again, links will tell
        opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, request)
