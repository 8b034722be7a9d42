"""Heartbeats of members (RFC 5847 §3): answered, and no sign of life (offload.md §3)."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest

from harp.engine import events as ev
from harp.engine.config import EngineConfig
from harp.engine.effects import Dropped, SendPacket
from harp.engine.engine import Engine
from harp.tables.mh import HeartbeatFlag
from harp.tables.reasons import Reason
from harp.wire.codec import DEFAULT_CODEC
from harp.wire.messages import Heartbeat, RestartCounter

from .group_net import GROUP, MULTICAST, UNIX_US, S, address, config, hello, of, packet

ME, PEER = address(0), address(1)
STRANGER = bytes.fromhex("20010db8999900000000000000000001")


def engine(**changes: Any) -> Engine:
    made = Engine(EngineConfig((config(0, **changes),)), Random(1), UNIX_US)
    made.start(0)
    return made


def beat(
    sequence: int = 7, flags: int = 0, source: bytes = PEER, to: bytes = ME, **more: Any
) -> ev.PacketReceived:
    payload = DEFAULT_CODEC.build(source, to, Heartbeat(sequence, flags))
    return ev.PacketReceived(source, to, payload, **more)


def test_a_request_is_answered_with_the_restart_counter() -> None:
    receiver = engine(links=2)
    (answer,) = receiver.receive(beat(4_000_000_000), S)
    assert isinstance(answer, SendPacket)
    assert (answer.source, answer.destination, answer.link) == (ME, PEER, "eth0")
    assert answer.hop_limit == 255
    assert DEFAULT_CODEC.parse(answer.source, answer.destination, answer.payload) == Heartbeat(
        4_000_000_000, int(HeartbeatFlag.RESPONSE), (RestartCounter(UNIX_US // S),)
    )
    (answer,) = receiver.receive(beat(1, source=address(1, 1), to=address(0, 1)), S)
    assert isinstance(answer, SendPacket)
    assert (answer.source, answer.link) == (address(0, 1), "eth1")


@pytest.mark.parametrize(
    ("event", "reason"),
    [
        (beat(source=STRANGER), Reason.UNEXPECTED),
        (beat(to=MULTICAST), Reason.UNEXPECTED),
        (beat(to=address(0, 1)), Reason.UNEXPECTED),
        (beat(flags=int(HeartbeatFlag.RESPONSE)), Reason.UNEXPECTED),
        (beat(flags=int(HeartbeatFlag.RESPONSE | HeartbeatFlag.UNSOLICITED)), Reason.UNEXPECTED),
        (beat(hop_limit=254), Reason.BAD_HOP_LIMIT),
    ],
    ids=["stranger", "multicast", "not ours", "response", "unsolicited", "hop limit"],
)
def test_what_is_not_answered(event: ev.PacketReceived, reason: Reason) -> None:
    receiver = engine()
    (dropped,) = receiver.receive(event, S)
    assert isinstance(dropped, Dropped) and dropped.reason is reason
    counted = receiver.reception.counters + receiver.groups[GROUP].counters
    assert counted == {reason: 1}


def test_of_members_apart_no_hop_limit_is_demanded() -> None:
    receiver = engine(require_hop_limit=False)
    assert of(SendPacket, receiver.receive(beat(hop_limit=60), S))


def test_each_member_is_answered_ten_times_a_second_at_most() -> None:
    receiver = engine()
    answered = [
        at for at in range(S, 2 * S, S // 100) if of(SendPacket, receiver.receive(beat(), at))
    ]
    assert answered == list(range(S, 2 * S, S // 10))
    assert receiver.groups[GROUP].counters == {Reason.UNEXPECTED: 90}
    assert of(SendPacket, receiver.receive(beat(source=address(2)), 2 * S - 1))


def test_heartbeats_keep_nobody_alive_and_take_no_hello_away() -> None:
    receiver = engine()
    assert not of(ev.PeerUp, receiver.receive(beat(), S))
    receiver.receive(packet(hello(), PEER), S)
    effects = []
    while receiver.deadline is not None and receiver.deadline <= 4 * S:
        at = receiver.deadline
        receiver.receive(beat(), at)
        effects += receiver.expire(at)
    assert of(ev.PeerDown, effects) == [ev.PeerDown(GROUP, PEER)]
    assert of(SendPacket, receiver.receive(beat(), 5 * S))
    assert all(receiver.groups[GROUP].hellos.may_answer(PEER, 5 * S) for _ in range(10))
