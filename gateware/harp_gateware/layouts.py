"""Everything that passes between components: words, verdicts, requests, events, register access.

Ref: offload.md §1 (64-bit words), §2 (verdicts), §3 (monitor), §5 (events), §6 (registers)

Octet n of a word is bits 8n to 8n+7, so a field of several octets in network order is read with
its octets swapped (`big_endian`). Addresses keep octet 0 in bits 0 to 7, as the registers do.
Enums carry the codes of `harp.tables`; their members are made from it, never listed again.
"""

from amaranth import Cat, Value
from amaranth.lib import data, enum

from harp.tables.offload import BUCKETS, EVENT_KINDS, PEERS
from harp.tables.reasons import ACTIONS, OFFLOAD_REASONS, OUTCOMES
from harp.tables.register_schema import ADDRESS_BITS, WORD_BITS

ADDRESS = 128
"""An IPv6 address, octet 0 lowest."""
FRAME_OCTETS = 14
"""Bits of a frame's length: up to 9,216 octets, and what is longer saturates."""
PEER_INDEX = (PEERS - 1).bit_length()
BUCKET_INDEX = (BUCKETS + PEERS - 1).bit_length()
TIME_US = 64
DEADLINE_US = 40


class FrameError(enum.Enum, shape=2):
    """How a frame ended, in its last word. Any but GOOD is `bad_frame`."""

    GOOD = 0
    FCS = 1
    """The FCS is wrong."""
    RX_ER = 2
    """The PHY reported an error."""
    OVERRUN = 3
    """Cut short for want of room (between MAC and core)."""


class ReasonCode(enum.Enum, shape=5):
    """`harp.tables.reasons.OFFLOAD_REASONS`."""

    locals().update({reason.name: code for code, reason in enumerate(OFFLOAD_REASONS)})


class ActionCode(enum.Enum, shape=2):
    """`harp.tables.reasons.ACTIONS`."""

    locals().update({action.name: code for code, action in enumerate(ACTIONS)})


class OutcomeCode(enum.Enum, shape=3):
    """`harp.tables.reasons.OUTCOMES`."""

    locals().update({outcome.name: code for code, outcome in enumerate(OUTCOMES)})


class EventCode(enum.Enum, shape=4):
    """`harp.tables.offload.EVENT_KINDS`."""

    locals().update({kind.name: code for code, kind in enumerate(EVENT_KINDS)})


WORD = data.StructLayout(
    {
        "data": 64,
        "octets": 4,  # valid octets, 1 to 8; below 8 only in the last word
        "first": 1,
        "last": 1,
        "error": FrameError,  # in the last word; GOOD before
        "append_fcs": 1,  # to a MAC only, in every word: it computes and appends the FCS
    }
)
"""Eight octets of a frame from destination address to FCS. A frame has at least one word."""

VLAN = data.StructLayout({"id": 12, "tags": 2})
"""Inner VLAN ID (0: untagged) and how many tags, 0 to 2."""

L3_WORD = data.StructLayout({"data": 64, "octets": 4, "first": 1, "last": 1, "error": FrameError})
"""A frame from its version octet on, so that IPv6 headers are whole words. The FCS is cut off."""

FRAME_META = data.StructLayout(
    {
        "not_ipv6": 1,  # EtherType below 0x600 or not 0x86DD, or a third tag
        "vlan": VLAN,
        "octets": FRAME_OCTETS,  # destination address to FCS
        "bad": 1,  # MAC error, runt or oversize
        "error": FrameError,
    }
)
"""Of the frame as a whole. `not_ipv6` and `vlan` hold from its first L3 word, the rest at last."""

MH_WORD = data.StructLayout({"data": 64, "first": 1, "last": 1})
"""A whole Mobility Header, 8 octets a word, (Header Len + 1) words if the frame is good."""

PEER_RESPONSE = data.StructLayout({"hit": 1, "index": PEER_INDEX, "known": 1})
"""Lowest entry whose whole key matches; `known`: the address alone is in the table, else HARP from
it is `not_a_peer`."""

HELLO_REQUEST = data.StructLayout(
    {
        "peer": PEER_INDEX,
        "multicast": 1,  # the IPv6 destination is multicast
        "sequence": 16,
        "reply": 1,  # flag R
        "lifetime_zero": 1,
    }
)
"""A HELLO that is good in all that comes before the peer's state, after its MH has passed."""


class HelloVerdict(enum.Enum, shape=2):
    """What the monitor finds in a HELLO."""

    HEARTBEAT = 0
    """Nothing new: may be absorbed."""
    HEARTBEAT_PASS = 1
    """Nothing new, but this one passes: one in `pass_every`, or the peer is `seen`."""
    NEWS = 2
    REPLAY = 3


HELLO_RESPONSE = data.StructLayout({"verdict": HelloVerdict})

HELLO_COMMIT = data.StructLayout({"store": 1, "absorbed": 1, "counted": 1})
"""Ends a HELLO. `store`: it was not dropped by its bucket, so its MH becomes the stored one.
`absorbed`: its outcome is `absorb`. `counted`: that, or it passed as the `pass_every`-th; not on a
plain wire, and only if the action is `absorb`."""

VERDICT = data.StructLayout(
    {
        "reason": ReasonCode,
        "outcome": OutcomeCode,
        "forward": 1,  # PASS or LIMITED_PASS
        "octets": FRAME_OCTETS,
        "error": FrameError,
    }
)
"""The one record of each frame."""

EVENT = data.StructLayout({"kind": EventCode, "index": 5})
"""Something happened now."""

EVENT_PUSH = data.StructLayout({"kind": EventCode, "index": 5, "first_us": TIME_US, "count": 16})
"""A pending event on its way to the serial link."""

REGISTER_REQUEST = data.StructLayout(
    {
        "address": ADDRESS_BITS,  # in words
        "write": 1,
        "data": WORD_BITS,
        "first": 1,  # first word of a request of the link: samples are taken anew
    }
)
REGISTER_RESPONSE = data.StructLayout({"data": WORD_BITS, "error": 1})
"""One for each request, in order. `error`: no such word; data 0, nothing written."""

RAM_REQUEST = data.StructLayout({"address": ADDRESS_BITS, "write": 1, "data": 4 * WORD_BITS})
"""Access of the host to a RAM area: a whole unit, that is a field wider than a word, or else one
word. `address` is that of the unit's first word in the register map. A unit of more than two words
is read word by word."""
RAM_RESPONSE = data.StructLayout({"data": 2 * WORD_BITS})
"""One for each request, for a write too. Bits past the unit, or past the word read alone, are 0."""

PORT_STATE = data.StructLayout(
    {
        "link": 1,
        "full_duplex": 1,
        "speed": 2,
        "unsupported_speed": 1,
        "no_clock": 1,
        "unknown_phy": 1,
    }
)
"""From the MAC; the fields of register `port_state`."""


def big_endian(value: Value) -> Value:
    """`value`, whole octets with the first one lowest, as a number in network order."""
    value = Value.cast(value)
    return Cat(*(value.word_select(n, 8) for n in reversed(range(len(value) // 8))))
