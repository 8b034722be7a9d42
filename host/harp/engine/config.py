"""What a group is told before it starts: members, links, timers, protection.

Ref: harp.md §2.3 (Configuration option), §4 to §9, §8 (constants)

All frozen; every time is µs unless its name ends in `_s`. What cannot work raises ValueError naming
the field, the value and what to write instead. The edge (`harp.daemon`) parses text; nothing here
reads a file.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from enum import Enum, StrEnum

from harp.tables import constants as c
from harp.tables.codepoints import DEFAULT_CODE_POINTS, CodePoints
from harp.tables.options import MIN_KEY_OCTETS, MIN_SPI

ADDRESS_OCTETS = 16
UNSPECIFIED = bytes(ADDRESS_OCTETS)
"""The address `::`."""


class SwitchMode(StrEnum):
    """How mobile nodes get from one home agent to the other (harp.md §1)."""

    VIRTUAL = "virtual"
    """All members share one virtual home agent address."""
    HARD = "hard"
    """Every member has its own; mobile nodes are told to move."""


class Security(StrEnum):
    """How HARP messages of a group are protected (harp.md §7)."""

    IPSEC = "ipsec"
    """Outside the engine: ESP. A HELLO that ESP cannot protect carries a key, if one is given."""
    PSK = "psk"
    """Every message carries the HA-HA option."""
    NONE = "none"
    """Nothing; wants `insecure` beside it."""


class AuthMode(StrEnum):
    """What is judged when a group has keys (harp.md §7)."""

    SIGN = "sign"
    """Signs, judges nothing."""
    PERMISSIVE = "permissive"
    """An absent or unknown SPI is accepted and counted; a wrong MAC is refused."""
    ENFORCE = "enforce"
    """Everything must be right."""


class Durability(StrEnum):
    """When Success is answered to a Binding Update (harp.md §6)."""

    STANDBY = "standby"
    """After one synchronised standby has it."""
    LOCAL = "local"
    """At once."""


class DetectionSource(Enum):
    """Who watches a peer (harp.md §4). Roles cannot tell them apart."""

    SOFTWARE = "software"
    """The engine's own timers."""
    OFFLOAD = "offload"
    """The FPGA (offload.md §3)."""
    BFD = "bfd"
    """FRR's bfdd."""
    VRRP = "vrrp"
    """keepalived."""


def _require(ok: bool, name: str, value: object, want: str) -> None:
    if not ok:
        raise ValueError(f"{name} = {value!r}: {want}")


@dataclass(frozen=True, slots=True)
class Prefix:
    """An IPv6 prefix."""

    address: bytes
    """16 octets; bits past the length are zero."""
    length: int
    """0 to 128 bits."""

    def __post_init__(self) -> None:
        _require(len(self.address) == ADDRESS_OCTETS, "prefix.address", self.address, "16 octets")
        _require(0 <= self.length <= 128, "prefix.length", self.length, "0 to 128 bits")
        host_bits = 128 - self.length
        value = int.from_bytes(self.address)
        _require(
            value == value >> host_bits << host_bits,
            "prefix.address",
            self.address,
            f"bits past /{self.length} must be zero",
        )

    def contains(self, address: bytes) -> bool:
        """Whether an address lies in the prefix."""
        shift = 128 - self.length
        return int.from_bytes(address) >> shift == int.from_bytes(self.address) >> shift


@dataclass(frozen=True, slots=True)
class LinkConfig:
    """One link between the members."""

    name: str
    """Name of the interface."""
    multicast: bool = True
    """HELLOs are multicast here; else one unicast to each member (harp.md §4)."""
    slots: bool = False
    """An offload may send our multicast HELLOs here: it wants `HelloTemplate` (offload.md §4)."""

    def __post_init__(self) -> None:
        _require(bool(self.name), "link.name", self.name, "give the interface's name")


@dataclass(frozen=True, slots=True)
class MemberConfig:
    """One member of a group (harp.md §1)."""

    name: str
    """For people."""
    addresses: tuple[bytes, ...]
    """One a link, in the order of the group's links; the first is the member's identity."""
    witness: bool = False
    """Speaks HELLO with preference 0, never serves (harp.md §5)."""

    def __post_init__(self) -> None:
        _require(bool(self.addresses), "member.addresses", self.addresses, "one address a link")
        for address in self.addresses:
            _require(
                len(address) == ADDRESS_OCTETS and address != UNSPECIFIED and address[0] != 0xFF,
                f"member {self.name}: address",
                address,
                "16 octets of a unicast address",
            )

    @property
    def identity(self) -> bytes:
        """The first address: what the engine calls this member by."""
        return self.addresses[0]


@dataclass(frozen=True, slots=True)
class Key:
    """A key of the HA-HA authentication (harp.md §2.3)."""

    spi: int
    """Security Parameter Index, 32 bits, at least 256."""
    key: bytes = field(repr=False)
    """At least 16 octets."""

    def __post_init__(self) -> None:
        _require(MIN_SPI <= self.spi < 1 << 32, "key.spi", self.spi, f"{MIN_SPI} to 4294967295")
        if len(self.key) < MIN_KEY_OCTETS:  # the key itself never stands in a message
            raise ValueError(f"key of SPI {self.spi}: at least {MIN_KEY_OCTETS} octets")


@dataclass(frozen=True, slots=True)
class Protection:
    """Protection of one group (harp.md §7)."""

    security: Security = Security.IPSEC
    """What protects HARP messages."""
    insecure: bool = False
    """Written beside `Security.NONE` by who means it."""
    auth: AuthMode = AuthMode.ENFORCE
    """How strictly keys are judged."""
    keys: tuple[Key, ...] = ()
    """All that are accepted; the first signs unless `signing_spi` names another."""
    signing_spi: int | None = None
    """SPI of the key that signs."""
    replay_window_us: int = c.REPLAY_WINDOW_US
    """Timestamps further from the own clock are `clock`, µs."""

    def __post_init__(self) -> None:
        if self.security is Security.NONE and not self.insecure:
            raise ValueError('security = "none" wants insecure = true beside it (harp.md §7)')
        if self.security is Security.PSK and not self.keys:
            raise ValueError('security = "psk" wants at least one key')
        spis = [key.spi for key in self.keys]
        _require(len(set(spis)) == len(spis), "keys", spis, "each SPI once")
        if self.signing_spi is not None:
            _require(self.signing_spi in spis, "signing_spi", self.signing_spi, f"one of {spis}")
        _require(self.replay_window_us > 0, "replay_window_us", self.replay_window_us, "above 0 µs")

    @property
    def signing_key(self) -> Key | None:
        """The key that signs; None: nothing is signed."""
        if not self.keys:
            return None
        wanted = self.keys[0].spi if self.signing_spi is None else self.signing_spi
        return next(key for key in self.keys if key.spi == wanted)


@dataclass(frozen=True, slots=True)
class HomeAgentConfig:
    """The home agent of one group (harp.md §10)."""

    max_lifetime_s: int = 3600
    """Cap on granted binding lifetimes, seconds; a multiple of 4, at most 262,140."""
    min_refresh_s: int = 0
    """Refresh advice given with Binding Acknowledgements, seconds; 0: none."""
    dad: bool = True
    """DAD before the first registration of a home address (RFC 6275 §10.3.1)."""
    dad_timeout_us: int = 2 * c.US_PER_S
    """Longest wait for the result of DAD, µs."""
    mobile_prefixes: tuple[tuple[bytes, tuple[Prefix, ...]], ...] = ()
    """NEMO: home address, prefixes it may register (RFC 3963 §6)."""
    mn_keys: tuple[tuple[bytes, Key], ...] = ()
    """RFC 4285 MN-HA keys by home address."""
    mn_auth: bool = False
    """Demand the MN-HA option (RFC 4285); else MN-HA protection is ESP, outside the engine."""
    mn_timestamps: bool = False
    """Demand timestamps beside the MN-HA option (RFC 4285 §6)."""
    mn_clock_window_us: int = 7 * c.US_PER_S
    """How far a mobile node's timestamp may be off (RFC 4285 §5.1), µs."""
    key_mobility: bool = False
    """IKE follows mobile nodes: the K flag is granted (RFC 6275 §10.3.1)."""
    multiple_care_of: bool = True
    """Binding Identifiers are served (RFC 5648)."""
    bulk_registration: bool = True
    """Several Binding Identifiers in one Binding Update are served (RFC 5648 §5.3)."""
    refresh_margin_s: int = 30
    """A Binding Refresh Request leaves so long before the end of a binding that was granted at
    least four times as much, seconds; 0: never."""
    max_bindings: int = 1_000_000
    """More are refused with status 130 (insufficient resources)."""

    def __post_init__(self) -> None:
        _require(
            0 < self.max_lifetime_s <= 262_140 and self.max_lifetime_s % 4 == 0,
            "max_lifetime_s",
            self.max_lifetime_s,
            "a multiple of 4 from 4 to 262140",
        )
        _require(
            0 <= self.min_refresh_s <= 262_140 and self.min_refresh_s % 4 == 0,
            "min_refresh_s",
            self.min_refresh_s,
            "a multiple of 4, 0 for none",
        )
        _require(
            self.refresh_margin_s >= 0, "refresh_margin_s", self.refresh_margin_s, "at least 0"
        )
        _require(
            self.mn_clock_window_us > 3 * c.US_PER_S,
            "mn_clock_window_us",
            self.mn_clock_window_us,
            "above 3 s (RFC 4285 §5.1)",
        )
        _require(self.dad_timeout_us > 0, "dad_timeout_us", self.dad_timeout_us, "above 0 µs")
        _require(self.max_bindings > 0, "max_bindings", self.max_bindings, "above 0")


@dataclass(frozen=True, slots=True)
class SyncConfig:
    """Constants of state synchronisation (harp.md §6, §8)."""

    durability: Durability = Durability.STANDBY
    """When Success is answered."""
    durability_timeout_us: int = c.DURABILITY_TIMEOUT_US
    """Then Success is answered `unprotected`, µs."""
    journal_sync: bool = False
    """Success also waits for the local journal."""
    ss_rep_timer_us: int = c.SS_REP_TIMER_US
    """First retransmission of an SS-REP, µs."""
    ss_rep_timer_max_us: int = c.SS_REP_TIMER_MAX_US
    """Retransmissions double up to this, µs."""
    ss_req_timer_us: int = c.INITIAL_STATE_SYNC_REQ_TIMER_US
    """First wait for the answer to an SS-REQ, µs."""
    sync_timeout_us: int = c.SYNC_TIMEOUT_US
    """Longest full sync, µs."""
    digest_interval_us: int = c.DIGEST_INTERVAL_US
    """Between HELLOs with a Cache Digest, µs."""
    resync_min_us: int = c.RESYNC_MIN_US
    """Between full syncs for a differing digest, µs."""
    reconcile_timeout_us: int = c.RECONCILE_TIMEOUT_US
    """A new active takes the state of members ahead within it, µs."""
    log_window_messages: int = c.LOG_WINDOW_MESSAGES
    """Most log messages unacknowledged."""
    mtu_octets: int = 1500
    """Path MTU between the members: bounds a message's length (and 2,048 does)."""
    stream_window_messages: int = 64
    """SS-REPs of one answer unacknowledged."""

    def __post_init__(self) -> None:
        for name in (
            "durability_timeout_us",
            "ss_rep_timer_us",
            "ss_req_timer_us",
            "sync_timeout_us",
            "digest_interval_us",
            "resync_min_us",
            "reconcile_timeout_us",
            "log_window_messages",
            "stream_window_messages",
        ):
            _require(getattr(self, name) > 0, name, getattr(self, name), "above 0")
        _require(
            self.ss_rep_timer_max_us >= self.ss_rep_timer_us,
            "ss_rep_timer_max_us",
            self.ss_rep_timer_max_us,
            "at least ss_rep_timer_us",
        )
        _require(self.mtu_octets >= 1280, "mtu_octets", self.mtu_octets, "at least 1280 (RFC 8200)")


@dataclass(frozen=True, slots=True)
class GroupConfig:
    """One group as one member sees it. `self_index` says which member this is."""

    group: int
    """Group ID, 0 to 255."""
    links: tuple[LinkConfig, ...]
    """In order; each member has one address on each."""
    members: tuple[MemberConfig, ...]
    """All, this one included."""
    self_index: int
    """Which of `members` this is."""
    preference: int = 100
    """1 to 65535, higher wins; a witness says 0 on the wire."""
    mode: SwitchMode = SwitchMode.VIRTUAL
    """Virtual or hard switch."""
    virtual_address: bytes = b""
    """The virtual home agent address, 16 octets (virtual mode)."""
    home_prefixes: tuple[Prefix, ...] = ()
    """Prefixes whose mobile nodes are served."""
    hello_interval_us: int = c.HELLO_INTERVAL_US
    """Nominal time between HELLOs, µs."""
    multiplier: int = c.MULTIPLIER
    """Intervals without a HELLO until down, 2 to 255."""
    jitter_percent: int = c.HELLO_JITTER_PERCENT
    """A HELLO leaves 0 to this much earlier than nominal, 0 to 50."""
    ha_lifetime_s: int = 0
    """HA Lifetime, seconds; 0: thrice the detection time, rounded up."""
    takeover_skew_us: int = 0
    """Per rank, µs; 0: two HELLO intervals."""
    init_wait_us: int = 0
    """µs; 0: three HELLO intervals, at least 1 s."""
    preempt: bool = False
    """Take over from an active of lower rank."""
    preempt_delay_us: int = 0
    """Wait before that, µs."""
    hold: bool = False
    """Starts held: never takes over (harp.md §5)."""
    quorum: int = 0
    """Active only while hearing quorum - 1 others; 0: no quorum."""
    switch_timer_us: int = c.INITIAL_SWITCH_REQ_TIMER_US
    """First wait for the answer to SO-REQ, SB-REQ, SW-COMP, µs."""
    switch_drain_us: int = c.SWITCH_DRAIN_TIMEOUT_US
    """Longest wait for the log's acknowledgement in a SwitchOver, µs."""
    reliability_timeout_us: int = c.HARELIABILITY_TIMEOUT_US
    """`HARELIABILITY_TIMEOUT`: every repetition ends after it, µs."""
    max_hello_rate: int = c.MAX_HELLO_RATE_PER_S
    """HELLOs a second on request of one asker."""
    na_rate: int = c.NA_RATE_PER_S
    """Unsolicited Neighbor Advertisements a second."""
    switch_rate: int = c.NA_RATE_PER_S
    """Home Agent Switches a second over all mobile nodes (hard mode)."""
    rekey_on_takeover: bool = False
    """Send HA-REKEY to every mobile node: IKE state is not carried over (harp.md §9)."""
    require_hop_limit: bool = True
    """Demand hop limit 255 (RFC 5082); off for members that are routers apart."""
    discover: bool = False
    """A HELLO of an unknown member that passes the protection makes it one (harp.md §3 rule 9)."""
    protection: Protection = Protection()
    """IPsec unless told otherwise; keys and how they are judged."""
    sync: SyncConfig = SyncConfig()
    """State synchronisation."""
    home_agent: HomeAgentConfig = HomeAgentConfig()
    """The home agent."""
    code_points: CodePoints = DEFAULT_CODE_POINTS
    """Numbers that the draft left TBD."""

    def __post_init__(self) -> None:
        self._check_members()
        _require(0 <= self.group <= 255, "group", self.group, "0 to 255")
        _require(1 <= self.preference <= 65535, "preference", self.preference, "1 to 65535")
        if self.mode is SwitchMode.VIRTUAL:
            _require(
                len(self.virtual_address) == ADDRESS_OCTETS,
                "virtual_address",
                self.virtual_address,
                "16 octets, wanted in virtual mode",
            )
        self._check_times()
        self._check_discovery()
        voters = len(self.members)
        _require(
            self.quorum == 0 or voters < 2 * self.quorum <= 2 * voters,
            "quorum",
            self.quorum,
            f"more than half of the {voters} members and witnesses, at most all; 0 for none",
        )

    def _check_members(self) -> None:
        _require(bool(self.links), "links", self.links, "at least one")
        _require(
            len({link.name for link in self.links}) == len(self.links),
            "links",
            self.links,
            "each name once",
        )
        _require(
            0 <= self.self_index < len(self.members),
            "self_index",
            self.self_index,
            f"0 to {len(self.members) - 1}",
        )
        seen: set[bytes] = set()
        for member in self.members:
            _require(
                len(member.addresses) == len(self.links),
                f"member {member.name}: addresses",
                len(member.addresses),
                f"one for each of the {len(self.links)} links",
            )
            for address in member.addresses:
                _require(
                    address not in seen and address != self.virtual_address,
                    f"member {member.name}: address",
                    address,
                    "used twice",
                )
                seen.add(address)

    def _check_discovery(self) -> None:
        """Who joins must have passed something, have an address on every link, and may not shift
        a majority. IPsec has no policy for who is not known yet."""
        if not self.discover:
            return
        protection = self.protection
        judged = protection.security is Security.PSK and protection.auth is AuthMode.ENFORCE
        _require(
            judged or protection.security is Security.NONE,
            "discover",
            self.discover,
            'false, unless security = "psk" with auth = "enforce", or "none"',
        )
        _require(len(self.links) == 1, "discover", self.discover, "false with several links")
        _require(not self.quorum, "discover", self.discover, "false with a quorum")

    def _check_times(self) -> None:
        _require(
            1 <= self.hello_interval_us < 1 << 32,
            "hello_interval_us",
            self.hello_interval_us,
            "1 to 4294967295 µs",
        )
        _require(2 <= self.multiplier <= 255, "multiplier", self.multiplier, "2 to 255")
        _require(0 <= self.jitter_percent <= 50, "jitter_percent", self.jitter_percent, "0 to 50")
        _require(
            self.ha_lifetime_s == 0
            or self.detection_us <= self.ha_lifetime_s * c.US_PER_S < 65536 * c.US_PER_S,
            "ha_lifetime_s",
            self.ha_lifetime_s,
            f"at least the detection time {self.detection_us} µs, at most 65535 s",
        )
        for name in ("takeover_skew_us", "init_wait_us", "preempt_delay_us"):
            _require(getattr(self, name) >= 0, name, getattr(self, name), "at least 0 µs")
        for name in (
            "switch_timer_us",
            "switch_drain_us",
            "reliability_timeout_us",
            "max_hello_rate",
            "na_rate",
            "switch_rate",
        ):
            _require(getattr(self, name) > 0, name, getattr(self, name), "above 0")

    @property
    def me(self) -> MemberConfig:
        """The member that this is the configuration of."""
        return self.members[self.self_index]

    @property
    def identity(self) -> bytes:
        """The own first address."""
        return self.me.identity

    @property
    def peers(self) -> tuple[MemberConfig, ...]:
        """All members but this one."""
        return tuple(m for i, m in enumerate(self.members) if i != self.self_index)

    def multicast_on(self, link: int) -> bool:
        """Whether HELLOs are multicast on a link (by its index).

        harp.md §7: under IPsec "multicast HELLO cannot run in that ESP: it then goes unicast, or
        carries the authentication option"."""
        protected = self.protection.security is not Security.IPSEC or bool(self.protection.keys)
        return self.links[link].multicast and protected

    @property
    def detection_us(self) -> int:
        """Own detection time: multiplier x interval, µs."""
        return self.multiplier * self.hello_interval_us

    @property
    def skew_us(self) -> int:
        """Takeover skew per rank, µs."""
        return self.takeover_skew_us or c.TAKEOVER_SKEW_INTERVALS * self.hello_interval_us

    @property
    def initial_wait_us(self) -> int:
        """How long INIT listens, µs."""
        return self.init_wait_us or max(
            c.INIT_WAIT_INTERVALS * self.hello_interval_us, c.INIT_WAIT_MIN_US
        )

    @property
    def lifetime_s(self) -> int:
        """HA Lifetime of every HELLO, seconds."""
        return self.ha_lifetime_s or min(65535, -(-3 * self.detection_us // c.US_PER_S))

    @property
    def hello_interval_ms(self) -> int:
        """Hello Interval as sent: milliseconds, rounded up, at least 1, at most 65535."""
        return min(65535, -(-self.hello_interval_us // c.US_PER_MS))

    def settings_hash(self) -> bytes:
        """The Configuration option's value: 8 octets (harp.md §2.3).

        Covers what members must share: group, mode, virtual address, prefixes, members and their
        addresses (with `discover` that they are not fixed), code points; with quorum also its
        size, interval and multiplier (harp.md §5).
        """
        parts: list[object] = [
            self.group,
            self.mode.value,
            self.virtual_address.hex(),
            sorted((p.address.hex(), p.length) for p in self.home_prefixes),
            "discovered"
            if self.discover
            else sorted(([a.hex() for a in m.addresses], m.witness) for m in self.members),
            str(self.code_points),
        ]
        if self.quorum:
            parts += [self.quorum, self.hello_interval_us, self.multiplier]
        return hashlib.sha256(repr(parts).encode()).digest()[:8]


@dataclass(frozen=True, slots=True)
class EngineConfig:
    """All groups of one process."""

    groups: tuple[GroupConfig, ...]
    """Each Group ID once."""

    def __post_init__(self) -> None:
        ids = [group.group for group in self.groups]
        _require(len(set(ids)) == len(ids), "groups", ids, "each Group ID once")
        points = {group.code_points for group in self.groups}
        _require(len(points) <= 1, "code_points", len(points), "the same in every group")
