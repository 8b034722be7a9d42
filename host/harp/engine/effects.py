"""What the engine wants done: every output (harp.md §3 to §10).

The caller carries them out in the order given. Those under "between the parts" never leave the
engine: the group routes them (`group.Group`).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, IntEnum, StrEnum
from typing import TypeAlias

from harp.engine.config import Prefix
from harp.engine.entries import Change
from harp.engine.events import PeerChanged, PeerDown, PeerLeft, PeerLinkChanged, PeerUp
from harp.tables.mh import HOP_LIMIT, NEXT_HEADER
from harp.tables.reasons import Reason
from harp.wire.messages import Harp

ICMPV6 = 58
"""IPv6 next header of ICMPv6 (RFC 4443 §1)."""


class Role(StrEnum):
    """State of a member in its group (harp.md §5)."""

    INIT = "INIT"
    STANDBY = "STANDBY"
    CLAIMING = "CLAIMING"
    ACTIVE = "ACTIVE"
    RESIGNING = "RESIGNING"
    DRAINING = "DRAINING"


class Level(IntEnum):
    """Weight of a log line."""

    DEBUG = 10
    INFO = 20
    WARNING = 30
    ERROR = 40


@dataclass(frozen=True, slots=True)
class SendPacket:
    """Send one packet."""

    source: bytes
    """One of our addresses, or the virtual one."""
    destination: bytes
    """Final destination: the home address where `via` is set."""
    payload: bytes
    """Whole Mobility Header or ICMPv6 message, checksum right."""
    link: str = ""
    """Interface; empty: as routed."""
    via: bytes = b""
    """Care-of address: send there with a type 2 routing header (RFC 6275 §6.4); empty: none."""
    protocol: int = NEXT_HEADER
    """IPv6 next header of the payload."""
    hop_limit: int = HOP_LIMIT
    """IPv6 hop limit."""
    group: int | None = None
    """Group ID it belongs to; None: to none."""


@dataclass(frozen=True, slots=True)
class SendParameterProblem:
    """Send an ICMPv6 Parameter Problem, Code 0, about a Mobility Header (RFC 6275 §9.2)."""

    source: bytes
    """Our address: the destination of the packet it is about."""
    destination: bytes
    """Who sent that packet, as on the wire."""
    payload: bytes
    """The packet's octets from the Mobility Header on."""
    pointer: int
    """Offset of the wrong field, in octets from the Mobility Header's first."""


@dataclass(frozen=True, slots=True)
class StateChanged:
    """The role of a group changed."""

    group: int
    """Group ID."""
    old: Role
    """Before."""
    new: Role
    """Now."""
    reason: str
    """Why, one of the names in `roles.RoleReason`."""


@dataclass(frozen=True, slots=True)
class Dropped:
    """A message was dropped and counted (harp.md §3)."""

    reason: Reason
    """Name of the rule."""
    source: bytes
    """Who sent it."""
    group: int | None = None
    """Group ID where one was found."""
    detail: str = ""
    """For people."""


@dataclass(frozen=True, slots=True)
class Log:
    """Something to tell people."""

    level: Level
    """How loud."""
    text: str
    """One line."""
    group: int | None = None
    """Group ID."""


@dataclass(frozen=True, slots=True)
class SetServing:
    """Take over or withdraw what does not depend on the number of bindings (harp.md §9).

    On: add the virtual address (no DAD), switch the prepared forwarding on, make the home-prefix
    route the better one. Off undoes it. Done at once, in this order, before later effects."""

    group: int
    """Group ID."""
    serving: bool
    """On or off."""
    address: bytes
    """The virtual home agent address; empty in hard mode."""


@dataclass(frozen=True, slots=True)
class AnnounceNeighbor:
    """Send one unsolicited Neighbor Advertisement to all nodes (RFC 4861 §7.2.6)."""

    group: int
    """Group ID."""
    address: bytes
    """Target address."""
    router: bool
    """R flag; S is 0 and O is 1 always (RFC 6275 §10.4.1)."""


@dataclass(frozen=True, slots=True)
class PrepareRoute:
    """Make or replace the tunnel route of a binding; used once `SetServing` is on."""

    group: int
    """Group ID."""
    home_address: bytes
    """Whose packets go into the tunnel."""
    bid: int
    """Binding Identifier, 0 without (RFC 5648)."""
    care_of: bytes
    """Tunnel's other end."""
    prefixes: tuple[Prefix, ...] = ()
    """NEMO prefixes behind it."""


@dataclass(frozen=True, slots=True)
class PrepareRoutes:
    """`PrepareRoute` for many plain bindings at once: what a full sync brings."""

    group: int
    """Group ID."""
    block: bytes
    """Packed as in an SS-REP: `wire.bulk.BulkCodec.unpack` gives the bindings, none with a BID."""


@dataclass(frozen=True, slots=True)
class RemoveRoute:
    """Take the tunnel route of a binding away."""

    group: int
    """Group ID."""
    home_address: bytes
    """Whose."""
    bid: int
    """Binding Identifier, 0 without."""


@dataclass(frozen=True, slots=True)
class StartDad:
    """Run duplicate address detection; answered by `DadFinished`."""

    group: int
    """Group ID."""
    address: bytes
    """The home address."""


@dataclass(frozen=True, slots=True)
class WriteJournal:
    """Append a record to the group's journal."""

    group: int
    """Group ID."""
    record: bytes
    """Encoded by `harp.engine.journal`."""
    token: int | None = None
    """Answer with `JournalWritten` when on disk; None: no answer."""


@dataclass(frozen=True, slots=True)
class WatchPeer:
    """How a detection source is to watch a peer on a link (offload.md §3)."""

    group: int
    """Group ID."""
    peer: bytes
    """The member's address on that link."""
    link: str
    """The link."""
    deadline_us: int
    """Silence after which it is down; 0: do not watch."""
    late_us: int
    """Silence after which it is late."""
    sequence: int
    """Its last multicast Sequence #; 0: none."""
    unicast_sequence: int = 0
    """Its last unicast Sequence #; 0: none."""


@dataclass(frozen=True, slots=True)
class HelloTemplate:
    """Content of our multicast HELLO on a link, for an offload's slot (offload.md §4)."""

    group: int
    """Group ID."""
    link: str
    """The link."""
    source: bytes
    """Our address there."""
    destination: bytes
    """The multicast group."""
    payload: bytes
    """The Mobility Header; Sequence # and checksum are the slot's to write."""


@dataclass(frozen=True, slots=True)
class CommandAnswered:
    """The answer to an operator's command."""

    group: int
    """Group ID."""
    token: int
    """Of the command."""
    refusals: tuple[str, ...]
    """Names of every reason against it; empty: done, or under way for a switch."""


class HelloKind(Enum):
    """Why a HELLO is sent now, and so what is in it (harp.md §2.1, §2.3)."""

    PLAIN = "plain"
    """Multicast or to all: Detection only."""
    FIRST = "first"
    """Start: R set, Restart Counter, Sync Position, Configuration."""
    ANSWER = "answer"
    """To one that asked: as first, without R."""
    ASK = "ask"
    """R set: the answers are wanted."""
    DIGEST = "digest"
    """Sync Position and Cache Digest."""
    GOODBYE = "goodbye"
    """HA Lifetime 0: this member leaves."""


@dataclass(frozen=True, slots=True)
class HelloWanted:
    """Between the parts: send a HELLO now."""

    kind: HelloKind
    """What for."""
    peer: bytes | None = None
    """Unicast to this member; None: to all."""
    link: int | None = None
    """Index of the one link to use; None: all."""
    times: int = 1
    """How often, a moment apart: a news that must not be lost (harp.md §5, §9)."""


@dataclass(frozen=True, slots=True)
class SendHarp:
    """Between the parts: send a HARP message to a member; the group picks link and key."""

    peer: bytes
    """Identity of the member."""
    message: Harp
    """All but protection."""
    block: bytes = b""
    """Packed plain bindings behind the options (`wire.bulk.BulkCodec.begin`); mostly empty."""


@dataclass(frozen=True, slots=True)
class SubmitChanges:
    """Between the parts: binding changes of the active, for its log (`sync.Sync.submit`)."""

    changes: tuple[Change, ...]
    """Applied to the store already."""
    token: int | None = None
    """Told back by `ChangesDurable`; None: nobody waits."""


@dataclass(frozen=True, slots=True)
class ChangesDurable:
    """Between the parts: changes are durable, or the wait is over (harp.md §6)."""

    token: int
    """Of the `SubmitChanges`."""
    protected: bool
    """False: `unprotected`."""


@dataclass(frozen=True, slots=True)
class BindingMoved:
    """Between the parts: the log showed a home address registered elsewhere (hard mode, §9)."""

    home_address: bytes
    """Whose binding the other home agent has now."""


@dataclass(frozen=True, slots=True)
class AnnounceAgain:
    """Between the parts: a second active gave way; the home link may still know its address."""


@dataclass(frozen=True, slots=True)
class CacheChanged:
    """Between the parts: the log, a full sync or a merge changed the store; routes follow it."""

    keys: tuple[tuple[bytes, int], ...]
    """(home address, BID or 0) of each entry that changed; it may be gone."""
    block: bytes = b""
    """Packed plain bindings (`wire.bulk`) that a stream carried; without BID."""


PartEffect: TypeAlias = (
    HelloWanted
    | SendHarp
    | SubmitChanges
    | ChangesDurable
    | BindingMoved
    | CacheChanged
    | AnnounceAgain
)
"""Never leaves the engine."""

Effect: TypeAlias = (
    SendPacket
    | SendParameterProblem
    | StateChanged
    | Dropped
    | Log
    | SetServing
    | AnnounceNeighbor
    | PrepareRoute
    | PrepareRoutes
    | RemoveRoute
    | StartDad
    | WriteJournal
    | WatchPeer
    | HelloTemplate
    | CommandAnswered
    | PeerUp
    | PeerDown
    | PeerLeft
    | PeerChanged
    | PeerLinkChanged
    | PartEffect
)
