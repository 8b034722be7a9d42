"""Engines back to back: election, takeover, healing, planned switches (harp.md §5, §9)."""

from __future__ import annotations

import pytest

from harp.engine import effects as fx
from harp.engine import events as ev
from harp.engine.config import AuthMode, Key, Protection, Security, SwitchMode
from harp.engine.effects import Role
from harp.engine.events import Command
from harp.tables.harp_types import HarpType
from harp.tables.reasons import Reason
from harp.wire.auth import ntp_from_unix_us
from harp.wire.codec import DEFAULT_CODEC
from harp.wire.messages import Harp

from .group_net import GROUP, MS, UNIX_US, VIRTUAL, Net, S, address, home

STANDBY, ACTIVE = Role.STANDBY, Role.ACTIVE


@pytest.fixture
def net() -> Net:
    """Three members, the third of which has become active."""
    net = Net()
    net.run(4 * S)
    assert net.roles == [STANDBY, STANDBY, ACTIVE]
    return net


def test_strongest_becomes_active_and_all_are_synchronised(net: Net) -> None:
    serving = [(who, e) for _, who, e in net.seen if isinstance(e, fx.SetServing)]
    assert serving == [(2, fx.SetServing(GROUP, True, VIRTUAL))]
    assert all(net.group(m).sync.synchronised for m in range(3))
    assert net.group(0).roles.active == net.group(1).roles.active == address(2)


def test_serving_comes_before_anything_that_depends_on_bindings(net: Net) -> None:
    own = [e for _, who, e in net.seen if who == 2]
    begin = own.index(fx.SetServing(GROUP, True, VIRTUAL))
    assert own[begin + 1] == fx.AnnounceNeighbor(GROUP, VIRTUAL, router=True)


def test_a_binding_update_is_answered_when_a_standby_has_it(net: Net) -> None:
    net.register(2, 1, sequence=10)
    assert not net.answers
    net.run(2 * MS)
    assert [(a.status, a.sequence) for a in net.answers] == [(0, 10)]
    assert all(net.group(m).store.get(home(1)) for m in range(3))


def test_the_next_in_rank_takes_over_with_all_bindings(net: Net) -> None:
    net.register(2, 1, sequence=10)
    net.run(S)
    net.crash(2)
    net.run(4 * S)
    assert net.roles == [STANDBY, ACTIVE, None]
    assert net.group(1).store.get(home(1)) is not None
    assert net.changes(1)[-1] == ("ACTIVE", "takeover")


def test_rank_two_waits_for_rank_one(net: Net) -> None:
    lost = net.now
    net.crash(2)
    net.crash(1)
    net.run(20 * S)
    assert net.roles == [ACTIVE, None, None]
    took = next(t for t, _, e in net.seen if isinstance(e, fx.StateChanged) and t > lost)
    # The peers went at the same time: whoever is down does not rank.
    assert took - lost < 4 * S


def test_a_clean_stop_is_told_and_replaced_at_once(net: Net) -> None:
    net.tell(2, ev.StopRequested())
    net.crash(2)
    seen = net.run(10 * MS)
    assert fx.PeerLeft(GROUP, address(2)) in [e for _, _, e in seen]
    assert net.roles == [STANDBY, ACTIVE, None]


def test_after_stop_nothing_happens(net: Net) -> None:
    net.tell(2, ev.StopRequested())
    engine = net.engine(2)
    assert engine.deadline is None
    assert engine.expire(net.now + S) == []
    net.register(2, 1, sequence=1)
    net.run(S)
    assert not net.answers


def test_a_restarted_active_is_lost_although_it_is_heard(net: Net) -> None:
    net.crash(2)
    net.run(10 * MS)
    net.boot(2)
    net.run(S)
    assert net.roles[1] is ACTIVE
    net.run(5 * S)
    assert net.roles == [STANDBY, ACTIVE, STANDBY]


def test_two_actives_after_a_partition_become_one(net: Net) -> None:
    net.cut |= {(2, 0), (2, 1), (0, 2), (1, 2)}
    net.run(5 * S)
    assert net.roles == [STANDBY, ACTIVE, ACTIVE]
    net.register(1, 4, sequence=1)
    net.run(S)
    net.cut.clear()
    healed = net.now
    net.run(3 * S)
    assert net.roles == [STANDBY, STANDBY, ACTIVE]
    assert net.changes(1)[-1] == ("STANDBY", "stronger_active")
    # The home link heard the loser's advertisements last: the winner says it again.
    virtual = net.configs[2].virtual_address
    said = [
        when
        for when, member, effect in net.seen
        if member == 2 and isinstance(effect, fx.AnnounceNeighbor) and effect.address == virtual
    ]
    assert sum(when > healed for when in said) >= 3
    assert net.group(2).store.get(home(4)) is not None
    assert all(net.group(m).sync.synchronised for m in range(3))


def test_an_active_that_is_not_heard_resigns(net: Net) -> None:
    net.cut |= {(2, 0), (2, 1)}
    net.run(4 * S)
    assert net.roles == [STANDBY, ACTIVE, ACTIVE]
    net.run(30 * S)
    assert net.roles == [STANDBY, ACTIVE, STANDBY]
    assert net.changes(2)[-1] == ("STANDBY", "not_heard")


def test_switchover_moves_the_role_within_milliseconds(net: Net) -> None:
    net.order(0, Command.SWITCHOVER)
    net.run(10 * MS)
    assert net.roles == [ACTIVE, STANDBY, STANDBY]
    assert net.answer(0) == ()
    assert net.changes(0)[-2:] == [("CLAIMING", "switchover"), ("ACTIVE", "switchover")]
    assert net.changes(2)[-2:] == [("RESIGNING", "switchover"), ("STANDBY", "switchover")]
    net.run(5 * S)
    assert net.roles == [ACTIVE, STANDBY, STANDBY]


def test_switchback_gives_the_role_to_the_member_named(net: Net) -> None:
    net.order(2, Command.SWITCHBACK, to=address(0))
    net.run(10 * MS)
    assert net.roles == [ACTIVE, STANDBY, STANDBY]
    assert net.answer(2) == ()


def test_switchover_of_an_active_chooses_the_best_standby(net: Net) -> None:
    net.order(2, Command.SWITCHOVER)
    net.run(10 * MS)
    assert net.roles == [STANDBY, ACTIVE, STANDBY]


def test_a_held_member_neither_takes_over_nor_is_given_the_role(net: Net) -> None:
    net.order(1, Command.HOLD)
    net.run(10 * MS)
    net.order(2, Command.SWITCHBACK, to=address(1))
    assert net.answer(2) == ("held",)
    net.crash(2)
    net.run(5 * S)
    assert net.roles == [ACTIVE, STANDBY, None]
    net.crash(0)
    net.run(20 * S)
    assert net.roles == [None, STANDBY, None]
    net.order(1, Command.RELEASE)
    net.run(S)
    assert net.roles == [None, ACTIVE, None]


def test_a_forced_switch_of_a_held_member_is_refused_by_the_active(net: Net) -> None:
    net.order(1, Command.HOLD)
    net.run(10 * MS)
    net.order(1, Command.SWITCHOVER)
    assert net.answer(1) == ("held",)
    net.order(1, Command.SWITCHOVER, force=True)
    net.run(10 * MS)
    assert net.answer(1) == ("administratively prohibited",)
    assert net.roles == [STANDBY, STANDBY, ACTIVE]


def test_a_paused_active_withdraws_and_listens(net: Net) -> None:
    net.register(2, 1, sequence=1)
    net.run(S)
    late = net.now + 10 * S
    effects = net.engine(2).expire(late)
    assert fx.SetServing(GROUP, False, VIRTUAL) in effects
    assert net.group(2).role is Role.INIT
    net.carry_out(2, effects)


def test_a_paused_standby_gives_its_peers_a_new_chance(net: Net) -> None:
    late = net.now + 10 * S
    effects = net.engine(0).expire(late)
    assert not [e for e in effects if isinstance(e, ev.PeerDown)]
    assert net.group(0).role is STANDBY
    # Only when the whole detection time is over again the active counts as lost.
    assert not [e for e in net.engine(0).expire(late + S) if isinstance(e, ev.PeerDown)]


def test_fenced_active_withdraws_and_comes_back_when_unfenced(net: Net) -> None:
    net.tell(2, ev.Fenced(True))
    net.run(5 * S)
    assert net.roles == [STANDBY, ACTIVE, STANDBY]
    assert net.group(2).roles.preference == 0
    net.tell(2, ev.Fenced(False))
    assert net.group(2).roles.preference == 102


def test_preemption_takes_the_role_back_after_the_delay() -> None:
    net = Net(preempt=True, preempt_delay_us=2 * S)
    net.run(4 * S)
    net.crash(2)
    net.run(5 * S)
    assert net.roles == [STANDBY, ACTIVE, None]
    net.boot(2)
    net.run(2 * S)
    assert net.roles == [STANDBY, ACTIVE, STANDBY]
    net.run(3 * S)
    assert net.roles == [STANDBY, STANDBY, ACTIVE]
    assert net.changes(2)[-2:] == [("CLAIMING", "preemption"), ("ACTIVE", "switchover")]


def test_quorum_a_minority_has_no_active() -> None:
    net = Net(quorum=2)
    net.run(6 * S)
    assert net.roles == [STANDBY, STANDBY, ACTIVE]
    net.cut |= {(2, 0), (2, 1), (0, 2), (1, 2)}
    net.run(8 * S)
    assert net.roles == [STANDBY, ACTIVE, STANDBY]
    assert net.changes(2)[-1] == ("STANDBY", "quorum_lost")
    net.crash(1)
    net.run(20 * S)
    assert net.roles == [STANDBY, None, STANDBY]


def test_psk_group_works_and_drops_what_is_not_signed() -> None:
    keys = Protection(Security.PSK, keys=(Key(300, bytes(16)),))
    net = Net(protection=keys)
    net.run(4 * S)
    assert net.roles == [STANDBY, STANDBY, ACTIVE]
    net.register(2, 1, sequence=1)
    net.run(S)
    assert net.answers
    assert not any(net.group(m).counters for m in range(3))
    net.crash(2)
    net.run(4 * S)
    net.boot(2)  # with its journal: timestamps go on, SS-REQs are taken after an answer to R
    net.run(5 * S)
    assert net.group(2).sync.synchronised


def test_permissive_and_enforce_understand_each_other() -> None:
    key = Key(300, bytes(16))
    net = Net(2, protection=Protection(Security.PSK, keys=(key,)))
    net.run(4 * S)
    assert net.roles == [STANDBY, ACTIVE]
    stranger = Net(2, protection=Protection(Security.PSK, keys=(Key(301, bytes(16)),)))
    stranger.configs[0] = net.configs[0]
    stranger.boot(0)
    stranger.run(5 * S)
    assert stranger.roles == [ACTIVE, ACTIVE]
    assert stranger.group(0).counters[Reason.AUTH] > 0
    assert AuthMode.ENFORCE is net.configs[0].protection.auth


def test_hard_switch_drains_until_all_have_moved() -> None:
    net = Net(mode=SwitchMode.HARD, virtual_address=b"")
    net.run(4 * S)
    net.register(2, 1, sequence=1)
    net.register(2, 2, sequence=1)
    net.run(S)
    net.order(1, Command.SWITCHOVER)
    net.run(100 * MS)
    assert net.roles == [STANDBY, ACTIVE, Role.DRAINING]
    net.answers.clear()
    net.register(2, 1, sequence=2)  # a refresh at the old one
    assert [a.status for a in net.answers] == [129]
    net.register(1, 1, sequence=2)
    net.run(S)
    assert net.roles[2] is Role.DRAINING
    net.register(1, 2, sequence=2)
    net.run(S)
    assert net.roles == [STANDBY, ACTIVE, STANDBY]
    assert net.changes(2)[-1] == ("STANDBY", "moved")


def test_two_links_a_peer_is_down_only_when_down_on_both() -> None:
    net = Net(links=2)
    net.run(4 * S)
    assert net.roles == [STANDBY, STANDBY, ACTIVE]
    net.tell(2, ev.LinkChanged("eth0", up=False))
    seen = net.run(5 * S)
    lost = [e for _, who, e in seen if who == 0 and isinstance(e, ev.PeerLinkChanged)]
    assert ev.PeerLinkChanged(GROUP, address(2), "eth0", up=False) in lost
    assert net.roles == [STANDBY, STANDBY, ACTIVE]
    net.tell(2, ev.LinkChanged("eth0", up=True))
    seen = net.run(S)
    assert ev.PeerLinkChanged(GROUP, address(2), "eth0", up=True) in [e for _, _, e in seen]
    net.tell(2, ev.LinkChanged("eth9", up=False))
    net.tell(2, ev.LinkChanged("eth0", up=False))
    net.tell(2, ev.LinkChanged("eth1", up=False))
    net.run(5 * S)
    assert net.roles == [STANDBY, ACTIVE, ACTIVE]


def test_commands_that_are_not_about_roles(net: Net) -> None:
    net.order(0, Command.RESYNC)
    assert net.answer(0) == ()
    net.order(0, Command.REKEY)
    assert net.answer(0) == ("not_active",)
    net.register(2, 1, sequence=1)
    net.order(2, Command.REKEY)
    assert net.answer(2) == ()
    net.order(2, Command.CHECK, to=address(0))
    assert net.answer(2) == ()
    net.run(S)
    assert net.group(0).sync.synchronised


def test_a_switch_that_cannot_drain_leaves_the_active_serving(net: Net) -> None:
    net.register(2, 1, sequence=1)
    net.cut |= {(2, 0)}  # member 0 gets no log any more, but is still heard
    net.register(2, 2, sequence=1)
    net.order(1, Command.SWITCHOVER)
    net.run(100 * MS)
    assert net.roles[2] is Role.RESIGNING
    net.register(2, 3, sequence=1)  # dropped: the mobile node will ask again
    net.run(2 * S)
    assert net.roles == [STANDBY, STANDBY, ACTIVE]
    assert net.answer(1) == ("state not synchronised",)
    assert len([e for _, who, e in net.seen if who == 2 and isinstance(e, fx.SetServing)]) == 1


def test_expiry_goes_through_the_log(net: Net) -> None:
    net.register(2, 1, sequence=1, lifetime_s=8)
    net.run(S)
    assert net.group(0).store.get(home(1)) is not None
    net.run(9 * S)
    assert all(net.group(m).store.get(home(1)) is None for m in range(3))


def test_replays_after_an_answer_are_dropped_without_a_question() -> None:
    key = Key(300, bytes(16))
    net = Net(2, protection=Protection(Security.PSK, keys=(key,)))
    net.run(4 * S)
    stamp = (3_600 * S) << 8  # long ago
    request = Harp(HarpType.SO_REQ, GROUP, 4)
    payload = DEFAULT_CODEC.build_signed(address(0), address(1), request, 300, key.key, stamp)
    dropped, loud = net.tell(1, ev.PacketReceived(address(0), address(1), payload))
    assert isinstance(dropped, fx.Dropped)
    assert dropped.reason is Reason.CLOCK
    assert isinstance(loud, fx.Log)
    # A timestamp in the window, but older than the answer to our R.
    old = ntp_from_unix_us(UNIX_US - S)
    payload = DEFAULT_CODEC.build_signed(address(0), address(1), request, 300, key.key, old)
    (dropped,) = net.tell(1, ev.PacketReceived(address(0), address(1), payload))
    assert isinstance(dropped, fx.Dropped)
    assert dropped.reason is Reason.REPLAY
