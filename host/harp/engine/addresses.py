"""What kind of address sixteen octets are.

Ref: RFC 4291 §2.4 (address types); RFC 6275 §3.1 ("unicast routable address")
"""

from __future__ import annotations

_UNSPECIFIED = bytes(16)
_LOOPBACK = bytes(15) + b"\x01"
_LINK_LOCAL_PREFIX = b"\xfe\x80" + bytes(6)


def is_multicast(address: bytes) -> bool:
    """ff00::/8."""
    return address[0] == 0xFF


def is_unicast(address: bytes) -> bool:
    """Names one interface, on whatever scope: neither unspecified nor multicast."""
    return address[0] != 0xFF and address != _UNSPECIFIED


def is_unicast_routable(address: bytes) -> bool:
    """A unicast address that a router off the link can reach: not unspecified, loopback,
    link-local or multicast."""
    if address[0] >= 0xFE:
        return address[0] == 0xFE and address[1] & 0xC0 != 0x80
    return address > _LOOPBACK


def link_local_of(address: bytes) -> bytes:
    """RFC 6275 §10.3.1: "The link-local address is derived by replacing the subnet prefix in the
    mobile node's home address with the link-local prefix"."""
    return _LINK_LOCAL_PREFIX + address[8:]
