"""Members that nobody configured (harp.md §3 rule 9, `discover = true`)."""

from __future__ import annotations

from dataclasses import replace
from random import Random
from typing import Any

import pytest

from harp.engine import events as ev
from harp.engine.config import (
    AuthMode,
    EngineConfig,
    Key,
    LinkConfig,
    MemberConfig,
    Protection,
    Security,
)
from harp.engine.effects import Dropped, Log, Role, SendPacket
from harp.engine.engine import Engine
from harp.engine.joining import MAX_DISCOVERED
from harp.tables.harp_types import HarpType
from harp.tables.mh import BaStatus, BuFlag
from harp.tables.reasons import Reason
from harp.wire.auth import ntp_from_unix_us
from harp.wire.codec import DEFAULT_CODEC
from harp.wire.messages import AddressKind, BindingAcknowledgement, BindingUpdate, Harp, IpAddress

from .group_net import (
    GROUP,
    MULTICAST,
    UNIX_US,
    VIRTUAL,
    Net,
    S,
    address,
    care_of,
    config,
    hello,
    of,
    packet,
)

ME, NEW = address(0), address(9)
KEY = Key(300, bytes(16))
SIGNED = Protection(Security.PSK, keys=(KEY,))


def engine(*more: Any, **changes: Any) -> Engine:
    changes = {"discover": True, "members": 1, **changes}
    made = Engine(EngineConfig((config(0, **changes), *more)), Random(1), UNIX_US)
    made.start(0)
    return made


def names(receiver: Engine, group: int = GROUP) -> list[str]:
    return [peer.name for peer in receiver.groups[group].peers]


def joining(message: Harp | None = None, source: bytes = NEW, **more: Any) -> ev.PacketReceived:
    return packet(message or hello(), source, **{"link": "eth0", **more})


def signed(message: Harp, at_us: int, source: bytes = NEW) -> ev.PacketReceived:
    timestamp = ntp_from_unix_us(UNIX_US + at_us)
    payload = DEFAULT_CODEC.build_signed(source, MULTICAST, message, KEY.spi, KEY.key, timestamp)
    return ev.PacketReceived(source, MULTICAST, payload, link="eth0")


def test_who_says_hello_is_a_member() -> None:
    receiver = engine()
    effects = receiver.receive(joining(), S)
    assert of(ev.PeerUp, effects) == [ev.PeerUp(GROUP, NEW)]
    assert [log.text for log in of(Log, effects)] == [
        "2001:db8:0:1::109 is a member now: it was discovered"
    ]
    assert names(receiver) == ["2001:db8:0:1::109"]
    assert of(Dropped, receiver.receive(joining(hello(2)), 2 * S)) == []
    effects = []
    while receiver.deadline is not None and receiver.deadline <= 5 * S:
        effects += receiver.expire(receiver.deadline)
    assert of(ev.PeerDown, effects) == [ev.PeerDown(GROUP, NEW)]


def test_nobody_joins_by_default() -> None:
    receiver = engine(discover=False)
    (dropped,) = of(Dropped, receiver.receive(joining(), S))
    assert dropped.reason is Reason.NOT_A_PEER
    assert names(receiver) == []


@pytest.mark.parametrize(
    "event",
    [
        joining(Harp(HarpType.SS_REQ, GROUP, 1, options=(IpAddress(AddressKind.HOME, bytes(16)),))),
        joining(hello(lifetime_s=0)),
        joining(link="eth7"),
        joining(source=ME),
        joining(source=VIRTUAL),
        joining(source=bytes(16)),
        joining(replace(hello(), group=GROUP + 1)),
    ],
    ids=["request", "goodbye", "other link", "own", "virtual", "unspecified", "other group"],
)
def test_what_makes_no_member(event: ev.PacketReceived) -> None:
    receiver = engine()
    (dropped,) = of(Dropped, receiver.receive(event, S))
    assert dropped.reason is Reason.NOT_A_PEER
    assert names(receiver) == []


def test_only_who_has_the_key_joins_a_group_with_one() -> None:
    receiver = engine(protection=SIGNED)
    (dropped,) = of(Dropped, receiver.receive(joining(), S))
    assert dropped.reason is Reason.NOT_A_PEER
    (dropped,) = of(Dropped, receiver.receive(signed(hello(), 60 * S), S))
    assert dropped.reason is Reason.NOT_A_PEER, "the clock is off"
    assert names(receiver) == []
    other = address(8)
    assert of(ev.PeerUp, receiver.receive(signed(hello(), S, other), S)) == [
        ev.PeerUp(GROUP, other)
    ]


def test_their_number_is_bounded() -> None:
    receiver = engine(members=3)
    for number in range(MAX_DISCOVERED):
        assert of(ev.PeerUp, receiver.receive(joining(source=address(100 + number)), S))
    (dropped,) = of(Dropped, receiver.receive(joining(), S))
    assert dropped.reason is Reason.NOT_A_PEER
    assert len(names(receiver)) == 2 + MAX_DISCOVERED


def test_a_member_of_one_group_may_join_another() -> None:
    other = replace(config(0, 2, discover=False), group=GROUP + 1)
    receiver = engine(other)
    known = address(1)
    assert of(ev.PeerUp, receiver.receive(joining(source=known), S)) == [ev.PeerUp(GROUP, known)]
    moved = replace(hello(), group=GROUP + 1)
    assert of(ev.PeerUp, receiver.receive(joining(moved, known), S))
    joined = joining(replace(hello(), group=GROUP + 1))
    assert of(Dropped, receiver.receive(joined, S))[0].reason is Reason.NOT_A_PEER
    receiver.receive(joining(), S)
    assert of(Dropped, receiver.receive(joined, S))[0].reason is Reason.WRONG_GROUP


@pytest.mark.parametrize(
    "changes",
    [
        {"protection": Protection()},
        {"protection": Protection(keys=(KEY,))},
        {"protection": Protection(Security.PSK, keys=(KEY,), auth=AuthMode.SIGN)},
        {"protection": Protection(Security.PSK, keys=(KEY,), auth=AuthMode.PERMISSIVE)},
        {"links": (LinkConfig("eth0"), LinkConfig("eth1"))},
        {"quorum": 2},
    ],
)
def test_where_discovery_is_refused(changes: dict[str, Any]) -> None:
    members = tuple(
        MemberConfig(name, (address(m), address(m, 1))[: len(changes.get("links", "."))])
        for m, name in enumerate("abc")
    )
    changes = {"members": members, **changes}
    replace(config(), **{**changes, "discover": False})
    with pytest.raises(ValueError, match="discover"):
        replace(config(), **{**changes, "discover": True})


class Strangers(Net):
    """Engines that know only themselves."""

    def boot(self, member: int) -> None:
        own = self.configs[member]
        self.configs[member] = replace(own, members=(own.me,), self_index=0, discover=True)
        super().boot(member)


def test_strangers_form_a_group() -> None:
    net = Strangers(3)
    net.run(20 * S)
    assert sorted(str(role) for role in net.roles) == ["ACTIVE", "STANDBY", "STANDBY"]
    active = net.roles.index(Role.ACTIVE)
    assert all(net.group(member).roles.synchronised for member in range(3))
    net.register(active, 1, 1)
    net.run(1 * S)
    assert [answer.status for answer in net.answers] == [BaStatus.ACCEPTED]
    assert not net.group(active).sync.counters["unprotected"]
    assert all(len(net.group(member).store) == 1 for member in range(3))
    settings = {net.group(member).roles.settings_hash for member in range(3)}
    assert len(settings) == 1, "who is there is no setting"
    net.crash(active)
    net.run(20 * S)
    assert net.roles.count(Role.ACTIVE) == 1


def test_no_mobile_node_has_the_address_of_a_new_member() -> None:
    net = Strangers(2)
    net.run(20 * S)
    active = net.roles.index(Role.ACTIVE)
    other = address(1 - active)
    flags = int(BuFlag.ACKNOWLEDGE | BuFlag.HOME_REGISTRATION)
    payload = DEFAULT_CODEC.build(other, VIRTUAL, BindingUpdate(1, flags, 600))
    event = ev.PacketReceived(other, VIRTUAL, payload, care_of=care_of(1))
    (answer,) = of(SendPacket, net.tell(active, event))
    message = DEFAULT_CODEC.parse(answer.source, answer.destination, answer.payload)
    assert isinstance(message, BindingAcknowledgement)
    assert message.status == BaStatus.PROHIBITED
