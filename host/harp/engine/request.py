"""A Binding Update on its way through the home agent, and what may become of it.

Ref: RFC 6275 §6.1.7, §9.5.1 (care-of and home address), §9.5.4 (where the answer goes)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

from harp.engine.entries import Change
from harp.tables.mh import BaStatus
from harp.tables.reasons import Reason
from harp.wire.messages import (
    AlternateCareOf,
    Authentication,
    BindingIdentifier,
    BindingUpdate,
    MobileNetworkPrefix,
    NonceIndices,
    Option,
    Options,
    ReplayProtection,
)


class Request(NamedTuple):
    """A Binding Update as it arrived, its options sorted. A tuple, as `entries.Entry` is one."""

    message: BindingUpdate
    """The message."""
    raw: bytes
    """Its Mobility Header."""
    home_address: bytes
    """RFC 6275 §9.5.1: from the Home Address option, else the IPv6 source."""
    source: bytes
    """IPv6 source on the wire."""
    destination: bytes
    """IPv6 destination: the home agent address that the mobile node uses."""
    care_of_address: bytes
    """RFC 6275 §9.5.1: from the Alternate Care-of Address option, else the IPv6 source."""
    has_home_address_option: bool
    """Whether a Home Address option carried the home address."""
    bids: tuple[BindingIdentifier, ...] = ()
    """Binding Identifier options (RFC 5648)."""
    prefixes: tuple[MobileNetworkPrefix, ...] = ()
    """Mobile Network Prefix options (RFC 3963)."""
    kept: Options = ()
    """Options that stay with the binding and mean nothing here (harp.md §2.2)."""
    authentications: tuple[Authentication, ...] = ()
    """RFC 4285 §5."""
    replay_protection: ReplayProtection | None = None
    """RFC 4285 §6."""
    has_nonces: bool = False
    """A Nonce Indices option is present: meant for a correspondent node."""

    @property
    def deletes(self) -> bool:
        """A request to delete: RFC 3963 §6.2 "if the Lifetime ... is 0 or the specified Care-of
        address matches the Home Address". With Binding Identifiers only the lifetime counts: theirs
        are the care-of addresses."""
        return not self.message.lifetime_s or (
            not self.bids and self.care_of_address == self.home_address
        )


def make_request(
    message: BindingUpdate,
    raw: bytes,
    source: bytes,
    destination: bytes,
    care_of: bytes,
    of_binding: frozenset[type],
) -> Request:
    """Sorts a Binding Update. `care_of`: IPv6 source if a Home Address option changed `source`.

    `of_binding`: option types that a binding carries along.
    """
    wire_source = care_of or source
    if not message.options:
        return Request(message, raw, source, wire_source, destination, wire_source, bool(care_of))
    alternate: bytes | None = None
    bids: list[BindingIdentifier] = []
    prefixes: list[MobileNetworkPrefix] = []
    tags: list[Authentication] = []
    kept: list[Option] = []
    replay: ReplayProtection | None = None
    nonces = False
    for option in message.options:
        match option:
            case AlternateCareOf():
                alternate = option.address
            case BindingIdentifier():
                bids.append(option)
            case MobileNetworkPrefix():
                prefixes.append(option)
            case Authentication():
                tags.append(option)
            case ReplayProtection():
                replay = option
            case NonceIndices():
                nonces = True
            case _ if type(option) in of_binding:
                kept.append(option)
            case _:
                pass  # RFC 6275 §6.1.7: "MUST ignore and skip any options"
    return Request(
        message,
        raw,
        source,
        wire_source,
        destination,
        alternate or wire_source,
        bool(care_of),
        tuple(bids),
        tuple(prefixes),
        tuple(kept),
        tuple(tags),
        replay,
        nonces,
    )


@dataclass(frozen=True, slots=True)
class Discard:
    """No answer: dropped and counted."""

    reason: Reason
    """Counter."""
    detail: str
    """For people."""


@dataclass(frozen=True, slots=True)
class Refuse:
    """A Binding Acknowledgement that rejects."""

    status: BaStatus
    """128 or above."""
    sequence: int | None = None
    """Sequence Number of the answer; None: the Binding Update's."""
    timestamp: int | None = None
    """Timestamp of the answer; None: the Binding Update's."""
    bids: tuple[BindingIdentifier, ...] = ()
    """Binding Identifier options of the answer with their statuses; empty: copies with 0."""


@dataclass(frozen=True, slots=True)
class Detect:
    """Wait for duplicate address detection of the home address first."""


class Grant(NamedTuple):
    """Do it, and answer with success once it is durable."""

    changes: tuple[Change, ...]
    """What goes into the log, in order."""
    lifetime_s: int
    """Granted; 0: de-registered."""
    is_first: bool = False
    """Nothing was registered for the home address before."""
    status: BaStatus = BaStatus.ACCEPTED
    """Below 128."""
    bids: tuple[BindingIdentifier, ...] = ()
    """Binding Identifier options of the answer with their statuses."""


Verdict: TypeAlias = Discard | Refuse | Detect | Grant
