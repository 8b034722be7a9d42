"""The active's log, message by message (harp.md §6: log, retransmission)."""

from __future__ import annotations

from dataclasses import replace

import pytest

from harp.engine.batch import Packer
from harp.engine.config import Key, Protection, Security
from harp.engine.effects import Effect, SendHarp
from harp.engine.log import RESEND_MESSAGES, ReplicatedLog
from harp.engine.repeat import wait_before
from harp.tables.harp_types import HarpFlag, HarpType
from harp.wire.bulk import BulkReply
from harp.wire.codec import DEFAULT_CODEC
from harp.wire.messages import (
    Aaa,
    BindingCache,
    CacheDigest,
    Harp,
    MobileNetworkPrefix,
    SyncPosition,
)

from .sync_net import BULK, MS, S, address, binding, group, home

PEER, OTHER = address(1), address(2)
DIGEST = CacheDigest(1, 2)


def make(**sync: object) -> ReplicatedLog:
    config = group(3, **sync)
    log = ReplicatedLog(config, Packer(config))
    log.begin(5, CacheDigest(0, 0))
    return log


def message(log: ReplicatedLog, number: int, now: int) -> list[Effect]:
    assert log.add([binding(number)], 49)
    return log.flush(DIGEST, now)


def positions(effects: list[Effect] | None) -> list[int]:
    assert effects is not None
    found = []
    for effect in effects:
        assert isinstance(effect, SendHarp)
        position = effect.message.options[0]
        assert isinstance(position, SyncPosition) and position.term == 5
        found.append(position.position)
    return found


def ack(log: ReplicatedLog, position: int, upto: int, now: int, term: int = 5) -> list[int] | None:
    effects = log.acknowledged(PEER, position % 65535 + 1, SyncPosition(term, upto), now)
    return None if effects is None else positions(effects)


def test_a_message_has_term_position_and_sequence_and_is_the_same_to_all() -> None:
    log = make()
    log.attach(PEER, 0, 0)
    log.attach(OTHER, 0, 0)
    assert not log.batched
    assert log.add([binding(1), binding(2)], 98)
    assert log.batched
    first, second = log.flush(DIGEST, 10)
    assert isinstance(first, SendHarp) and isinstance(second, SendHarp)
    assert (first.peer, second.peer) == (PEER, OTHER)
    assert (
        first.message
        == second.message
        == Harp(HarpType.SS_REP, 7, 2, flags=HarpFlag.R, index=0, options=(SyncPosition(5, 1),))
    )
    assert [record.home_address for record in BULK.unpack(first.block)] == [home(1), home(2)]
    assert (log.here, log.digest) == (SyncPosition(5, 1), DIGEST)


def test_sequence_wraps_with_the_position() -> None:
    log = make()
    log.attach(PEER, 0, 0)
    log.position = 65_533
    log.attach(PEER, 65_533, 0)
    sequences = []
    for number in range(3):
        (effect,) = message(log, number, 0)
        assert isinstance(effect, SendHarp)
        sequences.append(effect.message.sequence)
    assert sequences == [65_535, 1, 2]
    assert ack(log, 65_536, 65_536, 1) == []
    assert log.lanes[PEER].acked == 65_536


def test_repetitions_double_and_are_given_up() -> None:
    log = make()
    log.attach(PEER, 0, 0)
    message(log, 1, 0)
    times = []
    while log.deadline is not None:
        now = log.deadline
        assert log.expire(now - 1) == []
        times += [now] * len(log.expire(now))
    gaps = [b - a for a, b in zip([0, *times], times, strict=False)]
    assert gaps[:3] == [20 * MS, 40 * MS, 80 * MS]
    assert all(gap >= 333_334 for gap in gaps[3:])  # MAX_UPDATE_RATE from the fourth on
    assert max(gaps) == 1 * S
    assert 15 * S < times[-1] < 16 * S
    assert log.lanes[PEER].lost
    message(log, 2, 20 * S)
    assert log.deadline is None


def test_one_that_was_given_up_catches_up_when_heard() -> None:
    log = make()
    log.attach(PEER, 0, 0)
    message(log, 1, 0)
    message(log, 2, 0)
    while log.deadline is not None:
        log.expire(log.deadline)
    lane = log.lanes[PEER]
    assert ack(log, 0, 0, 30 * S) == [1, 2]
    assert log.deadline is not None
    assert ack(log, 0, 0, 30 * S) == []  # no answer to each repetition of it
    assert ack(log, 1, 1, 30 * S) == []
    assert lane.lost
    assert ack(log, 2, 2, 30 * S) == []
    assert not lane.lost and log.deadline is None


def test_a_gap_is_resent_at_once_and_once() -> None:
    log = make()
    log.attach(PEER, 0, 0)
    for number in range(4):
        message(log, number, 0)
    assert ack(log, 1, 1, 100) == []
    assert ack(log, 3, 1, 200) == [2, 3, 4]
    assert ack(log, 4, 1, 300) == []
    assert ack(log, 2, 4, 400) == []
    assert log.deadline is None
    assert ack(log, 4, 3, 400) == []  # overtaken


def test_after_a_loss_the_window_is_small_until_all_of_then_is_acknowledged() -> None:
    log = make()
    log.attach(PEER, 0, 0)
    for number in range(40):
        message(log, number, 0)
    assert ack(log, 40, 0, 100) == list(range(1, RESEND_MESSAGES + 1))
    assert ack(log, 3, 3, 200) == [17, 18, 19]
    assert ack(log, 40, 40, 300) == []
    for number in range(40):
        assert len(message(log, number, 400)) == 1


def test_no_fourth_quick_repetition_for_a_gap() -> None:
    log = make()
    log.attach(PEER, 0, 0)
    message(log, 1, 0)
    message(log, 2, 0)
    for _ in range(3):
        assert log.deadline is not None
        assert positions(log.expire(log.deadline)) == [1, 2]
    assert log.deadline is not None
    assert ack(log, 2, 0, log.deadline - 1) == []


def test_twice_the_round_trip_is_waited() -> None:
    log = make()
    log.attach(PEER, 0, 0)
    message(log, 1, 0)
    assert ack(log, 1, 1, 15 * MS) == []
    message(log, 2, 20 * MS)
    assert log.deadline == 50 * MS
    positions(log.expire(50 * MS))
    assert ack(log, 2, 2, 51 * MS) == []
    assert log.lanes[PEER].round_trip_us == 15 * MS  # a repeated one does not measure
    message(log, 3, 100 * MS)
    ack(log, 3, 3, 900 * MS)
    message(log, 4, 1 * S)
    assert log.deadline == 2 * S


def test_acknowledgements_that_fit_nothing() -> None:
    log = make()
    assert ack(log, 1, 1, 0) is None
    log.attach(PEER, 0, 0)
    message(log, 1, 0)
    assert ack(log, 2, 2, 0) is None
    assert ack(log, 1, 1, 0, term=6) is None
    assert ack(log, 1, 9, 0, term=4) == [1]  # still at an older log: nothing of ours applied
    assert log.lanes[PEER].acked == 0


def test_the_window_and_what_is_kept() -> None:
    log = make(log_window_messages=4)
    log.attach(PEER, 0, 0)
    for number in range(4):
        assert len(message(log, number, 0)) == 1
    assert message(log, 5, 0) == []  # harp.md §6: at most so many unacknowledged
    assert log.first == 2
    assert ack(log, 3, 3, 1) == [5]
    log.attach(OTHER, 0, 2)
    assert log.lanes[OTHER].lost and log.lanes[OTHER].acked == 1
    for number in range(6):
        message(log, number, 3)
    assert ack(log, 4, 4, 4) == [8]
    assert not log.lanes[PEER].lost
    assert ack(log, 6, 4, 5) == [8, 9, 10, 11]
    assert log.lanes[PEER].lost, "5 to 7 are kept no longer"
    log.detach(OTHER)
    log.detach(OTHER)
    assert OTHER not in log.lanes


def test_a_standby_that_returns_resumes_where_it_was() -> None:
    log = make()
    for number in range(5):
        message(log, number, 0)
    assert positions(log.attach(PEER, 2, 0)) == [3, 4, 5]


def test_a_full_batch_says_so() -> None:
    log = make()
    room = Packer(group(2)).room_octets
    assert log.add([binding(1)], room)
    assert not log.add([binding(2)], 1)
    log.flush(DIGEST, 0)
    assert log.add([binding(2)], room + 1), "the first always fits"


def rich(number: int, prefixes: int) -> tuple[BindingCache, tuple[MobileNetworkPrefix | Aaa, ...]]:
    cache, _ = binding(number)
    options = (MobileNetworkPrefix(64, home(n)) for n in range(prefixes))
    return cache, (*options, Aaa(b"x" * 7))


@pytest.mark.parametrize("mtu", [1280, 1500, 9000])
@pytest.mark.parametrize(
    "protection",
    [
        Protection(Security.NONE, insecure=True),
        Protection(Security.IPSEC),
        Protection(Security.PSK, keys=(Key(300, bytes(16)),)),
    ],
)
def test_messages_fit_the_path_and_the_length_of_a_mobility_header(
    mtu: int, protection: Protection
) -> None:
    config = replace(group(2, mtu_octets=mtu), protection=protection)
    packer = Packer(config)
    head = Harp(HarpType.SS_REP, 7, 2, flags=HarpFlag.R, options=(SyncPosition(1, 1),))
    changes = [binding(n) if n % 3 else rich(n, n % 7) for n in range(200)]
    seen = 0
    for part in packer.split(changes):
        packed = packer.pack(head, part)
        assert packer.changes(packed) == part
        octets = _build(packed.message, packed.block, protection)
        outer = 40 + (64 if protection.security is Security.IPSEC else 0)
        assert len(octets) <= min(2048, mtu - outer)
        seen += len(part)
    assert seen == len(changes)
    plain = packer.pack(head, [binding(n) for n in range(packer.records)])
    octets = _build(plain.message, plain.block, protection)
    assert min(2048, mtu - outer) - 48 < len(octets) <= min(2048, mtu - outer)


def _build(message: Harp, block: bytes, protection: Protection) -> bytes:
    key = protection.signing_key
    mh = BULK.begin(message, block)
    if key is None:
        return BULK.build(PEER, OTHER, message, block)
    return DEFAULT_CODEC.sign(PEER, OTHER, mh, key.spi, key.key, 1)


def test_about_thirty_plain_bindings_at_1500() -> None:
    assert Packer(group(2)).records == 29


def test_one_too_long_for_any_message_is_left_out() -> None:
    packer = Packer(group(2))
    cache, _ = binding(1)
    giant = cache, tuple(Aaa(bytes(250)) for _ in range(8))
    large = cache, tuple(Aaa(bytes(250)) for _ in range(7))
    assert list(packer.split([binding(1), giant, large])) == [[binding(1)], [large]]


def test_packed_messages_come_back_as_blocks() -> None:
    log = make()
    log.attach(PEER, 0, 0)
    (effect,) = message(log, 1, 0)
    assert isinstance(effect, SendHarp)
    octets = BULK.build(PEER, OTHER, effect.message, effect.block)
    assert BULK.parse(PEER, OTHER, octets) == BulkReply(effect.message, effect.block)


def test_waits() -> None:
    waits = [wait_before(n, 20 * MS, 1 * S) for n in range(1, 9)]
    assert waits == [20_000, 40_000, 80_000, 333_334, 333_334, 640_000, 1_000_000, 1_000_000]
