"""IPv6 packets as a mobile node and its correspondents send them.

Ref: RFC 8200 §3, §4.2; RFC 2473 §3 (encapsulation); RFC 6275 §6.3 (Home Address option), §11.7.1;
     RFC 4443 §4 (echo)
"""

from __future__ import annotations

import struct

from harp.tables.ipv6 import FIXED_HEADER_OCTETS, HOME_ADDRESS_OPTION, NextHeader
from harp.tables.mh import NEXT_HEADER as MOBILITY
from harp.tables.options import PADN
from harp.wire.codec import DEFAULT_CODEC
from harp.wire.messages import Message

IPV6_IN_IPV6 = 41
HOP_LIMIT = 64
ECHO_REQUEST, ECHO_REPLY = 128, 129

_FIXED = struct.Struct("!IHBB16s16s")


def ipv6(
    source: bytes, destination: bytes, header: int, payload: bytes, hop_limit: int = HOP_LIMIT
) -> bytes:
    """An IPv6 packet; `header` says what the payload begins with."""
    return _FIXED.pack(6 << 28, len(payload), header, hop_limit, source, destination) + payload


def home_address_header(home_address: bytes, following: int = MOBILITY) -> bytes:
    """Destination options with a Home Address option, 24 octets.

    RFC 6275 §6.3: its alignment is 8n+6, so a PadN of 4 octets stands before it.
    """
    return bytes((following, 2, PADN, 2, 0, 0, HOME_ADDRESS_OPTION, 16)) + home_address


def from_mobile_node(
    care_of_address: bytes, home_address: bytes, agent: bytes, message: Message
) -> bytes:
    """A Mobility Header message of a mobile node away from home, such as a Binding Update."""
    mobility = DEFAULT_CODEC.build(home_address, agent, message)
    options = home_address_header(home_address)
    return ipv6(care_of_address, agent, NextHeader.DESTINATION_OPTIONS, options + mobility)


def tunnelled(source: bytes, destination: bytes, packet: bytes) -> bytes:
    """A packet in a packet (RFC 2473)."""
    return ipv6(source, destination, IPV6_IN_IPV6, packet)


def inner(packet: bytes) -> bytes | None:
    """What a tunnel packet carries; None: it is none."""
    if len(packet) < 2 * FIXED_HEADER_OCTETS or packet[6] != IPV6_IN_IPV6:
        return None
    return packet[FIXED_HEADER_OCTETS:]


def source_of(packet: bytes) -> bytes:
    """Source address of an IPv6 packet."""
    return packet[8:24]


def destination_of(packet: bytes) -> bytes:
    """Destination address of an IPv6 packet."""
    return packet[24:40]


def echo_request(identifier: int, sequence: int, data: bytes) -> bytes:
    """An ICMPv6 echo request for a socket that fills in the checksum itself."""
    return struct.pack("!BBHHH", ECHO_REQUEST, 0, 0, identifier, sequence & 0xFFFF) + data
