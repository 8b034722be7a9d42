"""What is against a planned switch: every reason has a name (harp.md §5, "A planned switch is
checked first")."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

from harp.engine.effects import Role
from harp.engine.events import Command, CommandGiven
from harp.engine.peers import Peer

if TYPE_CHECKING:
    from harp.engine.roles import Roles


class Refusal(StrEnum):
    """One reason against a command."""

    NOT_ACTIVE = "not_active"
    """The member is not active: it has no role to give away."""
    NOT_STANDBY = "not_standby"
    """The member is neither standby nor draining: it cannot take over now."""
    SWITCH_UNDER_WAY = "switch_under_way"
    """Another switch has not ended yet."""
    NO_ACTIVE = "no_active"
    """No active is heard: there is nobody to ask; the ranked takeover decides."""
    NO_STANDBY = "no_standby"
    """No eligible standby is up."""
    UNKNOWN_PEER = "unknown_peer"
    """The member named is none of this group."""
    PEER_DOWN = "peer_down"
    """The member named is not up."""
    WITNESS = "witness"
    """A witness never serves."""
    HELD = "held"
    """The one to take over is held, fenced, or below quorum: its preference is 0."""
    NOT_SYNCHRONISED = "not_synchronised"
    """The one to take over does not have all bindings."""
    CONFIGURATION_DIFFERS = "configuration_differs"
    """The two members have different settings."""
    RECONCILING = "reconciling"
    """The active still takes the state of members ahead."""


OVERRIDABLE = frozenset(
    (Refusal.HELD, Refusal.NOT_SYNCHRONISED, Refusal.CONFIGURATION_DIFFERS, Refusal.RECONCILING)
)
"""What `--force` overrides: "local checks only"; the other side judges by itself."""


def heir(roles: Roles, order: CommandGiven) -> Peer | None:
    """Who is to become active: the member named, else the best standby that is up."""
    if order.to is not None:
        return roles.peers.peers.get(order.to)
    eligible = [peer for peer in roles.peers if peer.up and peer.preference]
    return max(eligible, key=lambda peer: (peer.synchronised, *peer.strength), default=None)


def wrong_state(roles: Roles, order: CommandGiven) -> tuple[str, ...]:
    """Why a command does not fit the state."""
    if order.command is Command.SWITCHBACK:
        return (Refusal.NOT_ACTIVE,)
    if order.command is Command.SWITCHOVER:
        return (Refusal.NOT_STANDBY,)
    return (Refusal.SWITCH_UNDER_WAY if roles.role is Role.CLAIMING else Refusal.NOT_STANDBY,)


def refusals(roles: Roles, order: CommandGiven) -> tuple[str, ...]:
    """Every reason against a switch from here: of an active to give, of a standby to take."""
    if roles.role is Role.ACTIVE:
        found = _against_giving(roles, order)
    elif roles.role in (Role.STANDBY, Role.DRAINING):
        found = _against_taking(roles)
    else:
        found = [Refusal.NOT_STANDBY]
    return tuple(r for r in found if not (order.force and r in OVERRIDABLE))


def _against_giving(roles: Roles, order: CommandGiven) -> list[Refusal]:
    found = [Refusal.SWITCH_UNDER_WAY] if roles.exchange else []
    if roles.reconciling:
        found.append(Refusal.RECONCILING)
    to = heir(roles, order)
    if to is None:
        return [*found, Refusal.UNKNOWN_PEER if order.to else Refusal.NO_STANDBY]
    if not to.up:
        return [*found, Refusal.PEER_DOWN]
    if not to.preference:
        found.append(Refusal.HELD)
    if not to.synchronised:
        found.append(Refusal.NOT_SYNCHRONISED)
    return found + _settings(roles, to)


def _against_taking(roles: Roles) -> list[Refusal]:
    found = []
    if roles.config.me.witness:
        found.append(Refusal.WITNESS)
    elif not roles.preference:
        found.append(Refusal.HELD)
    if not roles.synchronised:
        found.append(Refusal.NOT_SYNCHRONISED)
    active = roles.peers.peers[roles.active] if roles.active else None
    if active is None or not active.active:
        return [*found, Refusal.NO_ACTIVE]
    return found + _settings(roles, active)


def _settings(roles: Roles, peer: Peer) -> list[Refusal]:
    """A peer whose settings were never heard does not differ as far as known."""
    agrees = peer.configuration in (None, roles.settings_hash)
    return [] if agrees else [Refusal.CONFIGURATION_DIFFERS]
