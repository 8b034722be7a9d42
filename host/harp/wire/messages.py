"""Messages and mobility options as frozen dataclasses.

Ref: RFC 6275 §6.1, §6.2, §6.5, §6.6; RFC 3963 §4; RFC 4283 §3; RFC 4285 §5, §6; RFC 5094 §3;
     RFC 5142 §4.1; RFC 5568 §6.4; RFC 5648 §4.3; RFC 5847 §3; harp.md §2

Addresses are 16 octets (`bytes`) in network order: they compare as harp.md §1 wants ("numerically
higher") and cost nothing to take from a packet; people see them only at the edge. Lifetimes are
seconds; those that travel in units of 4 s are rounded up when built. Every field is unsigned.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, TypeAlias

from harp.tables.mh import BuFlag, HeartbeatFlag
from harp.tables.reasons import Reason

if TYPE_CHECKING:
    from harp.tables.harp_types import HarpType


class AddressKind(Enum):
    """What the address of an IP Address option is (harp.md §2.3)."""

    HOME = "home_address"
    HOME_AGENT = "home_agent_address"
    CARE_OF = "care_of_address"


@dataclass(frozen=True, slots=True)
class UnknownOption:
    """An option that this version does not know: kept, skipped, counted."""

    type: int
    data: bytes


@dataclass(frozen=True, slots=True)
class RefreshAdvice:
    """Binding Refresh Advice (RFC 6275 §6.2.4)."""

    interval_s: int
    """When to send the next Binding Update; a multiple of 4."""


@dataclass(frozen=True, slots=True)
class AlternateCareOf:
    """Alternate Care-of Address (RFC 6275 §6.2.5)."""

    address: bytes


@dataclass(frozen=True, slots=True)
class NonceIndices:
    """Nonce Indices (RFC 6275 §6.2.6)."""

    home: int
    care_of: int


@dataclass(frozen=True, slots=True)
class BindingAuthData:
    """Binding Authorization Data (RFC 6275 §6.2.7): between mobile and correspondent node."""

    authenticator: bytes


@dataclass(frozen=True, slots=True)
class MobileNetworkPrefix:
    """Mobile Network Prefix (RFC 3963 §4.3)."""

    length: int
    """Prefix length, 0 to 128 bits."""
    prefix: bytes
    """16 octets, as sent: bits past the length are not judged here."""


@dataclass(frozen=True, slots=True)
class LinkLayerAddress:
    """Mobility Header Link-Layer Address (RFC 5568 §6.4.4)."""

    code: int
    address: bytes


@dataclass(frozen=True, slots=True)
class MnIdentifier:
    """Mobile Node Identifier (RFC 4283 §3)."""

    subtype: int
    identifier: bytes


@dataclass(frozen=True, slots=True)
class Authentication:
    """Mobility Message Authentication (RFC 4285 §5): MN-HA, MN-AAA, or "HA-HA" (harp.md §2.3)."""

    subtype: int
    spi: int
    tag: bytes


@dataclass(frozen=True, slots=True)
class ReplayProtection:
    """Message replay protection (RFC 4285 §6)."""

    timestamp: int
    """NTP timestamp (RFC 5905 §6): seconds since 1900 in the upper, 2^-32 s in the lower half."""


@dataclass(frozen=True, slots=True)
class Vendor:
    """Vendor Specific (RFC 5094 §3)."""

    vendor_id: int
    subtype: int
    data: bytes


@dataclass(frozen=True, slots=True)
class RestartCounter:
    """Restart Counter (RFC 5847 §3.4); in a HELLO our extension (harp.md §4)."""

    value: int


@dataclass(frozen=True, slots=True)
class IpAddress:
    """IP Address (RFC 5568 §6.4.2) with one of our Option-Codes (harp.md §2.3)."""

    kind: AddressKind
    address: bytes


@dataclass(frozen=True, slots=True)
class BindingIdentifier:
    """Binding Identifier (RFC 5648 §4.3)."""

    bid: int
    status: int = 0
    """Meaningful in a Binding Acknowledgement only."""
    flags: int = 0
    """0x80: H, simultaneous home and foreign binding."""
    care_of_address: bytes = b""
    """Empty, 4 octets (IPv4) or 16 octets (IPv6)."""


@dataclass(frozen=True, slots=True)
class BindingCache:
    """Binding Cache Information (harp.md §2.2)."""

    home_address: bytes
    care_of_address: bytes
    flags: int
    """The Binding Update's own 16 bits."""
    sequence: int
    lifetime_s: int
    """A multiple of 4, at most 262,140; 0: delete."""


@dataclass(frozen=True, slots=True)
class Detection:
    """How the sender wants to be watched (harp.md §2.3)."""

    interval_us: int
    multiplier: int


@dataclass(frozen=True, slots=True)
class Aaa:
    """AAA Information: opaque AVPs of the mobile node's session (harp.md §2.3)."""

    data: bytes


@dataclass(frozen=True, slots=True)
class CacheDigest:
    """Digest of the binding cache at the Sync Position beside it (harp.md §2.3)."""

    count: int
    """Live bindings."""
    hash: int
    """64 bits."""


@dataclass(frozen=True, slots=True, order=True)
class SyncPosition:
    """A place in the log: compared by Term, then Position (harp.md §2.3, §6)."""

    term: int
    position: int


@dataclass(frozen=True, slots=True)
class Configuration:
    """Hash of the settings that members must share (harp.md §2.3)."""

    hash: bytes
    """8 octets."""


Option: TypeAlias = (
    UnknownOption
    | RefreshAdvice
    | AlternateCareOf
    | NonceIndices
    | BindingAuthData
    | MobileNetworkPrefix
    | LinkLayerAddress
    | MnIdentifier
    | Authentication
    | ReplayProtection
    | Vendor
    | RestartCounter
    | IpAddress
    | BindingIdentifier
    | BindingCache
    | Detection
    | Aaa
    | CacheDigest
    | SyncPosition
    | Configuration
)
Options: TypeAlias = tuple[Option, ...]
"""In the order sent, without padding."""


@dataclass(frozen=True, slots=True)
class Harp:
    """Any HARP message (harp.md §2.1): all ten Types share one layout.

    ```
    octet 0        1        2        3        4        5        6        7
    +--------+--------+--------+--------+--------+--------+--------+--------+
    |Pay.Prot|Hdr Len |MH Type |Reserved|    Checksum     |  Type  |Group ID|
    +--------+--------+--------+--------+--------+--------+--------+--------+
    |   Sequence #    | Status | Flags  | HA Preference   |  HA Lifetime    |
    +--------+--------+--------+--------+--------+--------+--------+--------+
    | Hello Interval  |      Index      |     Mobility options ...          |
    ```
    """

    type: HarpType
    group: int
    """Group ID, 8 bits."""
    sequence: int
    """16 bits, never 0."""
    status: int = 0
    flags: int = 0
    """`HarpFlag`s; unknown bits are kept."""
    preference: int = 0
    """HA Preference, 16 bits; 0: may not take over now."""
    lifetime_s: int = 0
    """HA Lifetime; 0 in a HELLO: "I am leaving now"."""
    interval_ms: int = 0
    """Hello Interval; 0: none planned."""
    index: int = 0
    options: Options = ()


@dataclass(frozen=True, slots=True)
class BindingRefreshRequest:
    """Binding Refresh Request (RFC 6275 §6.1.2)."""

    options: Options = ()


@dataclass(frozen=True, slots=True)
class BindingUpdate:
    """Binding Update (RFC 6275 §6.1.7)."""

    sequence: int
    flags: int
    """`BuFlag`s, all 16 bits kept."""
    lifetime_s: int
    """A multiple of 4, at most 262,140; 0: de-registration."""
    options: Options = ()

    @property
    def home_registration(self) -> bool:
        """The H flag."""
        return bool(self.flags & BuFlag.HOME_REGISTRATION)


@dataclass(frozen=True, slots=True)
class BindingAcknowledgement:
    """Binding Acknowledgement (RFC 6275 §6.1.8)."""

    status: int
    sequence: int
    lifetime_s: int
    flags: int = 0
    """`BaFlag`s, all 8 bits kept."""
    options: Options = ()


@dataclass(frozen=True, slots=True)
class BindingError:
    """Binding Error (RFC 6275 §6.1.9)."""

    status: int
    home_address: bytes
    options: Options = ()


@dataclass(frozen=True, slots=True)
class HomeAgentSwitch:
    """Home Agent Switch (RFC 5142 §4.1)."""

    addresses: tuple[bytes, ...]
    options: Options = ()


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """Heartbeat (RFC 5847 §3.3)."""

    sequence: int
    """32 bits."""
    flags: int = 0
    """`HeartbeatFlag`s, all 16 bits kept."""
    options: Options = ()

    @property
    def response(self) -> bool:
        """The R flag: a response; else a request."""
        return bool(self.flags & HeartbeatFlag.RESPONSE)

    @property
    def unsolicited(self) -> bool:
        """The U flag: a response that nobody asked for."""
        return bool(self.flags & HeartbeatFlag.UNSOLICITED)


@dataclass(frozen=True, slots=True)
class OtherMobility:
    """A known Mobility Header that a home agent only forwards: Home Test and its kin."""

    mh_type: int
    data: bytes
    """All after the checksum."""


Message: TypeAlias = (
    Harp
    | BindingRefreshRequest
    | BindingUpdate
    | BindingAcknowledgement
    | BindingError
    | HomeAgentSwitch
    | Heartbeat
    | OtherMobility
)


@dataclass(frozen=True, slots=True)
class DhaadRequest:
    """Home Agent Address Discovery Request (RFC 6275 §6.5)."""

    identifier: int
    flags: int = 0
    """16 bits; 0x8000: R, mobile router support wanted (RFC 3963 §4.4)."""


@dataclass(frozen=True, slots=True)
class DhaadReply:
    """Home Agent Address Discovery Reply (RFC 6275 §6.6)."""

    identifier: int
    addresses: tuple[bytes, ...]
    flags: int = 0
    """16 bits; 0x8000: R, mobile routers are supported (RFC 3963 §4.5)."""


@dataclass(frozen=True, slots=True)
class Malformed:
    """What parsing returns for octets that are no valid message: a value, never an exception."""

    reason: Reason
    detail: str = ""
    """What is wrong and where, for people."""
