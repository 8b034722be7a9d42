"""What the host writes to the offload: one frozen configuration with its after-reset values.

A value that the hardware cannot hold is refused here with `ValueError` naming it, so that the
other modules never meet one. Addresses are 16 octets, times are whole microseconds unless the
name says otherwise.

Ref: offload.md §1-§4
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from harp.tables.reasons import Action, Reason
from harp_sim.model import golden


class Port(StrEnum):
    """The two sides of the bump in the wire."""

    NETWORK = "network"
    HOST = "host"


class Mode(StrEnum):
    """How a peer's HELLOs count (harp.md §7)."""

    VERIFIED = "verified"
    SEEN = "seen"


class WatchdogAction(StrEnum):
    """What follows `watchdog_fired` (offload.md §4)."""

    RESIGN_FENCE = "resign_fence"
    EVENT = "event"


def require(true: bool, message: str) -> None:
    """Raise `ValueError(message)` unless `true`."""
    if not true:
        raise ValueError(message)


@dataclass(frozen=True, slots=True)
class Bucket:
    """A token bucket's settings; the rule is in `harp_sim.model.buckets`."""

    period_us: int = 0
    """Microseconds in which one token grows; 0: no limit."""
    tolerance_us: int = 0
    """(burst - 1) x period: how far ahead of its rate a burst may be."""

    def __post_init__(self) -> None:
        require(0 <= self.period_us < 1 << 32, f"period_us {self.period_us}: 32 bits")
        require(0 <= self.tolerance_us < 1 << 32, f"tolerance_us {self.tolerance_us}: 32 bits")

    @classmethod
    def of(cls, per_second: int, burst: int) -> "Bucket":
        """A bucket of `per_second` frames a second, `burst` of them at once."""
        period = golden.US_PER_SECOND // per_second
        return cls(period, (burst - 1) * period)


@dataclass(frozen=True, slots=True)
class Rule:
    """What happens to the frames of one reason."""

    action: Action
    bucket: int = 0
    """Bucket asked when the action is `limit`."""

    def __post_init__(self) -> None:
        require(0 <= self.bucket < golden.BUCKETS, f"bucket {self.bucket}: there are 8")


@dataclass(frozen=True, slots=True)
class TypeEntry:
    """One MH Type that the offload knows."""

    min_header_len: int
    """Least Header Len, in units of 8 octets without the first 8."""
    allowed: bool = True
    bucket: int | None = None
    """Bucket of this class when a valid one is `mobility`; None: it passes unlimited."""

    def __post_init__(self) -> None:
        require(0 <= self.min_header_len <= 255, f"min_header_len {self.min_header_len}")
        require(self.bucket is None or 0 <= self.bucket < golden.BUCKETS, f"bucket {self.bucket}")


@dataclass(frozen=True, slots=True)
class Peer:
    """One entry of the peer table; its key is (source, group, vlan)."""

    source: bytes
    group: int
    vlan: int | None = None
    """VLAN ID of the innermost tag, 0 = untagged; None: any."""
    mode: Mode = Mode.VERIFIED
    deadline_us: int = 0
    """`peer_down` this long after the last accepted HELLO; 0: no deadline."""
    late_us: int = 0
    """`peer_late` this long after it; 0: never."""
    multiplier: int = 3
    """Sets the window of Sequence #: max(64, 2 x multiplier)."""
    authenticated: bool = False
    """Its HELLOs need the HA-HA option. Without HMAC in hardware a verified peer's HELLOs then go
    to the host as `mobility` and the monitor leaves the peer alone."""

    def __post_init__(self) -> None:
        require(len(self.source) == 16, "peer source: 16 octets")
        require(0 <= self.group <= 255, f"group {self.group}: 8 bits")
        require(self.vlan is None or 0 <= self.vlan <= golden.VLAN_ID_MASK, f"vlan {self.vlan}")
        require(0 <= self.deadline_us < 1 << golden.DEADLINE_BITS, "deadline_us: 40 bits")
        late_fits = self.late_us == 0 or 0 < self.late_us < self.deadline_us
        require(late_fits, f"late_us {self.late_us}: 0 or below deadline_us {self.deadline_us}")
        require(0 <= self.multiplier <= 255, f"multiplier {self.multiplier}: 8 bits")

    @property
    def window(self) -> int:
        """Greatest accepted step of the Sequence # (offload.md §3)."""
        return max(golden.SEQUENCE_WINDOW, 2 * self.multiplier)


@dataclass(frozen=True, slots=True)
class Fenced:
    """Targets for which a fenced host may send no Neighbor Advertisement."""

    address: bytes
    prefix_len: int = 128
    own: bool = False
    """It may, whatever entries behind this one say."""

    def __post_init__(self) -> None:
        require(len(self.address) == 16, "fence address: 16 octets")
        require(1 <= self.prefix_len <= 128, f"prefix_len {self.prefix_len}: 1 to 128")

    def covers(self, target: bytes) -> bool:
        """Whether the first `prefix_len` bits of `target` are the entry's; it is used at all."""
        differing = int.from_bytes(target, "big") ^ int.from_bytes(self.address, "big")
        return self.address[0] != 0 and differing >> (128 - self.prefix_len) == 0


@dataclass(frozen=True, slots=True)
class Slot:
    """One frame that the hardware sends by itself."""

    template: bytes
    """The frame without FCS, at most 256 octets. Where the checksum is patched it stands in the
    template as it is right for Sequence # 0."""
    period_us: int = 0
    """Time between two sendings; unused in a resign slot."""
    resign: bool = False
    """Sent by the watchdog only, never periodically."""
    mh_offset: int = 54
    """First octet of the Mobility Header in the template: octet 2 or 6 of a 64-bit word."""
    patch_sequence: bool = True
    patch_checksum: bool = True
    jitter_percent: int = 0
    """The time between two sendings is shortened by 0 to this share of the period."""
    sequence_slot: int | None = None
    """Slot whose Sequence # this one continues (a resign continues its group's HELLO slot);
    None: its own."""

    def __post_init__(self) -> None:
        octets = len(self.template)
        require(octets <= golden.TEMPLATE_OCTETS_MAX, f"template of {octets} octets: at most 256")
        least = 0 if self.resign else golden.PERIOD_MIN_US
        require(self.period_us >= least, f"period_us {self.period_us}: at least 100")
        percent = self.jitter_percent
        require(0 <= percent <= golden.JITTER_PERCENT_MAX, f"jitter {percent} %: 0 to 10")
        patched = self.patch_sequence or self.patch_checksum
        require(not patched or self.mh_offset + 10 <= octets, "a patch behind the template")
        require(self.mh_offset % 4 == 2, f"mh_offset {self.mh_offset}: 2 or 6 modulo 8")
        shared = self.sequence_slot
        require(shared is None or 0 <= shared < golden.SLOTS, f"sequence_slot {shared}")


def default_rules() -> dict[Reason, Rule]:
    """Each reason with the default action of offload.md §2 and the map's default bucket."""
    return {
        reason: Rule(action, golden.DEFAULT_BUCKET.get(reason, 0))
        for reason, action in golden.DEFAULT_ACTION.items()
    }


def default_types() -> dict[int, TypeEntry]:
    """The MH Types of harp.md §2.3; RFC 5847 Heartbeats are limited (offload.md §3)."""
    heartbeat = {golden.MH_TYPE_HEARTBEAT: golden.HEARTBEAT_BUCKET}
    return {
        mh_type: TypeEntry(least, bucket=heartbeat.get(mh_type))
        for mh_type, least in golden.MH_MIN_HEADER_LEN.items()
    }


def _all_empty_peers() -> tuple[Peer | None, ...]:
    return (None,) * golden.PEERS


def _all_empty_slots() -> tuple[Slot | None, ...]:
    return (None,) * golden.SLOTS


def _reset_buckets() -> tuple[Bucket, ...]:
    shared = tuple(Bucket.of(rate, burst) for rate, burst in golden.DEFAULT_RATES)
    unlimited = (Bucket(),) * (golden.BUCKETS - len(shared))
    news = (Bucket.of(golden.NEWS_PER_SECOND, golden.NEWS_BURST),) * golden.PEERS
    return (*shared, *unlimited, *news)


@dataclass(frozen=True, slots=True)
class Config:
    """Everything the host can set, as it is after reset: a plain wire both ways."""

    ports: int = 2
    """1: a monitor; it judges and counts as if it acted, forwards nothing and has no fence."""
    hmac: bool = False
    """Capability: HMAC-SHA-256-128 in hardware; this model has none."""
    filter_enable: bool = False
    """False: verdicts are counted, every frame passes."""
    peers_complete: bool = False
    """True: `not_a_peer` is dropped."""
    demand_hop_limit: bool = True
    """HARP must have hop limit 255 (RFC 5082)."""
    pass_every: int = golden.PASS_EVERY
    """Of so many `heartbeat` frames of a peer that would be absorbed one passes; 0: none."""
    harp_type: int = golden.MH_TYPE_HARP
    """MH Type of HARP messages."""
    harp_types: int = (1 << (golden.HARP_TYPE_MAX + 1)) - 1
    """Bit n: HARP Type n is known; from 32 on none is."""
    auth_subtype: int = golden.AUTHENTICATION_HA_HA
    """Subtype of the HA-HA authentication option."""
    rules: Mapping[Reason, Rule] = field(default_factory=default_rules)
    """`absorb` elsewhere than at `heartbeat` passes; `bad_frame` is always dropped."""
    types: Mapping[int, TypeEntry] = field(default_factory=default_types)
    local: tuple[bytes, ...] = ()
    """Local addresses; empty: all are."""
    peers: tuple[Peer | None, ...] = field(default_factory=_all_empty_peers)
    buckets: tuple[Bucket, ...] = field(default_factory=_reset_buckets)
    """The eight shared ones, then one a peer for its news."""
    lease_ms: int = golden.LEASE_MS_MAX
    """Length of the lease; above 200 counts as 200."""
    watchdog_armed: bool = False
    watchdog_action: WatchdogAction = WatchdogAction.RESIGN_FENCE
    host_link_grace_us: int = golden.HOST_LINK_GRACE_US
    """How long the host port may be down before an armed watchdog fires."""
    link_mirror: bool = True
    fence: tuple[Fenced, ...] = ()
    slots: tuple[Slot | None, ...] = field(default_factory=_all_empty_slots)
    """None: empty or not enabled."""

    def __post_init__(self) -> None:
        require(self.ports in (1, 2), f"ports {self.ports}: 1 or 2")
        fences = self.watchdog_armed and self.watchdog_action is WatchdogAction.RESIGN_FENCE
        require(self.ports == 2 or not fences, "watchdog_action: a monitor has no fence")
        require(self.ports == 2 or not self.fence, "fence: a monitor has no fence")
        require(not self.hmac, "hmac: not modelled")
        require(0 <= self.pass_every <= 255, f"pass_every {self.pass_every}: 8 bits")
        require(0 <= self.lease_ms <= 255, f"lease_ms {self.lease_ms}: 8 bits")
        require(self.host_link_grace_us >= 0, "host_link_grace_us: negative")
        require(set(self.rules) == set(golden.DEFAULT_ACTION), "rules: one for each reason")
        require(all(0 <= mh_type <= 255 for mh_type in self.types), "types: 0 to 255")
        require(len(self.peers) == golden.PEERS, f"peers: {golden.PEERS} entries")
        buckets = golden.BUCKETS + golden.PEERS
        require(len(self.buckets) == buckets, f"buckets: {buckets} entries")
        require(len(self.slots) == golden.SLOTS, f"slots: {golden.SLOTS} entries")
        require(len(self.local) <= golden.LOCAL_ENTRIES, "local: at most 16 addresses")
        require(all(len(address) == 16 for address in self.local), "local: 16 octets each")
        require(len(self.fence) <= golden.FENCE_ENTRIES, "fence: at most 8 entries")
