"""Who is active: the role machine of one group (harp.md §5).

What each state does about each happening stands in `role_table.TABLE`; the handlers here do it.
The state is written in `_enter` alone. Every wait has a timer; every timer is stopped by a change
of state.
"""

from __future__ import annotations

from enum import Enum, auto
from random import Random
from typing import NamedTuple

from harp.engine import checks
from harp.engine.config import GroupConfig, SwitchMode
from harp.engine.effects import (
    CommandAnswered,
    Dropped,
    Effect,
    HelloKind,
    HelloWanted,
    Role,
    SendHarp,
    StateChanged,
)
from harp.engine.events import Command, CommandGiven, PeerChanged, PeerEvent
from harp.engine.exchange import Exchange, Replies
from harp.engine.peers import FLAG_A, FLAG_D, Peer, PeerTable
from harp.engine.role_table import TABLE, Happening, RoleReason
from harp.engine.timers import Timers
from harp.tables.constants import GOODBYE_HELLOS
from harp.tables.harp_types import (
    SEQUENCE_MODULUS,
    STATUS_NAMES,
    STATUS_REFUSED,
    HarpType,
    Status,
)
from harp.tables.reasons import Reason
from harp.wire.messages import Harp
from harp.wire.sequence import next_harp_sequence

SERVING = frozenset((Role.ACTIVE, Role.RESIGNING))
"""States that say A."""
_WAITING = frozenset((Role.STANDBY, Role.DRAINING))
"""States that rank themselves when there is no active."""
OPPONENT_TRIES = 3
"""harp.md §5: "three unanswered: it is not heard, and resigns"."""


_DRAINING_AFTER = frozenset(
    (
        RoleReason.SWITCHOVER,
        RoleReason.SWITCHBACK,
        RoleReason.STRONGER_ACTIVE,
        RoleReason.NOT_HEARD,
    )
)
"""Hard mode: old bindings are served on when another is active now (harp.md §9)."""


class Timer(Enum):
    """What the role machine waits for."""

    INIT = auto()
    NO_ACTIVE = auto()
    RANK = auto()
    PREEMPT = auto()
    OPPONENT = auto()
    SWITCH = auto()
    SWITCH_OVER = auto()
    DRAIN = auto()


_TELLS = {
    Timer.INIT: Happening.INIT_OVER,
    Timer.NO_ACTIVE: Happening.NO_ACTIVE,
    Timer.RANK: Happening.RANK_DUE,
    Timer.PREEMPT: Happening.PREEMPT_DUE,
    Timer.OPPONENT: Happening.OPPONENT_DUE,
    Timer.SWITCH: Happening.SWITCH_DUE,
    Timer.SWITCH_OVER: Happening.SWITCH_OVER,
    Timer.DRAIN: Happening.DRAIN_OVER,
}
"""What the machine hears when a timer is due."""
_MESSAGES = {
    HarpType.SO_REQ: Happening.SO_REQ,
    HarpType.SO_REP: Happening.SO_REP,
    HarpType.SB_REQ: Happening.SB_REQ,
    HarpType.SB_REP: Happening.SB_REP,
    HarpType.SW_COMP: Happening.SW_COMP,
}
_ORDERS = {
    Command.SWITCHOVER: Happening.SWITCHOVER,
    Command.SWITCHBACK: Happening.SWITCHBACK,
    Command.HOLD: Happening.HOLD,
    Command.RELEASE: Happening.RELEASE,
}


class Input(NamedTuple):
    """What a handler is told besides the time."""

    peer: Peer | None = None
    """The member it is about."""
    message: Harp | None = None
    """The message that came."""
    order: CommandGiven | None = None
    """The operator's command."""
    late_us: int = 0
    """How late the process was, µs."""


class Roles:
    """The role machine of one group."""

    def __init__(self, config: GroupConfig, peers: PeerTable, rng: Random) -> None:
        self.config = config
        self.peers = peers
        self.role = Role.INIT
        self.active: bytes | None = None
        """Identity of the active that is followed; kept while nobody says A."""
        self.held = config.hold
        """Hold: never takes over."""
        self.is_fenced = False
        """The board may drop what this member says (offload.md §4)."""
        self.synchronised = False
        """Own S flag, as `sync` has it."""
        self.reconciling = False
        """Active, and still taking the state of members ahead."""
        self.has_bindings = False
        """The store is not empty: in hard mode a former active then drains."""
        self.timers: Timers[Timer] = Timers()
        self.exchange: Exchange | None = None
        """SO-REQ or SB-REQ under way."""
        self.settings_hash = config.settings_hash()
        self._sequence = rng.randrange(1, SEQUENCE_MODULUS + 1)
        self._replies = Replies(config.reliability_timeout_us)
        self._saying_a: set[bytes] = set()
        self._base_us: int | None = None
        self._was_eligible = False
        self._claims_by_offer = False
        self._order: CommandGiven | None = None
        self._asker: tuple[Peer, Harp] | None = None
        self._heir: Peer | None = None
        self._preempt_after_us = 0
        self._allowed: tuple[Role, ...] = ()

    # What others see

    @property
    def deadline(self) -> int | None:
        """When `expire` is due, µs."""
        return self.timers.next

    @property
    def quorum(self) -> bool:
        """Hears enough members (harp.md §5)."""
        wanted = self.config.quorum
        return not wanted or self.peers.count_agreeing(self.settings_hash) + 1 >= wanted

    @property
    def preference(self) -> int:
        """HA Preference on the wire: 0 = may not take over now (harp.md §1)."""
        if self.held or self.is_fenced or self.config.me.witness or not self.quorum:
            return 0
        return self.config.preference

    @property
    def flags(self) -> int:
        """A and D of the own HELLO; S is the synchronisation's to say."""
        if self.role in SERVING:
            return FLAG_A
        return FLAG_D if self.role is Role.DRAINING else 0

    @property
    def strength(self) -> tuple[int, bytes]:
        """Which of two actives stays: the greater."""
        return self.preference, self.config.identity

    @property
    def rank(self) -> int:
        """How many eligible members that are up come before this one (harp.md §5)."""
        mine = (self.synchronised, *self.strength)
        return sum(
            peer.up and peer.preference > 0 and (peer.synchronised, *peer.strength) > mine
            for peer in self.peers
        )

    # Inputs

    def start(self, now: int) -> list[Effect]:
        """INIT: HELLO with R, then listen."""
        self.timers.set(Timer.INIT, now + self.config.initial_wait_us)
        return [HelloWanted(HelloKind.FIRST)]

    def hear(self, happening: Happening, now: int, what: Input | None = None) -> list[Effect]:
        """One row of the table."""
        row = TABLE[self.role, happening]
        self._allowed = row.targets
        effects: list[Effect] = getattr(self, f"_{row.handler}")(what or Input(), now)
        return effects

    def peer_event(self, event: PeerEvent, now: int) -> list[Effect]:
        """A peer came, went or changed, whoever saw it (harp.md §4)."""
        peer = self.peers.peers[event.peer]
        what = Input(peer)
        restarted = isinstance(event, PeerChanged) and event.restarted
        if restarted:
            self._replies.forget(event.peer)
        effects: list[Effect] = []
        # "Active lost = down, left, or a newer Restart Counter."
        if event.peer in self._saying_a and (restarted or not peer.active):
            self._saying_a.discard(event.peer)
            lost = restarted or not peer.up
            effects += self.hear(
                Happening.ACTIVE_LOST if lost else Happening.ACTIVE_CLEARED, now, what
            )
        if peer.active and event.peer not in self._saying_a:
            self._saying_a.add(event.peer)
            effects += self.hear(Happening.ACTIVE_HEARD, now, what)
        return effects + self.hear(Happening.PEERS_CHANGED, now, what)

    def receive(self, peer: Peer, message: Harp, now: int) -> list[Effect]:
        """SO-REQ, SO-REP, SB-REQ, SB-REP or SW-COMP of a member."""
        reply = self._replies.find(peer.identity, message, now)
        if reply is not None:
            return [SendHarp(peer.identity, reply)]
        return self.hear(_MESSAGES[message.type], now, Input(peer, message))

    def command(self, order: CommandGiven, now: int) -> list[Effect]:
        """An operator's command about roles; CHECK only tells what is against a switch."""
        if order.command is Command.CHECK:
            return [self._answer(order, checks.refusals(self, order))]
        return self.hear(_ORDERS[order.command], now, Input(order=order))

    def expire(self, now: int) -> list[Effect]:
        """All timers that are due."""
        effects: list[Effect] = []
        while (timer := self.timers.pop(now)) is not None:
            effects += self.hear(_TELLS[timer], now)
        return effects

    # The state

    def _enter(self, new: Role, reason: RoleReason) -> list[Effect]:
        """Writes the state: nothing else does. All that the old one waited for ends."""
        if new not in self._allowed:
            raise AssertionError(f"{self.role} may not lead to {new} here ({reason})")
        old, self.role = self.role, new
        self.timers.stop(*Timer)
        self._replies.clear()
        self._base_us = None
        self._claims_by_offer = False
        effects: list[Effect] = [StateChanged(self.config.group, old, new, reason)]
        handing_over = old is Role.ACTIVE and new is Role.RESIGNING
        if not handing_over:
            self.exchange = None
            won = new is Role.ACTIVE and old is Role.CLAIMING
            given = reason is RoleReason.SWITCHBACK and old is Role.RESIGNING
            effects += self._finish(() if won or given else (reason.value,))
        return effects

    def _finish(self, refusals: tuple[str, ...]) -> list[Effect]:
        """Answers the operator's command under way, if there is one."""
        order, self._order = self._order, None
        return [self._answer(order, refusals)] if order else []

    def _answer(self, order: CommandGiven, refusals: tuple[str, ...]) -> CommandAnswered:
        return CommandAnswered(self.config.group, order.token, refusals)

    def _become_active(self, reason: RoleReason, now: int) -> list[Effect]:
        """The group makes the rest of it (harp.md §9) from the `StateChanged`."""
        effects = self._enter(Role.ACTIVE, reason)
        self.active = None
        return effects

    def _become_standby(self, reason: RoleReason, now: int) -> list[Effect]:
        """From a state that did not serve."""
        return [*self._enter(Role.STANDBY, reason), *self._await_active(now)]

    def _withdraw(self, reason: RoleReason, now: int) -> list[Effect]:
        """Active no more (harp.md §9): clear A, say so three times, answer who asked for it."""
        asker, self._asker, self._heir = self._asker, None, None
        drains = (
            self.config.mode is SwitchMode.HARD and self.has_bindings and reason in _DRAINING_AFTER
        )
        effects = self._enter(Role.DRAINING if drains else Role.STANDBY, reason)
        effects += self._await_active(now)
        if asker:
            effects.append(self._reply(*asker, Status.SUCCESS, now))
        effects.append(HelloWanted(HelloKind.PLAIN, times=GOODBYE_HELLOS))
        return effects

    # Waiting for an active, and ranking

    def _await_active(self, now: int, heard_us: int | None = None) -> list[Effect]:
        """Follows the strongest active, or waits until there is none. `heard_us`: when A was last
        heard from anyone, µs; None: as if now."""
        best = self.peers.best_active()
        if best is None:
            since = now if heard_us is None else heard_us
            self.timers.set(Timer.NO_ACTIVE, max(now, since + self.peers.silence_us))
        else:
            self._follow(best, now)
        return []

    def _follow(self, active: Peer, now: int) -> None:
        """The group tells `sync` whose log is applied."""
        self.active = active.identity
        self._base_us = None
        self.timers.stop(Timer.NO_ACTIVE, Timer.RANK)
        self._plan_preemption(now)

    def _start_ranking(self, now: int) -> list[Effect]:
        """The ranked takeover begins (harp.md §5)."""
        self.timers.stop(Timer.NO_ACTIVE, Timer.PREEMPT)
        self._base_us = now
        self._was_eligible = self.preference > 0
        return self._plan_takeover()

    def _plan_takeover(self) -> list[Effect]:
        """harp.md §5: "rank r takes over after r x `takeover_skew`"; "a takeover under quorum waits
        one more interval"."""
        if self._base_us is None or not self.preference:
            self.timers.stop(Timer.RANK)
            return []
        wait_us = self.rank * self.config.skew_us
        if self.config.quorum:
            wait_us += self.config.hello_interval_us
        self.timers.set(Timer.RANK, self._base_us + wait_us)
        return []

    def _plan_preemption(self, now: int) -> None:
        """harp.md §5: "Preemption only with `preempt = true`, after `preempt_delay`, when
        synchronised"."""
        active = self.peers.peers[self.active] if self.active else None
        wanted = (
            self.config.preempt
            and self.role is Role.STANDBY
            and active is not None
            and active.active
            and self.synchronised
            and self.preference > 0
            and self.strength > active.strength
        )
        if not wanted:
            self.timers.stop(Timer.PREEMPT)
        elif self.timers.due(Timer.PREEMPT) is None:
            due = max(now + self.config.preempt_delay_us, self._preempt_after_us)
            self.timers.set(Timer.PREEMPT, due)

    def _ignore(self, what: Input, now: int) -> list[Effect]:
        return []

    def _init_over(self, what: Input, now: int) -> list[Effect]:
        effects = self._enter(Role.STANDBY, RoleReason.NO_ACTIVE)
        return effects + self._start_ranking(now)

    def _join(self, what: Input, now: int) -> list[Effect]:
        return self._become_standby(RoleReason.ACTIVE_HEARD, now)

    def _listen_again(self, what: Input, now: int) -> list[Effect]:
        self.timers.set(Timer.INIT, now + self.config.initial_wait_us)
        return []

    def _follow_best(self, what: Input, now: int) -> list[Effect]:
        return self._await_active(now)

    def _active_lost(self, what: Input, now: int) -> list[Effect]:
        if self.peers.best_active():
            return self._await_active(now)
        return self._start_ranking(now)

    def _active_cleared(self, what: Input, now: int) -> list[Effect]:
        return self._await_active(now, self.peers.last_active_us)

    def _no_active(self, what: Input, now: int) -> list[Effect]:
        return self._start_ranking(now)

    def _rank_again(self, what: Input, now: int) -> list[Effect]:
        eligible = self.preference > 0
        if self._base_us is not None and eligible and not self._was_eligible:
            self._base_us = now  # it may not jump the queue: an active may be there, unheard so far
        self._was_eligible = eligible
        best = self.peers.best_active()
        if best is not None and best.identity != self.active:
            self._follow(best, now)  # preferences changed
        self._plan_preemption(now)
        return self._plan_takeover()

    def _take_over(self, what: Input, now: int) -> list[Effect]:
        return self._become_active(RoleReason.TAKEOVER, now)

    def _wait_again(self, what: Input, now: int) -> list[Effect]:
        self._base_us = None
        self.timers.stop(Timer.RANK)
        return self._await_active(now)

    # Serving

    def _two_actives(self, what: Input, now: int) -> list[Effect]:
        """harp.md §5: "The one with lower (preference, address) withdraws". The other learns the
        opponent's Term and Position by its answer to R."""
        assert what.peer is not None
        if what.peer.strength > self.strength:
            return self._withdraw(RoleReason.STRONGER_ACTIVE, now)
        if self.role is Role.ACTIVE and self.timers.due(Timer.OPPONENT) is None:
            self.timers.set(Timer.OPPONENT, now + self.config.reliability_timeout_us)
        return [HelloWanted(HelloKind.ASK, what.peer.identity)]

    def _opponent_gone(self, what: Input, now: int) -> list[Effect]:
        """It withdrew or is lost; its position, if it is up, tells what to take from it."""
        assert what.peer is not None
        if self.exchange and self.exchange.message.type is HarpType.SO_REQ:
            self._end_exchange()
        if not self._saying_a:
            self.timers.stop(Timer.OPPONENT)
        return [HelloWanted(HelloKind.ASK, what.peer.identity)] if what.peer.up else []

    def _serving_checked(self, what: Input, now: int) -> list[Effect]:
        """Quorum, the strength of a second active, the peer of a switch under way."""
        if not self.quorum:
            return self._withdraw(RoleReason.QUORUM_LOST, now)
        second = self.peers.best_active()
        if second is not None and second.strength > self.strength:
            return self._withdraw(RoleReason.STRONGER_ACTIVE, now)
        if self.role is Role.RESIGNING and not self._partner.up:
            return self._resume(RoleReason.ASKER_LOST, Status.UNSPECIFIED, now)
        if self.exchange and not self.peers.peers[self.exchange.peer].up:
            self._end_exchange()
            return self._finish((checks.Refusal.PEER_DOWN,))
        return []

    def _ask_opponent(self, what: Input, now: int) -> list[Effect]:
        """harp.md §5: "A winner whose opponent still sends A after `HARELIABILITY_TIMEOUT` sends
        SO-REQ"."""
        opponent = self.peers.best_active()
        if opponent is None or self.exchange:
            self.timers.set(Timer.OPPONENT, now + self.config.reliability_timeout_us)
            return []
        return self._ask(HarpType.SO_REQ, opponent, now)

    def _repeat_or_resign(self, what: Input, now: int) -> list[Effect]:
        """harp.md §5: "... sends SO-REQ; three unanswered: it is not heard, and resigns"."""
        assert self.exchange is not None
        to_opponent = self.exchange.message.type is HarpType.SO_REQ
        if to_opponent and self.exchange.sent >= OPPONENT_TRIES:
            return self._withdraw(RoleReason.NOT_HEARD, now)
        return self._repeat_request(what, now)

    def _opponent_answered(self, what: Input, now: int) -> list[Effect]:
        if not self._answers_exchange(what):
            return self._unexpected(what, now)
        self._end_exchange()
        self.timers.set(Timer.OPPONENT, now + self.config.reliability_timeout_us)
        return []

    def _serving_paused(self, what: Input, now: int) -> list[Effect]:
        """harp.md §5: "an active that late (its own detection time) withdraws and goes INIT"."""
        if what.late_us < self.config.detection_us:
            return []
        self._asker = self._heir = None
        effects = self._enter(Role.INIT, RoleReason.PAUSED)
        return [*effects, *self.start(now)]

    def _serving_fenced(self, what: Input, now: int) -> list[Effect]:
        self.is_fenced = True
        return self._withdraw(RoleReason.FENCED, now)

    # Requests under way

    def _ask(self, kind: HarpType, peer: Peer, now: int) -> list[Effect]:
        """Sends SO-REQ or SB-REQ, and again until answered or given up (harp.md §8)."""
        self._sequence = next_harp_sequence(self._sequence)
        message = Harp(
            kind, self.config.group, self._sequence, preference=self._wire_preference(kind)
        )
        self.exchange = Exchange(peer.identity, message, self.config.switch_timer_us)
        self.timers.set(Timer.SWITCH, now + self.exchange.wait_us)
        self.timers.set(Timer.SWITCH_OVER, now + self.config.reliability_timeout_us)
        return [SendHarp(peer.identity, message)]

    def _wire_preference(self, kind: HarpType) -> int:
        """harp.md §2.1: HA Preference has a meaning in SO-REQ, not in SB-REQ."""
        return self.preference if kind is HarpType.SO_REQ else 0

    def _end_exchange(self) -> None:
        self.exchange = None
        self.timers.stop(Timer.SWITCH, Timer.SWITCH_OVER)

    def _answers_exchange(self, what: Input) -> bool:
        """Whether a reply is of the request under way: SO-REP of SO-REQ, SB-REP of SB-REQ."""
        assert what.peer is not None and what.message is not None
        return (
            self.exchange is not None
            and what.message.type == self.exchange.message.type + 1
            and self.exchange.answered_by(what.peer.identity, what.message)
        )

    def _repeat_request(self, what: Input, now: int) -> list[Effect]:
        assert self.exchange is not None
        self.timers.set(Timer.SWITCH, now + self.exchange.repeat())
        return [SendHarp(self.exchange.peer, self.exchange.message)]

    def _request_over(self, what: Input, now: int) -> list[Effect]:
        self._end_exchange()
        return self._finish((RoleReason.NO_ANSWER,))

    def _reply(self, peer: Peer, request: Harp, status: Status, now: int) -> Effect:
        """SO-REP or SB-REP, remembered for repetitions of the request."""
        reply = Harp(HarpType(request.type + 1), self.config.group, request.sequence, status=status)
        self._replies.keep(peer.identity, request, reply, now)
        return SendHarp(peer.identity, reply)

    def _unexpected(self, what: Input, now: int) -> list[Effect]:
        """harp.md §3 rule 13."""
        assert what.peer is not None and what.message is not None
        detail = f"{what.message.type.name} while {self.role}"
        return [Dropped(Reason.UNEXPECTED, what.peer.identity, self.config.group, detail)]

    # Claiming

    def _preempt(self, what: Input, now: int) -> list[Effect]:
        assert self.active is not None
        return self._claim(self.peers.peers[self.active], RoleReason.PREEMPTION, now)

    def _claim(self, active: Peer, reason: RoleReason, now: int) -> list[Effect]:
        """SO-REQ to the active: "I take over" (harp.md §2.1)."""
        self._preempt_after_us = now + max(
            self.config.preempt_delay_us, self.config.reliability_timeout_us
        )
        effects = self._enter(Role.CLAIMING, reason)
        return effects + self._ask(HarpType.SO_REQ, active, now)

    def _offered(self, what: Input, now: int) -> list[Effect]:
        """SB-REQ: "you take over"."""
        assert what.peer is not None and what.message is not None
        status = Status.SUCCESS
        if not self.preference:
            status = Status.PROHIBITED
        elif what.peer.identity != self.active:
            status = Status.NOT_STANDBY
        elif not self.synchronised:
            status = Status.NOT_SYNCHRONISED
        if status is not Status.SUCCESS:
            return [self._reply(what.peer, what.message, status, now)]
        effects = self._enter(Role.CLAIMING, RoleReason.SWITCHBACK)
        self._claims_by_offer = True
        self.timers.set(Timer.SWITCH_OVER, now + self.config.reliability_timeout_us)
        return [*effects, self._reply(what.peer, what.message, status, now)]

    def _answered(self, what: Input, now: int) -> list[Effect]:
        if not self._answers_exchange(what):
            return self._unexpected(what, now)
        assert what.peer is not None and what.message is not None
        if what.message.status >= STATUS_REFUSED:
            name = STATUS_NAMES.get(what.message.status, f"status {what.message.status}")
            return [*self._finish((name,)), *self._become_standby(RoleReason.REFUSED, now)]
        # Its HELLO without A may still be on the way.
        what.peer.flags &= ~FLAG_A
        self._saying_a.discard(what.peer.identity)
        return self._become_active(RoleReason.SWITCHOVER, now)

    def _claim_challenged(self, what: Input, now: int) -> list[Effect]:
        assert what.peer is not None
        if what.peer.identity == self.active:
            return []
        return self._become_standby(RoleReason.OTHER_ACTIVE, now)

    def _claimed_lost(self, what: Input, now: int) -> list[Effect]:
        """Of the claimed one alone: another's loss changes nothing."""
        assert what.peer is not None
        if what.peer.identity != self.active:
            return []
        if self._claims_by_offer:
            return self._become_active(RoleReason.ACTIVE_LOST, now)
        effects = self._enter(Role.STANDBY, RoleReason.ACTIVE_LOST)
        return effects + self._start_ranking(now)

    def _claimed_cleared(self, what: Input, now: int) -> list[Effect]:
        """harp.md §5: "A HELLO without A from it while CLAIMING counts as SO-REP 0"."""
        assert what.peer is not None
        if what.peer.identity != self.active:
            return []
        by_offer = self._claims_by_offer
        return self._become_active(
            RoleReason.SWITCHBACK if by_offer else RoleReason.SWITCHOVER, now
        )

    def _claim_checked(self, what: Input, now: int) -> list[Effect]:
        return [] if self.quorum else self._become_standby(RoleReason.QUORUM_LOST, now)

    def _claim_over(self, what: Input, now: int) -> list[Effect]:
        return self._become_standby(RoleReason.NO_ANSWER, now)

    def _claim_paused(self, what: Input, now: int) -> list[Effect]:
        return self._become_standby(RoleReason.PAUSED, now)

    def _claim_fenced(self, what: Input, now: int) -> list[Effect]:
        self.is_fenced = True
        return self._become_standby(RoleReason.FENCED, now)

    # Giving the role away

    def _refuse_not_active(self, what: Input, now: int) -> list[Effect]:
        assert what.peer is not None and what.message is not None
        return [self._reply(what.peer, what.message, Status.NOT_ACTIVE, now)]

    def _refuse_not_standby(self, what: Input, now: int) -> list[Effect]:
        assert what.peer is not None and what.message is not None
        return [self._reply(what.peer, what.message, Status.NOT_STANDBY, now)]

    def _asked_to_resign(self, what: Input, now: int) -> list[Effect]:
        """SO-REQ: "the active stops taking Binding Updates until its log is acknowledged"."""
        assert what.peer is not None and what.message is not None
        if what.peer.active:  # the stronger of two actives: there is no log that it follows
            self._asker = (what.peer, what.message)
            return self._withdraw(RoleReason.STRONGER_ACTIVE, now)
        status = Status.SUCCESS
        if not what.peer.preference:
            status = Status.PROHIBITED
        elif self.reconciling or not what.peer.synchronised:
            status = Status.NOT_SYNCHRONISED
        if status is not Status.SUCCESS:
            return [self._reply(what.peer, what.message, status, now)]
        self._end_exchange()
        effects = self._finish((RoleReason.SWITCHOVER,))
        return effects + self._resign(RoleReason.SWITCHOVER, now, asker=(what.peer, what.message))

    def _resign(
        self,
        reason: RoleReason,
        now: int,
        asker: tuple[Peer, Harp] | None = None,
        heir: Peer | None = None,
    ) -> list[Effect]:
        effects = self._enter(Role.RESIGNING, reason)
        self._asker, self._heir = asker, heir
        self.timers.set(Timer.DRAIN, now + self.config.switch_drain_us)
        return effects

    def _asked_again(self, what: Input, now: int) -> list[Effect]:
        assert what.peer is not None and what.message is not None
        if what.peer.active:
            self._asker = self._asker or (what.peer, what.message)
            return self._withdraw(RoleReason.STRONGER_ACTIVE, now)
        if self._asker and self._asker[0] is what.peer:
            self._asker = (what.peer, what.message)
            return []
        return [self._reply(what.peer, what.message, Status.UNSPECIFIED, now)]

    @property
    def _partner(self) -> Peer:
        """RESIGNING: who is to become active."""
        partner = self._asker[0] if self._asker else self._heir
        assert partner is not None
        return partner

    def _drained(self, what: Input, now: int) -> list[Effect]:
        given = RoleReason.SWITCHBACK if self._heir else RoleReason.SWITCHOVER
        return self._withdraw(given, now)

    def _not_drained(self, what: Input, now: int) -> list[Effect]:
        return self._resume(RoleReason.NOT_DRAINED, Status.NOT_SYNCHRONISED, now)

    def _resume(self, reason: RoleReason, status: Status, now: int) -> list[Effect]:
        """RESIGNING is given up: active as before."""
        asker, self._asker, self._heir = self._asker, None, None
        effects = self._enter(Role.ACTIVE, reason)
        if self._saying_a:
            self.timers.set(Timer.OPPONENT, now + self.config.reliability_timeout_us)
        return [*effects, self._reply(*asker, status, now)] if asker else effects

    def _accepted(self, what: Input, now: int) -> list[Effect]:
        """SB-REP: "0 means ready"."""
        if not self._answers_exchange(what):
            return self._unexpected(what, now)
        assert what.peer is not None and what.message is not None
        self._end_exchange()
        if what.message.status >= STATUS_REFUSED:
            name = STATUS_NAMES.get(what.message.status, f"status {what.message.status}")
            return self._finish((name,))
        return self._resign(RoleReason.SWITCHBACK, now, heir=what.peer)

    def _emptied(self, what: Input, now: int) -> list[Effect]:
        return self._become_standby(RoleReason.MOVED, now)

    def _moved(self, what: Input, now: int) -> list[Effect]:
        """SW-COMP: of the active alone."""
        assert what.peer is not None
        if not what.peer.active:
            return self._unexpected(what, now)
        return self._become_standby(RoleReason.MOVED, now)

    # Orders

    def _order_refused(self, what: Input, now: int) -> list[Effect]:
        assert what.order is not None
        return [self._answer(what.order, checks.wrong_state(self, what.order))]

    def _order_switchover(self, what: Input, now: int) -> list[Effect]:
        assert what.order is not None
        refusals = checks.refusals(self, what.order)
        if refusals:
            return [self._answer(what.order, refusals)]
        assert self.active is not None
        effects = self._claim(self.peers.peers[self.active], RoleReason.SWITCHOVER, now)
        self._order = what.order
        return effects

    def _order_switchback(self, what: Input, now: int) -> list[Effect]:
        assert what.order is not None
        refusals = checks.refusals(self, what.order)
        if refusals:
            return [self._answer(what.order, refusals)]
        self._order = what.order
        heir = checks.heir(self, what.order)
        assert heir is not None
        return self._ask(HarpType.SB_REQ, heir, now)

    def _hold(self, what: Input, now: int) -> list[Effect]:
        assert what.order is not None
        self.held = True
        effects = self._rank_again(what, now) if self.role in _WAITING else []
        return [*effects, self._answer(what.order, ())]

    def _release(self, what: Input, now: int) -> list[Effect]:
        assert what.order is not None
        self.held = False
        effects = self._rank_again(what, now) if self.role in _WAITING else []
        return [*effects, self._answer(what.order, ())]

    def _fenced(self, what: Input, now: int) -> list[Effect]:
        self.is_fenced = True
        return self._rank_again(what, now) if self.role in _WAITING else []

    def _unfenced(self, what: Input, now: int) -> list[Effect]:
        self.is_fenced = False
        return self._rank_again(what, now) if self.role in _WAITING else []

    def _stop(self, what: Input, now: int) -> list[Effect]:
        """The group says goodbye; nothing is waited for any more."""
        self._asker = self._heir = None
        effects = [] if self.role is Role.INIT else self._enter(Role.INIT, RoleReason.STOPPED)
        self.timers.stop(*Timer)
        return effects
