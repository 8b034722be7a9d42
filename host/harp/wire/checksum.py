"""Internet checksum over the IPv6 pseudo-header.

Ref: RFC 8200 §8.1 (pseudo-header); RFC 6275 §6.1.1 (Mobility Header); RFC 1071 §1
"""

from typing import TypeAlias

from harp.tables.mh import NEXT_HEADER

Octets: TypeAlias = bytes | bytearray


def _sum(source: bytes, destination: bytes, data: Octets, next_header: int) -> int:
    """One's complement sum, 0 standing for 0xFFFF: 2^16 is 1 modulo 65,535, so the sum of the
    16-bit words is the remainder of the whole taken as one integer."""
    octets = source + destination + data + bytes(len(data) % 2)
    return (int.from_bytes(octets, "big") + len(data) + next_header) % 0xFFFF


def checksum(
    source: bytes, destination: bytes, data: Octets, next_header: int = NEXT_HEADER
) -> int:
    """Checksum of `data`, whose own checksum field must be 0; addresses are 16 octets."""
    return 0xFFFF - (_sum(source, destination, data, next_header) or 0xFFFF)


def verifies(
    source: bytes, destination: bytes, data: Octets, next_header: int = NEXT_HEADER
) -> bool:
    """Whether the checksum that `data` contains is right."""
    return not _sum(source, destination, data, next_header)
