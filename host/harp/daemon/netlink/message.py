"""Netlink messages as octets: headers, attributes, and back.

Ref: RFC 3549 §2.2; netlink(7)

Own code because the messages that count are built once and sent in microseconds, or a hundred at a
time, and carry attributes that pyroute2 does not know (`encap ip6`, protocols of addresses and
rules). All integers are of the machine's byte order.

```
0               4       6       8          12         16
| Length (32)   | Type  | Flags | Sequence | Port     | body ...
```
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple

HEADER = struct.Struct("=IHHII")
_ATTRIBUTE = struct.Struct("=HH")

REQUEST, ACK, DUMP = 0x01, 0x04, 0x300
REPLACE, EXCL, CREATE, APPEND = 0x100, 0x200, 0x400, 0x800
NESTED = 0x8000
"""Bit of an attribute's type: it holds attributes."""
_TYPE_MASK = 0x3FFF


class Answer(NamedTuple):
    """One message from the kernel."""

    kind: int
    """Message type."""
    flags: int
    """Header flags."""
    sequence: int
    """Of the request."""
    body: bytes
    """Behind the header."""


def attribute(kind: int, payload: bytes) -> bytes:
    """One attribute, padded to a multiple of four octets."""
    return _ATTRIBUTE.pack(4 + len(payload), kind) + payload + bytes(-len(payload) % 4)


def nested(kind: int, *attributes: bytes) -> bytes:
    """An attribute that holds attributes."""
    return attribute(kind | NESTED, b"".join(attributes))


def u8(kind: int, value: int) -> bytes:
    """An attribute of 8 bits."""
    return attribute(kind, bytes((value,)))


def u16(kind: int, value: int) -> bytes:
    """An attribute of 16 bits."""
    return attribute(kind, struct.pack("=H", value))


def u32(kind: int, value: int) -> bytes:
    """An attribute of 32 bits."""
    return attribute(kind, struct.pack("=I", value))


def text(kind: int, value: str) -> bytes:
    """An attribute that is a string ended by zero."""
    return attribute(kind, value.encode() + b"\0")


def request(kind: int, flags: int, body: bytes) -> bytes:
    """A whole request; the socket fills in the Sequence #."""
    return HEADER.pack(HEADER.size + len(body), kind, flags | REQUEST, 0, 0) + body


def split(data: bytes) -> Iterator[Answer]:
    """The messages in what one `recv` gave."""
    at = 0
    while at + HEADER.size <= len(data):
        length, kind, flags, sequence, _ = HEADER.unpack_from(data, at)
        if length < HEADER.size:
            return
        yield Answer(kind, flags, sequence, data[at + HEADER.size : at + length])
        at += length + -length % 4


def attributes(data: bytes, at: int = 0) -> dict[int, bytes]:
    """The attributes from offset `at` on, by type; of a repeated one the last."""
    return dict(each_attribute(data, at))


def each_attribute(data: bytes, at: int = 0) -> Iterator[tuple[int, bytes]]:
    """The attributes from offset `at` on, in their order."""
    while at + _ATTRIBUTE.size <= len(data):
        length, kind = _ATTRIBUTE.unpack_from(data, at)
        if length < _ATTRIBUTE.size:
            return
        yield kind & _TYPE_MASK, data[at + _ATTRIBUTE.size : at + length]
        at += length + -length % 4
