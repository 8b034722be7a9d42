"""The role machine as a table: what each state does about each happening (harp.md §5).

Every pair (state, happening) has one row. `docs/diagrams` is drawn from it, and `roles.Roles` does
nothing that is not in it: a change of state to one that its row does not name is a bug that raises.
Where a row does nothing its handler is "ignore", or "unexpected" for a message that is dropped.
"""

from __future__ import annotations

from enum import StrEnum

from harp.engine.effects import Role
from harp.engine.machine import Rule, expand


class Happening(StrEnum):
    """What the role machine hears of."""

    INIT_OVER = "init over"
    """`init_wait` is over."""
    ACTIVE_HEARD = "active heard"
    """A peer that is up says A, and did not before."""
    ACTIVE_LOST = "active lost"
    """A peer that said A is down, left, or has a newer Restart Counter."""
    ACTIVE_CLEARED = "A cleared"
    """A peer that said A is up and says it no more."""
    PEERS_CHANGED = "peers changed"
    """A peer came, went or changed: ranks and quorum may be others."""
    NO_ACTIVE = "no active"
    """No HELLO with A from anyone for the largest detection time."""
    RANK_DUE = "own rank due"
    """The ranked takeover has come to this member."""
    PREEMPT_DUE = "preempt due"
    """`preempt_delay` is over."""
    SYNC_CHANGED = "S changed"
    """The member became synchronised, or is so no more."""
    OPPONENT_DUE = "opponent still active"
    """The weaker of two actives has sent A for `HARELIABILITY_TIMEOUT` more."""
    SWITCH_DUE = "request unanswered"
    """Time to repeat SO-REQ or SB-REQ."""
    SWITCH_OVER = "request given up"
    """`HARELIABILITY_TIMEOUT` over SO-REQ, SB-REQ or a claim."""
    LOG_DRAINED = "log acknowledged"
    """All standbys have the whole log."""
    DRAIN_OVER = "log not acknowledged"
    """... within 2 s they had not."""
    EMPTIED = "no binding left"
    """Hard mode: no old binding is left to serve."""
    PAUSED = "paused"
    """The process stood still for more than an interval."""
    FENCED = "fenced"
    """The watchdog fired or the board's lease ran out (offload.md §4)."""
    UNFENCED = "unfenced"
    SO_REQ = "SO-REQ"
    SO_REP = "SO-REP"
    SB_REQ = "SB-REQ"
    SB_REP = "SB-REP"
    SW_COMP = "SW-COMP"
    SWITCHOVER = "switchover"
    """Operator: this standby takes over."""
    SWITCHBACK = "switchback"
    """Operator: this active gives its role away."""
    HOLD = "hold"
    RELEASE = "release"
    STOP = "stop"
    """The process ends cleanly."""


class RoleReason(StrEnum):
    """Why a role changed."""

    ACTIVE_HEARD = "active_heard"
    NO_ACTIVE = "no_active"
    TAKEOVER = "takeover"
    ACTIVE_LOST = "active_lost"
    SWITCHOVER = "switchover"
    SWITCHBACK = "switchback"
    PREEMPTION = "preemption"
    REFUSED = "refused"
    NO_ANSWER = "no_answer"
    OTHER_ACTIVE = "other_active"
    STRONGER_ACTIVE = "stronger_active"
    NOT_HEARD = "not_heard"
    QUORUM_LOST = "quorum_lost"
    NOT_DRAINED = "not_drained"
    ASKER_LOST = "asker_lost"
    MOVED = "moved"
    PAUSED = "paused"
    FENCED = "fenced"
    STOPPED = "stopped"


N, S, C = Role.INIT, Role.STANDBY, Role.CLAIMING
A, R, D = Role.ACTIVE, Role.RESIGNING, Role.DRAINING
_H = Happening
_ALL = tuple(Role)
_WAITING = (S, D)
"""Not active, and able to become it."""
_SERVING = (A, R)
_IDLE = "its timer does not run in this state"

_RULES: tuple[Rule[Happening, Role], ...] = (
    (_H.INIT_OVER, (N,), "init_over", (S,), "follow the active there is, or rank among the others"),
    (_H.INIT_OVER, (S, C, A, R, D), "ignore", (), _IDLE),
    (_H.ACTIVE_HEARD, (N,), "join", (S,), "follow it, full sync"),
    (_H.ACTIVE_HEARD, _WAITING, "follow_best", (), "no takeover; follow the strongest"),
    (_H.ACTIVE_HEARD, (C,), "claim_challenged", (S,), "another than the asked one: claim given up"),
    (_H.ACTIVE_HEARD, _SERVING, "two_actives", (S, D), "the weaker withdraws"),
    (_H.ACTIVE_LOST, (N,), "ignore", (), "init_wait decides"),
    (_H.ACTIVE_LOST, _WAITING, "active_lost", (), "ranked takeover"),
    (_H.ACTIVE_LOST, (C,), "claimed_lost", (S, A), "SB-REP given: active; else ranked takeover"),
    (_H.ACTIVE_LOST, _SERVING, "opponent_gone", (), "no second active any more"),
    (_H.ACTIVE_CLEARED, (N,), "ignore", (), "init_wait decides"),
    (_H.ACTIVE_CLEARED, _WAITING, "active_cleared", (), "wait for another A, then no active"),
    (_H.ACTIVE_CLEARED, (C,), "claimed_cleared", (A, S), "counts as SO-REP 0"),
    (_H.ACTIVE_CLEARED, _SERVING, "opponent_gone", (), "no second active any more"),
    (_H.PEERS_CHANGED, (N,), "ignore", (), "ranks begin after init_wait"),
    (_H.PEERS_CHANGED, _WAITING, "rank_again", (), "own rank, own eligibility"),
    (_H.PEERS_CHANGED, (C,), "claim_checked", (S,), "below quorum: claim given up"),
    (_H.PEERS_CHANGED, (A,), "serving_checked", (S, D), "below quorum, or a stronger A: withdraw"),
    (_H.PEERS_CHANGED, (R,), "serving_checked", (S, D, A), "as active; nobody left to give it to"),
    (_H.NO_ACTIVE, _WAITING, "no_active", (), "ranked takeover"),
    (_H.NO_ACTIVE, (N, C, A, R), "ignore", (), _IDLE),
    (_H.RANK_DUE, _WAITING, "take_over", (A,), "new term, serve at once"),
    (_H.RANK_DUE, (N, C, A, R), "ignore", (), _IDLE),
    (_H.PREEMPT_DUE, (S,), "preempt", (C,), "SO-REQ to a weaker active"),
    (_H.PREEMPT_DUE, (N, C, A, R, D), "ignore", (), _IDLE),
    (_H.SYNC_CHANGED, _WAITING, "rank_again", (), "synchronised members come first"),
    (_H.SYNC_CHANGED, (N, C, A, R), "ignore", (), "rank does not matter here"),
    (_H.OPPONENT_DUE, (A,), "ask_opponent", (), "SO-REQ to the weaker one"),
    (_H.OPPONENT_DUE, (N, S, C, R, D), "ignore", (), _IDLE),
    (_H.SWITCH_DUE, (C,), "repeat_request", (), "SO-REQ again"),
    (_H.SWITCH_DUE, (A,), "repeat_or_resign", (S, D), "three SO-REQs unanswered: not heard"),
    (_H.SWITCH_DUE, (N, S, R, D), "ignore", (), _IDLE),
    (_H.SWITCH_OVER, (C,), "claim_over", (S,), "detection did not agree: claim given up"),
    (_H.SWITCH_OVER, (A,), "request_over", (), "the standby did not answer"),
    (_H.SWITCH_OVER, (N, S, R, D), "ignore", (), _IDLE),
    (_H.LOG_DRAINED, (R,), "drained", (S, D), "withdraw, answer SO-REP 0"),
    (_H.LOG_DRAINED, (N, S, C, A, D), "ignore", (), "nobody waits for it"),
    (_H.DRAIN_OVER, (R,), "not_drained", (A,), "SO-REP 133, go on"),
    (_H.DRAIN_OVER, (N, S, C, A, D), "ignore", (), _IDLE),
    (_H.EMPTIED, (D,), "emptied", (S,), "nothing old left"),
    (_H.EMPTIED, (N, S, C, A, R), "ignore", (), "serves no old bindings"),
    (_H.PAUSED, (N,), "listen_again", (), "init_wait from the start"),
    (_H.PAUSED, _WAITING, "wait_again", (), "what was heard is old: wait for A again"),
    (_H.PAUSED, (C,), "claim_paused", (S,), "claim given up"),
    (_H.PAUSED, _SERVING, "serving_paused", (N,), "late by own detection time: withdraw"),
    (_H.FENCED, (N, *_WAITING), "fenced", (), "preference 0"),
    (_H.FENCED, (C,), "claim_fenced", (S,), "preference 0, claim given up"),
    (_H.FENCED, _SERVING, "serving_fenced", (S,), "withdraw, preference 0"),
    (_H.UNFENCED, _ALL, "unfenced", (), "preference as configured"),
    (_H.SO_REQ, (N, S, C, D), "refuse_not_active", (), "SO-REP 130"),
    (_H.SO_REQ, (A,), "asked_to_resign", (R, S, D), "stop taking Binding Updates, drain the log"),
    (_H.SO_REQ, (R,), "asked_again", (S, D), "answered when drained; another asker: SO-REP 128"),
    (_H.SO_REP, (C,), "answered", (A, S), "0: active, unless a stronger A is heard"),
    (_H.SO_REP, (A,), "opponent_answered", (), "it hears us: it will withdraw"),
    (_H.SO_REP, (N, S, R, D), "unexpected", (), "nothing asked"),
    (_H.SB_REQ, _WAITING, "offered", (C,), "ready: SB-REP 0"),
    (_H.SB_REQ, (N, C, A, R), "refuse_not_standby", (), "SB-REP 131"),
    (_H.SB_REP, (A,), "accepted", (R,), "0: drain, then withdraw"),
    (_H.SB_REP, (N, S, C, R, D), "unexpected", (), "nothing offered"),
    (_H.SW_COMP, (D,), "moved", (S,), "all mobile nodes have moved"),
    (_H.SW_COMP, (N, S, C, A, R), "unexpected", (), "not draining"),
    (_H.SWITCHOVER, _WAITING, "order_switchover", (C,), "pre-checks, then SO-REQ"),
    (_H.SWITCHOVER, (A,), "order_switchback", (), "gives to the member named"),
    (_H.SWITCHOVER, (N, C, R), "order_refused", (), "a start or a switch is under way"),
    (_H.SWITCHBACK, (A,), "order_switchback", (), "pre-checks, then SB-REQ"),
    (_H.SWITCHBACK, (N, S, C, R, D), "order_refused", (), "not active"),
    (_H.HOLD, (N, *_WAITING), "hold", (), "preference 0"),
    (_H.HOLD, (C, *_SERVING), "order_refused", (), "only after a switch"),
    (_H.RELEASE, _ALL, "release", (), "preference as configured"),
    (_H.STOP, (N,), "stop", (), "goodbye"),
    (_H.STOP, (S, C, A, R, D), "stop", (N,), "withdraw, goodbye"),
)

TABLE = expand(Role, Happening, _RULES)
"""(state, happening) to row: total."""
