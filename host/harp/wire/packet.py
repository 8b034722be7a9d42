"""IPv6 packets: the Mobility Header in one, with the addresses of its pseudo-header.

Ref: RFC 8200 §4 (extension headers); RFC 4302 §2.2 (AH); RFC 6275 §6.1.1 (checksum addresses),
     §6.3 (Home Address option), §6.4 (type 2 routing header); harp.md §3 rule 1
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from harp.tables.ipv6 import (
    FIXED_HEADER_OCTETS,
    HOME_ADDRESS_OPTION,
    ROUTING_TYPE_2,
    NextHeader,
)
from harp.tables.mh import NEXT_HEADER
from harp.tables.reasons import Reason
from harp.wire.messages import Malformed


@dataclass(frozen=True, slots=True)
class MobilityPacket:
    """An IPv6 packet that carries a Mobility Header."""

    source: bytes
    """For the checksum: the Home Address option's address, else the IPv6 source."""
    destination: bytes
    """For the checksum: the type 2 routing header's address while Segments Left is 1, else the
    IPv6 destination."""
    ip_source: bytes
    """Source of the IPv6 header: of a Binding Update the care-of address."""
    ip_destination: bytes
    hop_limit: int
    payload: bytes
    """From the MH's first octet to the end of the IPv6 payload."""


def find_mobility_header(packet: bytes) -> MobilityPacket | Malformed | None:
    """The Mobility Header in an IPv6 packet; None: there is none. Never raises.

    Octets past the Payload Length are link-layer padding and ignored. ESP is opaque and a fragment
    carries no whole header: None.
    """
    if len(packet) < FIXED_HEADER_OCTETS or packet[0] >> 4 != 6:
        return None
    end = FIXED_HEADER_OCTETS + int.from_bytes(packet[4:6], "big")
    found = MobilityPacket(
        source=packet[8:24],
        destination=packet[24:40],
        ip_source=packet[8:24],
        ip_destination=packet[24:40],
        hop_limit=packet[7],
        payload=b"",
    )
    header, at = packet[6], FIXED_HEADER_OCTETS
    while header != NEXT_HEADER:
        octets = _extension_octets(header, packet, at)
        if octets is None or at + octets > min(end, len(packet)):
            return None
        found = _with_home_address(found, header, packet[at : at + octets])
        header, at = packet[at], at + octets
    if len(packet) < end:
        detail = f"the packet ends {end - len(packet)} octets before its Payload Length"
        return Malformed(Reason.TRUNCATED, detail)
    return replace(found, payload=packet[at:end])


def _extension_octets(header: int, packet: bytes, at: int) -> int | None:
    """Length of the extension header at `at`; None: not one that is walked past."""
    if len(packet) < at + 8:
        return None
    length = packet[at + 1]
    if header in (NextHeader.HOP_BY_HOP, NextHeader.DESTINATION_OPTIONS, NextHeader.ROUTING):
        return 8 * (length + 1)
    if header == NextHeader.AUTHENTICATION:
        return 4 * (length + 2)
    if header == NextHeader.FRAGMENT:
        # RFC 6946: an atomic fragment (offset 0, no more) is a whole packet.
        whole = int.from_bytes(packet[at + 2 : at + 4], "big") & 0xFFF9 == 0
        return 8 if whole else None
    return None


def _with_home_address(found: MobilityPacket, header: int, extension: bytes) -> MobilityPacket:
    """`found` with the home address that an extension header carries, if one does."""
    if header == NextHeader.DESTINATION_OPTIONS:
        home_address = _home_address_option(extension)
        return replace(found, source=home_address) if home_address else found
    if header == NextHeader.ROUTING and len(extension) == 24:
        # RFC 6275 §6.1.1: the final destination while the routing header is not used up
        if extension[2] == ROUTING_TYPE_2 and extension[3] == 1:
            return replace(found, destination=extension[8:24])
    return found


def _home_address_option(extension: bytes) -> bytes | None:
    """Address of the Home Address option among destination options, whatever the padding."""
    at = 2
    while at + 1 < len(extension):
        if extension[at] == 0:  # Pad1 (RFC 8200 §4.2)
            at += 1
            continue
        stop = at + 2 + extension[at + 1]
        if extension[at] == HOME_ADDRESS_OPTION and extension[at + 1] == 16:
            return extension[at + 2 : stop] if stop <= len(extension) else None
        at = stop
    return None
