"""IPv6 extension headers between the fixed header and the Mobility Header.

Ref: RFC 8200 §3, §4; RFC 4302 §2.2 (AH); RFC 6275 §6.3 (Home Address option), §6.4 (type 2 routing)
"""

from enum import IntEnum

FIXED_HEADER_OCTETS = 40
ETHERTYPE_IPV6 = 0x86DD
ETHERTYPE_VLAN = (0x8100, 0x88A8)
"""Customer and service VLAN tags (IEEE 802.1Q)."""


class NextHeader(IntEnum):
    """Headers that a Mobility Header may stand behind."""

    HOP_BY_HOP = 0
    ROUTING = 43
    FRAGMENT = 44
    AUTHENTICATION = 51
    DESTINATION_OPTIONS = 60


HOME_ADDRESS_OPTION = 201
"""Destination option 0xC9, length 16 (RFC 6275 §6.3)."""
ROUTING_TYPE_2 = 2
"""Type 2 routing header, Hdr Ext Len 2, one home address (RFC 6275 §6.4)."""
