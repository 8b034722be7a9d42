"""Paced work for every mobile node: announcements, Home Agent Switch, SW-COMP, HA-REKEY (§9)."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest

from harp.engine.announce import Announcer
from harp.engine.config import GroupConfig, HomeAgentConfig, SwitchMode
from harp.engine.effects import AnnounceNeighbor, PrepareRoute, RemoveRoute, SendHarp, SendPacket
from harp.engine.moved import Draining
from harp.engine.pacing import Walk
from harp.engine.peers import LinkState, PeerTable
from harp.engine.store import BindingStore
from harp.engine.switching import SENDINGS, Mover, Rekeyer
from harp.tables.harp_types import HarpType
from harp.tables.mh import BuFlag
from harp.wire.codec import DEFAULT_CODEC
from harp.wire.messages import (
    AddressKind,
    BindingCache,
    BindingIdentifier,
    Harp,
    HomeAgentSwitch,
    IpAddress,
    SyncPosition,
)

from .group_net import FLAG_D, GROUP, MS, VIRTUAL, S, address, care_of, config, home, of

HARD: dict[str, Any] = {"mode": SwitchMode.HARD, "virtual_address": b""}


def store(count: int, flags: int = 0) -> BindingStore:
    made = BindingStore()
    for number in range(count):
        put(made, number, flags=flags)
    return made


def put(made: BindingStore, number: int, bid: int = 0, flags: int = 0, lifetime: int = 60) -> None:
    cache = BindingCache(home(number), care_of(number), flags, 1, lifetime)
    options = (BindingIdentifier(bid),) if bid else ()
    made.apply((cache, options), SyncPosition(1, number + 1), 0)


class TestWalk:
    def test_paced_and_complete(self) -> None:
        walk = Walk(store(250), 10_000)
        assert walk.take(0) == []
        walk.start(0)
        met = []
        while walk.deadline is not None:
            now = walk.deadline
            assert walk.take(now - 1) == []
            batch = walk.take(now)
            assert len(batch) <= 100
            met += [entry.home_address for entry in batch]
        assert met == [home(n) for n in range(250)]

    def test_slow_rates_take_one_at_a_time(self) -> None:
        walk = Walk(store(2), 4)
        walk.start(0)
        assert [len(walk.take(0)), walk.deadline] == [1, 250 * MS]

    def test_a_home_address_with_several_bindings_is_met_once_and_new_ones_not_for_ever(
        self,
    ) -> None:
        made = store(0)
        for bid in (3, 5):
            put(made, 1, bid)
        walk = Walk(made, 100)
        walk.start(0)
        assert len(walk.take(0)) == 1
        for number in range(2, 20):
            put(made, number)
        met = 0
        while walk.deadline is not None:
            met += len(walk.take(walk.deadline))
        assert met == 0

    def test_stop(self) -> None:
        walk = Walk(store(2), 4)
        walk.start(0)
        walk.stop()
        assert walk.take(S) == []


class TestAnnouncer:
    def test_virtual_address_first_and_three_times(self) -> None:
        announcer = Announcer(config(), store(1))
        first = announcer.start(0)
        virtual = AnnounceNeighbor(GROUP, VIRTUAL, router=True)
        assert first == [virtual, AnnounceNeighbor(GROUP, home(0), router=False)]
        again = []
        while announcer.deadline is not None:
            now = announcer.deadline
            if effects := announcer.expire(now):
                again.append((now, effects))
        assert again == [(S, [virtual]), (2 * S, [virtual])]

    def test_link_local_and_router_flags(self) -> None:
        flags = int(BuFlag.LINK_LOCAL | BuFlag.MOBILE_ROUTER)
        announcer = Announcer(config(**HARD), store(1, flags))
        effects = announcer.start(0)
        link_local = bytes.fromhex("fe80000000000000") + home(0)[8:]
        assert effects == [
            AnnounceNeighbor(GROUP, home(0), router=True),
            AnnounceNeighbor(GROUP, link_local, router=True),
        ]

    def test_stop(self) -> None:
        announcer = Announcer(config(), store(100))
        announcer.start(0)
        announcer.stop()
        assert announcer.deadline is None
        assert announcer.expire(S) == []


class MoverRig:
    """A new active in hard mode; member 1 drains."""

    def __init__(self, count: int, mine: GroupConfig | None = None) -> None:
        self.config = mine or config(0, **HARD)
        self.store = store(count)
        self.peers = PeerTable(self.config)
        self.mover = Mover(self.config, self.store, self.peers, DEFAULT_CODEC, Random(1))
        self.drain(True)

    def drain(self, draining: bool) -> None:
        peer = self.peers.peers[address(1)]
        peer.links[0].state, peer.links_up = LinkState.UP, 1
        peer.flags = FLAG_D if draining else 0

    def until_due(self) -> tuple[int, list[Any]]:
        assert self.mover.deadline is not None
        now = self.mover.deadline
        return now, self.mover.expire(now)


class TestMover:
    def test_the_message(self) -> None:
        (sent,) = of(SendPacket, MoverRig(1).mover.start(0))
        assert (sent.source, sent.destination, sent.via) == (address(0), home(0), care_of(0))
        message = DEFAULT_CODEC.parse(sent.source, sent.destination, sent.payload)
        assert message == HomeAgentSwitch((address(0),))

    def test_repeats_until_moved_and_then_completes(self) -> None:
        rig = MoverRig(2)
        assert len(rig.mover.start(0)) == 2
        rig.mover.moved(home(0))
        rig.mover.moved(home(0))
        now, effects = rig.until_due()
        assert now == 5 * S
        assert [e.destination for e in of(SendPacket, effects)] == [home(1)]
        assert rig.mover.expire(5 * S + 1) == []
        rig.mover.moved(home(1))
        now, effects = rig.until_due()
        assert now == 15 * S
        assert [(e.peer, e.message.type) for e in of(SendHarp, effects)] == [
            (address(1), HarpType.SW_COMP)
        ]
        assert rig.mover.counters == {"switches_sent": 3, "moved": 2}
        now, effects = rig.until_due()
        assert (now, len(effects)) == (16 * S, 1)
        rig.drain(False)
        now, effects = rig.until_due()
        assert (now, effects) == (18 * S, [])
        assert rig.mover.deadline is None

    def test_completion_is_bounded(self) -> None:
        rig = MoverRig(0)
        assert of(SendHarp, rig.mover.start(0))
        now = 0
        while rig.mover.deadline is not None:
            now, _ = rig.until_due()
        assert 16 * S <= now <= 32 * S

    def test_gives_up_and_then_does_not_say_that_all_have_moved(self) -> None:
        rig = MoverRig(2)
        rig.mover.start(0)
        rig.store.forget(home(1))
        times, sendings = [], 2
        while rig.mover.deadline is not None:
            now, effects = rig.until_due()
            times.append(now)
            sendings += len(effects)
            assert not of(SendHarp, effects)
        assert sorted(set(times)) == [5 * S, 15 * S, 35 * S, 55 * S, 75 * S]
        assert sendings == 1 + SENDINGS
        assert rig.mover.counters["not_moved"] == 1

    def test_who_moves_before_its_turn_is_left_alone(self) -> None:
        rig = MoverRig(20, config(0, **HARD, switch_rate=100))
        assert len(rig.mover.start(0)) == 1
        rig.mover.moved(home(1))
        _, effects = rig.until_due()
        assert effects == []
        assert len(rig.until_due()[1]) == 1

    def test_virtual_mode_and_stopped_do_nothing(self) -> None:
        virtual = MoverRig(2, config(0))
        assert virtual.mover.start(0) == []
        virtual.mover.moved(home(1))
        assert virtual.mover.deadline is None
        hard = MoverRig(2)
        hard.mover.start(0)
        hard.mover.stop()
        assert hard.mover.deadline is None

    def test_role_changes_do_not_break_the_rate(self) -> None:
        rig = MoverRig(1)
        rig.mover.start(0)
        rig.mover.stop()
        assert rig.mover.start(300 * MS) == []
        now, effects = rig.until_due()
        assert (now, len(effects)) == (S, 1)


def test_rekey_goes_to_every_mobile_node_once() -> None:
    rekeyer = Rekeyer(config(0), store(2), DEFAULT_CODEC, VIRTUAL, Random(1))
    first = rekeyer.start(0)
    messages = [
        DEFAULT_CODEC.parse(e.source, e.destination, e.payload) for e in of(SendPacket, first)
    ]
    assert [m.type for m in messages if isinstance(m, Harp)] == [HarpType.REKEY] * 2
    assert all(
        m.options == (IpAddress(AddressKind.HOME_AGENT, VIRTUAL),)
        for m in messages
        if isinstance(m, Harp)
    )
    assert len({m.sequence for m in messages if isinstance(m, Harp)}) == 2
    rekeyer.stop()
    assert rekeyer.deadline is None


class TestDraining:
    @pytest.fixture
    def draining(self) -> Draining:
        mine = config(0, home_agent=HomeAgentConfig(max_lifetime_s=40))
        draining = Draining(mine, store(2))
        draining.start(0)
        return draining

    def test_ends_when_all_have_moved(self, draining: Draining) -> None:
        assert not draining.empty
        assert draining.keeps((home(0), 0))
        assert draining.moved(home(0)) == [RemoveRoute(GROUP, home(0), 0)]
        assert draining.moved(home(0)) == []
        assert not draining.keeps((home(0), 0))
        draining.moved(home(1))
        assert draining.empty
        assert [type(e) for e in draining.stop()] == [PrepareRoute, PrepareRoute]
        assert not draining.empty
        assert draining.moved(home(1)) == []

    def test_ends_with_the_longest_lifetime(self, draining: Draining) -> None:
        assert draining.deadline == 40 * S
        assert draining.expire(40 * S - 1) == []
        assert not draining.empty
        draining.expire(40 * S)
        assert draining.empty
