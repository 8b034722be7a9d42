"""SS-REQ and its answer, message by message (harp.md §2.1, §6: full sync)."""

from __future__ import annotations

from random import Random

import pytest

from harp.engine.batch import Packed, Packer
from harp.engine.config import UNSPECIFIED, GroupConfig
from harp.engine.effects import Effect, SendHarp
from harp.engine.fullsync import (
    AHEAD_MESSAGES,
    ALL,
    Arrival,
    Asker,
    Exchange,
    all_since,
    index_of,
    serial_of,
    single,
)
from harp.engine.fullsync_table import Phase
from harp.engine.store import BindingStore
from harp.engine.stream import REMEMBERED_REPLIES, Answers, Stream, some_homes, whole_store
from harp.tables.harp_types import HarpFlag, HarpType, Status
from harp.wire.messages import Aaa, AddressKind, Harp, IpAddress, Options, SyncPosition

from .sync_net import MS, S, address, binding, group, home

PEER = address(1)
AT = SyncPosition(3, 9)


def message_of(effect: Effect) -> Harp:
    assert isinstance(effect, SendHarp) and effect.peer == PEER
    return effect.message


def request(sequence: int = 77) -> Harp:
    return Harp(HarpType.SS_REQ, 7, sequence, options=ALL)


def reply(
    index: int,
    *,
    more: bool = True,
    position: SyncPosition | None = None,
    sequence: int = 77,
    status: int = 0,
) -> Harp:
    flags = HarpFlag.R | HarpFlag.M if more else HarpFlag.R
    options: Options = (position,) if position else ()
    return Harp(
        HarpType.SS_REP, 7, sequence, status=status, flags=flags, index=index, options=options
    )


# The answering side


def filled(count: int) -> BindingStore:
    store = BindingStore()
    for number in range(count):
        store.apply(binding(number), SyncPosition(3, 1 + number // 10), 0)
    return store


def stream(count: int, config: GroupConfig | None = None) -> Stream:
    config = config or group(2)
    packer = Packer(config)
    source = whole_store(filled(count), packer, None)
    return Stream(config, packer, request(), AT, source, 0)


def test_an_empty_answer_is_one_message() -> None:
    (effect,) = stream(0).pump(PEER, 0)
    assert message_of(effect) == reply(1, more=False, position=AT)


def test_the_first_goes_alone_then_a_window() -> None:
    answer = stream(29 * 100, group(2, stream_window_messages=8))
    (first,) = answer.pump(PEER, 0)
    assert message_of(first) == reply(1, position=AT)
    assert answer.pump(PEER, 0) == []
    assert answer.acknowledged(1, 100)
    window = answer.pump(PEER, 100)
    assert [message_of(effect) for effect in window] == [reply(n) for n in range(2, 10)]
    assert not answer.acknowledged(1, 100) and not answer.acknowledged(50, 100)
    assert answer.acknowledged(5, 200) and answer.acknowledged(6, 200)
    assert [message_of(effect).index for effect in answer.pump(PEER, 200)] == [10, 11]


def test_first_and_last_carry_the_position_and_the_last_no_m() -> None:
    answer, now, seen = stream(29 * 9 + 1), 0, []
    effects = answer.pump(PEER, now)
    while effects:
        messages = [message_of(effect) for effect in effects]
        seen += messages
        now += 1
        for message in messages:
            assert answer.acknowledged(message.index, now)
        effects = answer.pump(PEER, now)
    assert answer.complete
    assert not answer.acknowledged(1, now)
    last = len(seen)
    assert last == 10
    assert seen == [
        reply(n, more=n < last, position=AT if n in (1, last) else None) for n in range(1, last + 1)
    ]


def test_each_message_is_repeated_by_itself_and_all_given_up() -> None:
    answer = stream(29 * 5)
    answer.pump(PEER, 0)
    answer.acknowledged(1, 30 * MS)  # a long round trip
    answer.pump(PEER, 30 * MS)
    assert answer.expire(PEER, 30 * MS) == []
    assert answer.deadline == 90 * MS
    answer.acknowledged(3, 80 * MS)
    again = answer.expire(PEER, 90 * MS)
    assert again is not None
    assert [message_of(effect).index for effect in again] == [2, 4, 5]
    now = 90 * MS
    while (effects := answer.expire(PEER, now)) is not None:
        now = max(answer.deadline, now + 1)
    assert 16 * S <= now - 80 * MS < 17 * S, "HARELIABILITY_TIMEOUT after the last progress"
    assert effects is None


def test_a_stream_ends_with_sync_timeout() -> None:
    answer = stream(29 * 5, group(2, sync_timeout_us=1 * S))
    answer.pump(PEER, 0)
    answer.acknowledged(1, 10)
    assert answer.expire(PEER, 1 * S) is None


def test_bindings_with_options_go_in_messages_of_their_own() -> None:
    store = BindingStore()
    for number in range(40):
        change = binding(number, bid=1 + number % 3) if number % 2 else binding(number)
        if number % 5 == 0:
            change = change[0], (*change[1], Aaa(bytes(200)))
        store.apply(change, SyncPosition(1, 1), 0)
    packer = Packer(group(2))
    source = whole_store(store, packer, None)
    changes = []
    while (body := source(0)) is not None:
        head = reply(1, position=AT)
        packed = packer.pack(head, body) if isinstance(body, list) else Packed(head, body)
        changes += packer.changes(packed)
    assert sorted(c[0].home_address for c in changes) == [home(n) for n in range(40)]


def test_since_a_position_only_what_changed_after() -> None:
    packer, store = Packer(group(2)), filled(50)
    source = whole_store(store, packer, SyncPosition(3, 4))
    body = source(0)
    assert isinstance(body, bytes)
    homes = [record.home_address for record in packer.bulk.unpack(body)]
    assert homes == [home(n) for n in range(40, 50)]
    assert source(0) is None


def test_single_homes_their_bindings_or_their_tombstone() -> None:
    store = BindingStore()
    store.apply(binding(1), AT, 0)
    store.apply(binding(1, bid=4), AT, 0)
    store.apply(binding(2), AT, 0)
    store.apply(binding(2, sequence=2, lifetime_s=0), AT, 0)
    source = some_homes(store, Packer(group(2)), [home(1), home(2), home(3), home(1)], 0)
    body = source(0)
    assert isinstance(body, list)
    assert [(c.home_address, c.lifetime_s, len(o)) for c, o in body] == [
        (home(1), 3600, 0),
        (home(1), 3600, 1),
        (home(2), 0, 0),
    ]
    assert source(0) is None


def test_replies_are_remembered_and_running_streams_not_disturbed() -> None:
    config = group(2)
    answers = Answers(config, Packer(config))
    assert answers.deadline is None and answers.expire(0) == []
    assert answers.known(PEER, request(), 0) is None
    (refusal,) = answers.refuse(PEER, request(), Status.NOT_ACTIVE, 0)
    assert message_of(refusal) == Harp(HarpType.SS_REP, 7, 77, status=130, index=1)
    assert answers.known(PEER, request(), 15 * S) == [refusal]
    assert answers.known(PEER, request(), 16 * S) is None
    packer = Packer(config)
    store = filled(100)
    answers.answer(PEER, request(78), AT, whole_store(store, packer, None), 0)
    assert answers.known(PEER, request(78), 1) == []
    assert answers.running(PEER) is not None and answers.deadline == 20 * MS
    answers.answer(PEER, request(79), AT, whole_store(store, packer, None), 1)
    assert answers.known(PEER, request(78), 2) == [], "a late copy starts nothing anew"
    answers.forget(PEER)
    assert answers.known(PEER, request(78), 2) is None


def test_an_asker_that_was_thought_down_is_not_left_waiting() -> None:
    """Its stream ended while it waits: what it asks once more is refused, and it begins anew."""
    config = group(2)
    answers, packer = Answers(config, Packer(config)), Packer(config)
    answers.answer(PEER, request(78), AT, whole_store(filled(100), packer, None), 0)
    answers.break_off(PEER, 1)
    (refusal,) = answers.known(PEER, request(78), 2) or ()
    assert message_of(refusal) == Harp(HarpType.SS_REP, 7, 78, status=128, index=1)
    assert answers.known(PEER, request(79), 2) is None, "a new number is a new request"


def test_remembered_replies_are_bounded() -> None:
    config = group(2)
    answers = Answers(config, Packer(config))
    for number in range(1, REMEMBERED_REPLIES + 2):
        answers.refuse(PEER, request(number), Status.NOT_ACTIVE, number)
    assert answers.known(PEER, request(1), 100) is None
    assert answers.known(PEER, request(2), 100) is not None
    answers.refuse(PEER, request(100), Status.NOT_ACTIVE, 16 * S + 30)
    assert answers.known(PEER, request(40), 16 * S + 30) is not None
    assert answers.known(PEER, request(25), 0) is None, "over, and cleared away"


def test_answers_end_and_are_given_up() -> None:
    config = group(2)
    answers, packer = Answers(config, Packer(config)), Packer(config)
    ack = Harp(HarpType.SS_ACK, 7, 77, index=1)
    assert answers.acknowledged(PEER, ack, 0) is None
    answers.answer(PEER, request(), AT, whole_store(filled(40), packer, None), 0)
    other = Harp(HarpType.SS_ACK, 7, 76, index=1)
    assert answers.acknowledged(PEER, other, 0) is None
    (second,) = answers.acknowledged(PEER, ack, 1) or []
    assert message_of(second).index == 2
    assert answers.acknowledged(PEER, ack, 1) is None
    (again,) = answers.expire(21 * MS)
    assert again == second
    assert answers.acknowledged(PEER, Harp(HarpType.SS_ACK, 7, 77, index=2), 2) == []
    assert answers.running(PEER) is None
    answers.answer(PEER, request(80), AT, whole_store(filled(40), packer, None), 0)
    answers.expire(17 * S)
    assert answers.running(PEER) is None
    answers.answer(PEER, request(81), AT, whole_store(filled(40), packer, None), 0)
    answers.break_off_all(1)
    assert answers.running(PEER) is None


# The asking side


def exchange(**sync: object) -> Exchange:
    return Exchange(group(2, **sync), PEER, 77, ALL, 0)


def test_requests() -> None:
    everything = IpAddress(AddressKind.HOME, UNSPECIFIED)
    assert message_of(exchange().ask()) == Harp(HarpType.SS_REQ, 7, 77, options=(everything,))
    assert all_since(AT) == (everything, AT)
    assert single([home(1)]) == (IpAddress(AddressKind.HOME, home(1)),)


def test_complete_when_every_index_up_to_the_one_without_m_came() -> None:
    asked = exchange()
    assert asked.arrived(reply(2), 1) is Arrival.USELESS, "no position yet"
    assert asked.arrived(reply(1), 1) is Arrival.USELESS, "the first has to carry it"
    assert asked.arrived(reply(1, position=AT), 1) is Arrival.NEW
    assert (asked.phase, asked.position) == (Phase.STREAMING, AT)
    assert asked.arrived(reply(3, more=False, position=AT), 2) is Arrival.NEW
    assert asked.arrived(reply(3, more=False, position=AT), 2) is Arrival.AGAIN
    assert asked.arrived(reply(1, position=AT), 3) is Arrival.AGAIN
    assert not asked.ended
    assert asked.arrived(reply(2), 4) is Arrival.NEW
    assert asked.phase is Phase.COMPLETE and asked.ended and asked.deadline is None
    assert asked.expire(100 * S) == []


def test_an_answer_of_one_message() -> None:
    asked = exchange()
    assert asked.arrived(reply(1, more=False, position=AT), 1) is Arrival.NEW
    assert asked.phase is Phase.COMPLETE


def test_refused() -> None:
    asked = exchange()
    assert asked.arrived(reply(1, status=133), 1) is Arrival.USELESS
    assert (asked.phase, asked.status) == (Phase.REFUSED, 133)
    streaming = exchange()
    streaming.arrived(reply(1, position=AT), 1)
    streaming.arrived(reply(1, status=133), 1)
    assert streaming.phase is Phase.STREAMING, "a refusal overtaken by the answer"


def test_broken_off() -> None:
    """The active lost us for a moment: our repeated SS-REQ is refused, and nothing more comes."""
    streaming = exchange()
    streaming.arrived(reply(1, position=AT), 1)
    assert streaming.deadline is not None
    assert streaming.expire(streaming.deadline) == [streaming.ask()]
    assert streaming.arrived(reply(1, status=128), 4 * S) is Arrival.USELESS
    assert (streaming.phase, streaming.status) == (Phase.REFUSED, 128)


def test_another_answer_under_the_same_number_ends_it() -> None:
    asked = exchange()
    asked.arrived(reply(1, position=AT), 1)
    assert asked.arrived(reply(1, position=SyncPosition(4, 0)), 2) is Arrival.USELESS
    assert asked.phase is Phase.FAILED


def test_the_request_is_repeated_with_backoff_and_given_up() -> None:
    asked = exchange()
    times = []
    while asked.deadline is not None:
        now = asked.deadline
        assert asked.expire(now - 1) == []
        if asked.expire(now):
            times.append(now)
    assert times == [3 * S, 9 * S]
    assert now == 16 * S and asked.phase is Phase.FAILED


def test_each_reply_restarts_the_timer_but_not_the_bound_on_all() -> None:
    asked = exchange(sync_timeout_us=20 * S)
    asked.expire(3 * S)
    asked.arrived(reply(1, position=AT), 5 * S)
    assert asked.deadline == 8 * S
    index = 2
    while not asked.ended:
        assert asked.deadline is not None
        now = asked.deadline
        asked.expire(now)
        asked.arrived(reply(index), now)
        index += 1
    assert now == 20 * S and asked.phase is Phase.FAILED


def test_index_wraps() -> None:
    assert [index_of(n) for n in (1, 65_535, 65_536, 131_071)] == [1, 65_535, 1, 1]
    assert serial_of(2, 65_530) == 65_537
    asked = exchange()
    asked.arrived(reply(1, position=AT), 1)
    for serial in range(2, 65_540):
        assert asked.arrived(reply(index_of(serial)), 1) is Arrival.NEW
    assert asked.arrived(reply(index_of(65_539)), 1) is Arrival.AGAIN
    assert asked.arrived(reply(index_of(65_540 + AHEAD_MESSAGES - 1)), 1) is Arrival.NEW
    assert asked.arrived(reply(index_of(65_540 + AHEAD_MESSAGES)), 1) is Arrival.AGAIN
    assert asked.arrived(reply(index_of(65_540), more=False, position=AT), 1) is Arrival.NEW
    assert asked.phase is Phase.COMPLETE


def test_exchange_numbers_start_at_random_and_skip_zero() -> None:
    config = group(2)
    first = {Asker(config, Random(seed)).ask(PEER, ALL, 0)[0].sequence for seed in range(20)}
    assert len(first) > 15
    asker = Asker(config, Random(1))
    asker._number = 65_534
    assert [asker.ask(PEER, ALL, 0)[0].sequence for _ in range(3)] == [65_535, 1, 2]


@pytest.mark.parametrize(("complete", "status"), [(True, Status.SUCCESS), (False, 128)])
def test_late_messages_of_an_exchange_that_is_over(complete: bool, status: int) -> None:
    asker = Asker(group(2), Random(1))
    assert asker.deadline is None
    asked, ask = asker.ask(PEER, ALL, 0)
    assert message_of(ask).sequence == asked.sequence
    assert asker.deadline == 3 * S
    assert asker.expire(3 * S) == [ask]
    message = reply(1, more=False, position=AT, sequence=asked.sequence)
    assert asker.late(PEER, message, 0) is None
    if complete:
        asked.arrived(message, 1)
        assert asker.deadline is None
    assert asker.find(PEER, message) is asked
    asker.close(asked, 1)
    assert asker.find(PEER, message) is None
    late = asker.late(PEER, message, 2)
    assert late is not None
    assert message_of(late) == Harp(HarpType.SS_ACK, 7, asked.sequence, status=status, index=1)
    assert asker.late(PEER, message, 1 + 16 * S) is None
    other, _ = asker.ask(PEER, ALL, 20 * S)
    asker.close(other, 20 * S)
    assert asker.late(PEER, message, 2) is None, "forgotten"
