"""What the kernel believes of neighbors on a link.

Ref: RFC 4861 §5.1 (neighbor cache); rtnetlink(7)
"""

from __future__ import annotations

import socket
import struct

from harp.daemon.netlink.connection import Netlink
from harp.daemon.netlink.message import attribute, attributes, request

_DELETE, _GET = 29, 30
_HEAD = struct.Struct("=B3xiHBB")
"""`struct ndmsg`: family, interface index, state, flags, type."""
_DST = 1
_INCOMPLETE = 0x01
"""NUD_INCOMPLETE: asked for, and not answered yet."""


def forget_neighbor(index: int, address: bytes) -> bytes:
    """The next packet to `address` waits until somebody says where that is."""
    body = _HEAD.pack(socket.AF_INET6, index, 0, 0, 0)
    return request(_DELETE, 0, body + attribute(_DST, address))


def unanswered(netlink: Netlink, index: int) -> list[bytes]:
    """Neighbors on a link that were asked for and have not answered. Raises NetlinkError."""
    body = _HEAD.pack(socket.AF_INET6, index, 0, 0, 0)
    found: list[bytes] = []
    for answer in netlink.dump(request(_GET, 0, body), "reading neighbors"):
        _, link, state, _, _ = _HEAD.unpack_from(answer.body)
        if link == index and state == _INCOMPLETE:
            found.append(attributes(answer.body, _HEAD.size)[_DST])
    return found
