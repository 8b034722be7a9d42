"""HARP message types, flags and statuses.

Ref: harp.md §2.1; draft-ietf-mip6-hareliability-09 (message set)
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum, IntFlag


class HarpType(IntEnum):
    """The Type field of a HARP message (harp.md §2.1)."""

    HELLO = 0
    SS_REQ = 1
    SS_REP = 2
    SS_ACK = 3
    SO_REQ = 4
    SO_REP = 5
    SB_REQ = 6
    SB_REP = 7
    SW_COMP = 8
    REKEY = 9


class HarpFlag(IntFlag):
    """The Flags field of a HARP message, in the order in which documents write them."""

    A = 0x80
    """Active: takes new bindings."""
    R = 0x40
    """Reply wanted: HELLO: send yours unicast; SS-REP: SS-ACK wanted."""
    V = 0x20
    """Virtual switch mode."""
    M = 0x10
    """More SS-REPs follow in this answer."""
    S = 0x08
    """The sender is synchronised (harp.md §6)."""
    D = 0x04
    """Draining (hard mode: still serves old bindings)."""


class Status(IntEnum):
    """The Status field of a HARP message; 128 and above refuse (harp.md §2.1)."""

    SUCCESS = 0
    UNSPECIFIED = 128
    PROHIBITED = 129
    NOT_ACTIVE = 130
    NOT_STANDBY = 131
    WRONG_GROUP = 132
    NOT_SYNCHRONISED = 133


STATUS_NAMES: dict[int, str] = {
    Status.SUCCESS: "success",
    Status.UNSPECIFIED: "reason unspecified",
    Status.PROHIBITED: "administratively prohibited",
    Status.NOT_ACTIVE: "not the active home agent",
    Status.NOT_STANDBY: "not a standby home agent",
    Status.WRONG_GROUP: "not in the same group",
    Status.NOT_SYNCHRONISED: "state not synchronised",
    134: "reserved",
}
STATUS_REFUSED = 128
"""Least Status that refuses (harp.md §2.1)."""


@dataclass(frozen=True, slots=True)
class HarpTypeInfo:
    """One row of the HARP Type table."""

    type: HarpType
    name: str
    """Name in documents, JSON and the dissector."""
    direction: str
    """Who sends it to whom."""
    sequence: str
    """What Sequence # means in it."""
    options: str
    """Options that it carries."""


_T = HarpType
HARP_TYPES: tuple[HarpTypeInfo, ...] = (
    HarpTypeInfo(
        _T.HELLO,
        "HA-HELLO",
        "multicast on a link, or unicast",
        "per sender, group, link and multicast/unicast, +1 each",
        "Restart Counter, Detection, Sync Position, Cache Digest (only beside a Sync Position), "
        "Configuration",
    ),
    HarpTypeInfo(
        _T.SS_REQ,
        "SS-REQ",
        "member to member",
        "names the exchange",
        "one or more: IP Address (home address; :: = all), Mobile Network Prefix, Vendor; "
        "Sync Position = only what changed after it",
    ),
    HarpTypeInfo(
        _T.SS_REP,
        "SS-REP",
        "active to standbys (log), or the answer to SS-REQ",
        "log: Position mod 65535 + 1, Index 0; answer: the SS-REQ's, Index from 1",
        "log: Sync Position, then one or more bindings; answer: zero or more bindings, "
        "Sync Position in the first and the last",
    ),
    HarpTypeInfo(
        _T.SS_ACK,
        "SS-ACK",
        "back",
        "repeats Sequence # and Index",
        "of the log: Sync Position = all up to it are applied; refused bindings as IP Address",
    ),
    HarpTypeInfo(_T.SO_REQ, "SO-REQ", "standby to active", "names the exchange", ""),
    HarpTypeInfo(_T.SO_REP, "SO-REP", "back", "names the exchange", ""),
    HarpTypeInfo(_T.SB_REQ, "SB-REQ", "active to standby", "names the exchange", ""),
    HarpTypeInfo(_T.SB_REP, "SB-REP", "back", "names the exchange", ""),
    HarpTypeInfo(
        _T.SW_COMP, "SW-COMP", "new active to old active", "of the switch that it ends", ""
    ),
    HarpTypeInfo(
        _T.REKEY,
        "HA-REKEY",
        "active to mobile node",
        "per sender",
        "IP Address (home agent address): run IKE again with it",
    ),
)

FIXED_OCTETS = 20
"""Octets before the options, MH fixed part included, in every Type (harp.md §2.1)."""
SEQUENCE_MODULUS = 65535
"""Sequence # is never 0: after 65535 comes 1 (harp.md §2.1)."""
LOG_INDEX = 0
"""Index of a log message and of its SS-ACK; answers count from 1 (harp.md §2.1)."""
