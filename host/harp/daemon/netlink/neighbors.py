"""What the kernel believes of neighbors on a link.

Ref: RFC 4861 §5.1 (neighbor cache); rtnetlink(7)
"""

from __future__ import annotations

import socket
import struct

from harp.daemon.netlink.message import attribute, request

_DELETE = 29
_HEAD = struct.Struct("=B3xiHBB")
"""`struct ndmsg`: family, interface index, state, flags, type."""
_DST = 1


def forget_neighbor(index: int, address: bytes) -> bytes:
    """The next packet to `address` waits until somebody says where that is."""
    body = _HEAD.pack(socket.AF_INET6, index, 0, 0, 0)
    return request(_DELETE, 0, body + attribute(_DST, address))
