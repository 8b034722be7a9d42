"""CLAIMING: a planned switch as seen by the one that takes over (harp.md §5)."""

from __future__ import annotations

from harp.engine.effects import (
    Effect,
    Role,
)
from harp.engine.peers import FLAG_A
from harp.engine.role_base import Input, Timer
from harp.engine.role_table import RoleReason
from harp.engine.role_waiting import Waiting
from harp.tables.harp_types import (
    STATUS_NAMES,
    STATUS_REFUSED,
)


class Claiming(Waiting):
    """Handlers of the one that takes over."""

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
        return self._claim_won(RoleReason.SWITCHOVER, now)

    def _claim_won(self, reason: RoleReason, now: int) -> list[Effect]:
        """The claimed one gave way. Another active, of which it was the stronger, may be heard
        since before: nothing tells of that one again (harp.md §5, two actives). To a member that is
        held, and claims by force, it gave way by chance: it resigned to another."""
        if not self.preference:
            return self._become_standby(RoleReason.REFUSED, now)
        other = self.peers.best_active()
        if other is not None and other.strength > self.strength:
            return self._become_standby(RoleReason.OTHER_ACTIVE, now)
        effects = self._become_active(reason, now)
        if other is not None:
            self.timers.set(Timer.OPPONENT, now + self.config.reliability_timeout_us)
        return effects

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
            return self._claim_won(RoleReason.ACTIVE_LOST, now)
        effects = self._enter(Role.STANDBY, RoleReason.ACTIVE_LOST)
        return effects + self._active_lost(what, now)

    def _claimed_cleared(self, what: Input, now: int) -> list[Effect]:
        """harp.md §5: "A HELLO without A from it while CLAIMING counts as SO-REP 0"."""
        assert what.peer is not None
        if what.peer.identity != self.active:
            return []
        by_offer = self._claims_by_offer
        return self._claim_won(RoleReason.SWITCHBACK if by_offer else RoleReason.SWITCHOVER, now)

    def _claim_checked(self, what: Input, now: int) -> list[Effect]:
        return [] if self.quorum else self._become_standby(RoleReason.QUORUM_LOST, now)

    def _claim_over(self, what: Input, now: int) -> list[Effect]:
        return self._become_standby(RoleReason.NO_ANSWER, now)

    def _claim_paused(self, what: Input, now: int) -> list[Effect]:
        return self._become_standby(RoleReason.PAUSED, now)

    def _claim_fenced(self, what: Input, now: int) -> list[Effect]:
        self.is_fenced = True
        return self._become_standby(RoleReason.FENCED, now)
