"""The model's own list of constants, typed in from the specification.

Nothing here is taken from `harp.tables`, which gateware and host share: a wrong number there would
otherwise pass everywhere. A test compares the two lists.

Ref: offload.md §1-§5, harp.md §2 and §2.3, RFC 8200 §4, RFC 6275 §6, RFC 4302 §2, RFC 4861 §4.4
"""

from harp.tables.reasons import Action, Outcome, Reason

# -- Ethernet (offload.md §1): lengths count the frame from destination address to FCS.
FCS_OCTETS = 4
MIN_FRAME_OCTETS = 64
MAX_FRAME_OCTETS = 9216
ETHERTYPE_OFFSET = 12
ETHERTYPE_IPV6 = 0x86DD
ETHERTYPE_CTAG = 0x8100
ETHERTYPE_STAG = 0x88A8
VLAN_TAGS_MAX = 2
VLAN_ID_MASK = 0x0FFF

# -- IPv6 and its extension headers (RFC 8200 §3 and §4, RFC 4302 §2).
IPV6_VERSION = 6
IPV6_HEADER_OCTETS = 40
NEXT_HOP_BY_HOP = 0
NEXT_ROUTING = 43
NEXT_FRAGMENT = 44
NEXT_ESP = 50
NEXT_AH = 51
NEXT_ICMPV6 = 58
NEXT_NONE = 59
NEXT_DESTINATION = 60
NEXT_MOBILITY = 135
CHAIN_HEADERS_MAX = 8
CHAIN_OCTETS_MAX = 256
MULTICAST_OCTET = 0xFF
ICMPV6_NEIGHBOR_ADVERTISEMENT = 136
LOCAL_ENTRIES = 16

# -- The two recognised layouts (RFC 6275 §6.3 and §6.4, offload.md §2).
OPTION_PAD1 = 0
OPTION_PADN = 1
OPTION_HOME_ADDRESS = 201
HOME_ADDRESS_HEADER_LEN = 2
ROUTING_TYPE_2 = 2
ROUTING_TYPE_2_HEADER_LEN = 2

# -- Mobility Header (RFC 6275 §6.1.1) and HARP (harp.md §2.1).
MH_MIN_OCTETS = 8
PAYLOAD_PROTO_NONE = 59
MH_TYPE_HARP = 11
MH_MIN_HEADER_LEN = {0: 0, 1: 1, 2: 1, 3: 2, 4: 2, 5: 1, 6: 1, 7: 2, 11: 2, 12: 0, 13: 1}
MH_TYPE_HEARTBEAT = 13
HARP_TYPE_MAX = 9
HARP_HELLO = 0
FLAG_ACTIVE = 0x80
FLAG_REPLY = 0x40
HOP_LIMIT = 255

# -- Authentication at the end of a HELLO (harp.md §2.3, RFC 4285).
OPTION_AUTHENTICATION = 9
OPTION_AUTHENTICATION_OCTETS = 21
AUTHENTICATION_HA_HA = 241
AUTHENTICATION_TAG_OCTETS = 16
OPTION_TIMESTAMP = 10
OPTION_TIMESTAMP_OCTETS = 8

# -- Verdicts (offload.md §2), in the order of judgement.
DEFAULT_ACTION = {
    Reason.BAD_FRAME: Action.DROP,
    Reason.NOT_IPV6: Action.PASS,
    Reason.BAD_IPV6: Action.PASS,
    Reason.CHAIN_TOO_LONG: Action.LIMIT,
    Reason.BAD_CHAIN: Action.LIMIT,
    Reason.FRAGMENTED: Action.DROP,
    Reason.NOT_MOBILITY: Action.PASS,
    Reason.TRUNCATED: Action.DROP,
    Reason.BAD_LENGTH: Action.LIMIT,
    Reason.BAD_CHECKSUM: Action.DROP,
    Reason.UNCHECKED: Action.LIMIT,
    Reason.UNKNOWN_TYPE: Action.LIMIT,
    Reason.BAD_PAYLOAD_PROTO: Action.LIMIT,
    Reason.TYPE_BLOCKED: Action.DROP,
    Reason.UNKNOWN_HARP_TYPE: Action.DROP,
    Reason.BAD_SEQUENCE: Action.DROP,
    Reason.BAD_HOP_LIMIT: Action.DROP,
    Reason.NOT_A_PEER: Action.LIMIT,
    Reason.AUTH: Action.DROP,
    Reason.REPLAY: Action.DROP,
    Reason.HEARTBEAT: Action.ABSORB,
    Reason.HEARTBEAT_NEWS: Action.PASS,
    Reason.MOBILITY: Action.PASS,
}
OUTCOME_ORDER = (
    Outcome.PASS,
    Outcome.LIMITED_PASS,
    Outcome.LIMITED_DROP,
    Outcome.DROP,
    Outcome.ABSORB,
)
BUCKETS = 8
# Not in the specification but agreed with the register map: which shared bucket a limited reason
# asks by default, and the (rate a second, burst) of the first four; the others are unlimited.
DEFAULT_BUCKET = {
    Reason.CHAIN_TOO_LONG: 0,
    Reason.BAD_CHAIN: 0,
    Reason.BAD_LENGTH: 0,
    Reason.UNCHECKED: 0,
    Reason.BAD_PAYLOAD_PROTO: 0,
    Reason.UNKNOWN_TYPE: 1,
    Reason.NOT_A_PEER: 2,
}
HEARTBEAT_BUCKET = 3
DEFAULT_RATES = ((100, 16), (10, 10), (10, 10), (100, 16))
COUNTER_BITS = 48
PASS_EVERY = 64

# -- Heartbeat monitor (offload.md §3).
PEERS = 32
KEPT_OCTETS = 96
DEADLINE_BITS = 40
DEADLINE_SLACK_US = 2
SEQUENCE_WINDOW = 64
NEWS_PER_SECOND = 10
NEWS_BURST = 4

# -- Slots, lease and fence (offload.md introduction and §4).
SLOTS = 8
TEMPLATE_OCTETS_MAX = 256
PERIOD_MIN_US = 100
JITTER_PERCENT_MAX = 10
SLOT_LINE_PERCENT = 2
RESIGN_TIMES = 3
RESIGN_SPACING_US = 1000
RESIGN_LATENCY_US = 1
LEASE_MS_MAX = 200
HOST_LINK_GRACE_US = 1_000_000  # after reset; agreed with the register map
FENCE_ENTRIES = 8  # agreed with the register map

# -- Events (offload.md §5), by priority.
EVENT_ORDER = (
    "watchdog_fired",
    "fenced",
    "link",
    "peer_down",
    "peer_left",
    "peer_up",
    "peer_news",
    "peer_late",
    "lease_lost",
    "replay",
    "flood",
    "reset",
)
EVENT_COUNT_MAX = 65_535  # agreed with the register map
FLOOD_PEERS_INDEX = 8  # of the peers' own buckets together; agreed with the register map
LIMITED_EVENTS = ("replay", "flood")
LIMITED_EVENTS_PER_SECOND = 10
US_PER_SECOND = 1_000_000
