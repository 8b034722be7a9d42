"""Mobility Header types and their flags.

Ref: RFC 6275 §6.1 (Mobility Header); RFC 5142 (Home Agent Switch); RFC 5847 (Heartbeat);
     harp.md §2.3 (minimum Header Len)
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum, IntFlag

NEXT_HEADER = 135
"""IPv6 next header of the Mobility Header (RFC 6275 §6.1.1)."""
NO_NEXT_HEADER = 59
"""The one Payload Proto that is allowed: IPPROTO_NONE (RFC 6275 §6.1.1)."""
HOP_LIMIT = 255
"""Hop limit of every HARP message sent (harp.md §2, RFC 5082)."""
MAX_MH_OCTETS = 2048
"""Longest Mobility Header: (255 + 1) x 8 octets."""


class MhType(IntEnum):
    """MH Types that IANA assigned and that this project knows."""

    BINDING_REFRESH_REQUEST = 0
    HOME_TEST_INIT = 1
    CARE_OF_TEST_INIT = 2
    HOME_TEST = 3
    CARE_OF_TEST = 4
    BINDING_UPDATE = 5
    BINDING_ACKNOWLEDGEMENT = 6
    BINDING_ERROR = 7
    HOME_AGENT_SWITCH = 12
    HEARTBEAT = 13


@dataclass(frozen=True, slots=True)
class MhTypeInfo:
    """One row of the MH Type table."""

    type: int
    """MH Type; for HARP the default of a configurable code point."""
    name: str
    """Name in documents, JSON and the dissector."""
    min_header_len: int
    """Least Header Len, in units of 8 octets beyond the first 8."""
    source: str
    """Where the message is defined."""


RFC_MH_TYPES: tuple[MhTypeInfo, ...] = (
    MhTypeInfo(MhType.BINDING_REFRESH_REQUEST, "Binding Refresh Request", 0, "RFC 6275 §6.1.2"),
    MhTypeInfo(MhType.HOME_TEST_INIT, "Home Test Init", 1, "RFC 6275 §6.1.3"),
    MhTypeInfo(MhType.CARE_OF_TEST_INIT, "Care-of Test Init", 1, "RFC 6275 §6.1.4"),
    MhTypeInfo(MhType.HOME_TEST, "Home Test", 2, "RFC 6275 §6.1.5"),
    MhTypeInfo(MhType.CARE_OF_TEST, "Care-of Test", 2, "RFC 6275 §6.1.6"),
    MhTypeInfo(MhType.BINDING_UPDATE, "Binding Update", 1, "RFC 6275 §6.1.7"),
    MhTypeInfo(MhType.BINDING_ACKNOWLEDGEMENT, "Binding Acknowledgement", 1, "RFC 6275 §6.1.8"),
    MhTypeInfo(MhType.BINDING_ERROR, "Binding Error", 2, "RFC 6275 §6.1.9"),
    MhTypeInfo(MhType.HOME_AGENT_SWITCH, "Home Agent Switch", 0, "RFC 5142 §4.1"),
    MhTypeInfo(MhType.HEARTBEAT, "Heartbeat", 1, "RFC 5847 §3.3"),
)
HARP_MH = MhTypeInfo(11, "HARP", 2, "harp.md §2.1")
"""All HARP messages; the type is `CodePoints.mh_type_harp`."""
MH_TYPES: tuple[MhTypeInfo, ...] = tuple(sorted((*RFC_MH_TYPES, HARP_MH), key=lambda r: r.type))


class BuFlag(IntFlag):
    """Flags of a Binding Update, as its 16 bits (harp.md §2.2 carries them as they are)."""

    ACKNOWLEDGE = 0x8000
    """A: a Binding Acknowledgement is wanted (RFC 6275 §6.1.7)."""
    HOME_REGISTRATION = 0x4000
    """H: home registration (RFC 6275 §6.1.7)."""
    LINK_LOCAL = 0x2000
    """L: link-local address compatibility (RFC 6275 §6.1.7)."""
    KEY_MANAGEMENT = 0x1000
    """K: key management mobility capability (RFC 6275 §6.1.7)."""
    MAP_REGISTRATION = 0x0800
    """M: MAP registration (RFC 5380); not served here."""
    MOBILE_ROUTER = 0x0400
    """R: mobile router (RFC 3963 §4.1)."""
    PROXY = 0x0200
    """P: proxy registration (RFC 5213); not served here."""
    FORCE_UDP = 0x0100
    """F: forcing UDP encapsulation (RFC 5555); not served here."""
    TLV_HEADER = 0x0080
    """T: TLV-header format (RFC 5845); not served here."""
    OVERWRITE = 0x0040
    """O: overwrite all bindings of the home address (RFC 5648 §4.2)."""


class BaFlag(IntFlag):
    """Flags of a Binding Acknowledgement, as its 8 bits."""

    KEY_MANAGEMENT = 0x80
    """K: key management mobility capability (RFC 6275 §6.1.8)."""
    MOBILE_ROUTER = 0x40
    """R: mobile router accepted (RFC 3963 §4.2)."""


class BaStatus(IntEnum):
    """Status of a Binding Acknowledgement; 128 and above reject the Binding Update.

    Ref: RFC 6275 §6.1.8; RFC 3963 §4.2 (140 to 143); RFC 4285 §6 (144 to 146);
         RFC 5648 §4.4 (4, 5, 164 to 169)
    """

    ACCEPTED = 0
    PREFIX_DISCOVERY_NECESSARY = 1
    MCOA_NOT_COMPLETE = 4
    MCOA_RETURN_HOME_WITHOUT_NDP = 5
    UNSPECIFIED = 128
    PROHIBITED = 129
    INSUFFICIENT_RESOURCES = 130
    HOME_REGISTRATION_NOT_SUPPORTED = 131
    NOT_HOME_SUBNET = 132
    NOT_HOME_AGENT = 133
    DAD_FAILED = 134
    SEQUENCE_OUT_OF_WINDOW = 135
    EXPIRED_HOME_NONCE = 136
    EXPIRED_CARE_OF_NONCE = 137
    EXPIRED_NONCES = 138
    REGISTRATION_TYPE_CHANGE = 139
    MOBILE_ROUTER_NOT_PERMITTED = 140
    INVALID_PREFIX = 141
    NOT_AUTHORIZED_FOR_PREFIX = 142
    FORWARDING_SETUP_FAILED = 143
    ID_MISMATCH = 144
    MESG_ID_REQUIRED = 145
    AUTH_FAIL = 146
    MCOA_MALFORMED = 164
    MCOA_NON_MCOA_BINDING_EXISTS = 165
    MCOA_PROHIBITED = 166
    MCOA_UNKNOWN_COA = 167
    MCOA_BULK_REGISTRATION_PROHIBITED = 168
    MCOA_HOME_AND_FOREIGN_PROHIBITED = 169
    INVALID_CARE_OF_ADDRESS = 174


class BeStatus(IntEnum):
    """Status of a Binding Error (RFC 6275 §6.1.9)."""

    UNKNOWN_HOME_ADDRESS_BINDING = 1
    UNRECOGNIZED_MH_TYPE = 2


class HeartbeatFlag(IntFlag):
    """Flags of a Heartbeat (RFC 5847 §3.3), as its 16 bits."""

    UNSOLICITED = 0x0002
    """Unsolicited response."""
    RESPONSE = 0x0001
    """Response; 0: request."""


LIFETIME_UNIT_S = 4
"""Unit of Lifetime in Binding Update, Acknowledgement and Binding Cache Information."""
