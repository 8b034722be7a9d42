"""Sockets that only send: harpd's own, and those of its guard.

Ref: RFC 5082 (hop limit 255); RFC 4594 §3.1 (CS6); harp.md §2
"""

from __future__ import annotations

import socket

from harp.daemon.sockets.filters import attach, nothing
from harp.daemon.sockets.options import IPV6_FREEBIND
from harp.tables.mh import HOP_LIMIT

CS6 = 48 << 2
"""Traffic class of network control."""
_PRIORITY = 6
"""SO_PRIORITY: interactive, the highest without a privilege."""
_SEND_OCTETS = 4 << 20


def quiet(opened: socket.socket) -> socket.socket:
    """Made for sending alone, as RFC 5082 wants it; nothing that arrives waits in it."""
    attach(opened, nothing())
    for option, value in (
        (socket.IPV6_UNICAST_HOPS, HOP_LIMIT),
        (socket.IPV6_MULTICAST_HOPS, HOP_LIMIT),
        (socket.IPV6_MULTICAST_LOOP, 0),
        (socket.IPV6_TCLASS, CS6),
        # The last answers leave from an address that was withdrawn a moment ago.
        (IPV6_FREEBIND, 1),
    ):
        opened.setsockopt(socket.IPPROTO_IPV6, option, value)
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_PRIORITY, _PRIORITY)
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_OCTETS)
    opened.setblocking(False)
    return opened
