"""The active, message by message (harp.md §5: new term, reconcile; §6: log, durability)."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import pytest

from harp.engine.batch import Packed, Packer
from harp.engine.effects import (
    CacheChanged,
    ChangesDurable,
    Dropped,
    Effect,
    HelloKind,
    HelloWanted,
    Log,
    SendHarp,
    WriteJournal,
)
from harp.engine.entries import Change
from harp.engine.fullsync import ALL, all_since, single
from harp.engine.journal import EntryForgotten, EntryKept, JournalCodec, StateKept, split
from harp.engine.leader import BATCH_GAP_US, LAST_POSITION
from harp.engine.store import BindingStore
from harp.engine.sync import Sync
from harp.tables.harp_types import HarpFlag, HarpType, Status
from harp.tables.reasons import Reason
from harp.wire.bulk import BulkReply
from harp.wire.codec import DEFAULT_CODEC
from harp.wire.messages import (
    Aaa,
    Harp,
    MobileNetworkPrefix,
    Options,
    SyncPosition,
    Vendor,
)
from harp.wire.sequence import log_sequence

from .sync_net import MS, S, address, binding, group, home

ONE, TWO = address(1), address(2)
ASK = HelloWanted(HelloKind.ASK)
DIGEST = HelloWanted(HelloKind.DIGEST)
OVERWRITE = 0xC000 | 0x0040


class Active:
    """Member 0, active in a group of three; members 1 and 2 are what the test says."""

    def __init__(self, *, peers: tuple[bytes, ...] = (ONE,), **sync: object) -> None:
        self.config = group(3, **sync)
        self.store = BindingStore()
        journal = JournalCodec(DEFAULT_CODEC, 0) if sync.get("journal_sync") else None
        self.sync = Sync(self.config, self.store, Random(1), journal)
        self.packer = Packer(self.config)
        self.now = 1 * S
        self.tokens = 0
        for peer in peers:
            self.sync.peer_up(peer, self.now)

    def lead(self) -> Active:
        """Leads, with all that are up synchronised in the term."""
        self.sync.lead(self.now)
        for peer in sorted(self.sync._up):
            self.hello(peer, (0, 0))
        for peer in sorted(self.sync._up):
            self.hello(peer, (self.sync.position.term, 0))
        return self

    def hello(
        self,
        peer: bytes,
        position: tuple[int, int] | None,
        flags: int = HarpFlag.S,
    ) -> list[Effect]:
        options: Options = (SyncPosition(*position),) if position else ()
        message = Harp(HarpType.HELLO, 7, 1, flags=flags, options=options)
        return self.sync.hello_heard(peer, message, self.now)

    def register(self, *changes: Change) -> list[Effect]:
        """Binding Updates; their token is `tokens`."""
        for change in changes:
            self.store.apply(change, self.sync.stamp, self.now)
        self.tokens += 1
        return self.sync.submit(changes, self.tokens, self.now)

    def ack(
        self, peer: bytes, position: int, upto: int | None = None, status: int = 0
    ) -> list[Effect]:
        at = SyncPosition(self.sync.position.term, position if upto is None else upto)
        options: Options = () if status else (at,)
        message = Harp(HarpType.SS_ACK, 7, log_sequence(position), status=status, options=options)
        return self.sync.receive(peer, message, self.now)

    def request(self, peer: bytes, sequence: int, options: Options = ALL) -> list[Effect]:
        message = Harp(HarpType.SS_REQ, 7, sequence, options=options)
        return self.sync.receive(peer, message, self.now)

    def answer(
        self, peer: bytes, request: Harp, index: int, at: SyncPosition, *changes: Change, more: bool
    ) -> list[Effect]:
        flags = HarpFlag.R | HarpFlag.M if more else HarpFlag.R
        head = Harp(HarpType.SS_REP, 7, request.sequence, flags=flags, index=index, options=(at,))
        packed = self.packer.pack(head, list(changes))
        message = BulkReply(*packed) if packed.block else packed.message
        return self.sync.receive(peer, message, self.now)

    def flush(self) -> list[Effect]:
        """What is batched leaves, as soon as it may."""
        self.now += BATCH_GAP_US
        return self.sync.expire(self.now)

    def due(self) -> list[Effect]:
        """What happens next by time alone."""
        assert self.sync.deadline is not None
        assert self.sync.deadline > self.now
        self.now = self.sync.deadline
        return self.sync.expire(self.now)

    def logged(self, effects: list[Effect], peer: bytes = ONE) -> list[list[Change]]:
        """What the log messages to a standby among the effects say."""
        return [
            self.packer.changes(Packed(effect.message, effect.block))
            for effect in effects
            if isinstance(effect, SendHarp)
            and (effect.peer, effect.message.type, effect.message.index)
            == (peer, HarpType.SS_REP, 0)
        ]


def sent(effects: list[Effect], peer: bytes = ONE) -> list[Harp]:
    return [e.message for e in effects if isinstance(e, SendHarp) and e.peer == peer]


def refused(sequence: int, status: int) -> list[Harp]:
    return [Harp(HarpType.SS_REP, 7, sequence, status=status, index=1)]


# Terms


def test_a_new_term_is_above_all_known_and_keeps_the_base() -> None:
    active = Active()
    active.sync.restore(SyncPosition(4, 17), SyncPosition(4, 17), 6)
    assert (active.sync.position, active.sync.base) == (SyncPosition(4, 17), SyncPosition(4, 17))
    assert active.sync.lead(active.now) == [ASK]
    assert active.sync.leading and active.sync.reconciling and active.sync.synchronised
    assert (active.sync.position, active.sync.base) == (SyncPosition(7, 0), SyncPosition(4, 17))
    assert active.sync.term_known == 7
    assert active.sync.stamp == SyncPosition(7, 1)
    assert active.sync.lead(active.now) == [ASK]
    # Of three members each has every third Term: no two ever lead the same one.
    assert (active.sync.position, active.sync.base) == (SyncPosition(10, 0), SyncPosition(4, 17))


def test_alone_the_reconcile_is_over_at_once() -> None:
    active = Active(peers=())
    assert active.sync.lead(active.now) == [ASK, DIGEST]
    assert not active.sync.reconciling
    want = (SyncPosition(1, 0), active.store.digest)
    assert active.sync.hello_options(HelloKind.DIGEST, active.now) == want


def test_withdrawing_keeps_the_position_and_ends_the_log() -> None:
    active = Active().lead()
    active.register(binding(1))
    assert len(active.logged(active.sync.stop_leading(active.now))) == 1, "what is batched leaves"
    assert active.sync.position == SyncPosition(1, 1) and active.sync.synchronised
    assert active.sync.stop_leading(active.now) == []
    assert active.sync.submit([binding(2)], 9, active.now) == []
    assert active.sync.deadline is None
    (dropped,) = active.ack(ONE, 1)
    assert isinstance(dropped, Dropped), "pending Binding Acknowledgements are dropped"
    assert active.sync.follow(ONE, active.now) == []
    assert active.sync.lead(active.now) == [ASK]
    assert active.sync.base == SyncPosition(0, 0), "no other active has confirmed its copy"
    assert active.sync.follow(ONE, active.now) == [], "not while leading"


@pytest.mark.parametrize("foreign", [(1, 5), (2, 0)])
def test_a_term_not_below_its_own_from_another_begins_a_new_one(foreign: tuple[int, int]) -> None:
    active = Active(peers=(ONE, TWO)).lead()
    active.register(binding(1))
    effects = active.hello(TWO, foreign)
    assert len(active.logged(effects)) == 1, "the batch still belongs to the old log"
    assert ASK in effects
    assert active.sync.position == SyncPosition(4, 0)
    assert active.sync.base == SyncPosition(0, 0)
    (ask,) = sent(effects, TWO)[-1:]
    assert ask.options == all_since(SyncPosition(0, 0))


def test_before_positions_run_out_a_new_term_begins() -> None:
    active = Active().lead()
    active.sync._leader.log.position = LAST_POSITION - 1
    active.register(binding(1))
    active.flush()
    assert active.sync.position == SyncPosition(4, 0)
    assert active.sync.base == SyncPosition(1, LAST_POSITION)


# Reconcile


def test_it_ends_when_every_member_was_heard() -> None:
    active = Active(peers=(ONE, TWO))
    active.sync.lead(active.now)
    assert active.hello(ONE, (0, 0)) == []
    assert active.sync.reconciling
    assert DIGEST in active.hello(TWO, (0, 0))
    assert not active.sync.reconciling


def test_it_ends_after_its_timeout_and_asks_meanwhile() -> None:
    active = Active()
    active.sync.lead(active.now)
    asked = []
    while DIGEST not in (effects := active.due()):
        assert effects == [HelloWanted(HelloKind.ASK, ONE)]
        asked.append(active.now - 1 * S)
    assert active.now == 3 * S
    assert asked == [250 * MS * n for n in range(1, 8)]
    assert active.due() == [HelloWanted(HelloKind.ASK, ONE)]


def test_it_ends_when_the_one_that_is_missing_is_lost() -> None:
    active = Active()
    active.sync.lead(active.now)
    assert DIGEST in active.sync.peer_left(ONE, active.now)
    assert active.sync.peer_down(ONE, active.now) == []


def test_hellos_without_position_are_asked_for_it_at_a_bounded_rate() -> None:
    active = Active()
    active.sync.lead(active.now)
    assert active.hello(ONE, None) == []
    active.now += 100 * MS
    assert active.hello(ONE, None) == [HelloWanted(HelloKind.ASK, ONE)]
    assert active.hello(ONE, None) == []


def test_the_state_of_a_member_ahead_is_taken_and_logged() -> None:
    active = Active(peers=(ONE, TWO))
    active.store.apply(binding(1, 1), SyncPosition(1, 1), active.now)
    active.store.apply(binding(2, 1), SyncPosition(1, 2), active.now)
    active.sync.restore(SyncPosition(1, 2), SyncPosition(1, 2), 1)
    active.sync.lead(active.now)
    active.hello(TWO, (1, 2))
    (ask,) = sent(active.hello(ONE, (1, 4)))
    assert ask.options == all_since(SyncPosition(1, 2))
    assert active.sync.reconciling
    active.register(binding(2, 5))
    assert active.logged(active.flush()) == [], "one ahead gets no log: it may end what it knows"
    at = SyncPosition(1, 4)
    first = active.answer(ONE, ask, 1, at, binding(1, 3), binding(2, 4), binding(3, 1), more=True)
    assert sent(first) == [Harp(HarpType.SS_ACK, 7, ask.sequence, index=1)]
    changed = ((home(1), 0), (home(3), 0))
    assert CacheChanged(changed) in first
    assert [c.home_address for c, _ in active.logged(first, TWO)[0]] == [home(1), home(3)]
    again = active.answer(ONE, ask, 1, at, binding(1, 9), more=True)
    assert len(again) == 1, "acknowledged, not applied"
    last = active.answer(ONE, ask, 2, at, binding(4, 9, lifetime_s=0), more=False)
    assert DIGEST in last and not active.sync.reconciling
    got = {e.home_address: e.sequence for _, e in active.store.entries(tombstones=True)}
    assert got == {home(1): 3, home(2): 5, home(3): 1, home(4): 9}
    assert len(active.logged(last)) == 3, "now it gets the log from its beginning"
    assert active.sync.counters["merged"] == 3
    assert active.hello(ONE, (1, 4)) == [], "taken once"
    assert sent(active.hello(ONE, (1, 6)))[0].type is HarpType.SS_REQ, "more since"


def test_bindings_of_a_member_ahead_that_cannot_be_are_not_taken() -> None:
    active = Active()
    active.sync.lead(active.now)
    (ask,) = sent(active.hello(ONE, (0, 4)))
    multicast = replace(binding(1)[0], home_address=b"\xff" * 16), ()
    active.answer(ONE, ask, 1, SyncPosition(0, 4), multicast, more=False)
    assert len(active.store) == 0 and active.sync.position.position == 0
    assert active.answer(ONE, ask, 2, SyncPosition(0, 4), binding(1), more=True)


def test_what_a_merged_binding_would_end_on_standbys_is_said_again() -> None:
    active = Active(peers=(ONE, TWO))
    for bid in (1, 2):
        active.store.apply(binding(1, bid=bid), SyncPosition(0, 0), active.now)
    active.sync.lead(active.now)
    active.hello(TWO, (0, 0))
    (ask,) = sent(active.hello(ONE, (0, 4)))
    at = SyncPosition(0, 4)
    over = binding(1, 3, flags=OVERWRITE, bid=1)
    (log,) = active.logged(active.answer(ONE, ask, 1, at, over, more=True), TWO)
    assert [(c.flags, c.sequence, o[0].bid) for c, o in log] == [
        (OVERWRITE, 3, 1),
        (0xC000, 1, 2),
    ]
    gone = binding(1, 4, lifetime_s=0)
    (log,) = active.logged(active.answer(ONE, ask, 2, at, gone, more=False), TWO)
    assert [(c.lifetime_s, len(o)) for c, o in log] == [(0, 0), (3600, 1), (3600, 1)]
    standby = BindingStore()
    for change in log:
        standby.apply(change, SyncPosition(1, 2), active.now)
    assert standby.bids(home(1)) == active.store.bids(home(1)) == (1, 2)


def test_a_member_ahead_that_refuses_is_asked_again_and_named() -> None:
    active = Active()
    active.sync.lead(active.now)
    (ask,) = sent(active.hello(ONE, (0, 4)))
    waits = []
    for _ in range(5):
        message = Harp(HarpType.SS_REP, 7, ask.sequence, status=128, index=1)
        effects = active.sync.receive(ONE, message, active.now)
        assert any(isinstance(effect, Log) for effect in effects)
        refused_at = active.now
        while not (asked := [m for m in sent(active.due()) if m.type is HarpType.SS_REQ]):
            pass
        (ask,) = asked
        waits.append((active.now - refused_at) // S)
    assert waits == [3, 6, 12, 16, 16]
    assert not active.sync.reconciling, "its timeout ended it"
    assert sent(active.request(ONE, 5)) == refused(5, 133), "but it is not swept"


def test_an_active_member_ahead_is_asked_when_it_withdraws() -> None:
    active = Active()
    active.sync.lead(active.now)
    assert active.hello(ONE, (0, 4), HarpFlag.A | HarpFlag.S) == []
    assert active.sync.reconciling
    assert sent(active.hello(ONE, None))[0].options == all_since(SyncPosition(0, 0))


def test_a_member_ahead_whose_copy_turns_out_equal_is_not_asked_on() -> None:
    active = Active()
    active.sync.lead(active.now)
    assert sent(active.hello(ONE, (0, 4)))
    active.now += 3 * S
    assert DIGEST in active.flush()
    active.hello(ONE, (1, 0))
    assert active.sync.standby_synchronised(ONE)
    assert active.sync._asker.deadline is None


def test_what_was_asked_ends_with_the_role_and_with_the_member() -> None:
    active = Active()
    active.sync.lead(active.now)
    assert sent(active.hello(ONE, (0, 4)))
    active.sync.peer_down(ONE, active.now)
    assert active.sync._asker.deadline is None
    active.sync.peer_up(ONE, active.now)
    assert sent(active.hello(ONE, (0, 4)))
    active.sync.stop_leading(active.now)
    assert active.sync._asker.deadline is None


# SS-REQ


def test_requests_get_133_until_the_reconcile_is_over() -> None:
    active = Active()
    active.sync.lead(active.now)
    assert sent(active.request(ONE, 5)) == refused(5, 133)
    assert sent(active.request(ONE, 6, single([home(1)]))) == refused(6, 133)
    assert sent(active.request(ONE, 5)) == refused(5, 133), "repeated: the same answer"


def test_a_member_whose_position_is_not_known_gets_133_and_is_asked() -> None:
    active = Active().lead()
    active.now += 1 * S
    effects = active.request(TWO, 5)
    assert effects[0] == HelloWanted(HelloKind.ASK, TWO)
    assert sent(effects, TWO) == refused(5, 133)
    assert active.sync.peer_up(TWO, active.now) == [HelloWanted(HelloKind.ASK, TWO)]
    active.hello(TWO, (0, 0), 0)
    assert [m.status for m in sent(active.request(TWO, 6), TWO)] == [0]


def test_a_member_ahead_gets_133_until_its_state_was_taken_whenever_it_appears() -> None:
    active = Active().lead()
    active.sync.peer_up(TWO, active.now)
    (ask,) = sent(active.hello(TWO, (0, 3), 0), TWO)
    assert sent(active.request(TWO, 5), TWO) == refused(5, 133)
    active.answer(TWO, ask, 1, SyncPosition(0, 3), binding(1), more=False)
    assert active.store.get(home(1)) is not None
    (first,) = sent(active.request(TWO, 6), TWO)
    assert (first.status, first.index) == (0, 1)


def test_a_full_sync_is_served_and_the_log_goes_on_behind_it() -> None:
    active = Active().lead()
    active.register(binding(1))
    effects = active.request(ONE, 5)
    (batch,) = active.logged(effects)
    assert batch == [binding(1)], "what is batched comes first"
    (first,) = [m for m in sent(effects) if m.index]
    assert first.options[0] == SyncPosition(1, 1)
    assert not active.sync.standby_synchronised(ONE)
    assert active.request(ONE, 5) == [], "a repeated SS-REQ whose stream runs is ignored"
    active.register(binding(2))
    assert len(active.logged(active.flush())) == 1
    assert active.hello(ONE, (1, 0)) == [], "a HELLO from before says nothing"
    assert not active.sync.standby_synchronised(ONE)
    ack = Harp(HarpType.SS_ACK, 7, 5, index=1)
    assert active.sync.receive(ONE, ack, active.now) == []
    (dropped,) = active.sync.receive(ONE, ack, active.now)
    assert isinstance(dropped, Dropped) and dropped.reason is Reason.UNEXPECTED
    active.hello(ONE, (1, 2))
    assert active.sync.standby_synchronised(ONE)


def test_at_the_end_of_a_full_sync_the_standby_is_asked() -> None:
    active = Active().lead()
    active.request(ONE, 5)
    active.now += 100 * MS
    ack = Harp(HarpType.SS_ACK, 7, 5, index=1)
    assert active.sync.receive(ONE, ack, active.now) == [HelloWanted(HelloKind.ASK, ONE)]


def test_single_homes_and_since_are_served_without_doubt() -> None:
    active = Active().lead()
    active.register(binding(1), binding(2))
    active.flush()
    effects = active.request(ONE, 5, single([home(2)]))
    (message,) = sent(effects)
    assert message.index == 1 and not message.flags & HarpFlag.M
    assert active.sync.receive(ONE, Harp(HarpType.SS_ACK, 7, 5, index=1), active.now) == []
    assert active.sync.standby_synchronised(ONE)


@pytest.mark.parametrize(
    "option", [MobileNetworkPrefix(64, home(0)), Vendor(1, 1, b"")], ids=["prefix", "vendor"]
)
def test_by_prefix_or_vendor_128(option: MobileNetworkPrefix | Vendor) -> None:
    active = Active().lead()
    assert sent(active.request(ONE, 5, (option,))) == refused(5, 128)
    assert sent(active.request(ONE, 6, (*ALL, option))) == refused(6, 128)


def test_a_standby_gives_what_a_new_active_lacks_and_nothing_else() -> None:
    standby = Active()
    standby.sync.restore(SyncPosition(1, 4), SyncPosition(0, 0), 1)
    standby.store.apply(binding(1), SyncPosition(1, 2), 0)
    standby.store.apply(binding(2), SyncPosition(1, 4), 0)
    assert sent(standby.request(ONE, 5)) == refused(5, 130)
    since = SyncPosition(1, 2)
    assert sent(standby.request(ONE, 6, (*single([home(1)]), since))) == refused(6, 130)
    (effect,) = standby.request(ONE, 7, all_since(since))
    assert isinstance(effect, SendHarp)
    assert effect.message.options == (SyncPosition(1, 4),)
    homes = [r.home_address for r in standby.packer.bulk.unpack(effect.block)]
    assert homes == [home(2)]


def test_an_asker_that_gave_up_ends_the_stream() -> None:
    active = Active().lead()
    for number in range(100):
        active.register(binding(number))
    active.request(ONE, 5)
    abandoned = Harp(HarpType.SS_ACK, 7, 5, index=1, status=Status.UNSPECIFIED)
    assert active.sync.receive(ONE, abandoned, active.now) == []
    assert active.sync._answers.running(ONE) is None


def test_refused_bindings_do_not_end_the_stream() -> None:
    active = Active().lead()
    for number in range(100):
        active.register(binding(number))
    active.request(ONE, 5)
    some = Harp(HarpType.SS_ACK, 7, 5, index=1, status=128, options=single([home(3)]))
    assert [m.index for m in sent(active.sync.receive(ONE, some, active.now))] == [2, 3, 4]


# The log


def test_changes_are_batched_until_expire() -> None:
    active = Active().lead()
    for number in range(28):
        assert active.register(binding(number)) == []
    assert active.sync.deadline == active.now
    assert active.sync.hello_options(HelloKind.DIGEST, 0)[0] == SyncPosition(1, 0)
    (changes,) = active.logged(active.flush())
    assert len(changes) == 28
    assert active.sync.hello_options(HelloKind.DIGEST, 0) == (
        SyncPosition(1, 1),
        active.store.digest,
    )


def test_a_full_message_leaves_at_once() -> None:
    active = Active().lead()
    for number in range(28):
        active.register(binding(number))
    (changes,) = active.logged(active.register(binding(28)))
    assert len(changes) == 29 and active.flush() == []


def test_what_falls_into_a_later_message_has_its_position() -> None:
    active = Active().lead()
    for number in range(28):
        active.register(binding(number))
    effects = active.register(binding(28), binding(29), binding(30))
    first, second = active.logged(effects)
    assert (len(first), len(second)) == (29, 2), "so that digests stand for whole messages"
    assert active.sync.hello_options(HelloKind.DIGEST, 0)[1] == active.store.digest
    at = {e.home_address: e.position.position for _, e in active.store.entries()}
    assert at[home(28)] == 1 and at[home(29)] == at[home(30)] == 2


def test_bindings_of_one_home_address_stay_in_one_message() -> None:
    active = Active().lead()
    for number in range(28):
        active.register(binding(number))
    both = [binding(99, flags=OVERWRITE, bid=bid) for bid in (1, 2)]
    first, second = active.logged(active.register(*both))
    assert (len(first), second) == (28, both)
    assert all(
        e.position.position == 2 for _, e in active.store.entries() if e.home_address == home(99)
    )


def test_what_fits_no_message_is_counted() -> None:
    active = Active().lead()
    giant = binding(1)[0], tuple(Aaa(bytes(250)) for _ in range(8))
    active.register(giant)
    assert active.sync.counters["too_long"] == 1
    assert active.flush() == [] or active.sync.position.position == 0


def test_acknowledgements_that_fit_nothing() -> None:
    active = Active().lead()
    (dropped,) = active.ack(ONE, 1)
    assert isinstance(dropped, Dropped) and dropped.reason is Reason.UNEXPECTED
    (dropped,) = active.sync.receive(TWO, Harp(HarpType.SS_ACK, 7, 5, index=3), active.now)
    assert isinstance(dropped, Dropped)
    (dropped,) = active.sync.receive(ONE, Harp(HarpType.SO_REQ, 7, 5), active.now)
    assert isinstance(dropped, Dropped)


def test_what_nobody_waits_for_is_logged_all_the_same() -> None:
    active = Active().lead()
    change = binding(1, lifetime_s=0)
    active.store.apply(change, active.sync.stamp, active.now)
    assert active.sync.submit([change], None, active.now) == []
    assert active.logged(active.flush()) == [[change]]
    assert active.ack(ONE, 1) == []


# Durability


def test_success_waits_for_a_synchronised_standby() -> None:
    active = Active(peers=(ONE, TWO)).lead()
    active.register(binding(1))
    active.flush()
    assert not active.sync.drained
    assert active.ack(TWO, 1) == [ChangesDurable(1, True)]
    assert not active.sync.drained
    assert active.ack(ONE, 1) == []
    assert active.sync.drained
    active.register(binding(1, 2))
    assert not active.sync.drained


def test_acknowledgements_count_once_the_standby_said_that_it_is_synchronised() -> None:
    active = Active()
    active.sync.lead(active.now)
    active.hello(ONE, (0, 0))
    active.register(binding(1))
    active.flush()
    assert active.ack(ONE, 1) == []
    assert active.hello(ONE, (1, 1)) == [ChangesDurable(1, True)]


def test_unprotected_after_the_timeout_counted_and_logged_once_a_second() -> None:
    active = Active().lead()
    active.register(binding(1))
    told = [effect for effect in active.flush() if not isinstance(effect, SendHarp)]
    while not told:
        told = [effect for effect in active.due() if not isinstance(effect, SendHarp)]
    assert active.now == 1 * S + 100 * MS
    assert told[0] == ChangesDurable(1, False) and isinstance(told[1], Log)
    active.sync.peer_down(ONE, active.now)
    assert active.register(binding(2)) == [ChangesDurable(2, False)]
    assert active.sync.counters["unprotected"] == 2
    active.now += 1 * S
    assert [type(effect) for effect in active.register(binding(3))] == [ChangesDurable, Log]


def test_at_once_when_the_last_standby_goes() -> None:
    active = Active(peers=(ONE, TWO)).lead()
    active.register(binding(1))
    assert active.sync.peer_down(TWO, active.now) == []
    assert ChangesDurable(1, False) in active.sync.peer_down(ONE, active.now)


@pytest.mark.parametrize("how", ["hello", "refusal", "request", "restart"])
def test_a_standby_that_is_no_longer_synchronised_does_not_count(how: str) -> None:
    active = Active().lead()
    active.register(binding(1))
    active.flush()
    effects = {
        "hello": lambda: active.hello(ONE, (1, 0), 0),
        "refusal": lambda: active.ack(ONE, 1, status=128),
        "request": lambda: active.request(ONE, 5),
        "restart": lambda: active.sync.peer_restarted(ONE, active.now),
    }[how]()
    assert not active.sync.standby_synchronised(ONE)
    told = ChangesDurable(1, False) in effects
    assert told == (how in ("hello", "request")), "else it may yet acknowledge"


def test_130_changes_nothing() -> None:
    active = Active().lead()
    active.register(binding(1))
    active.flush()
    assert active.ack(ONE, 1, status=130) == []
    assert active.sync.standby_synchronised(ONE)
    assert active.sync.counters["log_refused_130"] == 1
    assert active.ack(TWO, 1, status=128) == []


def test_one_that_is_silent_too_long_counts_no_longer_until_it_caught_up() -> None:
    active = Active(digest_interval_us=100 * S).lead()
    active.register(binding(1))
    active.flush()
    while active.sync.deadline < 100 * S:
        active.due()
    assert not active.sync.standby_synchronised(ONE)
    assert active.register(binding(2))[0] == ChangesDurable(2, False)
    active.flush()
    active.ack(ONE, 1)
    assert not active.sync.standby_synchronised(ONE)
    active.ack(ONE, 2)
    assert active.sync.standby_synchronised(ONE)


def test_a_new_term_tells_who_waits() -> None:
    active = Active().lead()
    active.register(binding(1))
    assert ChangesDurable(1, False) in active.sync.lead(active.now)


# Members


def test_a_member_that_is_up_again_resumes_where_it_was() -> None:
    active = Active().lead()
    for number in range(3):
        active.register(binding(number))
        active.flush()
    active.ack(ONE, 3)
    active.sync.peer_down(ONE, active.now)
    assert not active.sync.standby_synchronised(ONE)
    active.register(binding(3))
    assert active.logged(active.flush()) == []
    active.now += 1 * S
    assert active.sync.peer_up(ONE, active.now) == [HelloWanted(HelloKind.ASK, ONE)]
    assert active.sync.peer_up(ONE, active.now) == []
    assert active.logged(active.hello(ONE, (1, 3))) == [[binding(3)]]
    assert active.sync.standby_synchronised(ONE)


def test_one_that_was_never_sure_and_returns_with_our_term_is_not_believed() -> None:
    active = Active()
    active.sync.lead(active.now)
    active.hello(ONE, (0, 0))
    active.sync.peer_down(ONE, active.now)
    active.sync.peer_up(ONE, active.now)
    active.hello(ONE, (1, 0))
    assert active.sync.position.term == 4, "another active of that term may have led it"


def test_a_synchronised_member_of_before_gets_the_whole_log_and_the_digest() -> None:
    active = Active().lead()
    active.register(binding(1))
    active.flush()
    active.sync.peer_up(TWO, active.now)
    effects = active.hello(TWO, (0, 0))
    assert active.logged(effects, TWO) == [[binding(1)]]
    assert HelloWanted(HelloKind.DIGEST, TWO) in effects
    assert active.hello(TWO, (0, 0)) == []


def test_one_that_is_not_synchronised_gets_no_log_before_it_asks() -> None:
    active = Active().lead()
    active.sync.peer_up(TWO, active.now)
    assert active.hello(TWO, (0, 0), 0) == []
    active.register(binding(1))
    assert active.logged(active.flush(), TWO) == []


def test_members_that_do_not_say_that_they_are_synchronised_are_asked() -> None:
    active = Active()
    active.sync.lead(active.now)
    active.hello(ONE, (0, 0))
    for _ in range(2):
        effects = active.due()
        assert effects == [
            HelloWanted(HelloKind.DIGEST, ONE),
            HelloWanted(HelloKind.ASK, ONE),
        ]
    active.hello(ONE, (1, 0))
    assert active.due() == [DIGEST]
    assert active.now == 11 * S


def test_one_that_says_so_without_its_position_is_asked() -> None:
    """The HELLO to us that had the position is lost, the next one to all has S and none."""
    active = Active().lead()
    active.sync.peer_up(TWO, active.now)
    active.hello(TWO, (0, 0), 0)
    assert active.due() == [DIGEST]
    active.hello(TWO, None)
    active.now += 1 * S
    assert HelloWanted(HelloKind.ASK, TWO) in active.sync.expire(active.now)
    assert active.hello(TWO, (active.sync.position.term, 0)) == []
    active.register(binding(1))
    assert active.logged(active.flush(), TWO) == [[binding(1)]]


def test_digests_every_interval() -> None:
    active = Active().lead()
    times = []
    for _ in range(3):
        assert active.due() == [DIGEST]
        times.append(active.now // S)
    assert times == [11, 21, 31]


def test_a_restarted_member_starts_anew() -> None:
    active = Active().lead()
    active.request(ONE, 5)
    assert active.sync.peer_restarted(ONE, active.now) == [HelloWanted(HelloKind.ASK, ONE)]
    assert active.sync._answers.running(ONE) is None
    assert active.sync.peer_restarted(TWO, active.now) == []
    active.hello(ONE, (0, 0), 0)
    assert [m.status for m in sent(active.request(ONE, 5))] == [0]


def test_a_term_led_alone_keeps_its_base_until_another_active_confirms() -> None:
    active = Active(peers=(ONE,))
    active.sync.restore(SyncPosition(1, 2), SyncPosition(1, 2), 1)
    active.sync.lead(active.now)
    active.register(binding(1))
    active.sync.stop_leading(active.now)
    assert (active.sync.position, active.sync.base) == (SyncPosition(4, 1), SyncPosition(1, 2))
    active.sync.lead(active.now)
    (ask,) = sent(active.hello(ONE, (1, 3)))
    assert ask.options == all_since(SyncPosition(1, 2)), "ahead, though of an older term"


# Journal


def records(effects: list[Effect]) -> list[EntryKept | EntryForgotten | StateKept]:
    codec = JournalCodec(DEFAULT_CODEC, 0)
    found = []
    for effect in effects:
        if isinstance(effect, WriteJournal):
            for octets in split(effect.record).records:
                record = codec.decode(octets)
                assert isinstance(record, EntryKept | EntryForgotten | StateKept)
                found.append(record)
    return found


def test_the_journal_holds_success_back_and_knows_position_and_base() -> None:
    active = Active(journal_sync=True)
    active.sync.restore(SyncPosition(3, 3), SyncPosition(3, 3), 3)
    at = SyncPosition(3, 3), SyncPosition(4, 0)
    assert records(active.sync.lead(active.now)) == [StateKept(at[1], at[0], 4)]
    active.hello(ONE, (3, 3))
    active.hello(ONE, (4, 0))
    effects = active.register(binding(1))
    (write,) = effects
    assert isinstance(write, WriteJournal) and write.token == 1
    entry = active.store.get(home(1))
    assert entry is not None and records(effects) == [EntryKept(entry)]
    flushed = active.flush()
    assert records(flushed) == [StateKept(SyncPosition(4, 1), at[0], 4)]
    assert active.ack(ONE, 1) == []
    assert active.sync.journal_written(1, active.now) == [ChangesDurable(1, True)]


def test_the_journal_knows_what_a_change_did_to_others_of_its_home() -> None:
    active = Active(journal_sync=True).lead()
    active.register(binding(1, bid=1), binding(1, bid=2))
    effects = active.register(binding(1, 2, flags=OVERWRITE, bid=2))
    kept = [(r.entry.bid, r.entry.live) for r in records(effects) if isinstance(r, EntryKept)]
    assert sorted(kept) == [(1, False), (2, True)]


def test_journal_of_a_standby() -> None:
    config = replace(group(2), self_index=1)
    store = BindingStore()
    codec = JournalCodec(DEFAULT_CODEC, 0)
    sync = Sync(config, store, Random(1), codec)
    packer = Packer(config)
    store.apply(binding(9), SyncPosition(1, 1), 0)
    (request,) = sent(sync.follow(address(0), 0), address(0))
    head = Harp(
        HarpType.SS_REP,
        7,
        request.sequence,
        flags=HarpFlag.R,
        index=1,
        options=(SyncPosition(2, 5),),
    )
    packed = packer.pack(head, [binding(1)])
    effects = sync.receive(address(0), BulkReply(*packed), 0)
    entry = store.get(home(1))
    assert entry is not None
    assert records(effects) == [
        EntryKept(entry),
        EntryForgotten(home(9), 0),
        StateKept(SyncPosition(2, 5), SyncPosition(2, 5), 2),
    ]
    assert sync.term_known == 2


def test_journal_sync_wants_a_journal() -> None:
    with pytest.raises(ValueError, match="journal_sync"):
        Sync(group(2, journal_sync=True), BindingStore(), Random(1))
