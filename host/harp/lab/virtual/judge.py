"""Watches a scenario: keeps the facts, asks the invariants, ends a run at the first that is broken.

The invariants (`invariants`, `rates`) are asked where their facts can change: after every call of
an engine for the member that moved, at every packet sent, and for all members every `TICK_US`.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import PurePath
from typing import TYPE_CHECKING, get_args

from harp.engine import effects as fx
from harp.engine.effects import Role
from harp.engine.role_table import RoleReason
from harp.lab.virtual.invariants import (
    MEMBER_CHECKS,
    TICK_CHECKS,
    Check,
    acknowledged_after_standby,
    converged,
    deletion_stays,
    promise_at_active,
    promise_not_lost,
    takes_its_turn,
)
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


_OF_PARTS = frozenset(get_args(fx.PartEffect))
_COPYING = frozenset((Role.STANDBY, Role.CLAIMING, Role.DRAINING))

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


class Judge(Watcher):
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
            if member.was_synchronised is not node.probe.synchronised:
                member.was_synchronised = node.probe.synchronised
                member.is_doubtful &= not node.probe.synchronised
                member.synchronised_since = self._network.now
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
            if member.is_doubtful:  # it may end what it believes to be over
                self.facts.promises.clear()
                self.facts.gone.clear()
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
