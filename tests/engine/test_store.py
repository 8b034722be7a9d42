"""The binding store and its wheel where the model test does not go."""

from __future__ import annotations

from random import Random

import pytest

from harp.engine.columns import Columns
from harp.engine.entries import MAX_UNITS, UNIT_US, Change, key_of, units_left
from harp.engine.expiry import TICK_US, Wheel
from harp.engine.store import BindingStore
from harp.wire.bulk import BindingRecord, BulkCodec
from harp.wire.codec import DEFAULT_CODEC
from harp.wire.messages import BindingCache, BindingIdentifier, Options, SyncPosition

BULK = BulkCodec(DEFAULT_CODEC)
AT = SyncPosition(1, 1)
COA = b"\x20\x01" + bytes(14)
NOW = 10 * TICK_US


def home(n: int) -> bytes:
    return b"\x20\x01\x0d\xb8" + n.to_bytes(12, "big")


def change(n: int, *, lifetime: int = 400, sequence: int = 1, options: Options = ()) -> Change:
    return BindingCache(home(n), COA, 0xC000, sequence, lifetime), options


def test_keys_of_changes() -> None:
    assert key_of(change(1)) == (home(1), 0)
    assert key_of(change(1, options=(BindingIdentifier(9),))) == (home(1), 9)


@pytest.mark.parametrize(
    ("left_us", "units"),
    [(0, 0), (-1, 0), (1, 1), (UNIT_US, 1), (UNIT_US + 1, 2), (10**12, MAX_UNITS)],
)
def test_lifetimes_are_rounded_up(left_us: int, units: int) -> None:
    assert units_left(NOW + left_us, NOW) == units


def test_an_absurd_lifetime_is_the_longest_there_is() -> None:
    store = BindingStore()
    store.apply(change(1, lifetime=10**9), AT, NOW)
    entry = store.get(home(1))
    assert entry and entry.expires_us == NOW + MAX_UNITS * UNIT_US
    assert store.pack_range(BULK, 0, 1, NOW - 10**15).block[44:46] == b"\xff\xff"


def test_a_binding_that_is_over_but_not_removed_still_has_a_unit() -> None:
    store = BindingStore()
    store.apply(change(1), AT, NOW)
    store.apply(change(2, options=(BindingIdentifier(3),)), AT, NOW)
    chunk = store.pack_range(BULK, 0, 9, NOW + 10**9)
    assert [record.lifetime_units for record in BULK.unpack(chunk.block)] == [1]
    assert [cache.lifetime_s for cache, _ in chunk.others] == [4]
    assert store.pack_range(BULK, 0, 1, NOW + 10**9).block == chunk.block


def test_many_at_once_are_packed_as_one_by_one() -> None:
    rng, store = Random(5), BindingStore()
    for n in range(60):
        store.apply(change(n, lifetime=4 * rng.randrange(1, 900)), SyncPosition(1, n), NOW)
    later = NOW + 1_000 * UNIT_US // 3
    for since in (None, SyncPosition(1, 9)):
        chunk = store.pack_range(BULK, 21, 29, later, since)
        single = [store.pack_range(BULK, slot, 1, later).block for slot in range(21, 50)]
        left = [units_left(e.expires_us, later) for _, e in store.entries(21, until=50)]
        assert (chunk.block, chunk.cursor, chunk.done) == (b"".join(single), 50, False)
        assert [r.lifetime_units for r in BULK.unpack(chunk.block)] == [max(1, n) for n in left]
    assert min(left) == 0


def test_a_cursor_is_stable_under_change() -> None:
    """What stays is met exactly once, whatever comes and goes beside it."""
    rng, store = Random(3), BindingStore()
    for n in range(500):
        store.apply(change(n), AT, NOW)
    stays = set(range(0, 500, 2))
    met: list[bytes] = []
    cursor, done, fresh = 0, False, 1000
    while not done:
        chunk = store.pack_range(BULK, cursor, 7, NOW)
        met += [record.home_address for record in BULK.unpack(chunk.block)]
        cursor, done = chunk.cursor, chunk.done
        store.forget(home(rng.randrange(1, 500, 2)))
        store.apply(change(fresh), AT, NOW)
        fresh += 1
        store.apply(change(rng.choice(sorted(stays)), sequence=2), AT, NOW)
    for n in stays:
        assert met.count(home(n)) == 1


def test_slots_are_used_again() -> None:
    store = BindingStore()
    for _ in range(20):
        for n in range(300):
            store.apply(change(n), AT, NOW)
        for n in range(300):
            assert store.forget(home(n))
    assert len(store) == 0 and store.tombstones == 0
    assert store.pack_range(BULK, 0, 1, NOW).cursor == 301


def test_restamp_moves_what_changed_at_the_old_position() -> None:
    store, later = BindingStore(), SyncPosition(1, 2)
    store.apply(change(1, options=(BindingIdentifier(1),)), AT, NOW)
    store.apply(change(1, options=(BindingIdentifier(2),)), SyncPosition(1, 0), NOW)
    store.restamp(home(1), AT, later)
    positions = {e.bid: e.position for _, e in store.entries()}
    assert positions == {1: later, 2: SyncPosition(1, 0)}


def test_what_the_log_changed_after_a_late_full_sync_is_spared() -> None:
    store = BindingStore()
    store.apply(change(1), SyncPosition(1, 5), NOW)
    store.apply(change(2), SyncPosition(1, 6), NOW)
    store.forget(home(3))
    store.begin_sync()
    store.spare_after(SyncPosition(1, 5))
    record = BindingRecord(home(2), bytes(16), 0, 9, 100)
    assert store.apply_records([record], SyncPosition(1, 5), NOW) == 0
    assert store.end_sync() == [(home(1), 0)]
    assert store.end_sync() == []


def test_a_block_of_tombstones_and_known_entries() -> None:
    store = BindingStore(tombstone_units=10)
    store.apply(change(1), AT, NOW)
    records = [BindingRecord(home(n), COA, 0, 1, n % 2) for n in range(1, 4)]
    assert store.apply_block(BULK.pack(records), AT, NOW) == 3
    assert {e.key[0] for _, e in store.entries()} == {home(1), home(3)}
    tomb = store.find(home(2))
    assert tomb and not tomb.live and tomb.expires_us == NOW + 10 * UNIT_US


def test_a_tombstone_outlives_the_longest_lifetime_granted() -> None:
    store = BindingStore()
    store.apply(change(1, lifetime=4000), AT, NOW)
    store.apply(change(1, lifetime=40), AT, NOW)
    store.apply(change(1, lifetime=0, sequence=9), AT, NOW)
    tomb = store.find(home(1))
    assert tomb and tomb.sequence == 9 and tomb.expires_us == NOW + 4000 * TICK_US
    store.apply(change(1, lifetime=0, sequence=10), AT, NOW + TICK_US)
    again = store.find(home(1))
    assert again and again.sequence == 10 and again.expires_us == tomb.expires_us


# The wheel


def test_a_wheel_agrees_with_a_sorted_list() -> None:
    rng, columns = Random(11), Columns()
    wheel, armed, now = Wheel(columns), dict[int, int](), 0
    slots = [columns.take() for _ in range(40)]
    for _ in range(3000):
        slot, choice = rng.choice(slots), rng.random()
        if choice < 0.5:
            wheel.disarm(slot)
            armed[slot] = now + rng.randint(-5, 60) * TICK_US // 4
            wheel.arm(slot, armed[slot])
        elif choice < 0.8:
            wheel.disarm(slot)
            armed.pop(slot, None)
        else:
            now += rng.randint(0, 4) * TICK_US // 2
            limit = rng.choice((1, 3, 100))
            due = wheel.take_due(now, limit)
            ripe = {s for s, at in armed.items() if -(-at // TICK_US) * TICK_US <= now}
            assert len(due) == len(set(due)) == min(limit, len(ripe)) and set(due) <= ripe
            for each in due:
                del armed[each]
        first = min(
            (max(TICK_US, -(-at // TICK_US) * TICK_US) for at in armed.values()), default=None
        )
        assert wheel.deadline == first


def test_a_bucket_that_fills_and_empties_costs_nothing() -> None:
    """However often a mobile node changes its mind within a tick."""
    columns = Columns()
    wheel, slot = Wheel(columns), columns.take()
    for _ in range(1000):
        wheel.arm(slot, 5 * TICK_US)
        wheel.disarm(slot)
    assert len(wheel._order) == 1
    assert wheel.deadline is None and not wheel._order


def test_of_a_binding_that_is_twice_in_one_block_the_later_counts() -> None:
    store = BindingStore()
    records = [BindingRecord(home(n), COA, 0xC000, s, 100) for n, s in ((1, 5), (2, 5), (1, 6))]
    assert store.apply_block(BULK.pack(records), AT, NOW) == 3
    assert len(store) == 2
    entry = store.get(home(1))
    assert entry and entry.sequence == 6


def test_what_the_log_changed_wins_over_the_stream_with_options_too() -> None:
    store = BindingStore()
    store.begin_sync()
    store.apply(change(1, sequence=7, options=(BindingIdentifier(3),)), SyncPosition(1, 8), NOW)
    assert not store.load(change(1, sequence=6, options=(BindingIdentifier(3),)), AT, NOW)
    entry = store.get(home(1), 3)
    assert entry is not None and entry.sequence == 7
    assert store.end_sync() == []


def test_a_walk_can_be_bounded_where_nothing_is_found() -> None:
    store = BindingStore()
    for number in range(1, 7):
        store.apply(change(number), SyncPosition(1, number), 0)
    for number in range(1, 6):
        store.forget(home(number), 0)
    assert list(store.entries(1, until=4)) == []
    (found,) = store.entries(4, until=store.end)
    assert found[1].home_address == home(6) and found[0] == store.end


def test_rows_are_entries_not_taken_apart() -> None:
    store = BindingStore()
    assert store.rows(home(1)) == []
    for bid, lifetime in ((3, 400), (4, 400), (4, 0)):
        store.apply(change(1, lifetime=lifetime, options=(BindingIdentifier(bid),)), AT, NOW)
    rows = {row.record[-2:]: row for row in store.rows(home(1))}
    for bid, live in ((3, True), (4, False)):
        row, entry = rows[bid.to_bytes(2)], store.find(home(1), bid)
        assert entry and (row.live, entry.live) == (live, live)
        assert row.record[:32] == entry.home_address + entry.care_of_address
        assert (row.expires_us, row.longest_units) == (entry.expires_us, entry.longest_units)
        assert (row.position, row.options) == (1 << 32 | 1, entry.options)
