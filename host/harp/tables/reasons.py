"""Why a frame or message was judged as it was: one name for code, counters, logs and documents.

Ref: harp.md §3 (rules on receipt), offload.md §2 (verdicts)
"""

from dataclasses import dataclass
from enum import StrEnum


class Reason(StrEnum):
    """Verdict of one frame or message; the value is the name that every counter and log uses."""

    BAD_FRAME = "bad_frame"
    NOT_IPV6 = "not_ipv6"
    BAD_IPV6 = "bad_ipv6"
    CHAIN_TOO_LONG = "chain_too_long"
    BAD_CHAIN = "bad_chain"
    FRAGMENTED = "fragmented"
    NOT_MOBILITY = "not_mobility"
    TRUNCATED = "truncated"
    BAD_LENGTH = "bad_length"
    BAD_CHECKSUM = "bad_checksum"
    UNCHECKED = "unchecked"
    UNKNOWN_TYPE = "unknown_type"
    BAD_PAYLOAD_PROTO = "bad_payload_proto"
    TYPE_BLOCKED = "type_blocked"
    UNKNOWN_HARP_TYPE = "unknown_harp_type"
    BAD_SEQUENCE = "bad_sequence"
    BAD_OPTION = "bad_option"
    BAD_HOP_LIMIT = "bad_hop_limit"
    NOT_A_PEER = "not_a_peer"
    WRONG_GROUP = "wrong_group"
    AUTH = "auth"
    CLOCK = "clock"
    REPLAY = "replay"
    UNEXPECTED = "unexpected"
    HEARTBEAT = "heartbeat"
    HEARTBEAT_NEWS = "heartbeat_news"
    MOBILITY = "mobility"


class Action(StrEnum):
    """What the offload does with a frame of a reason (offload.md §2)."""

    PASS = "pass"
    LIMIT = "limit"
    DROP = "drop"
    ABSORB = "absorb"


class Outcome(StrEnum):
    """What became of a frame; each frame counts in exactly one (offload.md §2)."""

    PASS = "pass"
    LIMITED_PASS = "limited_pass"
    LIMITED_DROP = "limited_drop"
    DROP = "drop"
    ABSORB = "absorb"


@dataclass(frozen=True, slots=True)
class ReasonInfo:
    """One row of the reason table."""

    reason: Reason
    """The name."""
    host: bool
    """Judged by the host (harp.md §3)."""
    offload: Action | None
    """Default action of the offload (offload.md §2); None: the offload does not judge it."""
    doc: str
    """When it applies, for people."""


_R, _A = Reason, Action

REASONS: tuple[ReasonInfo, ...] = (
    ReasonInfo(_R.BAD_FRAME, False, _A.DROP, "FCS or RX_ER error, or not 64 to 9,216 octets"),
    ReasonInfo(_R.NOT_IPV6, False, _A.PASS, "EtherType is not IPv6, or a third VLAN tag"),
    ReasonInfo(_R.BAD_IPV6, False, _A.PASS, "version is not 6, or Payload Length past the frame"),
    ReasonInfo(_R.CHAIN_TOO_LONG, False, _A.LIMIT, "over 8 extension headers or 256 octets"),
    ReasonInfo(_R.BAD_CHAIN, False, _A.LIMIT, "an extension header past the payload, or a bad AH"),
    ReasonInfo(_R.FRAGMENTED, False, _A.DROP, "a fragment of a Mobility Header"),
    ReasonInfo(_R.NOT_MOBILITY, False, _A.PASS, "no Mobility Header for a local address"),
    ReasonInfo(_R.TRUNCATED, True, _A.DROP, "under 8 octets of MH, or the packet is cut short"),
    ReasonInfo(
        _R.BAD_LENGTH, True, _A.LIMIT, "MH longer than the payload, or below its type's minimum"
    ),
    ReasonInfo(_R.BAD_CHECKSUM, True, _A.DROP, "the MH checksum is wrong (RFC 6275 §6.1.1)"),
    ReasonInfo(
        _R.UNCHECKED, False, _A.LIMIT, "options before the MH that the offload cannot judge"
    ),
    ReasonInfo(_R.UNKNOWN_TYPE, True, _A.LIMIT, "unknown MH Type (RFC 6275 §9.2)"),
    ReasonInfo(_R.BAD_PAYLOAD_PROTO, True, _A.LIMIT, "Payload Proto is not 59 (RFC 6275 §9.2)"),
    ReasonInfo(_R.TYPE_BLOCKED, False, _A.DROP, "the type table blocks this MH Type"),
    ReasonInfo(_R.UNKNOWN_HARP_TYPE, True, _A.DROP, "unknown Type of a HARP message"),
    ReasonInfo(_R.BAD_SEQUENCE, True, _A.DROP, "Sequence # of a HARP message is 0"),
    ReasonInfo(
        _R.BAD_OPTION, True, None, "an option malformed or misplaced, or a mandatory one missing"
    ),
    ReasonInfo(_R.BAD_HOP_LIMIT, True, _A.DROP, "hop limit is not 255 where it is demanded"),
    ReasonInfo(_R.NOT_A_PEER, True, _A.LIMIT, "the source is no configured member of any group"),
    ReasonInfo(
        _R.WRONG_GROUP, True, None, "Group ID not served here, or the source is not its member"
    ),
    ReasonInfo(_R.AUTH, True, _A.DROP, "authentication is missing, unknown or wrong"),
    ReasonInfo(_R.CLOCK, True, None, "timestamp outside the replay window"),
    ReasonInfo(_R.REPLAY, True, _A.DROP, "an old sequence number or timestamp"),
    ReasonInfo(_R.UNEXPECTED, True, None, "fits nothing under way"),
    ReasonInfo(_R.HEARTBEAT, False, _A.ABSORB, "HELLO of a peer in which nothing is new"),
    ReasonInfo(_R.HEARTBEAT_NEWS, False, _A.PASS, "HELLO of a peer with news"),
    ReasonInfo(_R.MOBILITY, False, _A.PASS, "every other valid Mobility Header"),
)
"""In the order of judgement: the first that applies decides (harp.md §3, offload.md §2)."""

OFFLOAD_REASONS: tuple[Reason, ...] = tuple(row.reason for row in REASONS if row.offload)
"""Index = code of the reason in gateware, registers and verdict records."""
DEFAULT_ACTIONS: dict[Reason, Action] = {row.reason: row.offload for row in REASONS if row.offload}
OUTCOMES: tuple[Outcome, ...] = tuple(Outcome)
"""Index = code of the outcome in gateware and registers."""
ACTIONS: tuple[Action, ...] = tuple(Action)
"""Index = code of the action in registers."""
