"""What can happen to the engine: every input but time (harp.md §3 to §10).

Addresses are 16 octets; `peer` is a member's identity (its first address); times are µs. The caller
delivers every packet that waits before it calls `expire`: silence is judged only when all that was
heard is known (harp.md §5, Pause).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias

from harp.engine.config import DetectionSource


@dataclass(frozen=True, slots=True)
class PacketReceived:
    """A Mobility Header arrived, for any group or mobile node."""

    source: bytes
    """Source for the checksum: the home address where a Home Address option carried one."""
    destination: bytes
    """IPv6 destination; multicast for multicast HELLOs."""
    payload: bytes
    """From the MH's first octet to the end of the IPv6 payload."""
    hop_limit: int = 255
    """As received."""
    link: str = ""
    """Interface it came in by; a group's link name for HARP."""
    care_of: bytes = b""
    """IPv6 source on the wire when a Home Address option changed `source`; else empty."""
    cut: bool = False
    """The packet ended before its IPv6 Payload Length said (harp.md §3 rule 1)."""


@dataclass(frozen=True, slots=True)
class IcmpReceived:
    """An ICMPv6 message arrived (DHAAD: types 144, 145)."""

    source: bytes
    """IPv6 source."""
    destination: bytes
    """IPv6 destination."""
    payload: bytes
    """From the ICMPv6 type on."""


class PeerReport(StrEnum):
    """What a detection source says of a peer."""

    UP = "up"
    DOWN = "down"
    LEFT = "left"


@dataclass(frozen=True, slots=True)
class PeerReported:
    """A detection source other than the engine's timers speaks (harp.md §4)."""

    group: int
    """Group ID."""
    peer: bytes
    """Any address of the member."""
    link: str
    """The link it was seen on."""
    source: DetectionSource
    """Who says so."""
    state: PeerReport
    """What it says."""


@dataclass(frozen=True, slots=True)
class DetectorAttached:
    """From now on a source watches a link's peers: the engine's own deadlines there rest."""

    group: int
    """Group ID."""
    link: str
    """Link watched."""
    source: DetectionSource
    """The watcher."""


@dataclass(frozen=True, slots=True)
class DetectorLost:
    """The source is gone: the engine watches the link again, with restarted deadlines. What a
    source that never was attached said is forgotten: it only added to those deadlines."""

    group: int
    """Group ID."""
    link: str
    """Link no longer watched."""
    source: DetectionSource
    """The watcher that is gone."""
    grace_us: int = 0
    """Added to the first deadlines: the lease of an offload (offload.md §6), µs."""


@dataclass(frozen=True, slots=True)
class SequenceSeen:
    """An offload absorbed HELLOs of a peer: the last Sequence # it took (offload.md §3)."""

    group: int
    """Group ID."""
    peer: bytes
    """Any address of the member."""
    link: str
    """Link of the HELLOs."""
    multicast: bool
    """Which of the two sequences."""
    sequence: int
    """1 to 65535."""


@dataclass(frozen=True, slots=True)
class HelloSlotChanged:
    """An offload started or stopped sending this member's multicast HELLO (offload.md §4)."""

    group: int
    """Group ID."""
    link: str
    """Link of the slot."""
    running: bool
    """True: the engine sends none there itself, but what is new."""
    sequence: int
    """What the slot has not passed yet, and will not pass before the next such event: what the
    engine itself sends counts on from it. 0 and running: the slot is about to start; the
    `HelloTemplate` that comes of it carries the last one that the engine used."""


@dataclass(frozen=True, slots=True)
class Fenced:
    """The watchdog fired or the lease ran out: the board may drop our HARP (offload.md §4)."""

    fenced: bool
    """True: withdraw, preference 0; False: unfenced and the slots rewritten."""


@dataclass(frozen=True, slots=True)
class LinkChanged:
    """A local interface went up or down."""

    link: str
    """Its name."""
    up: bool
    """Carrier and address usable."""


@dataclass(frozen=True, slots=True)
class ClockStepped:
    """The wall clock moved against the monotonic one."""

    offset_us: int
    """UNIX time minus `now`, µs."""


@dataclass(frozen=True, slots=True)
class JournalWritten:
    """A journal record asked for with a token is on disk."""

    group: int
    """Group ID."""
    token: int
    """Of the `WriteJournal` effect."""


@dataclass(frozen=True, slots=True)
class DadFinished:
    """Duplicate address detection of a home address ended (RFC 4862 §5.4)."""

    group: int
    """Group ID."""
    address: bytes
    """The home address."""
    duplicate: bool
    """True: somebody else has it."""


class Command(StrEnum):
    """What an operator may ask of a group (harp.md §5, §6)."""

    SWITCHOVER = "switchover"
    """The standby takes over from the active; on the active: give it to `to`."""
    SWITCHBACK = "switchback"
    """This active gives its role to `to`, or to the best standby."""
    CHECK = "check"
    """Only the pre-checks of a planned switch."""
    HOLD = "hold"
    """Never take over."""
    RELEASE = "release"
    """End of hold."""
    RESYNC = "resync"
    """Full sync now."""
    REKEY = "rekey"
    """HA-REKEY to every mobile node."""


@dataclass(frozen=True, slots=True)
class CommandGiven:
    """An operator's command; answered once by `CommandAnswered` with the same token."""

    group: int
    """Group ID."""
    command: Command
    """What to do."""
    token: int
    """Repeated in the answer."""
    to: bytes | None = None
    """Identity of the member meant; None: the best."""
    force: bool = False
    """Override local checks (never the other side's refusals)."""


@dataclass(frozen=True, slots=True)
class StopRequested:
    """The process ends cleanly: withdraw and say goodbye. Nothing is sent after it."""


@dataclass(frozen=True, slots=True)
class PeerUp:
    """A peer is up: heard on at least one link (harp.md §4)."""

    group: int
    """Group ID."""
    peer: bytes
    """Identity."""


@dataclass(frozen=True, slots=True)
class PeerDown:
    """A peer is silent on all links."""

    group: int
    """Group ID."""
    peer: bytes
    """Identity."""


@dataclass(frozen=True, slots=True)
class PeerLeft:
    """A peer said that it leaves (HA Lifetime 0)."""

    group: int
    """Group ID."""
    peer: bytes
    """Identity."""


@dataclass(frozen=True, slots=True)
class PeerChanged:
    """Preference, flags or restart counter of a peer that is up are new."""

    group: int
    """Group ID."""
    peer: bytes
    """Identity."""
    restarted: bool = False
    """Its Restart Counter is newer: whatever it knew is gone (harp.md §5)."""


@dataclass(frozen=True, slots=True)
class PeerLinkChanged:
    """A peer was lost or found on one of its links; it may be up by another (harp.md §4)."""

    group: int
    """Group ID."""
    peer: bytes
    """Identity."""
    link: str
    """The link."""
    up: bool
    """Found, or lost."""


Event: TypeAlias = (
    PacketReceived
    | IcmpReceived
    | PeerReported
    | DetectorAttached
    | DetectorLost
    | SequenceSeen
    | HelloSlotChanged
    | Fenced
    | LinkChanged
    | ClockStepped
    | JournalWritten
    | DadFinished
    | CommandGiven
    | StopRequested
)
"""What `Engine.receive` takes."""

PeerEvent: TypeAlias = PeerUp | PeerDown | PeerLeft | PeerChanged
"""What roles hear of peers, whoever watches them; also effects, for status and logs."""
