"""Mobility options: numbers, lengths, alignment.

Ref: RFC 6275 §6.2; RFC 3963 §4.3; RFC 4283 §3; RFC 4285 §5, §6; RFC 5094 §3; RFC 5568 §6.4;
     RFC 5648 §4.3; RFC 5847 §3.4; harp.md §2 (alignment), §2.2, §2.3 (own options)
"""

from __future__ import annotations

from dataclasses import dataclass

PAD1 = 0
PADN = 1


@dataclass(frozen=True, slots=True)
class Alignment:
    """Where an option's type octet may stand: offset from the MH's first octet = multiple x n +
    rest."""

    multiple: int = 1
    rest: int = 0


@dataclass(frozen=True, slots=True)
class OptionInfo:
    """One row of the mobility option table."""

    name: str
    """Name in documents and the dissector."""
    number: int | None
    """Option Type; None: TBD, set by the code point of that name."""
    code_point: str | None
    """Field of `CodePoints` that sets the type; None: assigned by IANA."""
    lengths: range | tuple[int, ...]
    """Allowed values of the Length octet."""
    alignment: Alignment
    """Where a sender puts it."""
    source: str
    """Where it is defined."""
    of_binding: bool = False
    """Belongs to the Binding Cache Information option before it (harp.md §2.2)."""

    def type_under(self, code_points: object) -> int:
        """The Option Type under `CodePoints`."""
        number = getattr(code_points, self.code_point) if self.code_point else self.number
        assert isinstance(number, int), self.name
        return number


def _rfc(
    name: str,
    number: int,
    lengths: range | tuple[int, ...],
    align: tuple[int, int],
    source: str,
    of_binding: bool = False,
) -> OptionInfo:
    return OptionInfo(name, number, None, lengths, Alignment(*align), source, of_binding)


def _tbd(
    name: str,
    code_point: str,
    lengths: range | tuple[int, ...],
    align: tuple[int, int],
    source: str,
    of_binding: bool = False,
) -> OptionInfo:
    return OptionInfo(name, None, code_point, lengths, Alignment(*align), source, of_binding)


REFRESH_ADVICE = _rfc("Binding Refresh Advice", 2, (2,), (2, 0), "RFC 6275 §6.2.4")
ALTERNATE_CARE_OF = _rfc("Alternate Care-of Address", 3, (16,), (8, 6), "RFC 6275 §6.2.5")
NONCE_INDICES = _rfc("Nonce Indices", 4, (4,), (2, 0), "RFC 6275 §6.2.6")
BINDING_AUTH_DATA = _rfc("Binding Authorization Data", 5, range(256), (8, 2), "RFC 6275 §6.2.7")
MOBILE_NETWORK_PREFIX = _rfc("Mobile Network Prefix", 6, (18,), (8, 4), "RFC 3963 §4.3", True)
LINK_LAYER_ADDRESS = _rfc("Link-Layer Address", 7, range(1, 256), (1, 0), "RFC 5568 §6.4.4")
MN_IDENTIFIER = _rfc("Mobile Node Identifier", 8, range(1, 256), (1, 0), "RFC 4283 §3")
AUTHENTICATION = _rfc("Mobility Message Authentication", 9, range(5, 256), (4, 1), "RFC 4285 §5")
REPLAY_PROTECTION = _rfc("Replay Protection", 10, (8,), (8, 2), "RFC 4285 §6")
VENDOR = _rfc("Vendor Specific", 19, range(5, 256), (2, 0), "RFC 5094 §3", True)
RESTART_COUNTER = _rfc("Restart Counter", 28, (4,), (4, 2), "RFC 5847 §3.4")
IP_ADDRESS = _rfc("IP Address", 34, (18,), (8, 4), "RFC 5568 §6.4.2")
BINDING_IDENTIFIER = _rfc(
    "Binding Identifier", 35, (4, 8, 20), (2, 0), "RFC 5648 §4.3", of_binding=True
)
BINDING_IDENTIFIER_WITH_ADDRESS_ALIGNMENT = Alignment(8, 2)
"""Of a Binding Identifier option that carries a care-of address (RFC 5648 §4.3)."""

BINDING_CACHE = _tbd(
    "Binding Cache Information", "option_binding_cache", (40,), (8, 6), "harp.md §2.2"
)
DETECTION = _tbd("Detection", "option_detection", (6,), (4, 2), "harp.md §2.3")
AAA = _tbd("AAA Information", "option_aaa", range(256), (2, 0), "harp.md §2.3", True)
CACHE_DIGEST = _tbd("Cache Digest", "option_digest", (12,), (4, 2), "harp.md §2.3")
SYNC_POSITION = _tbd("Sync Position", "option_sync_position", (8,), (4, 2), "harp.md §2.3")
CONFIGURATION = _tbd("Configuration", "option_configuration", (8,), (4, 2), "harp.md §2.3")

RFC_OPTIONS: tuple[OptionInfo, ...] = (
    OptionInfo("Pad1", PAD1, None, (), Alignment(), "RFC 6275 §6.2.2"),
    OptionInfo("PadN", PADN, None, range(256), Alignment(), "RFC 6275 §6.2.3"),
    REFRESH_ADVICE,
    ALTERNATE_CARE_OF,
    NONCE_INDICES,
    BINDING_AUTH_DATA,
    MOBILE_NETWORK_PREFIX,
    LINK_LAYER_ADDRESS,
    MN_IDENTIFIER,
    AUTHENTICATION,
    REPLAY_PROTECTION,
    VENDOR,
    RESTART_COUNTER,
    IP_ADDRESS,
    BINDING_IDENTIFIER,
)
OWN_OPTIONS: tuple[OptionInfo, ...] = (
    BINDING_CACHE,
    DETECTION,
    AAA,
    CACHE_DIGEST,
    SYNC_POSITION,
    CONFIGURATION,
)
OPTIONS: tuple[OptionInfo, ...] = RFC_OPTIONS + OWN_OPTIONS

ADDRESS_PREFIX_LENGTH = 128
"""Prefix Length of an IP Address option in HARP (harp.md §2.3)."""
HA_HA_AUTH_LENGTH = 21
"""Length of the authentication option with the subtype "HA-HA" (harp.md §2.3)."""
HA_HA_AUTH_ALIGNMENT = Alignment(8, 1)
"""Of the "HA-HA" authentication option, which ends the MH (harp.md §2)."""
HA_HA_TAG_OCTETS = 16
"""HMAC-SHA-256-128 (harp.md §2.3)."""
MN_HA_SUBTYPE = 1
"""MN-HA mobility message authentication (RFC 4285 §5.1)."""
MN_HA_TAG_OCTETS = 12
"""First 96 bits of HMAC-SHA1 (RFC 4285 §5.1)."""
MIN_SPI = 256
"""SPIs 0 to 255 are reserved (RFC 4285 §5)."""
MIN_KEY_OCTETS = 16
"""Shortest key of the "HA-HA" authentication (harp.md §2.3)."""
