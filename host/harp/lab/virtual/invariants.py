"""The invariants: what must hold after every step of every scenario.

Each is a function of the facts (`observed.Observed`) that returns what is wrong, or None; its
docstring cites the rule. `judge.Judge` calls them where their facts can change.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

from harp.engine.config import Durability, SwitchMode
from harp.engine.effects import Role
from harp.lab.virtual.observed import Member, Observed, Promise
from harp.lab.virtual.scenario import seconds

if TYPE_CHECKING:
    from harp.lab.virtual.nodes import Node

Check: TypeAlias = Callable[[Observed, Member], str | None]


def one_active(facts: Observed, member: Member) -> str | None:
    """At most one active among members that hear each other both ways, once detection, skew and
    `sync_timeout` have passed (harp.md §5, Two actives)."""
    if not member.active:
        return None
    for other in facts.actives():
        since = facts.mutual_since(member, other) if other is not member else None
        if since is None:
            continue
        since = max(since, member.role_since, other.role_since)
        if facts.network.now - since > facts.bounds.one_active:
            return (
                f"{member.node.name} and {other.node.name} are both ACTIVE and hear each other "
                f"since {seconds(since)}"
            )
    return None


def some_active(facts: Observed, member: Member) -> str | None:
    """A member that is up and may take over is active, or hears one, within the time of detection
    and all ranks: never "all standby for ever" (harp.md §5, ranked takeover)."""
    now = facts.network.now
    eligible = facts.eligible(member)
    if not eligible:
        member.barred_us = now
    if member.role in _PASSING or not eligible:
        member.ready_since = now
        return None
    since = max(member.ready_since, member.active_heard)
    if now - since > facts.bounds.some_active:
        return (
            f"{member.node.name} is {member.role}, may take over, and heard no active "
            f"since {seconds(max(since, 0))}"
        )
    return None


_PASSING = frozenset((Role.ACTIVE, Role.CLAIMING, Role.RESIGNING))


def none_held_active(facts: Observed, member: Member) -> str | None:
    """None is active that is held (harp.md §5, Hold) or a witness (harp.md §5, Quorum)."""
    probe = member.node.probe
    if member.active and probe is not None and (probe.held or member.node.config.me.witness):
        return f"{member.node.name} is ACTIVE, and held or a witness"
    return None


def quorum_kept(facts: Observed, member: Member) -> str | None:
    """Active only while hearing quorum - 1 others; below it an active resigns at once (harp.md
    §5, Quorum)."""
    if member.node.config.quorum and member.active and not facts.quorum_heard(member):
        return f"{member.node.name} is ACTIVE below quorum {member.node.config.quorum}"
    return None


def serving_is_active(facts: Observed, member: Member) -> str | None:
    """The virtual address is where the active is, and nowhere else: taking over adds it, to
    withdraw removes it (harp.md §9)."""
    node, role = member.node, member.role
    if node.serving is (role in _SERVING) or not node.running:
        return None
    if role in _UNDECIDED or node.config.mode is not SwitchMode.VIRTUAL:
        return None
    owns = "owns" if node.serving else "does not own"
    return f"{node.name} is {role} and {owns} the virtual address"


_SERVING = frozenset((Role.ACTIVE,))
_UNDECIDED = frozenset((Role.RESIGNING, Role.DRAINING))


def timer_bounded(facts: Observed, member: Member) -> str | None:
    """Every timer is bounded: a member that runs has a HELLO due within its interval (harp.md
    §4), so its deadline is never further off than that."""
    node = member.node
    left = node.next_call_us
    if left is not None and left <= facts.bounds.next_call:
        return None
    if not node.running or node.stopping or len(node.unplugged) == len(node.ports):
        return None
    return f"{node.name} next wants to be called in {left} µs"


def passing_states_pass(facts: Observed, member: Member) -> str | None:
    """INIT, CLAIMING and RESIGNING end (harp.md §5: `init_wait`, HARELIABILITY_TIMEOUT, 2 s)."""
    if not member.node.running:
        return None
    bounds = facts.bounds
    longest = bounds.passing.get(member.role)
    spent = facts.network.now - max(member.role_since, member.resumed_us)
    if longest is not None and spent > longest:
        return f"{member.node.name} is {member.role} since {seconds(member.role_since)}"
    return None


def commands_answered(facts: Observed, member: Member) -> str | None:
    """Every command of the operator is answered (`CommandGiven`; harp.md §5, planned switch)."""
    if member.node.running:
        for token, given in member.commands.items():
            if facts.network.now - max(given, member.resumed_us) > facts.bounds.command:
                return f"{member.node.name}: no answer to command {token} of {seconds(given)}"
    return None


def updates_answered(facts: Observed, member: Member) -> str | None:
    """An active answers a Binding Update at the latest after `durability_timeout` (harp.md §6)."""
    if member.active:
        for home, (sequence, given) in member.updates.items():
            since = max(given, member.role_since, member.resumed_us)
            if facts.network.now - since > facts.bounds.answer:
                return f"{member.node.name}: Binding Update {sequence} of {home.hex()} not answered"
    return None


def digests_agree(facts: Observed, member: Member) -> str | None:
    """A synchronised standby at the position of the active it follows has the same bindings
    (harp.md §6, Log and Drift)."""
    probe = member.node.probe
    if member.role is not Role.STANDBY or probe is None or not probe.synchronised:
        return None
    name = facts.name_of(probe.following) if probe.following else None
    active = facts.nodes[name].probe if name else None
    if active is None or active.role is not Role.ACTIVE or probe.position != active.position:
        return None
    mine, its = probe.digest(), active.digest()
    found = (probe.position, mine, its)
    if member.differs != found:
        member.differs, member.differs_since = found, facts.network.now
    # A change may leave with the next batch; two logs of one term differ until the new one begins.
    lasts = facts.network.now - member.differs_since > facts.bounds.digests
    if mine != its and lasts:
        return (
            f"{member.node.name} is synchronised with {name} at {probe.position}, "
            f"but holds {mine}, not {its}"
        )
    return None


_OF_ALL: tuple[Check, ...] = (some_active, serving_is_active, timer_bounded)
MEMBER_CHECKS: dict[Role, tuple[Check, ...]] = {
    Role.INIT: (*_OF_ALL, passing_states_pass),
    Role.STANDBY: _OF_ALL,
    Role.CLAIMING: (*_OF_ALL, passing_states_pass),
    Role.ACTIVE: (*_OF_ALL, one_active, none_held_active, quorum_kept),
    Role.RESIGNING: (*_OF_ALL, passing_states_pass),
    Role.DRAINING: _OF_ALL,
}
"""By the member's role: judged after every call of its engine, and for all at every tick."""
TICK_CHECKS: tuple[Check, ...] = (commands_answered, updates_answered, digests_agree)
"""Judged for all at every tick."""


def acknowledged_after_standby(facts: Observed, node: Node, promise: Promise) -> str | None:
    """Success that is not counted `unprotected` is answered only after one synchronised standby
    acknowledged the binding, so one other member has it (harp.md §6, Durability)."""
    if node.config.sync.durability is not Durability.STANDBY:
        return None
    if set(promise.holders) - {node.name}:
        return None
    # The standby that acknowledged it may be gone by now.
    if facts.network.now - facts.disturbed < facts.bounds.slack:
        return None
    return (
        f"{node.name} acknowledged Binding Update {promise.sequence} of "
        f"{promise.home_address.hex()}, and no other member has it"
    )


def promise_not_lost(facts: Observed, promise: Promise) -> str | None:
    """No acknowledged binding that is not counted `unprotected` is lost while a member that
    acknowledged it lives (harp.md §6, Durability)."""
    alive = promise.alive(facts.nodes)
    if alive and not any(facts.holds(node, promise) for node in facts.nodes.values()):
        return f"{_named(promise)} is nowhere; {alive[0].name} had it and lives"
    return None


def promise_at_active(facts: Observed, promise: Promise) -> str | None:
    """A new active takes the state of members ahead (harp.md §5, New term): one that hears a
    holder has what the holder acknowledged."""
    for active in facts.actives():
        for node in promise.alive(facts.nodes):
            holder = facts.members[node.name]
            since = facts.mutual_since(active, holder) if holder is not active else None
            if since is None or not node.running:
                continue
            since = max(since, active.role_since, promise.given_us, holder.resumed_us)
            since = max(since, active.resumed_us)
            if facts.network.now - since <= facts.bounds.converged:
                continue
            if not facts.holds(active.node, promise) and facts.holds(node, promise):
                return f"{_named(promise)} is not at {active.node.name}; {node.name} has it"
    return None


def deletion_stays(facts: Observed, promise: Promise) -> str | None:
    """An acknowledged de-registration does not come back while a member lives that knows of it
    (harp.md §6, Merge: tombstones)."""
    knows = {node.name for node in promise.alive(facts.nodes)}
    for active in facts.actives():
        together = facts.together(active)
        if not any(member.node.name in knows for member in together):
            continue
        for member in together:
            probe = member.node.probe
            held = probe.holds(promise.home_address) if probe else None
            if held is not None and not facts.holds(member.node, promise):
                named = _named(promise)
                return f"{named} was deleted; {member.node.name} has {held.sequence} again"
    return None


def converged(facts: Observed) -> str | None:
    """Caches of connected members converge: each is synchronised and holds what the active does
    (harp.md §6, S, Full sync and Drift)."""
    for active in facts.actives():
        probe = active.node.probe
        for member in facts.together(active):
            other = member.node.probe
            if probe is None or other is None or member.node.config.me.witness:
                continue  # a witness has a voice, no copy
            if not other.synchronised:
                return f"{member.node.name} is not synchronised with {active.node.name}"
            if (other.position, other.digest()) != (probe.position, probe.digest()):
                return (
                    f"{member.node.name} holds {other.digest()} at {other.position}, "
                    f"{active.node.name} {probe.digest()} at {probe.position}"
                )
    return None


def takes_its_turn(facts: Observed, member: Member) -> str | None:
    """Rank r takes over after r x `takeover_skew`: never before a better member that it hears, and
    that hears it and whose flags it can know by HELLOs, has had its turn (harp.md §5, ranked
    takeover)."""
    now, node = facts.network.now, member.node
    long_ago = now - 3 * facts.bounds.interval
    rank = 0
    for other in facts.members.values():
        since = facts.mutual_since(member, other) if other is not member else None
        if since is None or not _stronger(other, member):
            continue
        if max(since, other.barred_us, other.synchronised_since) > long_ago:
            continue
        just_active = other.active and other.role_since > now - node.config.skew_us
        waits = other.role is Role.STANDBY and other.role_since <= long_ago
        rank += just_active or (waits and facts.eligible(other))
    waited = now - max(member.active_heard, member.resumed_us, 0)
    if waited < rank * node.config.skew_us * 98 // 100:
        return f"{node.name} takes over as number {rank} after {waited} µs without an active"
    return None


def _stronger(one: Member, other: Member) -> bool:
    """Whether a member comes first in the ranking (harp.md §5)."""
    mine, its = (
        (m.was_synchronised, m.node.config.preference, m.node.identity) for m in (one, other)
    )
    return mine > its


def _named(promise: Promise) -> str:
    return (
        f"Binding Update {promise.sequence} of {promise.home_address.hex()}, "
        f"acknowledged at {seconds(promise.given_us)},"
    )
