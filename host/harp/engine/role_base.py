"""The role machine's state, its waits and its requests: what all states share (harp.md §5).

The state is written in `_enter` alone; a change of it stops every timer.
"""

from __future__ import annotations

from enum import Enum, auto
from typing import TYPE_CHECKING, NamedTuple

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
from harp.engine.events import CommandGiven
from harp.engine.exchange import Exchange, Replies
from harp.engine.peers import FLAG_A, FLAG_D, Peer, PeerTable
from harp.engine.role_table import TABLE, Happening, RoleReason
from harp.engine.timers import Timers
from harp.tables.constants import GOODBYE_HELLOS
from harp.tables.harp_types import (
    SEQUENCE_MODULUS,
    HarpType,
    Status,
)
from harp.tables.reasons import Reason
from harp.wire.messages import Harp
from harp.wire.sequence import next_harp_sequence

if TYPE_CHECKING:
    from random import Random

SERVING = frozenset((Role.ACTIVE, Role.RESIGNING))
"""States that say A."""
WAITING = frozenset((Role.STANDBY, Role.DRAINING))
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


class RoleBase:
    """State and common steps of the role machine."""

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
        self._replies = Replies(config)
        self._saying_a: set[bytes] = set()
        self._base_us: int | None = None
        self._was_eligible = False
        self._claims_by_offer = False
        self._order: CommandGiven | None = None
        self._asker: tuple[Peer, Harp] | None = None
        self._heir: Peer | None = None
        self._preempt_after_us = 0
        self._allowed: tuple[Role, ...] = ()

    def reconfigured(self) -> None:
        """With a quorum the own settings that members share may be others."""
        self.settings_hash = self.config.settings_hash()

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

    def hear(self, happening: Happening, now: int, what: Input | None = None) -> list[Effect]:
        """One row of the table."""
        row = TABLE[self.role, happening]
        self._allowed = row.targets
        effects: list[Effect] = getattr(self, f"_{row.handler}")(what or Input(), now)
        return effects

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
        # The HELLO first: behind the answer another is active at once, and an offload's slot would
        # go on to say A beside it until it hears of the news (offload.md §4).
        effects.append(HelloWanted(HelloKind.PLAIN, times=GOODBYE_HELLOS))
        if asker:
            effects.append(self._reply(*asker, Status.SUCCESS, now))
        return effects

    def _resume(self, reason: RoleReason, status: Status, now: int) -> list[Effect]:
        """RESIGNING is given up: active as before."""
        asker, self._asker, self._heir = self._asker, None, None
        effects = self._enter(Role.ACTIVE, reason)
        if self._saying_a:
            self.timers.set(Timer.OPPONENT, now + self.config.reliability_timeout_us)
        return [*effects, self._reply(*asker, status, now)] if asker else effects

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
        over = self.timers.due(Timer.SWITCH_OVER)
        if over is not None and over <= now:
            return []  # behind a pause: given up in this very call
        self.timers.set(Timer.SWITCH, now + self.exchange.repeat())
        return [SendHarp(self.exchange.peer, self.exchange.message)]

    def _reply(self, peer: Peer, request: Harp, status: Status, now: int) -> Effect:
        """SO-REP or SB-REP, remembered for repetitions of the request."""
        reply = Harp(HarpType(request.type + 1), self.config.group, request.sequence, status=status)
        self._replies.keep(peer.identity, request, reply, now)
        return SendHarp(peer.identity, reply)

    def _ignore(self, what: Input, now: int) -> list[Effect]:
        return []

    def _unexpected(self, what: Input, now: int) -> list[Effect]:
        """harp.md §3 rule 13."""
        assert what.peer is not None and what.message is not None
        detail = f"{what.message.type.name} while {self.role}"
        return [Dropped(Reason.UNEXPECTED, what.peer.identity, self.config.group, detail)]
