"""A standby, message by message (harp.md §6: log, S, full sync, drift)."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import pytest

from harp.engine.batch import Packed, Packer
from harp.engine.config import ADDRESS_OCTETS, MemberConfig, SwitchMode
from harp.engine.effects import (
    BindingMoved,
    CacheChanged,
    Dropped,
    Effect,
    HelloKind,
    HelloWanted,
    Log,
    SendHarp,
)
from harp.engine.entries import Change
from harp.engine.fullsync import ALL, single
from harp.engine.replica import HELD_MESSAGES
from harp.engine.store import BindingStore
from harp.engine.sync import Sync
from harp.tables.harp_types import HarpFlag, HarpType, Status
from harp.tables.reasons import Reason
from harp.wire.bulk import BulkReply
from harp.wire.messages import (
    AddressKind,
    CacheDigest,
    Harp,
    IpAddress,
    Options,
    SyncPosition,
)
from harp.wire.sequence import log_sequence

from .sync_net import S, address, binding, group, home

ACTIVE, OTHER = address(0), address(2)
PLAIN = HelloWanted(HelloKind.PLAIN)
CONFIRMED = HelloWanted(HelloKind.ANSWER, ACTIVE)


class Standby:
    """Member 1, which follows member 0, and what member 0 would send."""

    def __init__(self, *, hard: bool = False, **sync: object) -> None:
        config = replace(group(3, **sync), self_index=1)
        if hard:
            config = replace(config, mode=SwitchMode.HARD)
        self.store = BindingStore()
        self.sync = Sync(config, self.store, Random(1))
        self.packer = Packer(config)
        self.now = 1 * S
        self.sync.peer_up(ACTIVE, self.now)
        self.sync.peer_up(OTHER, self.now)

    def log(self, term: int, position: int, *changes: Change, peer: bytes = ACTIVE) -> list[Effect]:
        """A log message arrives."""
        at = SyncPosition(term, position)
        head = Harp(HarpType.SS_REP, 7, log_sequence(position), flags=HarpFlag.R, options=(at,))
        packed = self.packer.pack(head, list(changes) or [binding(position, position)])
        return self.packed(packed, peer)

    def packed(self, packed: Packed, peer: bytes = ACTIVE) -> list[Effect]:
        message = BulkReply(*packed) if packed.block else packed.message
        return self.sync.receive(peer, message, self.now)

    def stream(
        self, sequence: int, index: int, at: SyncPosition | None, *changes: Change, more: bool
    ) -> list[Effect]:
        """A message of an answer arrives."""
        flags = HarpFlag.R | HarpFlag.M if more else HarpFlag.R
        options: Options = (at,) if at else ()
        head = Harp(HarpType.SS_REP, 7, sequence, flags=flags, index=index, options=options)
        return self.packed(self.packer.pack(head, list(changes)))

    def hello(
        self, term: int, position: int, digest: CacheDigest | None = None, peer: bytes = ACTIVE
    ) -> list[Effect]:
        at = SyncPosition(term, position)
        options: Options = (at, digest) if digest else (at,)
        message = Harp(HarpType.HELLO, 7, 1, flags=HarpFlag.A, options=options)
        return self.sync.hello_heard(peer, message, self.now)

    def synchronise(self, term: int = 1, position: int = 0, *changes: Change) -> None:
        """A full sync from start to end."""
        if self.sync._replica.following is None:
            effects = self.sync.follow(ACTIVE, self.now)
        else:
            effects = self.sync.resync(self.now)
        sequence = requested(effects).sequence
        self.stream(sequence, 1, SyncPosition(term, position), *changes, more=False)
        assert self.sync.synchronised

    def due(self) -> list[Effect]:
        """What happens next by time alone."""
        assert self.sync.deadline is not None
        assert self.sync.deadline > self.now
        self.now = self.sync.deadline
        return self.sync.expire(self.now)


def sent(effects: list[Effect]) -> list[Harp]:
    return [effect.message for effect in effects if isinstance(effect, SendHarp)]


def requested(effects: list[Effect]) -> Harp:
    (message,) = (m for m in sent(effects) if m.type is HarpType.SS_REQ)
    return message


def ack(
    term: int, position: int, upto: tuple[int, int] | None = None, status: int = 0
) -> list[Harp]:
    options: Options = (SyncPosition(*(upto or (term, position))),)
    sequence = log_sequence(position)
    return [Harp(HarpType.SS_ACK, 7, sequence, status=status, options=options)]


# The log


def test_messages_are_applied_in_order_and_acknowledged() -> None:
    standby = Standby()
    standby.synchronise()
    effects = standby.log(1, 1, binding(1), binding(2))
    assert effects[0] == CacheChanged(((home(1), 0), (home(2), 0)))
    assert sent(effects) == ack(1, 1)
    assert standby.sync.position == SyncPosition(1, 1)
    assert sent(standby.log(1, 1, binding(1), binding(2))) == ack(1, 1)
    assert standby.sync.counters["duplicates"] == 1
    entry = standby.store.get(home(1))
    assert entry is not None and entry.position == SyncPosition(1, 1)


def test_applied_as_they_are_and_nothing_expires_by_itself() -> None:
    standby = Standby()
    standby.synchronise()
    standby.log(1, 1, binding(1, sequence=9, lifetime_s=8))
    standby.log(1, 2, binding(1, sequence=5))  # the log is right, not the sequence
    entry = standby.store.get(home(1))
    assert entry is not None and entry.sequence == 5
    standby.log(1, 3, binding(2, lifetime_s=4))
    standby.now += 100 * S
    standby.sync.expire(standby.now)
    assert standby.store.get(home(2)) is not None


def test_at_a_gap_the_acknowledgement_is_sent_at_once() -> None:
    standby = Standby()
    standby.synchronise()
    standby.log(1, 1)
    assert sent(standby.log(1, 3)) == ack(1, 3, (1, 1))
    assert sent(standby.log(1, 4)) == ack(1, 4, (1, 1))
    assert standby.sync.counters["gaps"] == 2
    assert sent(standby.log(1, 2)) == ack(1, 2, (1, 4)), "those that came early are applied"
    assert sent(standby.log(1, 5 + HELD_MESSAGES)) == ack(1, 5 + HELD_MESSAGES, (1, 4))
    assert not standby.sync._replica._held


def test_a_log_message_from_another_is_130() -> None:
    standby = Standby()
    assert sent(standby.log(1, 1)) == [Harp(HarpType.SS_ACK, 7, 2, status=130)]
    standby.synchronise()
    refused = Harp(HarpType.SS_ACK, 7, 2, status=Status.NOT_ACTIVE)
    assert sent(standby.log(9, 1, peer=OTHER)) == [refused]
    assert standby.sync.position == SyncPosition(1, 0)
    standby.sync.lead(standby.now)
    assert sent(standby.log(1, 1)) == [refused]


def test_one_that_cannot_be_applied_is_128_s_clear_and_full_sync() -> None:
    standby = Standby()
    standby.synchronise()
    bad = binding(1)[0]
    multicast = replace(bad, home_address=b"\xff" + bytes(15)), ()
    effects = standby.log(1, 1, binding(3), multicast)
    refusal, request = sent(effects)
    assert refusal == Harp(
        HarpType.SS_ACK,
        7,
        2,
        status=128,
        options=(IpAddress(AddressKind.HOME, b"\xff" + bytes(15)),),
    )
    assert request.type is HarpType.SS_REQ and request.options == ALL
    assert PLAIN in effects and not standby.sync.synchronised
    assert len(standby.store) == 0, "nothing is half applied"


def test_position_and_sequence_must_agree() -> None:
    standby = Standby()
    standby.synchronise()
    for options, sequence in (((SyncPosition(1, 1),), 5), ((SyncPosition(1, 0),), 1)):
        message = Harp(HarpType.SS_REP, 7, sequence, options=(*options, binding(1)[0]))
        (dropped,) = standby.sync.receive(ACTIVE, message, standby.now)
        assert isinstance(dropped, Dropped) and dropped.reason is Reason.UNEXPECTED
    assert len(standby.store) == 0


def test_hard_mode_tells_who_moved() -> None:
    standby = Standby(hard=True)
    standby.synchronise()
    effects = standby.log(1, 1, binding(1), binding(2, lifetime_s=0), binding(1, 2))
    assert [e for e in effects if isinstance(e, BindingMoved)] == [BindingMoved(home(1))]


# S and gaps


def test_a_gap_older_than_the_timeout_clears_s_and_asks_for_all() -> None:
    standby = Standby()
    standby.synchronise()
    standby.log(1, 2)
    effects = standby.due()
    assert standby.now == 17 * S
    assert requested(effects).options == ALL
    assert PLAIN in effects and not standby.sync.synchronised
    assert standby.sync.position == SyncPosition(1, 0)


def test_a_gap_that_moves_is_another_gap() -> None:
    standby = Standby()
    standby.synchronise()
    standby.log(1, 4)
    standby.now += 10 * S
    standby.log(1, 1)
    standby.due()
    assert standby.now == 27 * S


def test_a_gap_that_closes_is_forgotten() -> None:
    standby = Standby()
    standby.synchronise()
    standby.log(1, 2)
    standby.log(1, 1)
    assert standby.sync.deadline is None
    assert standby.sync.synchronised


def test_behind_a_digest_for_too_long_clears_s_and_asks_for_all() -> None:
    standby = Standby()
    standby.synchronise()
    assert sent(standby.hello(1, 3, CacheDigest(3, 3))) == ack(1, 0)
    standby.now += 10 * S
    standby.log(1, 1)
    assert sent(standby.hello(1, 9, CacheDigest(3, 3))) == ack(1, 1)
    effects = standby.due()
    assert standby.now == 17 * S, "since the first"
    assert requested(effects).options == ALL


def test_behind_by_more_than_is_kept_asks_at_once() -> None:
    standby = Standby(log_window_messages=10)
    standby.synchronise()
    assert sent(standby.hello(1, 10, CacheDigest(3, 3))) == ack(1, 0)
    assert requested(standby.hello(1, 11, CacheDigest(3, 3))).options == ALL


def test_s_and_position_are_kept_when_the_active_is_lost() -> None:
    standby = Standby()
    standby.synchronise(1, 5)
    assert standby.sync.follow(None, standby.now) == []
    assert standby.sync.synchronised and standby.sync.position == SyncPosition(1, 5)
    assert standby.sync.follow(OTHER, standby.now) == []
    assert standby.sync.deadline is None


def test_the_log_of_an_active_that_was_lost_and_found_goes_on() -> None:
    standby = Standby()
    standby.synchronise(1, 5)
    standby.sync.follow(None, standby.now)
    assert sent(standby.log(1, 6)) == [Harp(HarpType.SS_ACK, 7, 7, status=130)]
    standby.sync.follow(OTHER, standby.now)
    standby.sync.follow(ACTIVE, standby.now)
    assert sent(standby.log(1, 6)) == ack(1, 6)
    assert standby.sync.position == SyncPosition(1, 6)


def test_the_active_followed_restarts() -> None:
    standby = Standby()
    standby.synchronise(1, 5)
    standby.sync.peer_restarted(ACTIVE, standby.now)
    standby.sync.follow(None, standby.now)
    standby.sync.follow(ACTIVE, standby.now)
    assert sent(standby.log(1, 6)) == ack(1, 6, (1, 5))


def test_the_log_of_an_active_that_restarted_does_not_go_on() -> None:
    standby = Standby()
    standby.synchronise(1, 5)
    standby.sync.follow(None, standby.now)
    standby.sync.peer_restarted(OTHER, standby.now)
    standby.sync.peer_restarted(ACTIVE, standby.now)
    standby.sync.follow(ACTIVE, standby.now)
    standby.log(1, 6)
    assert standby.sync.position == SyncPosition(1, 5)


# Drift


def test_equal_digests_change_nothing() -> None:
    standby = Standby()
    standby.synchronise()
    assert standby.hello(1, 0, standby.store.digest) == []
    standby.log(1, 1)
    assert standby.hello(1, 1, standby.store.digest) == []
    standby.hello(1, 2, CacheDigest(9, 9))
    standby.log(1, 2)
    assert standby.sync.counters["digest_differs"] == 1
    assert standby.hello(1, 2, standby.store.digest) == []
    assert standby.hello(1, 2, CacheDigest(9, 9)) == [], "not twice in a row"


def test_twice_different_is_a_full_sync_at_most_one_a_minute() -> None:
    standby = Standby()
    standby.synchronise()
    wrong = CacheDigest(9, 9)
    assert standby.hello(1, 0, wrong) == []
    effects = standby.hello(1, 0, wrong)
    sequence = requested(effects).sequence
    assert effects[0] == PLAIN and not standby.sync.synchronised
    standby.stream(sequence, 1, SyncPosition(1, 0), more=False)
    first = standby.now
    for _ in range(5):
        standby.now += 10 * S
        assert standby.hello(1, 0, wrong) == []
    standby.now = first + 60 * S
    assert requested(standby.hello(1, 0, wrong))


def test_a_digest_at_a_position_no_longer_known_says_nothing() -> None:
    standby = Standby()
    standby.synchronise(1, 5)
    assert standby.hello(1, 4, CacheDigest(9, 9)) == []
    assert standby.sync.counters["digest_differs"] == 0


def test_hellos_without_digest_or_of_others_say_nothing_about_s() -> None:
    standby = Standby()
    standby.synchronise()
    assert standby.hello(1, 9) == []
    assert standby.hello(4, 9, CacheDigest(1, 1), peer=OTHER) == []
    assert standby.sync.term_known == 4
    plain = Harp(HarpType.HELLO, 7, 1)
    assert standby.sync.hello_heard(ACTIVE, plain, standby.now) == []
    assert standby.sync.hello_heard(address(9), plain, standby.now) == []
    (dropped,) = standby.hello(0xFFFF_FFFF, 0)
    assert isinstance(dropped, Dropped)
    assert standby.sync.term_known == 4


# A new active


def test_an_equal_digest_at_the_end_of_reconcile_is_enough() -> None:
    standby = Standby()
    standby.synchronise(1, 5, binding(1))
    standby.sync.follow(OTHER, standby.now)
    assert sent(standby.log(2, 1, binding(2), peer=OTHER)) == ack(2, 1)
    assert standby.sync.position == SyncPosition(1, 5), "the old one until confirmed"
    effects = standby.hello(2, 1, standby.store.digest, peer=OTHER)
    assert effects == [HelloWanted(HelloKind.ANSWER, OTHER)]
    assert standby.sync.position == SyncPosition(2, 1) and standby.sync.synchronised


def test_an_equal_digest_before_any_message() -> None:
    standby = Standby()
    standby.synchronise(1, 5, binding(1))
    standby.sync.follow(OTHER, standby.now)
    effects = standby.hello(2, 0, standby.store.digest, peer=OTHER)
    assert effects == [HelloWanted(HelloKind.ANSWER, OTHER)]
    assert sent(standby.log(2, 1, peer=OTHER)) == ack(2, 1)


def test_any_other_digest_is_a_full_sync() -> None:
    standby = Standby()
    standby.synchronise(1, 5, binding(1))
    standby.sync.follow(OTHER, standby.now)
    effects = standby.hello(2, 0, CacheDigest(9, 9), peer=OTHER)
    assert requested(effects).options == ALL
    assert standby.sync.position == SyncPosition(1, 5)


def test_the_digest_is_compared_when_its_position_is_reached() -> None:
    standby = Standby()
    standby.synchronise(1, 5, binding(1))
    standby.sync.follow(OTHER, standby.now)
    want = BindingStore()
    want.apply(binding(1), SyncPosition(1, 1), 0)
    want.apply(binding(2), SyncPosition(1, 1), 0)
    assert sent(standby.hello(2, 1, want.digest, peer=OTHER)) == ack(0, 0, (1, 5))
    effects = standby.log(2, 1, binding(2), peer=OTHER)
    assert HelloWanted(HelloKind.ANSWER, OTHER) in effects
    assert standby.sync.deadline is None


def test_a_log_that_does_not_begin_at_the_beginning_is_a_gap() -> None:
    standby = Standby()
    standby.synchronise(1, 5)
    standby.sync.follow(OTHER, standby.now)
    assert sent(standby.log(2, 2, peer=OTHER)) == ack(2, 2, (1, 5))
    assert sent(standby.log(1, 6, peer=OTHER)) == ack(1, 6, (1, 5)), "no other's log goes on here"
    assert sent(standby.log(1, 1, peer=OTHER)) == ack(1, 1, (1, 5))
    assert sent(standby.log(2, 1, peer=OTHER)) == ack(2, 1)


def test_the_active_followed_begins_a_new_log() -> None:
    standby = Standby()
    standby.synchronise(1, 5)
    assert sent(standby.log(3, 1)) == ack(3, 1)
    assert standby.sync.position == SyncPosition(1, 5)
    assert standby.hello(3, 1, standby.store.digest) == [CONFIRMED]
    assert sent(standby.log(1, 6)) == ack(1, 6, (3, 1)), "its old one is over"
    assert standby.hello(4, 0) == []
    assert standby.sync.position == SyncPosition(3, 1)
    assert standby.hello(4, 0, standby.store.digest) == [CONFIRMED]


def test_a_new_log_during_a_full_sync_ends_it() -> None:
    standby = Standby()
    standby.synchronise(1, 5)
    sequence = requested(standby.sync.resync(standby.now)).sequence
    standby.stream(sequence, 1, SyncPosition(1, 6), binding(1), more=True)
    standby.log(2, 1)
    assert not standby.sync.syncing
    late = standby.stream(sequence, 2, None, binding(2), more=True)
    assert sent(late) == [Harp(HarpType.SS_ACK, 7, sequence, status=128, index=2)]
    effects = standby.due()
    assert requested(effects).sequence == sequence + 1
    assert standby.now == 4 * S


def test_an_equal_digest_synchronises_one_that_was_refused() -> None:
    standby = Standby()
    sequence = requested(standby.sync.follow(ACTIVE, standby.now)).sequence
    refuse(standby, sequence)
    effects = standby.hello(1, 0, standby.store.digest)
    assert effects == [PLAIN, CONFIRMED]
    assert standby.sync.synchronised and standby.sync.deadline is None


def test_after_a_restart_an_equal_digest_is_not_enough() -> None:
    standby = Standby()
    standby.store.apply(binding(1), SyncPosition(1, 5), 0)
    standby.sync.restore(SyncPosition(1, 5), SyncPosition(1, 5), 1)
    first = requested(standby.sync.follow(ACTIVE, standby.now)).sequence
    refuse(standby, first)
    second = requested(standby.hello(2, 0, standby.store.digest)).sequence
    assert second == first + 1 and not standby.sync.synchronised
    standby.stream(second, 1, SyncPosition(2, 0), binding(1), more=False)
    assert standby.sync.synchronised and standby.sync.position == SyncPosition(2, 0)
    standby.sync.follow(OTHER, standby.now)
    effects = standby.hello(3, 0, standby.store.digest, peer=OTHER)
    assert effects == [HelloWanted(HelloKind.ANSWER, OTHER)], "from then on it is"


def test_who_led_after_a_restart_set_the_lifetimes() -> None:
    standby = Standby()
    standby.sync.restore(SyncPosition(1, 5), SyncPosition(1, 5), 1)
    standby.sync._replica.settle(SyncPosition(2, 3))
    standby.sync.follow(OTHER, standby.now)
    assert sent(standby.hello(3, 0, standby.store.digest, peer=OTHER)) == []
    assert standby.sync.position == SyncPosition(3, 0)


def test_another_log_ends_the_one_that_was_left() -> None:
    standby = Standby()
    standby.synchronise(1, 5)
    standby.sync.follow(OTHER, standby.now)
    standby.log(2, 1, peer=OTHER)
    standby.sync.follow(ACTIVE, standby.now)
    assert sent(standby.log(1, 6)) == ack(1, 6, (2, 1))
    assert standby.sync.position == SyncPosition(1, 5)


def test_a_repeated_message_of_a_stream_is_acknowledged_again() -> None:
    standby = Standby()
    sequence = requested(standby.sync.follow(ACTIVE, standby.now)).sequence
    at = SyncPosition(1, 1)
    first = standby.stream(sequence, 1, at, binding(1), more=True)
    again = standby.stream(sequence, 1, at, binding(1, 9), more=True)
    assert again == sent_only(first)
    entry = standby.store.get(home(1))
    assert entry is not None and entry.sequence == 1


def sent_only(effects: list[Effect]) -> list[Effect]:
    return [effect for effect in effects if isinstance(effect, SendHarp)]


# Full sync


def refuse(standby: Standby, sequence: int, status: int = 133) -> list[Effect]:
    message = Harp(HarpType.SS_REP, 7, sequence, status=status, index=1)
    return standby.sync.receive(ACTIVE, message, standby.now)


def test_until_its_end_s_is_clear_and_the_old_position_announced() -> None:
    standby = Standby()
    standby.synchronise(1, 5, binding(1), binding(2))
    effects = standby.sync.resync(standby.now)
    sequence = requested(effects).sequence
    assert effects[0] == PLAIN and not standby.sync.synchronised
    assert standby.sync.resync(standby.now) == []
    at = SyncPosition(1, 9)
    first = standby.stream(sequence, 1, at, binding(1, 2), more=True)
    assert sent(first) == [Harp(HarpType.SS_ACK, 7, sequence, index=1)]
    assert isinstance(first[0], CacheChanged) and first[0].block
    assert sent(standby.log(1, 10, binding(3))) == ack(1, 10)
    assert standby.sync.position == SyncPosition(1, 5)
    assert len(standby.store) == 3, "nothing is removed before the end"
    last = standby.stream(sequence, 2, at, more=False)
    assert CacheChanged(((home(2), 0),)) in last
    assert last[-2:] == [PLAIN, CONFIRMED]
    assert standby.sync.position == SyncPosition(1, 10)
    assert standby.store.get(home(2)) is None and len(standby.store) == 2
    assert standby.sync.counters["full_syncs"] == 2


def test_the_log_wins_over_the_stream() -> None:
    standby = Standby()
    standby.synchronise(1, 5)
    sequence = requested(standby.sync.resync(standby.now)).sequence
    at = SyncPosition(1, 6)
    standby.log(1, 6, binding(8))
    standby.log(1, 7, binding(1, sequence=7))  # overtook the first message of the stream
    standby.stream(sequence, 1, at, binding(1, sequence=6), binding(8), more=True)
    standby.log(1, 8, binding(2, sequence=8), binding(8, lifetime_s=0))
    standby.stream(sequence, 2, at, binding(2, sequence=6), binding(3, bid=5), more=False)
    got = {e.key: e.sequence for _, e in standby.store.entries()}
    assert got == {(home(1), 0): 7, (home(2), 0): 8, (home(3), 5): 1}
    assert standby.sync.position == SyncPosition(1, 8)


def test_log_messages_up_to_the_request_are_in_the_stream() -> None:
    standby = Standby()
    standby.synchronise(1, 5)
    standby.log(1, 7, binding(7))
    standby.log(1, 9, binding(9))
    sequence = requested(standby.sync.resync(standby.now)).sequence
    effects = standby.stream(sequence, 1, SyncPosition(1, 8), binding(1), more=False)
    assert effects[-1] == CONFIRMED
    assert standby.sync.position == SyncPosition(1, 9), "the one that waited follows"
    assert sent(standby.log(1, 8)) == ack(1, 8, (1, 9))
    assert standby.store.get(home(7)) is None


def test_ended_early_nothing_is_removed() -> None:
    standby = Standby()
    standby.synchronise(1, 5, binding(1), binding(2))
    sequence = requested(standby.sync.resync(standby.now)).sequence
    standby.stream(sequence, 1, SyncPosition(1, 9), binding(1, 2), more=True)
    standby.sync.follow(None, standby.now)
    assert len(standby.store) == 2
    assert not standby.sync.synchronised
    assert standby.sync.position == SyncPosition(1, 5)
    assert requested(standby.sync.follow(ACTIVE, standby.now)).sequence == sequence + 1


def test_a_stream_that_breaks_off_is_asked_for_again() -> None:
    standby = Standby()
    standby.synchronise(1, 5, binding(1), binding(2))
    sequence = requested(standby.sync.resync(standby.now)).sequence
    standby.stream(sequence, 1, SyncPosition(1, 9), binding(1, 2), more=True)
    began = standby.now
    repeats = 0
    while sent(effects := standby.due()):
        assert [m.sequence for m in sent(effects)] == [sequence]
        repeats += 1
    assert isinstance(effects[0], Log)
    assert (standby.now - began, repeats) == (16 * S, 2)
    assert requested(standby.due()).sequence == sequence + 1
    assert standby.now - began == 19 * S
    assert len(standby.store) == 2


def test_refusals_are_waited_out_with_backoff() -> None:
    standby = Standby()
    sequence = requested(standby.sync.follow(ACTIVE, standby.now)).sequence
    waits = []
    for _ in range(5):
        (log,) = refuse(standby, sequence)
        assert isinstance(log, Log)
        before = standby.now
        sequence = requested(standby.due()).sequence
        waits.append((standby.now - before) // S)
    assert waits == [3, 6, 12, 16, 16]
    assert refuse(standby, sequence - 1), "acknowledged as over, nothing else"
    assert standby.sync.syncing


def test_a_digest_ends_the_wait() -> None:
    standby = Standby()
    sequence = requested(standby.sync.follow(ACTIVE, standby.now)).sequence
    assert standby.hello(1, 3, CacheDigest(1, 1)) == [], "one exchange at a time"
    refuse(standby, sequence)
    assert requested(standby.hello(1, 3, CacheDigest(1, 1))).sequence == sequence + 1


def test_bindings_that_cannot_be_are_refused_and_the_rest_taken() -> None:
    standby = Standby()
    sequence = requested(standby.sync.follow(ACTIVE, standby.now)).sequence
    cache = binding(1)[0]
    nowhere = replace(cache, home_address=bytes(ADDRESS_OCTETS)), ()
    multicast = replace(cache, home_address=b"\xff" * 16), binding(1, bid=3)[1]
    at = SyncPosition(1, 1)
    first = standby.stream(sequence, 1, at, nowhere, binding(2), more=True)
    last = standby.stream(sequence, 2, at, multicast, binding(3, bid=1), more=False)
    refused = [
        Harp(HarpType.SS_ACK, 7, sequence, status=128, index=n, options=single([home_]))
        for n, home_ in ((1, bytes(16)), (2, b"\xff" * 16))
    ]
    assert sent(first) + sent(last) == refused
    assert [e.key for _, e in standby.store.entries()] == [(home(2), 0), (home(3), 1)]


def test_a_full_sync_whose_waiting_log_message_cannot_be_applied_goes_on() -> None:
    standby = Standby()
    sequence = requested(standby.sync.follow(ACTIVE, standby.now)).sequence
    multicast = replace(binding(1)[0], home_address=b"\xff" * 16), ()
    standby.log(1, 3, multicast)
    effects = standby.stream(sequence, 1, SyncPosition(1, 2), binding(2), more=False)
    assert effects[-1] == CONFIRMED
    assert standby.sync.position == SyncPosition(1, 2)


def test_a_message_that_no_exchange_asked_for() -> None:
    standby = Standby()
    (dropped,) = standby.stream(5, 1, SyncPosition(1, 1), binding(1), more=True)
    assert isinstance(dropped, Dropped) and dropped.reason is Reason.UNEXPECTED


# Single home addresses


def test_single_home_addresses() -> None:
    standby = Standby()
    assert standby.sync.fetch([home(1)], standby.now) == []
    standby.synchronise(1, 5, binding(1), binding(2), binding(3))
    assert standby.sync.fetch([], standby.now) == []
    ask = requested(standby.sync.fetch([home(1), home(2), home(4)], standby.now))
    assert ask.options == single([home(1), home(2), home(4)])
    assert standby.sync.fetch([home(1)], standby.now) == []
    assert standby.sync.synchronised and not standby.sync.syncing
    standby.log(1, 6, binding(4, sequence=6))
    at = SyncPosition(1, 5)
    effects = standby.stream(
        ask.sequence, 1, at, binding(1, 9), binding(4, 2), binding(7), more=False
    )
    assert CacheChanged(((home(1), 0),)) in effects
    assert CacheChanged(((home(2), 0),)) in effects
    got = {e.home_address: e.sequence for _, e in standby.store.entries()}
    assert got == {home(1): 9, home(3): 1, home(4): 6}


def test_a_fetch_that_fails_is_not_repeated_and_yields_to_a_full_sync() -> None:
    standby = Standby()
    standby.synchronise(1, 5, binding(1))
    sequence = requested(standby.sync.fetch([home(1)], standby.now)).sequence
    assert isinstance(refuse(standby, sequence, 128)[0], Log)
    assert standby.sync.deadline is None
    requested(standby.sync.fetch([home(1)], standby.now))
    assert requested(standby.sync.resync(standby.now)).options == ALL
    assert len(standby.store) == 1


def test_a_witness_follows_nobody() -> None:
    config = group(3)
    members = (*config.members[:2], MemberConfig("w", (address(2),), witness=True))
    sync = Sync(replace(config, members=members, self_index=2), BindingStore(), Random(1))
    assert sync.follow(ACTIVE, 0) == []
    assert sync.deadline is None
    active = Sync(replace(config, members=members), BindingStore(), Random(1))
    assert active.peer_up(address(2), 0) == []
    assert HelloWanted(HelloKind.DIGEST) in active.lead(0)


@pytest.mark.parametrize("kind", [HelloKind.PLAIN, HelloKind.GOODBYE])
def test_plain_hellos_carry_no_position(kind: HelloKind) -> None:
    standby = Standby()
    assert standby.sync.hello_options(kind, standby.now) == ()


@pytest.mark.parametrize(
    "kind", [HelloKind.FIRST, HelloKind.ANSWER, HelloKind.ASK, HelloKind.DIGEST]
)
def test_others_do(kind: HelloKind) -> None:
    standby = Standby()
    standby.synchronise(1, 5)
    assert standby.sync.hello_options(kind, standby.now) == (SyncPosition(1, 5),)
