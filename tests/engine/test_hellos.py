"""Our own HELLOs: content, schedule, rates (harp.md §2.1, §4)."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest

from harp.engine.config import LinkConfig, SwitchMode
from harp.engine.effects import HelloKind, HelloTemplate, SendPacket
from harp.engine.hellos import REPEAT_US, HelloSender
from harp.engine.peers import PeerTable
from harp.engine.protection import Protector
from harp.tables.harp_types import HarpFlag
from harp.wire.codec import DEFAULT_CODEC
from harp.wire.messages import Configuration, Detection, Harp, RestartCounter, SyncPosition

from .group_net import FLAG_A, FLAG_R, FLAG_S, MULTICAST, S, address, config, of, sent

V = int(HarpFlag.V)


def sender(**changes: Any) -> HelloSender:
    mine = config(0, **changes)
    made = HelloSender(mine, PeerTable(mine), Protector(mine, DEFAULT_CODEC, 0), Random(1))
    made.restart_counter = 77
    made.update(0, 100)
    return made


def to(effects: list[Any]) -> list[bytes]:
    return [packet.destination for packet in of(SendPacket, effects)]


def test_content_by_kind() -> None:
    hellos = sender()
    position = SyncPosition(3, 4)
    settings = Configuration(config(0).settings_hash())
    detection = Detection(S, 3)
    wanted: dict[HelloKind, tuple[int, int, tuple[object, ...]]] = {
        HelloKind.PLAIN: (V, 9, (detection,)),
        HelloKind.ASK: (V | FLAG_R, 9, (detection, position)),
        HelloKind.FIRST: (V | FLAG_R, 9, (RestartCounter(77), detection, position, settings)),
        HelloKind.ANSWER: (V, 9, (RestartCounter(77), detection, position, settings)),
        HelloKind.GOODBYE: (V, 0, (detection,)),
    }
    for kind, (flags, lifetime_s, options) in wanted.items():
        given = (position,) if len(options) > 1 else ()
        (message,) = sent(hellos.say(kind, 0, options=given))
        assert (message.flags, message.lifetime_s, message.options) == (flags, lifetime_s, options)
        assert (message.preference, message.interval_ms) == (100, 1000)


def test_goodbye_clears_a_and_is_said_three_times_and_is_the_last() -> None:
    hellos = sender()
    hellos.update(FLAG_A | FLAG_S, 100)
    hellos.say(HelloKind.PLAIN, 0)
    messages = sent(hellos.goodbye(0))
    assert [(m.flags, m.lifetime_s) for m in messages] == [(V, 0)] * 3
    assert hellos.deadline is None
    assert hellos.expire(100 * S) == []


def test_sequences_are_by_kind_and_destination_and_never_zero() -> None:
    hellos = sender()
    for sequence in (30000, 60000, 65534):
        hellos.slot_changed(0, False, sequence)
    numbers = [sent(hellos.say(HelloKind.PLAIN, 0))[0].sequence for _ in range(3)]
    assert numbers == [65535, 1, 2]
    assert sent(hellos.say(HelloKind.ANSWER, 0, address(1)))[0].sequence == 1
    assert sent(hellos.say(HelloKind.ANSWER, 0, address(1)))[0].sequence == 2
    assert sent(hellos.say(HelloKind.ANSWER, 0, address(2)))[0].sequence == 1


def test_schedule_has_jitter_of_0_to_minus_10_percent() -> None:
    hellos = sender()
    hellos.say(HelloKind.FIRST, 0)
    gaps, now = [], 0
    for _ in range(200):
        assert hellos.deadline is not None
        assert hellos.expire(hellos.deadline - 1) == []
        gaps.append(hellos.deadline - now)
        now = hellos.deadline
        assert len(sent(hellos.expire(now))) == 1
    assert min(gaps) >= 900_000
    assert max(gaps) <= S
    assert max(gaps) - min(gaps) > 80_000


def test_three_times_a_moment_apart_then_the_schedule_again() -> None:
    hellos = sender()
    hellos.say(HelloKind.PLAIN, 0, times=3)
    times, now = [], 0
    for _ in range(3):
        assert hellos.deadline is not None
        now = hellos.deadline
        times.append(now)
        hellos.expire(now)
    assert times[:2] == [REPEAT_US, 2 * REPEAT_US]
    assert times[2] >= 2 * REPEAT_US + 900_000


def test_update_tells_what_is_new() -> None:
    hellos = sender()
    assert not hellos.update(0, 100)
    assert hellos.update(FLAG_A, 100)
    assert hellos.update(FLAG_A, 0)
    assert not hellos.update(FLAG_A, 0)
    hard = sender(mode=SwitchMode.HARD)
    assert sent(hard.say(HelloKind.PLAIN, 0))[0].flags == 0


def test_answers_are_limited_by_asker() -> None:
    hellos = sender(max_hello_rate=3)
    assert [hellos.may_answer(address(1), 100 + i) for i in range(5)] == [True] * 3 + [False] * 2
    assert hellos.may_answer(address(2), 105)
    assert not hellos.may_answer(address(1), 99 + S)
    assert hellos.may_answer(address(1), 100 + S)
    assert not hellos.may_answer(address(1), 100 + S)


def test_without_multicast_each_member_gets_its_own() -> None:
    hellos = sender(links=(LinkConfig("eth0", multicast=False),))
    assert to(hellos.say(HelloKind.PLAIN, 0)) == [address(1), address(2)]


def test_each_link_has_its_own_source_sequence_and_state() -> None:
    hellos = sender(links=2)
    packets = of(SendPacket, hellos.say(HelloKind.PLAIN, 0))
    assert [(p.source, p.link, p.destination) for p in packets] == [
        (address(0, 0), "eth0", MULTICAST),
        (address(0, 1), "eth1", MULTICAST),
    ]
    assert hellos.link_changed(0, False, 0) == []
    assert [p.link for p in of(SendPacket, hellos.say(HelloKind.PLAIN, 0))] == ["eth1"]
    assert hellos.say(HelloKind.ANSWER, 0, address(1), link=0) == []
    (back,) = of(SendPacket, hellos.link_changed(0, True, 0))
    message = DEFAULT_CODEC.parse(back.source, back.destination, back.payload)
    assert isinstance(message, Harp)
    assert message.flags & FLAG_R
    hellos.link_changed(0, False, 0)
    hellos.link_changed(1, False, 0)
    assert hellos.deadline is None


def test_slots_take_the_multicast_and_leave_the_rest() -> None:
    hellos = sender(links=(LinkConfig("eth0", slots=True),))
    effects = hellos.say(HelloKind.FIRST, 0)
    (template,) = of(HelloTemplate, effects)
    assert (template.link, template.source, template.destination) == (
        "eth0",
        address(0),
        MULTICAST,
    )
    plain = DEFAULT_CODEC.parse(template.source, template.destination, template.payload)
    assert isinstance(plain, Harp)
    assert (plain.flags, plain.options) == (V, (Detection(S, 3),))
    assert to(effects) == [MULTICAST]
    hellos.slot_changed(0, True, 500)
    assert hellos.say(HelloKind.PLAIN, 0) == []  # nothing new
    assert hellos.expire(2 * S) == []
    assert to(hellos.say(HelloKind.DIGEST, 0)) == [address(1), address(2)]
    hellos.slot_changed(0, False, 900)
    assert sent(hellos.say(HelloKind.ASK, 0))[0].sequence == 901


def test_news_is_said_above_what_a_slot_may_still_say_and_the_slot_counts_on() -> None:
    hellos = sender(links=(LinkConfig("eth0", slots=True),))
    hellos.say(HelloKind.FIRST, 0)
    hellos.slot_changed(0, True, 500)
    hellos.update(FLAG_A, 100)
    effects = hellos.say(HelloKind.PLAIN, 0)
    (template,), (hello,) = of(HelloTemplate, effects), sent(effects)
    assert to(effects) == [MULTICAST]
    slot = DEFAULT_CODEC.parse(template.source, template.destination, template.payload)
    assert isinstance(slot, Harp)
    assert (hello.sequence, hello.flags) == (slot.sequence, slot.flags) == (501, V | FLAG_A)
    assert hellos.say(HelloKind.PLAIN, 0) == []
    # A kick that was answered before the slot heard of it, or a slot that is lost meanwhile.
    hellos.slot_changed(0, True, 480)
    hellos.update(0, 100)
    assert [h.sequence for h in sent(hellos.say(HelloKind.PLAIN, 0))] == [502]
    hellos.slot_changed(0, False, 490)
    assert [h.sequence for h in sent(hellos.say(HelloKind.PLAIN, 0))] == [503]


@pytest.mark.parametrize("kind", [HelloKind.ASK, HelloKind.ANSWER])
def test_unicast_goes_by_the_link_named(kind: HelloKind) -> None:
    hellos = sender(links=2)
    assert to(hellos.say(kind, 0, address(2), link=1)) == [address(2, 1)]
    assert to(hellos.say(kind, 0, address(2))) == [address(2, 0)]
