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
SO_MEMINFO = 55
RECEIVE_OCTETS = 8 << 20
"""Receive buffer: a second of a flood of 50,000 packets, whatever the machine's maximum is."""
MOBILE_OCTETS = 1 << 20
"""The same for what mobile nodes send: some 2,000 packets, a quarter of a second of what can be
worked off. Who would wait longer asks again after a second (RFC 6275 §12), and the answer to the
first time is of no use then."""
_MEMINFO = struct.Struct("@9I")
"""SK_MEMINFO_*: the last of them counts what found no room."""


def roomy(opened: socket.socket, octets: int = RECEIVE_OCTETS) -> None:
    """A receive buffer that outlasts a pause of the loop."""
    try:
        opened.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, octets)
    except PermissionError:  # without CAP_NET_ADMIN: as far as net.core.rmem_max goes
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, octets)


def lost(opened: socket.socket) -> int:
    """Datagrams that the kernel dropped because nobody had read those before them."""
    octets = opened.getsockopt(socket.SOL_SOCKET, SO_MEMINFO, _MEMINFO.size)
    count: int = _MEMINFO.unpack(octets)[-1]
    return count


def join(opened: socket.socket, multicast: bytes, interface: int) -> None:
    """Hears a multicast group on an interface; once more does no harm."""
    request = multicast + struct.pack("@I", interface)
    with contextlib.suppress(OSError):  # EADDRINUSE: joined; ENODEV: gone again, links will tell
        opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, request)
