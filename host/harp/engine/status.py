"""What one group is and knows at a moment, for people: plain values that `json` prints as they are.

Ref: harp.md §4 (home agents list), §5 (roles), §6 (synchronisation), §7 (protection)

A copy: nothing in it changes with the group. Addresses are text, times are µs, counters have the
name of their part in front.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv6Address
from typing import TYPE_CHECKING

from harp.engine.peers import LinkState, Peer, PeerLink
from harp.wire.messages import SyncPosition

if TYPE_CHECKING:
    from harp.engine.group import Group


@dataclass(frozen=True, slots=True)
class PositionStatus:
    """A place in the log (harp.md §6)."""

    term: int
    """32 bits."""
    position: int
    """32 bits."""


@dataclass(frozen=True, slots=True)
class PeerLinkStatus:
    """A member on one link."""

    link: str
    """Interface."""
    address: str
    """The member's address there."""
    state: str
    """One of `peers.LinkState`."""
    for_us: int | None
    """How long it is so, µs; None: since the start."""


@dataclass(frozen=True, slots=True)
class PeerStatus:
    """A member as its last valid HELLO left it."""

    name: str
    """As configured; of one that was discovered, its address."""
    identity: str
    """Its first address."""
    configured: bool
    """False: it was discovered."""
    up: bool
    """On one link at least."""
    active: bool
    """Up, and says A."""
    synchronised: bool
    """It says S."""
    draining: bool
    """Up, and says D."""
    durable: bool
    """Its acknowledgements make a binding durable now; only an active knows."""
    preference: int
    """HA Preference; 0: it may not take over."""
    silence_us: int
    """Silence after which it is down, µs; 0: never heard."""
    restart_counter: int | None
    """None: never heard."""
    position: PositionStatus | None
    """As last announced."""
    agrees: bool | None
    """Its Configuration is ours; None: never heard."""
    links: tuple[PeerLinkStatus, ...]
    """In the order of the configuration."""


@dataclass(frozen=True, slots=True)
class LinkStatus:
    """An own link."""

    name: str
    """Interface."""
    up: bool
    """HELLOs leave on it."""
    slot: bool
    """An offload sends the multicast ones."""


@dataclass(frozen=True, slots=True)
class GroupStatus:
    """One group as one member runs it."""

    group: int
    """Group ID."""
    member: str
    """Own name."""
    mode: str
    """One of `config.SwitchMode`."""
    security: str
    """One of `config.Security`."""
    role: str
    """One of `effects.Role`."""
    for_us: int
    """How long it has this role, µs."""
    reason: str
    """Why it has it, one of `role_table.RoleReason`; empty: since the start."""
    active: str | None
    """Whose log is applied; None: nobody's."""
    service: str
    """What becomes of Binding Updates, one of `home_agent.Service`."""
    preference: int
    """As in the own HELLO; 0: held, fenced, a witness or below quorum."""
    held: bool
    """Never takes over."""
    fenced: bool
    """The board may drop what this member says."""
    quorum: int
    """Members that must hear each other; 0: no quorum."""
    quorum_met: bool
    """True without a quorum too."""
    term_known: int
    """Highest Term heard or used."""
    position: PositionStatus
    """Own, as announced."""
    base: PositionStatus
    """Up to here the own state is that of the others."""
    synchronised: bool
    """The S flag."""
    syncing: bool
    """A full sync is under way."""
    reconciling: bool
    """Active, and still taking the state of members ahead."""
    bindings: int
    """Live ones."""
    tombstones: int
    """Kept now."""
    unprotected: int
    """Binding Updates answered without a standby's acknowledgement (harp.md §6)."""
    links: tuple[LinkStatus, ...]
    """In the order of the configuration."""
    peers: tuple[PeerStatus, ...]
    """In the order of the configuration, those discovered last."""
    counters: dict[str, int]
    """Sorted by name."""


def status_of(group: Group, now: int) -> GroupStatus:
    """The group as it is at `now`; asking changes nothing."""
    config, roles, sync, store = group.config, group.roles, group.sync, group.store
    configured = {member.identity for member in config.peers}
    followed = None if sync.leading else roles.active
    return GroupStatus(
        group=config.group,
        member=config.me.name,
        mode=config.mode.value,
        security=config.protection.security.value,
        role=roles.role.value,
        for_us=now - group.role_since_us,
        reason=group.role_reason,
        active=_text(followed) if followed else None,
        service=group.home_agent.service.value,
        preference=roles.preference,
        held=roles.held,
        fenced=roles.is_fenced,
        quorum=config.quorum,
        quorum_met=roles.quorum,
        term_known=sync.term_known,
        position=_position(sync.position),
        base=_position(sync.base),
        synchronised=sync.synchronised,
        syncing=sync.syncing,
        reconciling=sync.reconciling,
        bindings=len(store),
        tombstones=store.tombstones,
        unprotected=sync.counters["unprotected"],
        links=tuple(
            LinkStatus(link.name, group.hellos.link_up(i), group.hellos.slot_runs(i))
            for i, link in enumerate(config.links)
        ),
        peers=tuple(_peer(group, peer, peer.identity in configured, now) for peer in group.peers),
        counters=_counters(group),
    )


def _peer(group: Group, peer: Peer, configured: bool, now: int) -> PeerStatus:
    ours = group.roles.settings_hash
    return PeerStatus(
        name=peer.name,
        identity=_text(peer.identity),
        configured=configured,
        up=peer.up,
        active=peer.active,
        synchronised=peer.synchronised,
        draining=peer.draining,
        durable=group.sync.standby_synchronised(peer.identity),
        preference=peer.preference,
        silence_us=peer.silence_us,
        restart_counter=peer.restart_counter,
        position=_position(peer.position) if peer.position else None,
        agrees=None if peer.configuration is None else peer.configuration == ours,
        links=tuple(_link(group, link, now) for link in peer.links),
    )


def _link(group: Group, link: PeerLink, now: int) -> PeerLinkStatus:
    since_us = None if link.state is LinkState.UNKNOWN else link.since_us
    return PeerLinkStatus(
        group.config.links[link.index].name,
        _text(link.address),
        link.state.value,
        None if since_us is None else now - since_us,
    )


def _counters(group: Group) -> dict[str, int]:
    parts = {
        "received": group.counters,
        "detection": group.detector.counters,
        "protection": group.protector.counters,
        "sync": group.sync.counters,
        "home_agent": group.home_agent.counters,
        "switch": group.mover.counters,
    }
    return {
        f"{part}.{name}": count
        for part, counters in sorted(parts.items())
        for name, count in sorted(counters.items())
    }


def _position(position: SyncPosition) -> PositionStatus:
    return PositionStatus(position.term, position.position)


@lru_cache(maxsize=4096)
def _text(address: bytes) -> str:
    return str(IPv6Address(address))
