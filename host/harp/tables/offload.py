"""What the offload and its host share beside the registers: limits, events, flags, capabilities.

Ref: offload.md §1 (sizes), §2 (limits of the walk), §3 (monitor), §4 (slots), §5 (events)
"""

from dataclasses import dataclass
from enum import IntEnum, IntFlag, StrEnum

from harp.tables.reasons import DEFAULT_ACTIONS, Action, Reason

MIN_FRAME_OCTETS = 64
"""Shortest good frame, destination address to FCS."""
MAX_FRAME_OCTETS = 9216
"""Longest good frame, destination address to FCS (offload.md §1)."""
FCS_OCTETS = 4
MAX_VLAN_TAGS = 2
MAX_EXTENSION_HEADERS = 8
"""More before the Mobility Header: `chain_too_long` (offload.md §2)."""
MAX_EXTENSION_OCTETS = 256
"""More octets of extension headers: `chain_too_long` (offload.md §2)."""
STORED_MH_OCTETS = 96
"""Octets of a peer's last accepted HELLO that the monitor keeps (offload.md §3)."""
PASS_EVERY = 64
"""Of the heartbeats with nothing new one in this many passes to the host (offload.md §2)."""
SEQUENCE_WINDOW = 64
"""Smallest step forward that a HELLO's Sequence # may make (offload.md §3)."""
EVENT_LATENESS_US = 2
"""Longest time from a peer's deadline to its `peer_down` (offload.md §3)."""

PEERS = 32
SLOTS = 8
LOCAL_ADDRESSES = 16
FENCE_ADDRESSES = 8
BUCKETS = 8
"""Shared token buckets; bucket BUCKETS + n is that of peer n."""
TEMPLATE_OCTETS = 256
"""Longest frame of a slot, destination address to the octet before the FCS (offload.md §4)."""
MIN_PERIOD_US = 100
MAX_JITTER_PERCENT = 10
SLOT_SHARE_PERCENT = 2
"""Share of the line that slots may take (offload.md §4)."""
RESIGN_REPEATS = 3
RESIGN_SPACING_US = 1000
MAX_LEASE_MS = 200
LEASE_ROUND_TRIPS = 5
"""A lease shorter than this many measured round trips is refused (offload.md, the lease)."""
MAX_FLOOD_EVENTS_PER_SECOND = 10
"""Ceiling for each of `replay` and `flood` (offload.md §5)."""


class Capability(IntFlag):
    """Bits of `capabilities.flags`: what this build can do."""

    HMAC = 1 << 0
    """Authenticated HELLOs are judged and signed in hardware (offload.md §3)."""
    MONITOR_ONLY = 1 << 1
    """One Ethernet port: verdicts, events and slots; no drop action, no fence."""


class PeerMode(IntEnum):
    """What counts as a peer's sign of life (harp.md §7, `offload.liveness`)."""

    VERIFIED = 0
    SEEN = 1
    """Authentication is not judged, Lifetime 0 is news only, nothing is absorbed."""


class PeerState(IntEnum):
    """Liveness of a peer as the monitor sees it (offload.md §3)."""

    UNKNOWN = 0
    """Nothing heard and no deadline armed since the entry was written."""
    UP = 1
    LATE = 2
    DOWN = 3
    LEFT = 4


class SlotFlag(IntFlag):
    """Bits of `slot.flags` (offload.md §4)."""

    ENABLE = 1 << 0
    """The slot runs (a HELLO or announcement slot) or is ready to (a resign slot)."""
    RESIGN = 1 << 1
    """Silent until the watchdog fires; then sent RESIGN_REPEATS times."""
    SEQUENCE = 1 << 2
    """Sequence # (MH octets 8–9) is the slot's counter, 0 in the template."""
    CHECKSUM = 1 << 3
    """The MH checksum of the template, computed with Sequence # 0, is updated (RFC 1624)."""
    AUTHENTICATE = 1 << 4
    """Timestamp and tag are filled in; needs `Capability.HMAC`, else the slot does not run."""


class WatchdogAction(IntEnum):
    """What an armed watchdog does when it fires (offload.md §4)."""

    RESIGN_FENCE = 0
    EVENT = 1


class EventKind(StrEnum):
    """Kinds of event, in falling priority; the position is the code (offload.md §5)."""

    WATCHDOG_FIRED = "watchdog_fired"
    FENCED = "fenced"
    LINK = "link"
    PEER_DOWN = "peer_down"
    PEER_LEFT = "peer_left"
    PEER_UP = "peer_up"
    PEER_NEWS = "peer_news"
    PEER_LATE = "peer_late"
    LEASE_LOST = "lease_lost"
    REPLAY = "replay"
    FLOOD = "flood"
    RESET = "reset"


EVENT_KINDS: tuple[EventKind, ...] = tuple(EventKind)
"""Index = code of the kind in gateware, registers and on the serial link."""
EVENT_STRIDE = 32
"""Event id = code of the kind × EVENT_STRIDE + index."""
FLOOD_PEERS_INDEX = BUCKETS
"""`flood` index of the peers' own buckets together; below it the index is the bucket's."""

EVENT_INDEXES: dict[EventKind, int] = {
    EventKind.WATCHDOG_FIRED: 1,
    EventKind.FENCED: 1,
    EventKind.LINK: 2,
    EventKind.PEER_DOWN: PEERS,
    EventKind.PEER_LEFT: PEERS,
    EventKind.PEER_UP: PEERS,
    EventKind.PEER_NEWS: PEERS,
    EventKind.PEER_LATE: PEERS,
    EventKind.LEASE_LOST: 1,
    EventKind.REPLAY: PEERS,
    EventKind.FLOOD: BUCKETS + 1,
    EventKind.RESET: 1,
}
"""How many indexes a kind has: ports (0 network, 1 host), peers, buckets, or one."""


@dataclass(frozen=True, slots=True)
class Bucket:
    """A token bucket as the gateware keeps it (generic cell rate algorithm, ITU-T I.371).

    A frame conforms if `now + tolerance_us >= due`; then `due = max(now, due) + period_us`.
    """

    period_us: int
    """µs a token; 0: no limit."""
    tolerance_us: int
    """(burst − 1) × period."""

    @classmethod
    def of(cls, rate: float, burst: int) -> "Bucket":
        """A bucket of `rate` frames a second that lets `burst` through at once."""
        period = round(1_000_000 / rate)
        return cls(period, (burst - 1) * period)


UNLIMITED = Bucket(0, 0)
PEER_BUCKET = Bucket.of(rate=10, burst=4)
"""Of `heartbeat_news`, for each peer (offload.md §2)."""
MALFORMED_BUCKET, UNKNOWN_TYPE_BUCKET, STRANGER_BUCKET, HEARTBEAT_BUCKET = range(4)
DEFAULT_BUCKETS: tuple[Bucket, ...] = (
    Bucket.of(rate=100, burst=16),
    Bucket.of(rate=10, burst=10),
    Bucket.of(rate=10, burst=10),
    Bucket.of(rate=100, burst=16),
    *(UNLIMITED,) * 4,
)
"""After reset: malformed MH, unknown types (the host answers each), strangers, RFC 5847."""

DEFAULT_REASON_BUCKETS: dict[Reason, int] = {
    Reason.UNKNOWN_TYPE: UNKNOWN_TYPE_BUCKET,
    Reason.NOT_A_PEER: STRANGER_BUCKET,
} | {
    reason: MALFORMED_BUCKET
    for reason, action in DEFAULT_ACTIONS.items()
    if action is Action.LIMIT and reason not in (Reason.UNKNOWN_TYPE, Reason.NOT_A_PEER)
}
"""Bucket of each reason whose default action is `limit`."""

EVENT_REPEAT_US = 20_000
"""An event that is not acknowledged is pushed again after this long."""
