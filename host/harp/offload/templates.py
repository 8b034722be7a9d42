"""Frames that slots send: a HELLO, and the goodbye made from it.

Ref: offload.md §4 (templates, resign), harp.md §2.1 (layout), §4 (goodbye), RFC 2464 §3 and §7
(IPv6 over Ethernet), RFC 8200 §3
"""

from __future__ import annotations

from harp.tables.harp_types import HarpFlag
from harp.tables.mh import HOP_LIMIT, NEXT_HEADER
from harp.wire.checksum import checksum

ETHERTYPE_IPV6 = b"\x86\xdd"
MH_OFFSET = 14 + 40
"""Octets before the MH: Ethernet and IPv6 headers."""
_CHECKSUM, _SEQUENCE, _FLAGS, _LIFETIME = slice(4, 6), slice(8, 10), 11, slice(14, 16)


def multicast_mac(group: bytes) -> bytes:
    """RFC 2464 §7: 33:33 and the last four octets."""
    return b"\x33\x33" + group[12:]


def sequence_of(mobility_header: bytes) -> int:
    """Sequence # of a HARP message."""
    return int.from_bytes(mobility_header[_SEQUENCE], "big")


def says_active(mobility_header: bytes) -> bool:
    """Whether a HELLO has flag A."""
    return bool(mobility_header[_FLAGS] & HarpFlag.A)


def hello_frame(mac: bytes, source: bytes, destination: bytes, mobility_header: bytes) -> bytes:
    """The frame without FCS; Sequence # 0 and the checksum right for it, as slots want it."""
    header = bytearray(mobility_header)
    header[_SEQUENCE] = bytes(2)
    header[_CHECKSUM] = bytes(2)
    header[_CHECKSUM] = checksum(source, destination, bytes(header)).to_bytes(2, "big")
    ip = b"\x60\0\0\0" + len(header).to_bytes(2, "big") + bytes((NEXT_HEADER, HOP_LIMIT))
    ethernet = multicast_mac(destination) + mac + ETHERTYPE_IPV6
    return ethernet + ip + source + destination + bytes(header)


def goodbye_of(mobility_header: bytes) -> bytes:
    """The same HELLO of a member that leaves: HA Lifetime 0, and of its flags V alone."""
    header = bytearray(mobility_header)
    header[_FLAGS] &= HarpFlag.V
    header[_LIFETIME] = bytes(2)
    return bytes(header)
