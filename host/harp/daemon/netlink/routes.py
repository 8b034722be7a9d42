"""Routes into the tunnel device, to the virtual address, and for routing daemons.

Ref: RFC 3549 §3.1.1; rtnetlink(7); RFC 2473 §6.3 (hop limit of the outer header)
"""

from __future__ import annotations

import socket
import struct
from typing import NamedTuple

from harp.daemon.netlink.connection import Netlink
from harp.daemon.netlink.message import (
    CREATE,
    REPLACE,
    attribute,
    attributes,
    nested,
    request,
    u8,
    u16,
    u32,
)
from harp.daemon.netlink.protocol import PROTOCOL

_NEW, _DELETE, _GET = 24, 25, 26
_HEAD = struct.Struct("=BBBBBBBBI")
"""Family, lengths of destination and source, TOS, table, protocol, scope, type, flags."""
_UNICAST, _LOCAL = 1, 2
_ONLINK = 4
"""RTNH_F_ONLINK: the gateway is a neighbor, whatever other routes say."""
MAIN_TABLE, LOCAL_TABLE = 254, 255
"""RT_TABLE_MAIN, RT_TABLE_LOCAL."""
_DST, _OIF, _GATEWAY, _TABLE, _ENCAP_TYPE, _ENCAP = 1, 4, 5, 15, 21, 22
_ENCAP_IP6 = 4
"""LWTUNNEL_ENCAP_IP6."""
_IP6_ID, _IP6_DST, _IP6_SRC, _IP6_HOPLIMIT = 1, 2, 3, 4
TUNNEL_HOP_LIMIT = 64
"""Hop limit of outer headers (RFC 2473 §6.3: the default of the node)."""


class Route(NamedTuple):
    """A prefix in one of our tables."""

    prefix: bytes
    """16 octets."""
    length: int
    """Bits."""
    table: int
    """Where."""


def add_route(table: int, prefix: bytes, length: int, index: int) -> bytes:
    """A prefix that is reached through an interface."""
    tail = u32(_OIF, index) + u32(_TABLE, table)
    return _message(_NEW, prefix, length, tail)


def add_default(table: int, index: int) -> bytes:
    """Everything that looks into `table` goes into an interface."""
    return add_route(table, bytes(16), 0, index)


def add_default_via(table: int, index: int, gateway: bytes) -> bytes:
    """Everything that looks into `table` goes to a neighbor; refused while that is this machine."""
    body = _HEAD.pack(socket.AF_INET6, 0, 0, 0, 0, PROTOCOL, 0, _UNICAST, _ONLINK)
    body += u32(_OIF, index) + attribute(_GATEWAY, gateway) + u32(_TABLE, table)
    return request(_NEW, CREATE | REPLACE, body)


def add_local(index: int, address: bytes) -> bytes:
    """Packets to an address of ours are for this machine.

    The kernel makes such a route for each of its addresses, but from a worker thread, whenever that
    runs; its own has a better metric and takes over."""
    return _message(_NEW, address, 128, _local(index), _LOCAL)


def remove_local(index: int, address: bytes) -> bytes:
    """`add_local` undone; the kernel's own route goes with the address."""
    return _message(_DELETE, address, 128, _local(index), _LOCAL)


def _local(index: int) -> bytes:
    return u32(_OIF, index) + u32(_TABLE, LOCAL_TABLE)


def add_encapsulation(table: int, index: int, source: bytes, destination: bytes) -> bytes:
    """Everything that looks into `table` is encapsulated in IPv6 by a metadata tunnel device."""
    encap = nested(
        _ENCAP,
        attribute(_IP6_ID, bytes(8)),
        attribute(_IP6_SRC, source),
        u8(_IP6_HOPLIMIT, TUNNEL_HOP_LIMIT),
        attribute(_IP6_DST, destination),
    )
    tail = u32(_OIF, index) + u32(_TABLE, table) + u16(_ENCAP_TYPE, _ENCAP_IP6) + encap
    return _message(_NEW, bytes(16), 0, tail)


def remove_route(table: int, prefix: bytes, length: int) -> bytes:
    """Takes a route of ours out of a table."""
    return _message(_DELETE, prefix, length, u32(_TABLE, table))


def our_routes(netlink: Netlink, tables: set[int]) -> list[Route]:
    """What harpd, this one or one that died, has left in `tables`."""
    body = _HEAD.pack(socket.AF_INET6, 0, 0, 0, 0, 0, 0, 0, 0)
    found: list[Route] = []
    for answer in netlink.dump(request(_GET, 0, body), "reading routes"):
        head = _HEAD.unpack_from(answer.body)
        fields = attributes(answer.body, _HEAD.size)
        table = struct.unpack("=I", fields[_TABLE])[0] if _TABLE in fields else head[4]
        if head[5] == PROTOCOL and table in tables:
            found.append(Route(fields.get(_DST, bytes(16)), head[1], table))
    return found


def _message(
    kind: int, prefix: bytes, length: int, tail: bytes, route_type: int = _UNICAST
) -> bytes:
    head = _HEAD.pack(socket.AF_INET6, length, 0, 0, 0, PROTOCOL, 0, route_type, 0)
    flags = CREATE | REPLACE if kind == _NEW else 0
    return request(kind, flags, head + attribute(_DST, prefix) + tail)
