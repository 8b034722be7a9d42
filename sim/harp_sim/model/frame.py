"""Layer 2 and the IPv6 fixed header of one frame.

A frame is the octets from the destination address to the FCS, both included, as on the wire.

Ref: offload.md §1 (padding, bad frames), §2 (walk); IEEE 802.1Q; RFC 8200 §3
"""

from typing import NamedTuple

from harp.tables.reasons import Reason
from harp_sim.model import golden


class Link(NamedTuple):
    """What stands before the network layer."""

    depth: int
    """VLAN tags walked over, 0 to 2."""
    vlan: int
    """VLAN ID of the innermost of them; 0: untagged, or a priority tag."""
    ethertype: int
    """What follows them; a third tag is not walked over and so is no IPv6."""
    offset: int
    """First octet of the network layer."""


class Packet(NamedTuple):
    """An IPv6 packet whose fixed header and length are in order."""

    next_header: int
    hop_limit: int
    source: bytes
    destination: bytes
    payload: bytes
    """Exactly Payload Length octets; the padding behind them is not judged."""

    @property
    def multicast(self) -> bool:
        """Whether the destination is a multicast address (RFC 4291 §2.7)."""
        return self.destination[0] == golden.MULTICAST_OCTET


_TAGS = (golden.ETHERTYPE_CTAG, golden.ETHERTYPE_STAG)


def is_bad(octets: bytes, fcs_ok: bool, rx_er: bool) -> bool:
    """`bad_frame`: FCS, RX_ER, fewer than 64 or more than 9,216 octets."""
    good_size = golden.MIN_FRAME_OCTETS <= len(octets) <= golden.MAX_FRAME_OCTETS
    return not fcs_ok or rx_er or not good_size


def parse_link(octets: bytes) -> Link:
    """Walk over up to two VLAN tags. Octets that a runt does not have read as zero."""
    offset, depth, vlan = golden.ETHERTYPE_OFFSET, 0, 0
    ethertype = int.from_bytes(octets[offset : offset + 2], "big")
    while ethertype in _TAGS and depth < golden.VLAN_TAGS_MAX:
        vlan = int.from_bytes(octets[offset + 2 : offset + 4], "big") & golden.VLAN_ID_MASK
        offset += 4
        depth += 1
        ethertype = int.from_bytes(octets[offset : offset + 2], "big")
    return Link(depth, vlan, ethertype, offset + 2)


def parse_packet(octets: bytes, link: Link) -> Packet | Reason:
    """The IPv6 packet in a frame, or `not_ipv6` or `bad_ipv6`.

    A frame too short for the fixed header is `bad_ipv6`: a minimum frame with two tags is.
    """
    if link.ethertype != golden.ETHERTYPE_IPV6:
        return Reason.NOT_IPV6
    start = link.offset
    room = len(octets) - golden.FCS_OCTETS - start
    if room < golden.IPV6_HEADER_OCTETS or octets[start] >> 4 != golden.IPV6_VERSION:
        return Reason.BAD_IPV6
    length = octets[start + 4] << 8 | octets[start + 5]
    if golden.IPV6_HEADER_OCTETS + length > room:
        return Reason.BAD_IPV6
    body = start + golden.IPV6_HEADER_OCTETS
    return Packet(
        next_header=octets[start + 6],
        hop_limit=octets[start + 7],
        source=octets[start + 8 : start + 24],
        destination=octets[start + 24 : body],
        payload=octets[body : body + length],
    )
