"""The virtual address on an interface: with a finite lifetime and without DAD.

Ref: RFC 3549 §3.1.2; rtnetlink(7); harp.md §9 ("adds the virtual home agent address (no DAD)",
     "addresses have finite lifetimes that harpd renews")
"""

from __future__ import annotations

import socket
import struct
from typing import NamedTuple

from harp.daemon.netlink.connection import Netlink
from harp.daemon.netlink.message import CREATE, REPLACE, attribute, attributes, request, u8, u32
from harp.daemon.netlink.protocol import PROTOCOL

_NEW, _DELETE, _GET = 20, 21, 22
_HEAD = struct.Struct("=BBBBI")
"""Family, prefix length, flags, scope, interface index."""
_ADDRESS, _CACHE, _FLAGS, _PROTO = 1, 6, 8, 11
_NO_DAD, _NO_PREFIX_ROUTE = 0x02, 0x200


class Held(NamedTuple):
    """An address of this machine."""

    interface: int
    """Its number."""
    address: bytes
    """16 octets."""
    protocol: int
    """Who made it; 0: unknown."""


def add_address(index: int, address: bytes, lifetime_s: int) -> bytes:
    """Adds it, or renews its lifetime.

    A /128 that is valid for `lifetime_s` and preferred for no time: the router's own packets keep
    their own source address (RFC 6724 §5 rule 3).
    """
    flags = _NO_DAD | _NO_PREFIX_ROUTE
    body = _HEAD.pack(socket.AF_INET6, 128, flags & 0xFF, 0, index)
    body += attribute(_ADDRESS, address) + u32(_FLAGS, flags)
    body += attribute(_CACHE, struct.pack("=IIII", 0, lifetime_s, 0, 0))
    return request(_NEW, CREATE | REPLACE, body + u8(_PROTO, PROTOCOL))


def remove_address(index: int, address: bytes) -> bytes:
    """Takes it away: no neighbor is answered from then on."""
    body = _HEAD.pack(socket.AF_INET6, 128, 0, 0, index)
    return request(_DELETE, 0, body + attribute(_ADDRESS, address))


def addresses(netlink: Netlink) -> list[Held]:
    """Every IPv6 address of this machine."""
    body = _HEAD.pack(socket.AF_INET6, 0, 0, 0, 0)
    found: list[Held] = []
    for answer in netlink.dump(request(_GET, 0, body), "reading addresses"):
        index = _HEAD.unpack_from(answer.body)[4]
        fields = attributes(answer.body, _HEAD.size)
        found.append(Held(index, fields[_ADDRESS], fields.get(_PROTO, b"\0")[0]))
    return found
