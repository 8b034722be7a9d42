"""The checks of one Mobility Header, in the order of the table of offload.md §2.

Ref: offload.md §2; harp.md §2.1 and §3; RFC 6275 §6.1.1 and §9.2
"""

from harp.tables.reasons import Reason
from harp_sim.model import golden
from harp_sim.model.config import Config
from harp_sim.model.frame import Packet
from harp_sim.model.walk import Walk


def checksum_good(source: bytes, destination: bytes, mh: bytes) -> bool:
    """Whether the one's complement sum over pseudo-header and MH is all ones.

    Two to the sixteenth is 1 modulo 65535, so the folded sum of the 16-bit words is their
    concatenation modulo 65535; next header 135 keeps it from being zero in truth.
    """
    pseudo = len(mh) + golden.NEXT_MOBILITY
    total = int.from_bytes(source + destination + mh, "big") + pseudo
    return total % 0xFFFF == 0


def is_local(destination: bytes, local: tuple[bytes, ...]) -> bool:
    """Whether an MH for this destination is judged; otherwise it is in transit."""
    if not local or destination[0] == golden.MULTICAST_OCTET:
        return True
    return destination in local


def judge_mobility(packet: Packet, walk: Walk, config: Config) -> Reason | bytes:
    """The first fault of the MH at the end of a walk, or the whole MH if it has none so far."""
    left = len(packet.payload) - walk.offset
    if left < golden.MH_MIN_OCTETS:
        return Reason.TRUNCATED
    header_len = packet.payload[walk.offset + 1]
    octets = 8 * (header_len + 1)
    if octets > left:
        return Reason.BAD_LENGTH
    if not walk.checkable:
        return Reason.UNCHECKED
    mh = packet.payload[walk.offset : walk.offset + octets]
    source = walk.home or packet.source
    destination = walk.routed or packet.destination
    if not checksum_good(source, destination, mh):
        return Reason.BAD_CHECKSUM
    return _judge_type(mh, packet.hop_limit, config)


def _judge_type(mh: bytes, hop_limit: int, config: Config) -> Reason | bytes:
    """Type, Payload Proto and length, and what HARP adds to them up to its peers."""
    entry = config.types.get(mh[2])
    if entry is None:
        return Reason.UNKNOWN_TYPE
    if mh[0] != golden.PAYLOAD_PROTO_NONE:
        return Reason.BAD_PAYLOAD_PROTO
    if mh[1] < entry.min_header_len:
        return Reason.BAD_LENGTH
    if not entry.allowed:
        return Reason.TYPE_BLOCKED
    if mh[2] == config.harp_type:
        return _judge_harp(mh, hop_limit, config) or mh
    return mh


def _judge_harp(mh: bytes, hop_limit: int, config: Config) -> Reason | None:
    """HARP Type, Sequence # and hop limit; octets that a short MH lacks read as zero."""
    word = mh[6:10].ljust(4, b"\0")
    if word[0] > 31 or not config.harp_types >> word[0] & 1:
        return Reason.UNKNOWN_HARP_TYPE
    if word[2:4] == b"\0\0":
        return Reason.BAD_SEQUENCE
    if config.demand_hop_limit and hop_limit != golden.HOP_LIMIT:
        return Reason.BAD_HOP_LIMIT
    return None
