"""Interfaces: what they are, and the metadata tunnel device.

Ref: RFC 3549 §3.1.3; rtnetlink(7); ip-link(8) (`ip6tnl external`)
"""

from __future__ import annotations

import socket
import struct
from typing import NamedTuple

from harp.daemon.netlink.connection import Netlink
from harp.daemon.netlink.message import (
    CREATE,
    EXCL,
    attribute,
    attributes,
    nested,
    request,
    text,
    u32,
)

_NEW, _DELETE, _GET = 16, 17, 18
_HEAD = struct.Struct("=BxHiII")
"""Family, hardware type, index, flags, change mask."""
_MAC, _NAME, _MTU, _INFO = 1, 3, 4, 18
_KIND, _DATA = 1, 2
_COLLECT_METADATA = 19
"""IFLA_IPTUN_COLLECT_METADATA."""
_PROTO = 9
"""IFLA_IPTUN_PROTO."""
_UP = 1


class Link(NamedTuple):
    """An interface."""

    name: str
    """Its name."""
    number: int
    """Its index."""
    mtu: int
    """Octets of an IPv6 packet."""
    mac: bytes
    """Hardware address; empty: it has none."""
    kind: str
    """What ip-link(8) calls its type, such as `veth`; empty: the kernel does not say."""


def links(netlink: Netlink) -> dict[str, Link]:
    """Every interface by name."""
    body = _HEAD.pack(socket.AF_UNSPEC, 0, 0, 0, 0)
    found: dict[str, Link] = {}
    for answer in netlink.dump(request(_GET, 0, body), "reading interfaces"):
        index = _HEAD.unpack_from(answer.body)[2]
        fields = attributes(answer.body, _HEAD.size)
        name = fields[_NAME][:-1].decode()
        mtu = struct.unpack("=I", fields[_MTU])[0]
        kind = attributes(fields.get(_INFO, b"")).get(_KIND, b"\0")[:-1].decode()
        found[name] = Link(name, index, mtu, fields.get(_MAC, b""), kind)
    return found


def add_tunnel(name: str, mtu: int) -> bytes:
    """A metadata `ip6tnl` that is up: its routes say where each packet goes."""
    data = nested(
        _DATA, attribute(_PROTO, bytes((socket.IPPROTO_IPV6,))), attribute(_COLLECT_METADATA, b"")
    )
    body = _HEAD.pack(socket.AF_UNSPEC, 0, 0, _UP, _UP) + text(_NAME, name) + u32(_MTU, mtu)
    return request(_NEW, CREATE | EXCL, body + nested(_INFO, text(_KIND, "ip6tnl"), data))


def set_up(index: int, mtu: int) -> bytes:
    """Brings an interface up with an MTU."""
    return request(_NEW, 0, _HEAD.pack(socket.AF_UNSPEC, 0, index, _UP, _UP) + u32(_MTU, mtu))


def remove_link(name: str) -> bytes:
    """Deletes an interface and every route through it."""
    return request(_DELETE, 0, _HEAD.pack(socket.AF_UNSPEC, 0, 0, 0, 0) + text(_NAME, name))
