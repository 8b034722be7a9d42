"""Who is active: the role machine of one group (harp.md §5).

What each state does about each happening stands in `role_table.TABLE`; the handlers here do it.
The state is written in `_enter` alone. Every wait has a timer; every timer is stopped by a change
of state.
"""

from __future__ import annotations

from harp.engine import checks
from harp.engine.effects import (
    Effect,
    SendHarp,
)
from harp.engine.events import Command, CommandGiven, PeerChanged, PeerEvent
from harp.engine.peers import Peer
from harp.engine.role_base import Input, Timer
from harp.engine.role_serving import Serving
from harp.engine.role_table import Happening, RoleReason
from harp.tables.harp_types import (
    HarpType,
)
from harp.wire.messages import Harp

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


class Roles(Serving):
    """The role machine of one group."""

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
