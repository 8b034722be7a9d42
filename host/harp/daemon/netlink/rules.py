"""The one switch of forwarding: a rule that looks into the table of prepared routes.

Ref: rtnetlink(7), ip-rule(8); harp.md §9 ("switches the prepared forwarding on (one rule)")
"""

from __future__ import annotations

import socket
import struct
from typing import NamedTuple

from harp.daemon.netlink.connection import Netlink
from harp.daemon.netlink.message import CREATE, EXCL, attributes, request, u8, u32
from harp.daemon.netlink.protocol import PROTOCOL

_NEW, _DELETE, _GET = 32, 33, 34
_HEAD = struct.Struct("=BBBBBBBBI")
"""Family, lengths of destination and source, TOS, table, two reserved, action, flags."""
_TO_TABLE = 1
_PRIORITY, _MARK, _TABLE, _PROTOCOL = 6, 10, 15, 21


class Rule(NamedTuple):
    """A rule of this machine that looks into a table."""

    preference: int
    """Lower ones are asked first."""
    table: int
    """Where it looks."""
    protocol: int
    """Who made it; 0: unknown."""


def add_rule(preference: int, table: int, mark: int) -> bytes:
    """For packets with a firewall mark: look into `table` at `preference`."""
    return request(_NEW, CREATE | EXCL, _body(preference, table) + u32(_MARK, mark))


def remove_rule(preference: int, table: int) -> bytes:
    """Takes it away; what the table holds stays."""
    return request(_DELETE, 0, _body(preference, table))


def rules(netlink: Netlink) -> list[Rule]:
    """Every IPv6 rule with a table."""
    body = _HEAD.pack(socket.AF_INET6, 0, 0, 0, 0, 0, 0, 0, 0)
    found: list[Rule] = []
    for answer in netlink.dump(request(_GET, 0, body), "reading rules"):
        fields = attributes(answer.body, _HEAD.size)
        if _TABLE in fields:
            found.append(
                Rule(
                    _u32(fields.get(_PRIORITY, bytes(4))),
                    _u32(fields[_TABLE]),
                    fields.get(_PROTOCOL, b"\0")[0],
                )
            )
    return found


def _body(preference: int, table: int) -> bytes:
    head = _HEAD.pack(socket.AF_INET6, 0, 0, 0, 0, 0, 0, _TO_TABLE, 0)
    return head + u32(_PRIORITY, preference) + u32(_TABLE, table) + u8(_PROTOCOL, PROTOCOL)


def _u32(data: bytes) -> int:
    value: int = struct.unpack("=I", data)[0]
    return value
