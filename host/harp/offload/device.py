"""The device interface: what the daemon asks of an offload, and what an offload says.

In the shape of FRR's distributed BFD data plane: `put_…` adds or updates, `delete_…` of what is not
there does nothing, and what changes in the device comes unasked with the device's own view. Nothing
outlives a connection: after `Attached` a device holds nothing, after `Lost` or `Refused` it is a
plain wire within its lease, and whoever drives it gives it everything again.

Ref: offload.md §3 (monitor), §4 (slots, watchdog, fence), §6; FRR, "BFD distributed data plane"
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol, TypeAlias

from harp.tables.codepoints import DEFAULT_CODE_POINTS
from harp.tables.offload import (
    MAX_LEASE_MS,
    PASS_EVERY,
    Capability,
    EventKind,
    PeerMode,
    PeerState,
    WatchdogAction,
)


class PeerKey(NamedTuple):
    """A peer on the board's link."""

    group: int
    """Group ID."""
    address: bytes
    """Source of its HELLOs, 16 octets."""


class SlotKey(NamedTuple):
    """A slot by its use."""

    group: int
    """Group ID."""
    link: str
    """Link of the group."""
    resign: bool = False
    """The watchdog's goodbye, not the HELLO."""


@dataclass(frozen=True, slots=True)
class PeerSpec:
    """A member that the board is to know, and how."""

    key: PeerKey
    watched: bool = False
    """False: its HARP passes as that of a peer, but the board neither watches nor absorbs it."""
    mode: PeerMode = PeerMode.VERIFIED
    """What counts as its sign of life."""
    deadline_us: int = 0
    """Silence after which it is down, µs."""
    late_us: int = 0
    """Silence after which it is late, µs; 0: never."""
    multiplier: int = 3
    """HELLO intervals until it is down."""
    sequence: int = 0
    """Its last multicast Sequence #; 0: any is accepted next."""


@dataclass(frozen=True, slots=True)
class SlotSpec:
    """A frame that the board sends by itself."""

    key: SlotKey
    frame: bytes
    """Without FCS; Sequence # 0 and the MH checksum right for it."""
    mh_offset: int
    """Where the MH begins, octets: octet 2 or 6 of a 64-bit word, as behind 14, 18 or 22 octets of
    Ethernet and whole words of IPv6."""
    period_us: int = 1_000_000
    """Between two frames; of no use in a resign slot."""
    jitter_percent: int = 0
    """Sent up to this much early."""
    sequence: int | None = None
    """Sequence # to count on from; None: from where the slot is."""

    def __post_init__(self) -> None:
        if self.mh_offset % 4 != 2:
            raise ValueError(f"mh_offset {self.mh_offset}: a board patches at 2 or 6 modulo 8 only")


@dataclass(frozen=True, slots=True)
class Fence:
    """Addresses for which a fenced host may send no Neighbor Advertisement."""

    address: bytes
    prefix_len: int = 128
    own: bool = False
    """It may, whatever entries behind this one say."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What holds for the board as a whole."""

    filter: bool = True
    """Judges Mobility Headers toward the host; else it only watches and sends."""
    strangers_pass: bool = False
    """HARP from addresses that the board does not know passes: there are more members than rows."""
    peers_complete: bool = False
    """... is dropped: every member is in the table."""
    demand_hop_limit: bool = True
    """HARP must have hop limit 255."""
    link_mirror: bool = True
    """Loss of the network's link is shown to the host's port."""
    pass_every: int = PASS_EVERY
    """Of the heartbeats with nothing new one in so many passes."""
    harp_mh_type: int = DEFAULT_CODE_POINTS.mh_type_harp
    """MH Type of HARP."""
    auth_subtype: int = DEFAULT_CODE_POINTS.auth_subtype
    """Subtype of the HA-HA option."""
    lease_ms: int = MAX_LEASE_MS
    """How long the board trusts a silent host."""
    watchdog: WatchdogAction = WatchdogAction.RESIGN_FENCE
    """What it does when that is over while armed."""
    host_link_grace_us: int = 1_000_000
    """How long the port to the host may be down before an armed watchdog fires."""
    local: tuple[bytes, ...] = ()
    """Destinations whose MHs are judged; empty: all."""
    fence: tuple[Fence, ...] = ()
    """What a fenced host may not announce."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Who the device says it is."""

    gateware: str
    """Version, with "+" if built from a changed tree."""
    git_hash: int
    """First 8 hexadecimal digits of the commit."""
    parameter_hash: int
    """Of the parameters it was built with."""
    board: int
    """As listed by `harp_boards`; 0: simulated."""
    capabilities: Capability
    ports: int
    peers: int
    slots: int
    clock_hz: int

    def __str__(self) -> str:
        build = f"{self.gateware} ({self.git_hash:08x})"
        return f"gateware {build}, board {self.board}, {self.peers} peers, {self.slots} slots"


@dataclass(frozen=True, slots=True)
class Attached:
    """The device is there, ours, and holds nothing yet."""

    identity: Identity
    fired: bool = False
    """Its watchdog fired before, or it is fenced: unfence it when nothing says A any more."""


@dataclass(frozen=True, slots=True)
class Refused:
    """What is there cannot be used; it is tried again later."""

    reason: str
    """One line that says what to do."""


@dataclass(frozen=True, slots=True)
class Lost:
    """The device is gone, or its lease is."""

    reason: str
    sequences: Mapping[SlotKey, int] = field(default_factory=dict)
    """Sequence # that each slot had at the last kick."""


@dataclass(frozen=True, slots=True)
class PeerInstalled:
    """The board watches a peer from now on, or knows its new times."""

    key: PeerKey


@dataclass(frozen=True, slots=True)
class PeerRejected:
    """The board cannot take a peer: whoever asked must watch it."""

    key: PeerKey
    reason: str


@dataclass(frozen=True, slots=True)
class PeerChanged:
    """Liveness of a watched peer is new; the device's own view."""

    key: PeerKey
    state: PeerState


@dataclass(frozen=True, slots=True)
class SequenceMoved:
    """Sequence # of a watched peer's last HELLO."""

    key: PeerKey
    multicast: bool
    sequence: int


@dataclass(frozen=True, slots=True)
class SlotStarted:
    """A slot has its frame and may send it."""

    key: SlotKey


@dataclass(frozen=True, slots=True)
class SlotMoved:
    """Sequence # that a slot had at a kick."""

    key: SlotKey
    sequence: int


@dataclass(frozen=True, slots=True)
class SlotStopped:
    """A slot that was deleted sends no more."""

    key: SlotKey
    sequence: int
    """Sequence # that it had at the last kick; 0: none."""


@dataclass(frozen=True, slots=True)
class SlotRejected:
    """No slot is free, or the board cannot send that: the host must."""

    key: SlotKey
    reason: str


@dataclass(frozen=True, slots=True)
class WatchdogFired:
    """The armed watchdog fired: the board says goodbye for us and may fence us."""


@dataclass(frozen=True, slots=True)
class Unfenced:
    """The board forgot that its watchdog fired."""


@dataclass(frozen=True, slots=True)
class Noted:
    """An event that changes nothing here."""

    kind: EventKind
    index: int
    count: int


Notice: TypeAlias = (
    Attached
    | Refused
    | Lost
    | PeerInstalled
    | PeerRejected
    | PeerChanged
    | SequenceMoved
    | SlotStarted
    | SlotMoved
    | SlotStopped
    | SlotRejected
    | WatchdogFired
    | Unfenced
    | Noted
)
"""What a device says."""


@dataclass(frozen=True, slots=True)
class DeviceStatus:
    """For people and metrics."""

    state: str
    """`closed`, `identifying`, `preparing`, `attached`, `leaving`."""
    identity: Identity | None = None
    detail: str = ""
    """Why it is not attached."""
    round_trip_us: int | None = None
    counters: Mapping[str, int] = field(default_factory=dict)
    """Of the device and of the link to it."""


class Device(Protocol):
    """An offload; its notices come through whoever runs it."""

    def put_peer(self, spec: PeerSpec) -> None:
        """Adds or updates; ends in `PeerInstalled` or `PeerRejected`."""

    def delete_peer(self, key: PeerKey) -> None:
        """Forgets it."""

    def put_slot(self, spec: SlotSpec) -> None:
        """Adds or updates; ends in `SlotStarted` or `SlotRejected`."""

    def delete_slot(self, key: SlotKey) -> None:
        """Stops it; ends in `SlotStopped` if it was wanted."""

    def sequences(self) -> Mapping[SlotKey, int]:
        """Sequence # that each slot had at the last kick; 0: none."""

    def arm(self, armed: bool) -> None:
        """Arms or disarms the watchdog."""

    def unfence(self) -> None:
        """Ends in `Unfenced`, behind everything that was asked before."""

    def leave(self) -> None:
        """A clean end: watchdog, slots, peers and filter off."""

    def status(self) -> DeviceStatus:
        """As of now."""
