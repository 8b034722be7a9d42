"""IPv6 in IPv6: outer headers, fragments, Packet Too Big; no I/O.

Ref: RFC 2473 §3.1 (encapsulation), §6 (fields), §7 (packet size); RFC 8200 §4.5 (fragments);
     RFC 4443 §3.2 (Packet Too Big); RFC 6040 §4 (ECN through tunnels)
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from harp.daemon.dataplane.plan import MIN_MTU
from harp.daemon.netlink.routes import TUNNEL_HOP_LIMIT
from harp.tables.icmpv6 import NEXT_HEADER as ICMPV6
from harp.tables.icmpv6 import PACKET_TOO_BIG
from harp.tables.ipv6 import FIXED_HEADER_OCTETS, NextHeader
from harp.wire.checksum import checksum

IPV6_IN_IPV6 = 41
"""IPv6 next header of an encapsulated packet (RFC 2473 §3.1)."""
_FIXED = struct.Struct("!IHBB")
"""Version, traffic class and flow label; payload length; next header; hop limit."""
_FRAGMENT = struct.Struct("!BBHI")
_ICMP_HEAD_OCTETS = 8
_FIRST_INFORMATIONAL = 128
"""ICMPv6 types below are errors (RFC 4443 §2.1)."""
_ECN = 0b11
_CE = 0b11
_CLASS_BITS = 0xFF << 20
_VERSION = 6 << 28


def encapsulate(packet: bytes, ends: bytes) -> bytes:
    """The packet behind an outer header from `ends[:16]` to `ends[16:]`.

    The traffic class with its ECN bits is copied (RFC 2473 §6.4, RFC 6040 §4.1), the flow label is
    not. The inner hop limit was decremented when the packet was forwarded here (RFC 2473 §3.1).
    """
    traffic_class = int.from_bytes(packet[:4]) & _CLASS_BITS
    head = _FIXED.pack(_VERSION | traffic_class, len(packet), IPV6_IN_IPV6, TUNNEL_HOP_LIMIT)
    return head + ends + packet


def fragments(outer: bytes, mtu: int, identification: int) -> list[bytes]:
    """An outer packet in pieces of at most `mtu` octets: what RFC 2473 §7.1 (b) demands for inner
    packets of up to 1,280 octets in a narrower tunnel."""
    head, payload = outer[:FIXED_HEADER_OCTETS], outer[FIXED_HEADER_OCTETS:]
    room = (mtu - FIXED_HEADER_OCTETS - _FRAGMENT.size) // 8 * 8
    pieces: list[bytes] = []
    for at in range(0, len(payload), room):
        piece = payload[at : at + room]
        more = at + room < len(payload)
        words, _, next_header, hop_limit = _FIXED.unpack_from(head)
        lead = _FIXED.pack(words, _FRAGMENT.size + len(piece), NextHeader.FRAGMENT, hop_limit)
        extension = _FRAGMENT.pack(next_header, 0, at | more, identification)
        pieces.append(lead + head[_FIXED.size :] + extension + piece)
    return pieces


def packet_too_big(packet: bytes, source: bytes, mtu: int) -> bytes:
    """ICMPv6 Packet Too Big about `packet` to its sender, at most 1,280 octets whole."""
    room = MIN_MTU - FIXED_HEADER_OCTETS - _ICMP_HEAD_OCTETS
    body = bytearray(struct.pack("!BBHI", PACKET_TOO_BIG, 0, 0, mtu) + packet[:room])
    destination = packet[8:24]
    body[2:4] = checksum(source, destination, body, ICMPV6).to_bytes(2)
    head = _FIXED.pack(_VERSION, len(body), ICMPV6, TUNNEL_HOP_LIMIT)
    return head + source + destination + bytes(body)


def may_answer(packet: bytes) -> bool:
    """RFC 4443 §2.4 (e): no error about an ICMPv6 error, nor to a source that is no single node."""
    source = packet[8:24]
    if source[0] == 0xFF or not any(source):
        return False
    is_icmp = packet[6] == ICMPV6 and len(packet) > FIXED_HEADER_OCTETS
    return not (is_icmp and packet[FIXED_HEADER_OCTETS] < _FIRST_INFORMATIONAL)


def decapsulated(packet: bytes, outer_class: int) -> bytes | None:
    """The inner packet with the congestion the tunnel met (RFC 6040 §4.2); None: it must be
    dropped, because its ends cannot be told."""
    if outer_class & _ECN != _CE:
        return packet
    word = int.from_bytes(packet[:4])
    ecn = word >> 20 & _ECN
    if not ecn:
        return None
    return (word | _CE << 20).to_bytes(4) + packet[4:]


class NarrowPath(NamedTuple):
    """What a Packet Too Big says about a packet of a tunnel."""

    source: bytes
    """Of the outer header."""
    care_of: bytes
    """Its destination."""
    inner: bytes
    """Destination of the packet inside."""
    mtu: int
    """Octets that the path carries, at least 1,280."""


def narrow_path(message: bytes) -> NarrowPath | None:
    """Of an ICMPv6 message; None: it is no Packet Too Big about an unfragmented outer packet."""
    outer = _ICMP_HEAD_OCTETS
    inner = outer + FIXED_HEADER_OCTETS
    if len(message) < inner + FIXED_HEADER_OCTETS or message[0] != PACKET_TOO_BIG:
        return None
    if message[outer + 6] != IPV6_IN_IPV6:
        return None
    mtu = max(MIN_MTU, int.from_bytes(message[4:8]))
    return NarrowPath(
        message[outer + 8 : outer + 24],
        message[outer + 24 : inner],
        message[inner + 24 : inner + 40],
        mtu,
    )
