"""Neighbor solicitations and advertisements as whole IPv6 packets; no I/O.

Ref: RFC 4861 §4.3, §4.4 (formats), §7.1 (validation), §7.2; RFC 6275 §10.4.1; RFC 4862 §5.4.2
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntFlag

from harp.engine.config import UNSPECIFIED
from harp.tables.icmpv6 import NEIGHBOR_ADVERTISEMENT, NEIGHBOR_SOLICITATION, NEXT_HEADER
from harp.tables.ipv6 import FIXED_HEADER_OCTETS
from harp.wire.checksum import checksum, verifies

ALL_NODES = bytes.fromhex("ff020000000000000000000000000001")
_SOLICITED_NODE = bytes.fromhex("ff0200000000000000000001ff")
HOP_LIMIT = 255
"""RFC 4861 §7.1: anything less came through a router."""
_FIXED = struct.Struct("!IHBB16s16s")
_BODY = struct.Struct("!BBHI16s")
"""Type, Code, Checksum, flags and Reserved, Target Address."""
_SOURCE_LINK, _TARGET_LINK = 1, 2
_OPTION_UNIT = 8
_VERSION = 6 << 28


class Flag(IntFlag):
    """Of an advertisement (RFC 4861 §4.4)."""

    ROUTER = 0x8000_0000
    SOLICITED = 0x4000_0000
    OVERRIDE = 0x2000_0000


@dataclass(frozen=True, slots=True)
class Neighbor:
    """A valid solicitation or advertisement."""

    source: bytes
    """IPv6 source; of a probe `::`."""
    target: bytes
    """The address it is about."""
    solicits: bool
    """A solicitation; else an advertisement."""

    @property
    def is_probe(self) -> bool:
        """Duplicate address detection of somebody (RFC 4862 §5.4.2)."""
        return self.solicits and self.source == UNSPECIFIED


def solicited_node(address: bytes) -> bytes:
    """The multicast group of an address (RFC 4291 §2.7.1)."""
    return _SOLICITED_NODE + address[-3:]


def multicast_mac(destination: bytes) -> bytes:
    """Ethernet address of an IPv6 multicast group (RFC 2464 §7)."""
    return b"\x33\x33" + destination[-4:]


def advertisement(
    source: bytes, destination: bytes, target: bytes, flags: Flag, mac: bytes
) -> bytes:
    """A Neighbor Advertisement with our link-layer address (RFC 6275 §10.4.1: "the Target
    Link-Layer Address option ... MUST be ... the home agent's")."""
    option = _link_option(_TARGET_LINK, mac)
    return _packet(source, destination, NEIGHBOR_ADVERTISEMENT, flags, target, option)


def probe(target: bytes) -> bytes:
    """A solicitation that asks whether anybody has `target` (RFC 4862 §5.4.2): from `::`, without
    a link-layer address."""
    group = solicited_node(target)
    return _packet(UNSPECIFIED, group, NEIGHBOR_SOLICITATION, Flag(0), target, b"")


def parse(packet: bytes) -> Neighbor | None:
    """A solicitation or advertisement that is valid (RFC 4861 §7.1.1, §7.1.2), without extension
    headers; None: anything else."""
    if len(packet) < FIXED_HEADER_OCTETS + _BODY.size:
        return None
    word, length, next_header, hop_limit, source, destination = _FIXED.unpack_from(packet)
    body = packet[FIXED_HEADER_OCTETS : FIXED_HEADER_OCTETS + length]
    if word >> 28 != 6 or next_header != NEXT_HEADER or hop_limit != HOP_LIMIT:
        return None
    if len(body) < _BODY.size or not verifies(source, destination, body, NEXT_HEADER):
        return None
    kind, code, _, flags, target = _BODY.unpack_from(body)
    options = _options(body)
    if code or options is None or target[0] == 0xFF:
        return None
    if kind == NEIGHBOR_ADVERTISEMENT:
        is_valid = not (destination[0] == 0xFF and flags & Flag.SOLICITED)
        return Neighbor(source, target, False) if is_valid else None
    if kind != NEIGHBOR_SOLICITATION:
        return None
    if source == UNSPECIFIED and (destination[:13] != _SOLICITED_NODE or _SOURCE_LINK in options):
        return None
    return Neighbor(source, target, True)


def _options(body: bytes) -> set[int] | None:
    """Types of the options; None: one has no length, or ends behind the message."""
    found: set[int] = set()
    at = _BODY.size
    while at < len(body):
        if at + 2 > len(body) or not body[at + 1]:
            return None
        found.add(body[at])
        at += _OPTION_UNIT * body[at + 1]
    return found if at == len(body) else None


def _link_option(kind: int, mac: bytes) -> bytes:
    if not mac:
        return b""
    octets = 2 + len(mac)
    units = -(-octets // _OPTION_UNIT)
    return bytes((kind, units)) + mac + bytes(units * _OPTION_UNIT - octets)


def _packet(
    source: bytes, destination: bytes, kind: int, flags: Flag, target: bytes, option: bytes
) -> bytes:
    body = bytearray(_BODY.pack(kind, 0, 0, flags, target) + option)
    body[2:4] = checksum(source, destination, body, NEXT_HEADER).to_bytes(2)
    head = _FIXED.pack(_VERSION, len(body), NEXT_HEADER, HOP_LIMIT, source, destination)
    return head + bytes(body)
