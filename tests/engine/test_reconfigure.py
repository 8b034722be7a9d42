"""New settings of a running group: role, peers, store and sequences stay (harp.md §7)."""

from __future__ import annotations

from dataclasses import replace
from random import Random
from typing import Any

import pytest

from harp.engine.config import (
    AuthMode,
    EngineConfig,
    GroupConfig,
    HomeAgentConfig,
    Key,
    Protection,
    Security,
    SyncConfig,
)
from harp.engine.effects import Role, SendPacket
from harp.engine.engine import Engine
from harp.engine.events import PeerDown
from harp.engine.reconfigure import LIVE, own_copy, take
from harp.wire.messages import Authentication, Detection

from .group_net import GROUP, UNIX_US, Net, S, address, config, of, sent

OLD, NEW = Key(300, b"o" * 16), Key(301, b"n" * 16)


def signed(*keys: Key, by: Key, auth: AuthMode = AuthMode.ENFORCE) -> Protection:
    return Protection(Security.PSK, auth=auth, keys=keys, signing_spi=by.spi)


def spi_of(effects: list[Any]) -> int:
    (message,) = sent(effects)
    tag = message.options[-1]
    assert isinstance(tag, Authentication)
    return tag.spi


def active(mine: GroupConfig) -> Engine:
    engine = Engine(EngineConfig((mine,)), Random(1), UNIX_US)
    engine.start(0)
    while engine.groups[GROUP].role is not Role.ACTIVE:
        engine.expire(engine.deadline or 0)
    return engine


def now_of(engine: Engine) -> int:
    return (engine.deadline or 0) - 1


def test_what_is_said_of_timing_and_preference_is_said_at_once() -> None:
    mine = config(0)
    engine = active(mine)
    now = now_of(engine)
    (hello,) = sent(engine.reconfigure(replace(mine, preference=7, hello_interval_us=S // 2), now))
    assert (hello.preference, hello.interval_ms) == (7, 500)
    assert Detection(S // 2, 3) in hello.options
    assert engine.groups[GROUP].role is Role.ACTIVE
    assert engine.deadline is not None and engine.deadline <= now + S // 2


def test_a_group_moves_to_another_key_without_an_outage() -> None:
    """Both accept both, then sign with the new one, then forget the old one: harp.md §7."""
    keys = [
        signed(OLD, by=OLD),
        signed(OLD, NEW, by=OLD),
        signed(OLD, NEW, by=NEW),
        signed(NEW, by=NEW),
    ]
    net = Net(3, protection=keys[0])
    net.run(10 * S)
    before = net.roles
    assert before.count(Role.ACTIVE) == 1
    for protection in keys[1:]:
        for number, mine in enumerate(net.configs):
            effects = net.engine(number).reconfigure(replace(mine, protection=protection), net.now)
            net.carry_out(number, effects)
            seen = net.run(2 * S)
            assert not [effect for _, _, effect in seen if isinstance(effect, PeerDown)]
            assert net.roles == before
    assert not any(net.group(number).counters["auth"] for number in range(3))


def test_the_new_key_signs() -> None:
    mine = config(0, protection=signed(OLD, NEW, by=OLD))
    engine = active(mine)
    effects = engine.reconfigure(replace(mine, protection=signed(OLD, NEW, by=NEW)), now_of(engine))
    assert spi_of(effects) == NEW.spi
    assert of(SendPacket, effects)


def test_every_part_takes_what_it_made_of_settings() -> None:
    mine = config(0)
    engine = active(mine)
    group = engine.groups[GROUP]
    home = HomeAgentConfig(
        dad=False,
        max_lifetime_s=400,
        refresh_margin_s=9,
        mn_keys=((address(7), OLD),),
        mobile_prefixes=((address(7), ()),),
    )
    new = replace(
        mine,
        sync=SyncConfig(mtu_octets=1280, digest_interval_us=S),
        home_agent=home,
        na_rate=50,
        switch_rate=5,
        max_hello_rate=4,
        reliability_timeout_us=S,
    )
    room = group.sync._packer.room_octets
    engine.reconfigure(new, now_of(engine))
    assert group.sync._packer.room_octets < room
    assert group.store.refresh_margin_us == 9 * S
    assert group.store.tombstone_units == 100
    assert group.announcer._walk._tick_us == S // 50
    assert group.mover._walk._tick_us == group.rekeyer._walk._tick_us == S // 5
    assert group.home_agent._authenticator._keys == {address(7): [OLD]}
    assert group.home_agent._registrar._routers == {address(7): ()}
    assert group.config == new and group.config is not new


@pytest.mark.parametrize(
    "change",
    [
        {"quorum": 2},
        {"virtual_address": address(8)},
        {"protection": signed(OLD, by=OLD)},
    ],
    ids=lambda change: next(iter(change)),
)
def test_what_may_not_change_is_named_and_nothing_is_taken(change: Any) -> None:
    mine = config(0)
    engine = active(mine)
    with pytest.raises(ValueError, match="fixed while the group runs"):
        engine.reconfigure(replace(mine, preference=9, **change), 0)
    assert engine.groups[GROUP].config == mine
    with pytest.raises(ValueError, match="group 8: not there"):
        engine.reconfigure(replace(mine, group=8), 0)


def test_the_callers_settings_stay_as_they_are() -> None:
    theirs = config(0)
    before = repr(theirs)
    mine = own_copy(theirs)
    take(mine, replace(theirs, preference=5, sync=SyncConfig(mtu_octets=1400)))
    assert (mine.preference, mine.sync.mtu_octets) == (5, 1400)
    assert repr(theirs) == before
    assert LIVE <= set(GroupConfig.__slots__)
