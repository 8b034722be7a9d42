"""The invariants: what must hold after every step of every scenario.

Each is a function of the facts (`observed.Observed`) that returns what is wrong, or None; its
docstring cites the rule. `Invariants` calls them where their facts can change: after every call of
an engine for the member that moved, at every packet sent, and for all members every `TICK_US`.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import PurePath
from typing import TYPE_CHECKING, TypeAlias, get_args

from harp.engine import effects as fx
from harp.engine.config import Durability, SwitchMode
from harp.engine.effects import Role
from harp.engine.role_table import RoleReason
from harp.lab.virtual.nodes import Node, Watcher
from harp.lab.virtual.observed import Member, Observed, Promise
from harp.lab.virtual.rates import Rates
from harp.lab.virtual.scenario import seconds
from harp.tables.constants import US_PER_S
from harp.tables.mh import NEXT_HEADER, MhType
from harp.tables.reasons import Reason
from harp.wire.sequence import newer16

if TYPE_CHECKING:
    from harp.lab.virtual.mobile import MobileNode, Registration
    from harp.lab.virtual.network import Network, Packet
    from harp.lab.virtual.settings import Settings

TICK_US = 100_000
"""Between two looks at everything."""
LAST_LOOKS_US = 600_000
"""The end of a scenario: no load any more, and all must have converged in one look of it."""
CALM_TICKS = 12
"""Ticks in a row with nothing under way that end a scenario early."""
CALLS_AT_ONCE = 3_000
"""Calls of one engine at one moment that are no endless loop."""
REFUSED = 128
"""Least Status of a Binding Acknowledgement that refuses."""


@dataclass(frozen=True, slots=True)
class Violation:
    """An invariant that did not hold."""

    invariant: str
    at_us: int
    text: str

    def __str__(self) -> str:
        return f"{seconds(self.at_us)} {self.invariant}: {self.text}"


class Violated(Exception):
    """Ends a run at its first violation."""

    def __init__(self, violation: Violation) -> None:
        super().__init__(str(violation))
        self.violation = violation


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
    if member.role in _PASSING or not facts.eligible(member):
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
    that hears it, has had its turn (harp.md §5, ranked takeover)."""
    now, node = facts.network.now, member.node
    long_ago = now - 3 * facts.bounds.interval
    rank = 0
    for other in facts.members.values():
        since = facts.mutual_since(member, other) if other is not member else None
        if since is None or since > long_ago or not _stronger(other, member):
            continue
        waits = max(other.role_since, other.ready_since) <= long_ago and facts.eligible(other)
        just_active = other.active and other.role_since > now - node.config.skew_us
        rank += just_active or (other.role is Role.STANDBY and waits)
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


_OF_PARTS = frozenset(get_args(fx.PartEffect))
_COPYING = frozenset((Role.STANDBY, Role.DRAINING))

GOOD_IS_GOOD = frozenset(
    (
        Reason.TRUNCATED,
        Reason.BAD_LENGTH,
        Reason.BAD_CHECKSUM,
        Reason.UNKNOWN_TYPE,
        Reason.BAD_PAYLOAD_PROTO,
        Reason.UNKNOWN_HARP_TYPE,
        Reason.BAD_SEQUENCE,
        Reason.BAD_OPTION,
        Reason.BAD_HOP_LIMIT,
        Reason.NOT_A_PEER,
        Reason.WRONG_GROUP,
        Reason.AUTH,
    )
)
"""Reasons for which no message of a member or mobile node is ever dropped: what our own engine
builds is well-formed (harp.md §2, §3)."""


class Invariants(Watcher):
    """Keeps the facts, calls the invariants, stops at the first that does not hold."""

    def __init__(
        self,
        settings: Settings,
        network: Network,
        tell: Callable[[int, str], None] | None = None,
    ) -> None:
        self.facts = Observed(settings, network)
        self.rates = Rates(self.facts)
        self.violations: list[Violation] = []
        self.takeovers_us: list[int] = []
        self.acknowledged = 0
        self.unprotected = 0
        self.quiet = False
        """Whether mobile nodes are to keep still: the end is near."""
        self.trace: list[str] = []
        self._network, self._tell = network, tell
        self._mobiles: dict[bytes, MobileNode] = {}
        self._lost_at: int | None = None
        self._packet: Packet | None = None
        self._answers: list[tuple[bytes, int, int]] = []
        self._unprotected: dict[str, int] = {}
        self._calls = (0, 0)
        self.end = 0
        """When the scenario is over, µs."""
        self._calm_from = self._calm_ticks = 0
        self._has_converged: str | None = ""

    # What the world tells

    def watch(self, nodes: list[Node]) -> None:
        """The members are these."""
        self.facts.watch(nodes)

    def follow(self, mobile: MobileNode) -> None:
        """A mobile node is there."""
        self._mobiles[mobile.home_address] = mobile
        mobile.on_send = self._registering

    def begin(self, calm_from: int, end: int) -> None:
        """The scenario runs until `end`, or until nothing is under way any more `CALM_TICKS` long
        after the last step, `calm_from`."""
        self._calm_from, self.end = calm_from, end
        self._network.at(TICK_US, self._tick)

    def finish(self) -> None:
        """The scenario is over."""
        if self._has_converged:
            self._fail("converged", self._has_converged)

    def crashed(self, bug: Exception) -> None:
        """Something raised: an engine never does, whatever arrives (harp.md §3)."""
        last = traceback.extract_tb(bug.__traceback__)[-1]
        where = f"{PurePath(last.filename).name}:{last.lineno}"
        text = f"{type(bug).__name__} in {where}: {bug}"
        self.violations.append(Violation("no_exception", self._network.now, text))

    def asked(self, node: Node, token: int) -> None:
        """An operator's command goes to a member."""
        self.facts.members[node.name].commands[token] = self._network.now

    # What nodes tell

    def started(self, node: Node) -> None:
        """See `Watcher`."""
        member = self.facts.members[node.name]
        member.fresh(self._network.now)
        self._unprotected[node.name] = 0
        if not node.remembers:
            self.rates.forget(node.name)
        self.facts.disturbed = self._network.now
        self._say(f"{node.name} starts")

    def stopped(self, node: Node) -> None:
        """See `Watcher`."""
        self._gone(node, "is gone")

    def stalled(self, node: Node) -> None:
        """See `Watcher`."""
        self._gone(node, "stalls")

    def resumed(self, node: Node) -> None:
        """See `Watcher`."""
        self.facts.members[node.name].resumed_us = self._network.now
        self.facts.disturbed = self._network.now
        self._say(f"{node.name} runs again")

    def heard(self, node: Node, packet: Packet) -> None:
        """See `Watcher`."""
        self._packet = packet
        self.facts.heard(self.facts.members[node.name], packet)

    def sends(self, node: Node, effect: fx.SendPacket) -> None:
        """See `Watcher`."""
        payload = effect.payload
        member = self.facts.members[node.name]
        wrong = self.rates.sends(member, effect)
        if wrong:
            self._fail(*wrong)
        if effect.protocol == NEXT_HEADER and payload[2] == MhType.BINDING_ACKNOWLEDGEMENT:
            sequence = int.from_bytes(payload[8:10])
            pending = member.updates.get(effect.destination)
            if pending is not None and not newer16(pending[0], sequence):
                del member.updates[effect.destination]
            if payload[6] < REFUSED:
                self._answers.append((effect.destination, sequence, 4 * _u16(payload, 10)))

    def spoken(self, node: Node, payload: bytes) -> None:
        """See `Watcher`."""
        wrong = self.rates.signs(node.name, payload)
        if wrong:
            self._fail(*wrong)

    def did(self, node: Node, effects: list[fx.Effect]) -> None:
        """See `Watcher`."""
        member = self.facts.members[node.name]
        packet, self._packet = self._packet, None
        for effect in effects:
            kind = type(effect)
            if kind is fx.SendPacket or kind is fx.WriteJournal:
                continue  # by far the most; packets were seen when they left
            if isinstance(effect, fx.StateChanged):
                self._turned(member, effect)
            elif isinstance(effect, fx.Dropped):
                if effect.reason in GOOD_IS_GOOD and packet and not packet.forged:
                    self._fail("good_is_good", f"{node.name} drops {packet}: {effect}")
            elif isinstance(effect, fx.CommandAnswered):
                member.commands.pop(effect.token, None)
            elif isinstance(effect, fx.AnnounceNeighbor):
                wrong = self.rates.announces(member)
                if wrong:
                    self._fail(*wrong)
            elif kind in _OF_PARTS:
                self._fail("parts_stay_inside", f"{node.name} returned {effect}")
        if member.role in _COPYING and node.probe is not None:
            member.was_synchronised = node.probe.synchronised
        if self._answers:
            self._promise(node)
        self._count_calls(node)
        self._check(member, MEMBER_CHECKS[member.role])

    # Inside

    def _gone(self, node: Node, how: str) -> None:
        member = self.facts.members[node.name]
        if member.role is Role.ACTIVE and self._lost_at is None:
            self._lost_at = self._network.now
        self.facts.disturbed = self._network.now
        self._say(f"{node.name} {how}")

    def _turned(self, member: Member, effect: fx.StateChanged) -> None:
        now = self._network.now
        if effect.new is Role.ACTIVE and effect.reason == RoleReason.TAKEOVER:
            wrong = takes_its_turn(self.facts, member)
            if wrong:
                self._fail("takes_its_turn", wrong)
        member.role, member.role_since = effect.new, now
        self._say(f"{member.node.name} {effect.old} -> {effect.new} ({effect.reason})")
        if effect.new is Role.ACTIVE:
            member.updates.clear()
            if self._lost_at is not None:
                self.takeovers_us.append(now - self._lost_at)
                self._lost_at = None
        elif effect.old is Role.ACTIVE:
            member.active_heard = now

    def _registering(self, mobile: MobileNode, sent: Registration) -> None:
        """A newer Binding Update takes the place of what was promised when it is a deletion, and
        of a deletion when it is none."""
        self.facts.gone.pop(mobile.home_address, None)
        if sent.lifetime_s == 0:
            self.facts.promises.pop(mobile.home_address, None)

    def _promise(self, node: Node) -> None:
        """Binding Acknowledgements with Success left: which of them are promises?"""
        facts, now = self.facts, self._network.now
        answers, self._answers = self._answers, []
        assert node.probe is not None
        counted = node.probe.unprotected
        unprotected = counted - self._unprotected[node.name]
        self._unprotected[node.name] = counted
        self.acknowledged += len(answers)
        self.unprotected += unprotected
        for home, sequence, lifetime_s in answers:
            mobile = self._mobiles.get(home)
            registration = mobile.sent.get(sequence) if mobile is not None else None
            if registration is None or mobile is None or unprotected:
                continue
            ends = now + lifetime_s * US_PER_S * 9 // 10 - US_PER_S
            promise = Promise(home, sequence, registration, now, ends, {})
            if registration.lifetime_s == 0:
                if mobile.latest is registration:
                    promise.holders = {
                        name: other.boots
                        for name, other in facts.nodes.items()
                        if other is node or (other.alive and facts.knows_deletion(other, promise))
                    }
                    facts.gone[home] = promise
                continue
            latest = mobile.latest
            if latest is None or latest.lifetime_s == 0:
                continue  # the standby may have the de-registration that came behind it
            promise.holders = {
                name: other.boots
                for name, other in facts.nodes.items()
                if other.alive and facts.holds(other, promise)
            }
            wrong = acknowledged_after_standby(facts, node, promise)
            if wrong:
                self._fail("acknowledged_after_standby", wrong)
            facts.promises[home] = promise

    def _count_calls(self, node: Node) -> None:
        at, calls = self._calls
        self._calls = (at, calls + 1) if at == self._network.now else (self._network.now, 1)
        if calls > CALLS_AT_ONCE:
            self._fail("timer_bounded", f"{node.name}: {calls} calls at one moment")

    def _check(self, member: Member, checks: tuple[Check, ...]) -> None:
        for check in checks:
            wrong = check(self.facts, member)
            if wrong is not None:
                self._fail(check.__name__, wrong)

    def _tick(self) -> None:
        facts, now = self.facts, self._network.now
        for member in facts.members.values():
            if member.node.probe is not None:
                self._check(member, MEMBER_CHECKS[member.role] + TICK_CHECKS)
        for home, promise in list(facts.promises.items()):
            if now > promise.ends_us:
                del facts.promises[home]
                continue
            wrong = promise_not_lost(facts, promise)
            if wrong:
                self._fail("promise_not_lost", wrong)
            wrong = promise_at_active(facts, promise)
            if wrong:
                self._fail("promise_at_active", wrong)
        if now >= self.end - LAST_LOOKS_US:
            self._last_look()
        elif now >= self._calm_from:
            self._calm_ticks = self._calm_ticks + 1 if facts.settled() else 0
            if self._calm_ticks >= CALM_TICKS:
                self.end = now + LAST_LOOKS_US
        self._network.at(now + TICK_US, self._tick)

    def _last_look(self) -> None:
        if not self.quiet:
            self.quiet = True
            for mobile in self._mobiles.values():
                mobile.rest()
            return
        if self._has_converged is not None:
            self._has_converged = converged(self.facts)
        if self._has_converged is None:
            for promise in self.facts.gone.values():
                wrong = deletion_stays(self.facts, promise)
                if wrong:
                    self._fail("deletion_stays", wrong)

    def _fail(self, invariant: str, text: str) -> None:
        violation = Violation(invariant, self._network.now, text)
        self._say(str(violation))
        self.violations.append(violation)
        raise Violated(violation)

    def _say(self, text: str) -> None:
        if self._tell is not None:
            self._tell(self._network.now, text)


def _u16(octets: bytes, at: int) -> int:
    return int.from_bytes(octets[at : at + 2])
