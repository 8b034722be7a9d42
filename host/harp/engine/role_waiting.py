"""INIT, STANDBY, DRAINING: waiting for an active, ranking, the way into a claim (harp.md §5)."""

from __future__ import annotations

from harp.engine.effects import (
    Effect,
    HelloKind,
    HelloWanted,
    Role,
)
from harp.engine.peers import Peer
from harp.engine.role_base import WAITING, Input, RoleBase, Timer
from harp.engine.role_table import RoleReason
from harp.tables.harp_types import (
    HarpType,
    Status,
)


class Waiting(RoleBase):
    """Handlers of those that are not active."""

    def start(self, now: int) -> list[Effect]:
        """INIT: HELLO with R, then listen."""
        self.timers.set(Timer.INIT, now + self.config.initial_wait_us)
        return [HelloWanted(HelloKind.FIRST)]

    def _init_over(self, what: Input, now: int) -> list[Effect]:
        """An active may be heard since before a pause: nothing tells of that one again."""
        effects = self._enter(Role.STANDBY, RoleReason.NO_ACTIVE)
        return effects + self._active_lost(what, now)

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

    def _emptied(self, what: Input, now: int) -> list[Effect]:
        return self._become_standby(RoleReason.MOVED, now)

    def _moved(self, what: Input, now: int) -> list[Effect]:
        """SW-COMP: of the active alone."""
        assert what.peer is not None
        if not what.peer.active:
            return self._unexpected(what, now)
        return self._become_standby(RoleReason.MOVED, now)

    def _hold(self, what: Input, now: int) -> list[Effect]:
        assert what.order is not None
        self.held = True
        effects = self._rank_again(what, now) if self.role in WAITING else []
        return [*effects, self._answer(what.order, ())]

    def _release(self, what: Input, now: int) -> list[Effect]:
        assert what.order is not None
        self.held = False
        effects = self._rank_again(what, now) if self.role in WAITING else []
        return [*effects, self._answer(what.order, ())]

    def _fenced(self, what: Input, now: int) -> list[Effect]:
        self.is_fenced = True
        return self._rank_again(what, now) if self.role in WAITING else []

    def _unfenced(self, what: Input, now: int) -> list[Effect]:
        self.is_fenced = False
        return self._rank_again(what, now) if self.role in WAITING else []

    def _refuse_not_active(self, what: Input, now: int) -> list[Effect]:
        assert what.peer is not None and what.message is not None
        return [self._reply(what.peer, what.message, Status.NOT_ACTIVE, now)]

    def _refuse_not_standby(self, what: Input, now: int) -> list[Effect]:
        assert what.peer is not None and what.message is not None
        return [self._reply(what.peer, what.message, Status.NOT_STANDBY, now)]
