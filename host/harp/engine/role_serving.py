"""ACTIVE and RESIGNING: two actives, quorum, giving the role away (harp.md §5, §9)."""

from __future__ import annotations

from harp.engine import checks
from harp.engine.effects import (
    AnnounceAgain,
    Effect,
    HelloKind,
    HelloWanted,
    Role,
)
from harp.engine.peers import Peer
from harp.engine.role_base import OPPONENT_TRIES, Input, Timer
from harp.engine.role_claiming import Claiming
from harp.engine.role_table import RoleReason
from harp.tables.harp_types import (
    STATUS_NAMES,
    STATUS_REFUSED,
    HarpType,
    Status,
)
from harp.wire.messages import Harp


class Serving(Claiming):
    """Handlers of the active."""

    @property
    def _partner(self) -> Peer:
        """RESIGNING: who is to become active."""
        partner = self._asker[0] if self._asker else self._heir
        assert partner is not None
        return partner

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
        """It withdrew or is lost; its position, if it is up, tells what to take from it. Neighbors
        that heard it last must hear us."""
        assert what.peer is not None
        if self.exchange and self.exchange.message.type is HarpType.SO_REQ:
            self._end_exchange()
        if not self._saying_a:
            self.timers.stop(Timer.OPPONENT)
        effects: list[Effect] = [AnnounceAgain()]
        if what.peer.up:
            effects.append(HelloWanted(HelloKind.ASK, what.peer.identity))
        return effects

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

    def _request_over(self, what: Input, now: int) -> list[Effect]:
        self._end_exchange()
        return self._finish((RoleReason.NO_ANSWER,))

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

    def _drained(self, what: Input, now: int) -> list[Effect]:
        given = RoleReason.SWITCHBACK if self._heir else RoleReason.SWITCHOVER
        return self._withdraw(given, now)

    def _not_drained(self, what: Input, now: int) -> list[Effect]:
        return self._resume(RoleReason.NOT_DRAINED, Status.NOT_SYNCHRONISED, now)

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

    def _stop(self, what: Input, now: int) -> list[Effect]:
        """The group says goodbye; nothing is waited for any more."""
        self._asker = self._heir = None
        effects = [] if self.role is Role.INIT else self._enter(Role.INIT, RoleReason.STOPPED)
        self.timers.stop(*Timer)
        return effects
