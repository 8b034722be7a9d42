"""The check at start: does the kernel refuse HARP in plaintext between the members?

Ref: harp.md §7: "harpd refuses to start if the kernel holds no inbound *required* policy for
protocol 135 between the peers, says which is missing"; RFC 4301 §5.2 (inbound processing)
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from ipaddress import IPv6Address

from harp.daemon.protection.policies import InboundPolicy
from harp.engine.config import GroupConfig, Security
from harp.tables.mh import NEXT_HEADER


@dataclass(frozen=True, slots=True)
class Unprotected:
    """A pair of addresses between which the kernel takes HARP in plaintext."""

    group: int
    """Group ID."""
    peer: str
    """The member's name."""
    source: IPv6Address
    """Its address."""
    destination: IPv6Address
    """Ours on the same link."""
    why: str
    """What the kernel's policies say of it."""

    def __str__(self) -> str:
        return (
            f"group {self.group}: {self.why} for protocol {NEXT_HEADER} "
            f"from {self.source} ({self.peer}) to {self.destination}"
        )


def unprotected(
    groups: Iterable[GroupConfig], policies: Sequence[InboundPolicy]
) -> Iterator[Unprotected]:
    """Every pair that the groups under IPsec need and the policies do not protect.

    `policies` in the order in which the kernel asks them (`policies.inbound_policies`)."""
    for group in groups:
        if group.protection.security is not Security.IPSEC:
            continue
        for peer in group.peers:
            for theirs, ours in zip(peer.addresses, group.me.addresses, strict=True):
                source, destination = IPv6Address(theirs), IPv6Address(ours)
                why = _fault(source, destination, group.code_points.mh_type_harp, policies)
                if why:
                    yield Unprotected(group.group, peer.name, source, destination, why)


def _fault(
    source: IPv6Address, destination: IPv6Address, mh_type: int, policies: Sequence[InboundPolicy]
) -> str | None:
    """What is wrong with the policy that decides; None: nothing."""
    for policy in policies:
        if policy.covers(source, destination, NEXT_HEADER, mh_type):
            return None if policy.requires_esp else "the inbound policy does not require ESP"
    return "no inbound policy"
