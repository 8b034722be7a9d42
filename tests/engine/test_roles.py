"""The role machine, row by row: what happens, what comes of it (harp.md §5)."""

from __future__ import annotations

from dataclasses import replace
from random import Random
from typing import Any

import pytest

from harp.engine.config import SwitchMode
from harp.engine.effects import (
    AnnounceAgain,
    CommandAnswered,
    Dropped,
    HelloKind,
    HelloWanted,
    Role,
    SendHarp,
    StateChanged,
)
from harp.engine.events import (
    Command,
    CommandGiven,
    PeerChanged,
    PeerDown,
    PeerUp,
)
from harp.engine.machine import Row
from harp.engine.peers import LinkState, Peer, PeerTable
from harp.engine.role_base import Input
from harp.engine.role_table import TABLE, Happening, RoleReason
from harp.engine.roles import Roles
from harp.tables.harp_types import HarpType, Status
from harp.tables.reasons import Reason
from harp.wire.messages import Harp

from .group_net import FLAG_A, FLAG_D, FLAG_S, GROUP, MS, S, address, config, of

ME, WEAK, STRONG = address(1), address(0), address(2)
H = Happening
SKEW = 2 * S
SYNCED = FLAG_S


class Rig:
    """Roles of member 1 (preference 101), between a weaker (100) and a stronger (102) one."""

    def __init__(self, **changes: Any) -> None:
        self.config = config(1, **changes)
        self.table = PeerTable(self.config)
        self.roles = Roles(self.config, self.table, Random(1))
        self.roles.synchronised = True
        self.now = 0

    def peer(self, identity: bytes) -> Peer:
        return self.table.peers[identity]

    def set(self, identity: bytes, flags: int = SYNCED, preference: int | None = None) -> Any:
        """A peer is up with these flags; what the roles make of it."""
        peer = self.peer(identity)
        came = not peer.up
        peer.links[0].state, peer.links_up = LinkState.UP, 1
        peer.preference = (100 if identity == WEAK else 102) if preference is None else preference
        peer.flags = flags
        if flags & FLAG_A:
            self.table.last_active_us = self.now
        event = PeerUp(GROUP, identity) if came else PeerChanged(GROUP, identity)
        return self.roles.peer_event(event, self.now)

    def lose(self, identity: bytes) -> Any:
        self.peer(identity).links_up = 0
        return self.roles.peer_event(PeerDown(GROUP, identity), self.now)

    def restart(self, identity: bytes) -> Any:
        self.peer(identity).flags = 0
        return self.roles.peer_event(PeerChanged(GROUP, identity, restarted=True), self.now)

    def hear(self, happening: Happening, **what: Any) -> Any:
        return self.roles.hear(happening, self.now, Input(**what))

    def order(self, command: Command, **more: Any) -> Any:
        return self.roles.command(CommandGiven(GROUP, command, 5, **more), self.now)

    def get(self, kind: HarpType, identity: bytes, sequence: int = 9, status: int = 0) -> Any:
        message = Harp(kind, GROUP, sequence, status=status)
        return self.roles.receive(self.peer(identity), message, self.now)

    def wait(self, microseconds: int) -> Any:
        self.now += microseconds
        return self.roles.expire(self.now)

    def until_due(self) -> Any:
        assert self.roles.deadline is not None
        return self.wait(self.roles.deadline - self.now)

    def standby(self, flags: int = FLAG_A | FLAG_S) -> Rig:
        """STANDBY behind the stronger one."""
        self.roles.start(0)
        self.set(WEAK)
        self.set(STRONG, flags)
        assert self.roles.role is Role.STANDBY
        return self

    def active(self, strong: bool = False) -> Rig:
        """ACTIVE; of the others the weaker is up, and the stronger if asked for."""
        self.roles.start(0)
        self.set(WEAK)
        self.wait(3 * S)
        assert self.roles.role is Role.ACTIVE
        if strong:
            self.set(STRONG)
        return self

    def resigning(self) -> Rig:
        """RESIGNING: the stronger one asked for the role."""
        self.active(strong=True)
        self.get(HarpType.SO_REQ, STRONG, 9)
        assert self.roles.role is Role.RESIGNING
        return self

    def claiming(self) -> Rig:
        """CLAIMING: SO-REQ to the stronger one."""
        self.standby()
        self.order(Command.SWITCHOVER)
        assert self.roles.role is Role.CLAIMING
        return self

    def offered(self) -> Rig:
        """CLAIMING: the stronger one offered the role."""
        self.standby()
        self.get(HarpType.SB_REQ, STRONG, 9)
        assert self.roles.role is Role.CLAIMING
        return self

    @property
    def asked(self) -> Harp:
        assert self.roles.exchange is not None
        return self.roles.exchange.message


def change(effects: Any) -> list[tuple[str, str]]:
    return [(e.new.value, str(e.reason)) for e in of(StateChanged, effects)]


def replies(effects: Any) -> list[tuple[HarpType, int, int]]:
    return [(e.message.type, e.message.sequence, e.message.status) for e in of(SendHarp, effects)]


def answer(effects: Any) -> tuple[str, ...]:
    (found,) = of(CommandAnswered, effects)
    return found.refusals


# The table


def test_the_table_is_total_and_every_handler_exists() -> None:
    assert set(TABLE) == {(state, happening) for state in Role for happening in Happening}
    for row in TABLE.values():
        assert callable(getattr(Roles, f"_{row.handler}"))
        assert row.note
        if row.handler in ("ignore", "unexpected"):
            assert not row.targets


def test_every_handler_stands_in_the_table() -> None:
    named = {row.handler for row in TABLE.values()}
    takes_input = {
        name[1:]
        for cls in Roles.__mro__
        for name, method in vars(cls).items()
        if name.startswith("_") and "what" in getattr(method, "__annotations__", {})
    }
    assert takes_input - {"answers_exchange"} == named


def test_a_change_of_state_that_no_row_names_is_a_bug(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(TABLE, (Role.INIT, H.INIT_OVER), Row("init_over", (), ""))
    with pytest.raises(AssertionError, match="may not lead"):
        Rig().hear(H.INIT_OVER)


QUIET = {pair: row for pair, row in TABLE.items() if row.handler in ("ignore", "unexpected")}


@pytest.mark.parametrize(("state", "happening"), QUIET)
def test_rows_that_do_nothing(state: Role, happening: Happening) -> None:
    rig = Rig()
    rig.roles.role = state
    message = Harp(HarpType.SW_COMP, GROUP, 1)
    effects = rig.hear(happening, peer=rig.peer(WEAK), message=message)
    assert rig.roles.role is state
    if TABLE[state, happening].handler == "ignore":
        assert effects == []
    else:
        (dropped,) = effects
        assert isinstance(dropped, Dropped)
        assert dropped.reason is Reason.UNEXPECTED


# INIT, STANDBY


def test_start_asks_and_listens() -> None:
    rig = Rig()
    assert rig.roles.start(0) == [HelloWanted(HelloKind.FIRST)]
    assert rig.roles.deadline == 3 * S
    assert rig.wait(3 * S - 1) == []
    assert change(rig.wait(1)) == [("STANDBY", "no_active"), ("ACTIVE", "takeover")]


def test_init_joins_an_active() -> None:
    rig = Rig()
    rig.roles.start(0)
    assert change(rig.set(STRONG, FLAG_A)) == [("STANDBY", "active_heard")]
    assert rig.roles.active == STRONG
    assert rig.roles.deadline is None


@pytest.mark.parametrize(
    ("mine", "weak", "strong", "rank"),
    [
        (True, (100, SYNCED), (102, SYNCED), 1),
        (True, (100, SYNCED), (102, 0), 0),  # synchronised members come first
        (False, (100, SYNCED), (102, SYNCED), 2),
        (True, (101, SYNCED), (101, SYNCED), 1),  # ties: the higher address
        (True, (100, SYNCED), (0, SYNCED), 0),  # preference 0: not eligible
    ],
)
def test_rank_and_what_it_means(
    mine: bool, weak: tuple[int, int], strong: tuple[int, int], rank: int
) -> None:
    rig = Rig()
    rig.roles.synchronised = mine
    rig.roles.start(0)
    rig.set(WEAK, weak[1], weak[0])
    rig.set(STRONG, strong[1], strong[0])
    assert rig.roles.rank == rank
    rig.wait(3 * S)
    if rank:
        assert rig.roles.deadline == 3 * S + rank * SKEW
        assert rig.wait(rank * SKEW - 1) == []
        assert change(rig.wait(1)) == [("ACTIVE", "takeover")]
    assert rig.roles.role is Role.ACTIVE


@pytest.mark.parametrize("how", ["lose", "restart"])
def test_lost_active_starts_the_ranking_at_once(how: str) -> None:
    rig = Rig().standby()
    rig.now = 50 * S
    getattr(rig, how)(STRONG)
    if how == "restart":
        rig.set(STRONG, 0, 0)
    assert change(rig.roles.expire(rig.now)) == [("ACTIVE", "takeover")]
    assert rig.roles.active is None


def test_another_active_is_followed_instead() -> None:
    rig = Rig().standby()
    rig.set(WEAK, FLAG_A | FLAG_S)
    assert rig.roles.active == STRONG
    rig.lose(STRONG)
    assert rig.roles.active == WEAK
    assert rig.roles.deadline is None
    rig.set(STRONG, FLAG_A)
    assert rig.roles.active == STRONG
    rig.set(STRONG, FLAG_A, preference=1)
    assert rig.roles.active == WEAK


def test_a_cleared_is_waited_for_before_no_active() -> None:
    rig = Rig().standby()
    rig.now = 10 * S
    rig.table.last_active_us = 9 * S
    rig.set(STRONG)
    assert rig.roles.active == STRONG  # its log may still be on the way
    assert rig.roles.deadline == 12 * S
    rig.now = 12 * S
    assert rig.roles.expire(12 * S) == []
    assert rig.roles.deadline == 12 * S + SKEW
    rig.set(WEAK, FLAG_A)
    assert rig.roles.deadline is None


def test_ranks_follow_the_peers_but_the_start_stays() -> None:
    rig = Rig().standby()
    rig.set(STRONG, SYNCED)
    rig.now = 3 * S
    rig.roles.expire(rig.now)
    assert rig.roles.deadline == 3 * S + SKEW
    rig.now += SKEW // 2
    rig.lose(STRONG)
    assert change(rig.roles.expire(rig.now)) == [("ACTIVE", "takeover")]


def test_no_takeover_while_not_eligible_and_no_jump_afterwards() -> None:
    rig = Rig(hold=True).standby()
    rig.lose(STRONG)
    assert rig.wait(100 * S) == []
    rig.order(Command.RELEASE)
    assert rig.roles.deadline == rig.now
    assert change(rig.roles.expire(rig.now)) == [("ACTIVE", "takeover")]


def test_own_synchronisation_changes_the_rank() -> None:
    rig = Rig()
    rig.roles.synchronised = False
    rig.standby()
    rig.lose(STRONG)
    assert rig.roles.deadline == SKEW
    rig.roles.synchronised = True
    rig.hear(H.SYNC_CHANGED)
    assert rig.roles.deadline == 0


def test_a_pause_makes_standbys_wait_again() -> None:
    rig = Rig().standby()
    rig.lose(STRONG)
    rig.now = 60 * S
    rig.hear(H.PAUSED, late_us=60 * S)
    assert rig.roles.deadline == 63 * S
    fresh = Rig()
    fresh.roles.start(0)
    fresh.now = 60 * S
    fresh.hear(H.PAUSED, late_us=60 * S)
    assert fresh.roles.deadline == 63 * S


def test_witness_never_serves() -> None:
    base = config(1)
    members = tuple(replace(m, witness=m.identity == ME) for m in base.members)
    rig = Rig(members=3)
    rig.roles.config = replace(base, members=members)
    rig.roles.start(0)
    assert rig.roles.preference == 0
    rig.wait(3 * S)
    assert rig.wait(1000 * S) == []
    rig.set(STRONG, FLAG_A | FLAG_S)
    assert answer(rig.order(Command.SWITCHOVER)) == ("witness",)


# Quorum


def test_quorum_decides_preference_and_adds_an_interval() -> None:
    rig = Rig(quorum=2)
    rig.roles.start(0)
    assert rig.roles.preference == 0
    rig.set(WEAK)
    assert rig.roles.preference == 101
    rig.wait(3 * S)
    assert rig.roles.deadline == 4 * S
    assert change(rig.wait(S)) == [("ACTIVE", "takeover")]
    lost = rig.lose(WEAK)
    assert change(lost) == [("STANDBY", "quorum_lost")]
    assert of(HelloWanted, lost) == [HelloWanted(HelloKind.PLAIN, times=3)]


def test_members_of_other_settings_do_not_count_for_a_quorum() -> None:
    rig = Rig(quorum=2)
    rig.roles.start(0)
    rig.set(WEAK)
    rig.peer(WEAK).configuration = bytes(8)
    assert rig.roles.preference == 0


# Two actives


def test_the_weaker_of_two_actives_withdraws() -> None:
    rig = Rig().active()
    effects = rig.set(STRONG, FLAG_A)
    assert change(effects) == [("STANDBY", "stronger_active")]
    assert rig.roles.active == STRONG
    assert effects[-1] == HelloWanted(HelloKind.PLAIN, times=3)


def test_the_stronger_asks_for_position_then_for_the_role_then_resigns() -> None:
    rig = Rig().active()
    begin = rig.now
    assert rig.set(WEAK, FLAG_A) == [HelloWanted(HelloKind.ASK, WEAK)]
    assert rig.roles.deadline == begin + 16 * S
    rig.set(STRONG)  # anything else that changes leaves that wait alone
    assert rig.roles.deadline == begin + 16 * S
    (asked,) = of(SendHarp, rig.until_due())
    assert (asked.peer, asked.message.type) == (WEAK, HarpType.SO_REQ)
    first = rig.now
    again = [rig.until_due(), rig.until_due()]
    assert [replies(e)[0][:2] for e in again] == [(HarpType.SO_REQ, asked.message.sequence)] * 2
    assert rig.now == first + 3 * S
    rig.set(STRONG, SYNCED)
    assert change(rig.until_due()) == [("STANDBY", "not_heard")]
    assert rig.roles.active == WEAK


def test_an_opponent_that_answers_hears_us_and_is_given_time() -> None:
    rig = Rig().active()
    rig.set(WEAK, FLAG_A)
    rig.until_due()
    rig.get(HarpType.SO_REP, WEAK, rig.asked.sequence)
    assert rig.roles.exchange is None
    assert rig.roles.deadline == rig.now + 16 * S
    (dropped,) = rig.get(HarpType.SO_REP, WEAK, 1)
    assert isinstance(dropped, Dropped)


def test_an_opponent_that_withdraws_is_asked_for_what_it_has() -> None:
    rig = Rig().active()
    rig.set(WEAK, FLAG_A)
    rig.until_due()
    assert rig.set(WEAK) == [AnnounceAgain(), HelloWanted(HelloKind.ASK, WEAK)]
    assert rig.roles.deadline is None
    assert rig.roles.exchange is None
    rig.set(WEAK, FLAG_A)
    assert rig.lose(WEAK) == [AnnounceAgain()]


def test_one_of_two_opponents_gone_leaves_the_wait() -> None:
    rig = Rig(members=4).active()
    third = address(3)
    rig.set(WEAK, FLAG_A)
    rig.set(third, FLAG_A, 1)
    rig.set(WEAK)
    assert rig.roles.deadline is not None


def test_an_opponent_that_becomes_stronger_wins() -> None:
    rig = Rig().active()
    rig.set(WEAK, FLAG_A)
    assert change(rig.set(WEAK, FLAG_A, 200)) == [("STANDBY", "stronger_active")]


def test_the_question_to_an_opponent_waits_for_a_switch_under_way() -> None:
    rig = Rig(reliability_timeout_us=S).active(strong=True)
    rig.set(WEAK, FLAG_A)
    rig.order(Command.SWITCHBACK, to=STRONG)
    rig.now += S
    rig.roles.timers.set(role_timer("OPPONENT"), rig.now)
    rig.roles.timers.stop(role_timer("SWITCH"), role_timer("SWITCH_OVER"))
    assert rig.roles.expire(rig.now) == []
    assert rig.roles.deadline == rig.now + S


def role_timer(name: str) -> Any:
    from harp.engine.role_base import Timer

    return Timer[name]


# Switchover: the one that takes over


def test_switchover_from_request_to_active() -> None:
    rig = Rig().standby()
    effects = rig.order(Command.SWITCHOVER)
    assert change(effects) == [("CLAIMING", "switchover")]
    assert replies(effects) == [(HarpType.SO_REQ, rig.asked.sequence, 0)]
    assert rig.asked.preference == 101
    effects = rig.get(HarpType.SO_REP, STRONG, rig.asked.sequence)
    assert change(effects) == [("ACTIVE", "switchover")]
    assert answer(effects) == ()
    # Its HELLO without A comes later: no second active, and nothing is asked.
    assert rig.set(STRONG) == []


def test_a_held_member_that_claims_by_force_gets_nothing_by_chance() -> None:
    rig = Rig().standby()
    rig.order(Command.HOLD)
    rig.order(Command.SWITCHOVER, force=True)
    assert rig.roles.role is Role.CLAIMING
    effects = rig.set(STRONG, FLAG_S)
    assert change(effects) == [("STANDBY", "refused")]


def test_requests_are_repeated_with_backoff_and_given_up() -> None:
    rig = Rig().claiming()
    sequence, times = rig.asked.sequence, []
    effects: Any = []
    while rig.roles.role is Role.CLAIMING:
        effects = rig.until_due()
        times.append(rig.now)
    assert times == [S, 3 * S, 7 * S, 15 * S, 16 * S]
    assert change(effects) == [("STANDBY", "no_answer")]
    assert answer(effects) == ("no_answer",)
    assert rig.roles.active == STRONG
    assert sequence != 0


def test_a_request_that_ended_in_a_pause_is_not_repeated() -> None:
    rig = Rig().claiming()
    rig.until_due()
    rig.now += 16 * S
    effects = rig.roles.expire(rig.now)
    assert not any(isinstance(effect, SendHarp) for effect in effects)
    assert answer(effects) == ("no_answer",)


def test_replies_must_fit() -> None:
    rig = Rig().claiming()
    good = rig.asked.sequence
    for identity, sequence in ((STRONG, good % 65535 + 1), (WEAK, good)):
        (dropped,) = rig.get(HarpType.SO_REP, identity, sequence)
        assert isinstance(dropped, Dropped)
    (dropped,) = rig.get(HarpType.SB_REP, STRONG, good)
    assert isinstance(dropped, Dropped)
    assert rig.roles.role is Role.CLAIMING


@pytest.mark.parametrize(
    ("status", "name"), [(Status.PROHIBITED, "administratively prohibited"), (200, "status 200")]
)
def test_refused_switchover(status: int, name: str) -> None:
    rig = Rig().claiming()
    effects = rig.get(HarpType.SO_REP, STRONG, rig.asked.sequence, status)
    assert change(effects) == [("STANDBY", "refused")]
    assert answer(effects) == (name,)


def test_a_hello_without_a_counts_as_so_rep_0() -> None:
    assert change(Rig().claiming().set(STRONG)) == [("ACTIVE", "switchover")]
    assert change(Rig().offered().set(STRONG)) == [("ACTIVE", "switchback")]


def test_the_claimed_is_lost() -> None:
    rig = Rig().claiming()
    effects = rig.lose(STRONG)
    assert change(effects) == [("STANDBY", "active_lost")]
    assert answer(effects) == ("active_lost",)
    assert change(rig.roles.expire(rig.now)) == [("ACTIVE", "takeover")]
    assert change(Rig().offered().lose(STRONG)) == [("ACTIVE", "active_lost")]


def test_a_claim_looks_at_the_claimed_alone() -> None:
    rig = Rig().claiming()
    rig.roles._saying_a.add(WEAK)
    assert rig.hear(H.ACTIVE_LOST, peer=rig.peer(WEAK)) == []
    assert rig.hear(H.ACTIVE_CLEARED, peer=rig.peer(WEAK)) == []
    assert rig.hear(H.ACTIVE_HEARD, peer=rig.peer(STRONG)) == []
    rig.roles._saying_a.clear()
    assert change(rig.set(WEAK, FLAG_A)) == [("STANDBY", "other_active")]


THIRD = address(3)


def challenged(third: int, *, by_offer: bool = False) -> Rig:
    """CLAIMING, while another active of that preference was heard before."""
    rig = Rig(members=4)
    rig.roles.start(0)
    rig.set(WEAK)
    rig.set(STRONG, FLAG_A | FLAG_S, preference=200)
    rig.set(THIRD, FLAG_A | FLAG_S, preference=third)
    if by_offer:
        rig.get(HarpType.SB_REQ, STRONG, 9)
    else:
        rig.order(Command.SWITCHOVER)
    assert (rig.roles.role, rig.roles.active) == (Role.CLAIMING, STRONG)
    return rig


def given_way(rig: Rig, how: str) -> Any:
    """What the claimed one does."""
    if how == "answers":
        return rig.get(HarpType.SO_REP, STRONG, rig.asked.sequence)
    return rig.set(STRONG, preference=200) if how == "clears A" else rig.lose(STRONG)


WAYS = ("answers", "clears A", "is lost")


@pytest.mark.parametrize("how", WAYS)
def test_a_claim_ends_behind_a_stronger_active_that_was_heard_before(how: str) -> None:
    rig = challenged(150, by_offer=how == "is lost")
    assert change(given_way(rig, how)) == [("STANDBY", "other_active")]
    assert rig.roles.active == THIRD


@pytest.mark.parametrize("how", WAYS)
def test_a_claim_is_won_before_a_weaker_active_that_was_heard_before(how: str) -> None:
    rig = challenged(1, by_offer=how == "is lost")
    assert [new for new, _ in change(given_way(rig, how))] == ["ACTIVE"]
    assert rig.roles.timers.due(role_timer("OPPONENT")) == rig.now + 16 * S


@pytest.mark.parametrize(("happening", "reason"), [(H.PAUSED, "paused"), (H.FENCED, "fenced")])
def test_claims_end(happening: Happening, reason: str) -> None:
    rig = Rig().claiming()
    assert change(rig.hear(happening)) == [("STANDBY", reason)]
    assert (rig.roles.preference == 0) is (happening is H.FENCED)


def test_a_claim_needs_quorum() -> None:
    rig = Rig(quorum=2).claiming()
    assert change(rig.lose(WEAK)) == []
    rig.peer(STRONG).configuration = bytes(8)
    effects = rig.hear(H.PEERS_CHANGED, peer=rig.peer(STRONG))
    assert change(effects) == [("STANDBY", "quorum_lost")]


def test_preemption() -> None:
    rig = Rig(preempt=True, preempt_delay_us=5 * S)
    rig.roles.start(0)
    rig.set(WEAK, FLAG_A | FLAG_S)
    assert rig.roles.deadline == 5 * S
    rig.roles.synchronised = False
    rig.hear(H.SYNC_CHANGED)
    assert rig.roles.deadline is None
    rig.roles.synchronised = True
    rig.hear(H.SYNC_CHANGED)
    assert change(rig.until_due()) == [("CLAIMING", "preemption")]
    begin = rig.now
    rig.get(HarpType.SO_REP, WEAK, rig.asked.sequence, Status.NOT_SYNCHRONISED)
    assert rig.roles.role is Role.STANDBY
    assert rig.roles.deadline == begin + 16 * S  # not again at once


# Switchback: the one that is offered the role


def test_offer_accepted_and_repeated() -> None:
    rig = Rig().standby()
    effects = rig.get(HarpType.SB_REQ, STRONG, 9)
    assert change(effects) == [("CLAIMING", "switchback")]
    assert replies(effects) == [(HarpType.SB_REP, 9, 0)]
    assert replies(rig.get(HarpType.SB_REQ, STRONG, 9)) == [(HarpType.SB_REP, 9, 0)]
    assert replies(rig.get(HarpType.SB_REQ, STRONG, 10)) == [(HarpType.SB_REP, 10, 131)]
    assert change(rig.wait(16 * S)) == [("STANDBY", "no_answer")]


def test_remembered_replies_are_forgotten() -> None:
    rig = Rig().standby()
    rig.roles.held = True
    refused = [(HarpType.SB_REP, 9, 129)]
    assert replies(rig.get(HarpType.SB_REQ, STRONG, 9)) == refused
    rig.roles.held = False
    assert replies(rig.get(HarpType.SB_REQ, STRONG, 9)) == refused
    rig.now = 16 * S  # after HARELIABILITY_TIMEOUT
    assert replies(rig.get(HarpType.SB_REQ, STRONG, 9)) == [(HarpType.SB_REP, 9, 0)]
    other = Rig().standby()
    other.roles.held = True
    other.get(HarpType.SB_REQ, STRONG, 9)
    other.roles.held = False
    other.restart(STRONG)  # a newer Restart Counter
    other.set(STRONG, FLAG_A | FLAG_S)
    assert replies(other.get(HarpType.SB_REQ, STRONG, 9)) == [(HarpType.SB_REP, 9, 0)]


@pytest.mark.parametrize(
    ("prepare", "identity", "status"),
    [
        (lambda rig: setattr(rig.roles, "held", True), STRONG, 129),
        (lambda rig: setattr(rig.roles, "synchronised", False), STRONG, 133),
        (lambda rig: None, WEAK, 131),
    ],
)
def test_offer_refused(prepare: Any, identity: bytes, status: int) -> None:
    rig = Rig().standby()
    prepare(rig)
    assert replies(rig.get(HarpType.SB_REQ, identity, 9)) == [(HarpType.SB_REP, 9, status)]
    assert rig.roles.role is Role.STANDBY


@pytest.mark.parametrize("kind", [HarpType.SO_REQ, HarpType.SB_REQ])
def test_requests_in_wrong_states_are_refused(kind: HarpType) -> None:
    rig = Rig()
    rig.roles.start(0)
    status = 130 if kind is HarpType.SO_REQ else 131
    assert replies(rig.get(kind, STRONG)) == [(kind + 1, 9, status)]
    busy = Rig().active()
    if kind is HarpType.SB_REQ:
        assert replies(busy.get(kind, STRONG)) == [(HarpType.SB_REP, 9, 131)]


# Giving the role away


def test_asked_for_the_role_drains_then_withdraws() -> None:
    rig = Rig().active(strong=True)
    effects = rig.get(HarpType.SO_REQ, STRONG, 9)
    assert change(effects) == [("RESIGNING", "switchover")]
    assert replies(effects) == []
    assert rig.roles.flags == FLAG_A  # still the active, but takes no Binding Updates
    assert rig.get(HarpType.SO_REQ, STRONG, 9) == []
    assert replies(rig.get(HarpType.SO_REQ, WEAK, 3)) == [(HarpType.SO_REP, 3, 128)]
    effects = rig.hear(H.LOG_DRAINED)
    assert change(effects) == [("STANDBY", "switchover")]
    assert replies(effects) == [(HarpType.SO_REP, 9, 0)]
    # Nobody is active beside a slot that goes on to say A.
    assert effects[-2] == HelloWanted(HelloKind.PLAIN, times=3)
    assert replies(rig.get(HarpType.SO_REQ, STRONG, 9)) == [(HarpType.SO_REP, 9, 0)]
    assert rig.roles.deadline == rig.now + 3 * S


def test_a_log_that_is_not_acknowledged_ends_the_switch() -> None:
    rig = Rig().resigning()
    effects = rig.wait(2 * S)
    assert change(effects) == [("ACTIVE", "not_drained")]
    assert replies(effects) == [(HarpType.SO_REP, 9, 133)]


@pytest.mark.parametrize(
    ("flags", "preference", "reconciling", "status"),
    [(SYNCED, 0, False, 129), (0, 102, False, 133), (SYNCED, 102, True, 133)],
)
def test_asked_for_the_role_refuses(
    flags: int, preference: int, reconciling: bool, status: int
) -> None:
    rig = Rig().active()
    rig.set(STRONG, flags, preference)
    rig.roles.reconciling = reconciling
    assert replies(rig.get(HarpType.SO_REQ, STRONG)) == [(HarpType.SO_REP, 9, status)]
    assert rig.roles.role is Role.ACTIVE


def test_the_stronger_of_two_actives_gets_it_without_draining() -> None:
    rig = Rig().active()
    rig.set(WEAK, FLAG_A)
    effects = rig.get(HarpType.SO_REQ, WEAK)
    assert change(effects) == [("STANDBY", "stronger_active")]
    assert replies(effects) == [(HarpType.SO_REP, 9, 0)]
    second = Rig().resigning()
    second.set(WEAK, FLAG_A)
    effects = second.get(HarpType.SO_REQ, WEAK, 4)
    assert change(effects) == [("STANDBY", "stronger_active")]
    assert replies(effects) == [(HarpType.SO_REP, 9, 0)]


def test_resigning_meets_other_actives() -> None:
    rig = Rig().resigning()
    assert rig.set(WEAK, FLAG_A) == [HelloWanted(HelloKind.ASK, WEAK)]
    effects = rig.lose(STRONG)
    assert change(effects) == [("ACTIVE", "asker_lost")]
    assert rig.roles.deadline == rig.now + 16 * S
    assert rig.set(WEAK) == [AnnounceAgain(), HelloWanted(HelloKind.ASK, WEAK)]


@pytest.mark.parametrize("state", ["active", "resigning"])
def test_fenced_and_paused_while_serving(state: str) -> None:
    fenced = getattr(Rig(), state)()
    assert change(fenced.hear(H.FENCED)) == [("STANDBY", "fenced")]
    assert fenced.roles.preference == 0
    fenced.hear(H.UNFENCED)
    assert fenced.roles.preference == 101
    paused = getattr(Rig(), state)()
    assert paused.hear(H.PAUSED, late_us=3 * S - 1) == []
    effects = paused.hear(H.PAUSED, late_us=3 * S)
    assert change(effects) == [("INIT", "paused")]
    assert effects[-1] == HelloWanted(HelloKind.FIRST)
    assert paused.roles.deadline == paused.now + 3 * S


def test_switchback_from_order_to_standby() -> None:
    rig = Rig().active(strong=True)
    effects = rig.order(Command.SWITCHBACK, to=STRONG)
    assert replies(effects) == [(HarpType.SB_REQ, rig.asked.sequence, 0)]
    assert answer(rig.order(Command.SWITCHBACK, to=STRONG)) == ("switch_under_way",)
    assert replies(rig.until_due()) == [(HarpType.SB_REQ, rig.asked.sequence, 0)]
    effects = rig.get(HarpType.SB_REP, STRONG, rig.asked.sequence)
    assert change(effects) == [("RESIGNING", "switchback")]
    effects = rig.hear(H.LOG_DRAINED)
    assert change(effects) == [("STANDBY", "switchback")]
    assert answer(effects) == ()


def test_switchback_refused_unanswered_or_without_its_peer() -> None:
    refused = Rig().active(strong=True)
    refused.order(Command.SWITCHBACK)
    effects = refused.get(HarpType.SB_REP, STRONG, refused.asked.sequence, 133)
    assert answer(effects) == ("state not synchronised",)
    assert refused.roles.role is Role.ACTIVE
    assert refused.roles.deadline is None
    odd = Rig().active(strong=True)
    odd.order(Command.SWITCHBACK)
    effects = odd.get(HarpType.SB_REP, STRONG, odd.asked.sequence, 250)
    assert answer(effects) == ("status 250",)
    (dropped,) = odd.get(HarpType.SB_REP, STRONG, 1)
    assert isinstance(dropped, Dropped)
    silent = Rig().active(strong=True)
    silent.order(Command.SWITCHBACK)
    effects = []
    while silent.roles.exchange:
        effects = silent.until_due()
    assert answer(effects) == ("no_answer",)
    lost = Rig().active(strong=True)
    lost.order(Command.SWITCHBACK)
    assert answer(lost.lose(STRONG)) == ("peer_down",)


def test_an_order_under_way_is_answered_when_another_wins() -> None:
    rig = Rig().active(strong=True)
    rig.order(Command.SWITCHBACK, to=STRONG)
    effects = rig.get(HarpType.SO_REQ, STRONG)
    assert answer(effects) == ("switchover",)
    assert rig.roles.role is Role.RESIGNING


def test_hard_mode_drains_old_bindings() -> None:
    rig = Rig(mode=SwitchMode.HARD, virtual_address=b"")
    rig.roles.has_bindings = True
    rig.resigning()
    assert change(rig.hear(H.LOG_DRAINED)) == [("DRAINING", "switchover")]
    assert rig.roles.flags == FLAG_D
    (dropped,) = rig.get(HarpType.SW_COMP, STRONG)
    assert isinstance(dropped, Dropped)
    rig.set(STRONG, FLAG_A)
    assert change(rig.get(HarpType.SW_COMP, STRONG)) == [("STANDBY", "moved")]
    other = Rig(mode=SwitchMode.HARD, virtual_address=b"")
    other.roles.has_bindings = True
    other.resigning()
    other.hear(H.LOG_DRAINED)
    assert change(other.hear(H.EMPTIED)) == [("STANDBY", "moved")]


# Orders


@pytest.mark.parametrize(
    ("state", "command", "refusal"),
    [
        ("standby", Command.SWITCHBACK, "not_active"),
        ("claiming", Command.SWITCHOVER, "not_standby"),
        ("claiming", Command.HOLD, "switch_under_way"),
        ("active", Command.HOLD, "not_standby"),
        ("resigning", Command.CHECK, "not_standby"),
    ],
)
def test_orders_in_the_wrong_state(state: str, command: Command, refusal: str) -> None:
    rig = getattr(Rig(), state)()
    assert refusal in answer(rig.order(command))


def test_hold_and_release() -> None:
    for rig in (Rig(), Rig().standby()):
        assert answer(rig.order(Command.HOLD)) == ()
        assert rig.roles.preference == 0
        assert answer(rig.order(Command.RELEASE)) == ()
        assert rig.roles.preference == 101
    active = Rig().active()
    assert answer(active.order(Command.RELEASE)) == ()


def test_fenced_while_waiting() -> None:
    for rig in (Rig(), Rig().standby()):
        rig.hear(H.FENCED)
        assert rig.roles.preference == 0
        rig.hear(H.UNFENCED)
        assert rig.roles.preference == 101


def test_checks_name_every_reason() -> None:
    rig = Rig().standby()
    assert answer(rig.order(Command.CHECK)) == ()
    rig.roles.held, rig.roles.synchronised = True, False
    rig.peer(STRONG).configuration = bytes(8)
    every = ("held", "not_synchronised", "configuration_differs")
    assert answer(rig.order(Command.CHECK)) == every
    assert answer(rig.order(Command.CHECK, force=True)) == ()
    rig.peer(STRONG).links_up = 0
    assert answer(rig.order(Command.CHECK)) == ("held", "not_synchronised", "no_active")
    giving = Rig().active()
    assert answer(giving.order(Command.CHECK, to=address(9))) == ("unknown_peer",)
    assert answer(giving.order(Command.CHECK, to=STRONG)) == ("peer_down",)
    giving.set(STRONG, 0, 0)
    giving.roles.reconciling = True
    assert answer(giving.order(Command.CHECK, to=STRONG)) == (
        "reconciling",
        "held",
        "not_synchronised",
    )
    giving.lose(WEAK)
    assert answer(giving.order(Command.CHECK, force=True)) == ("no_standby",)
    assert answer(Rig().order(Command.CHECK)) == ("not_standby",)


def test_stop_from_every_state() -> None:
    for state in ("standby", "claiming", "active", "resigning"):
        rig = getattr(Rig(), state)()
        assert change(rig.hear(H.STOP)) == [("INIT", "stopped")]
        assert rig.roles.deadline is None
    assert Rig().hear(H.STOP) == []


def test_reasons_have_names_and_waits_are_bounded() -> None:
    assert all(reason.value == reason.name.lower() for reason in RoleReason)
    rig = Rig().standby()
    rig.now = 5 * MS
    rig.order(Command.SWITCHOVER)
    assert rig.roles.deadline is not None
