"""The binding store against a dict: any sequence of changes, streams and expiries."""

from __future__ import annotations

from dataclasses import dataclass, field
from hashlib import sha256

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from harp.engine.entries import NO_BID, UNIT_US, Change, Entry, Key
from harp.engine.store import BindingStore
from harp.tables.mh import BuFlag
from harp.wire.bulk import BindingRecord, BulkCodec
from harp.wire.codec import DEFAULT_CODEC
from harp.wire.messages import (
    Aaa,
    BindingCache,
    BindingIdentifier,
    CacheDigest,
    MobileNetworkPrefix,
    Options,
    SyncPosition,
)

TICK_US = 1_000_000
MARGIN_US = 30 * TICK_US
TOMBSTONE_UNITS = 20
BULK = BulkCodec(DEFAULT_CODEC)

homes = st.integers(1, 6).map(lambda n: bytes(15) + bytes((n,)))
care_ofs = st.integers(1, 3).map(lambda n: b"\x20\x01" + bytes(13) + bytes((n,)))
bids = st.sampled_from((NO_BID, NO_BID, 1, 2, 0xFFFF))
units = st.integers(1, 60)
extras = st.sampled_from(
    (
        (),
        (MobileNetworkPrefix(56, b"\x20\x01" + bytes(14)),),
        (MobileNetworkPrefix(64, bytes(16)), Aaa(b"session"), MobileNetworkPrefix(48, bytes(16))),
    )
)


@dataclass
class Known:
    """One entry of the model."""

    cache: BindingCache
    options: Options
    live: bool
    expires_us: int
    longest_units: int
    position: SyncPosition
    refreshed: bool = False
    mark: str = ""


@dataclass
class Model:
    """What the store must do, written without care for speed or memory."""

    entries: dict[Key, Known] = field(default_factory=dict)
    syncing: bool = False

    def put(self, key: Key, change: Change, position: SyncPosition, now: int, mark: str) -> None:
        cache, options = change
        old = self.entries.get(key)
        granted = cache.lifetime_s // 4
        longest = max(granted, old.longest_units) if old and old.live else granted
        self.entries[key] = Known(
            cache, options, True, now + granted * UNIT_US, longest, position, mark=mark
        )

    def bury(self, key: Key, cache: BindingCache, at: SyncPosition, now: int, mark: str) -> None:
        old = self.entries.get(key)
        longest = old.longest_units if old else TOMBSTONE_UNITS
        expires = old.expires_us if old and not old.live else now + longest * UNIT_US
        options = (BindingIdentifier(key[1]),) if key[1] else ()
        self.entries[key] = Known(cache, options, False, expires, longest, at, mark=mark)

    def live(self, home: bytes) -> list[int]:
        return sorted(bid for (h, bid), e in self.entries.items() if h == home and e.live)

    def digest(self) -> CacheDigest:
        total = 0
        live = [(key, e) for key, e in self.entries.items() if e.live]
        for (home, bid), e in live:
            text = home + e.cache.care_of_address + e.cache.flags.to_bytes(2, "big")
            text += e.cache.sequence.to_bytes(2, "big") + bid.to_bytes(2, "big")
            prefixes = [o for o in e.options if isinstance(o, MobileNetworkPrefix)]
            for o in sorted(prefixes, key=lambda o: (o.length, o.prefix)):
                text += bytes((o.length,)) + o.prefix
            total += int.from_bytes(sha256(text).digest()[:8], "big")
        return CacheDigest(len(live), total % 2**64)


class StoreMachine(RuleBasedStateMachine):
    """Drives store and model with the same changes."""

    def __init__(self) -> None:
        super().__init__()
        self.store = BindingStore(refresh_margin_us=MARGIN_US, tombstone_units=TOMBSTONE_UNITS)
        self.model = Model()
        self.now = 5 * TICK_US
        self.position = SyncPosition(1, 0)

    def step(self) -> SyncPosition:
        self.position = SyncPosition(self.position.term, self.position.position + 1)
        return self.position

    @rule(
        home=homes,
        bid=bids,
        care_of=care_ofs,
        lifetime=units,
        sequence=st.integers(0, 65535),
        overwrite=st.booleans(),
        extra=extras,
    )
    def register(
        self,
        home: bytes,
        bid: int,
        care_of: bytes,
        lifetime: int,
        sequence: int,
        overwrite: bool,
        extra: Options,
    ) -> None:
        flags = 0xC000 | (BuFlag.OVERWRITE.value if overwrite else 0)
        cache = BindingCache(home, care_of, flags, sequence, 4 * lifetime)
        options = (BindingIdentifier(bid), *extra) if bid else extra
        at = self.step()
        expected: set[Key] = {(home, bid)}
        if overwrite:
            for other in self.model.live(home):
                if other != bid:
                    self.model.bury((home, other), cache, at, self.now, "log")
                    expected.add((home, other))
        self.model.put((home, bid), (cache, options), at, self.now, "log")
        assert set(self.store.apply((cache, options), at, self.now)) == expected

    @rule(home=homes, bid=bids, sequence=st.integers(0, 65535))
    def delete(self, home: bytes, bid: int, sequence: int) -> None:
        cache = BindingCache(home, bytes(16), 0x4000, sequence, 0)
        options = (BindingIdentifier(bid),) if bid else ()
        at = self.step()
        which = [bid] if bid else self.model.live(home) or [NO_BID]
        for each in which:
            self.model.bury((home, each), cache, at, self.now, "log")
        touched = self.store.apply((cache, options), at, self.now)
        assert touched == [(home, each) for each in which]

    @rule(home=homes, bid=bids)
    def forget(self, home: bytes, bid: int) -> None:
        assert self.store.forget(home, bid) == (
            self.model.entries.pop((home, bid), None) is not None
        )

    @rule(seconds=st.integers(0, 130))
    def wait(self, seconds: int) -> None:
        """Time passes; what is due is taken, what is over deleted by the log."""
        self.now += seconds * TICK_US
        due = self.store.take_due(self.now)
        over = {k for k, e in self.model.entries.items() if e.live and e.expires_us <= self.now}
        assert set(due.over) == over and len(due.over) == len(over)
        for key in due.refresh:
            entry = self.model.entries[key]
            assert self.now < entry.expires_us <= self.now + MARGIN_US and not entry.refreshed
            entry.refreshed = True
        for home, bid in due.over:
            entry, at = self.model.entries[home, bid], self.step()
            cache = BindingCache(home, bytes(16), 0, entry.cache.sequence, 0)
            options = (BindingIdentifier(bid),) if bid else ()
            self.model.bury((home, bid), cache, at, self.now, "log")
            assert self.store.apply((cache, options), at, self.now) == [(home, bid)]

    @rule()
    def purge(self) -> None:
        gone = {k for k, e in self.model.entries.items() if not e.live and e.expires_us <= self.now}
        for key in gone:
            del self.model.entries[key]
        assert self.store.purge_tombstones(self.now) == len(gone)

    @rule()
    def new_term(self) -> None:
        self.position = SyncPosition(self.position.term + 1, 0)

    @precondition(lambda self: not self.model.syncing)
    @rule()
    def begin_sync(self) -> None:
        self.store.begin_sync()
        self.model.syncing = True
        for entry in self.model.entries.values():
            entry.mark = ""

    @rule(
        home=homes,
        bid=bids,
        care_of=care_ofs,
        lifetime=st.integers(0, 60),
        extra=extras,
        way=st.sampled_from(("load", "records", "block")),
    )
    def stream(
        self, home: bytes, bid: int, care_of: bytes, lifetime: int, extra: Options, way: str
    ) -> None:
        """One entry of a full sync's stream, literally; in one not begun too (partial sync)."""
        cache = BindingCache(home, care_of, 0xC000, 7, 4 * lifetime)
        if way != "load":
            bid, extra = NO_BID, ()
        options = (BindingIdentifier(bid), *extra) if bid else extra
        at = self.position
        old = self.model.entries.get((home, bid))
        wins = not (self.model.syncing and old and old.mark == "log")
        if wins and lifetime:
            self.model.put((home, bid), (cache, options), at, self.now, "stream")
        elif wins:
            self.model.bury((home, bid), cache, at, self.now, "stream")
        record = BindingRecord(home, care_of, 0xC000, 7, lifetime)
        if way == "load":
            assert self.store.load((cache, options), at, self.now) == wins
        elif way == "records":
            assert self.store.apply_records([record], at, self.now) == wins
        else:
            assert self.store.apply_block(BULK.pack([record]), at, self.now) == wins

    @precondition(lambda self: self.model.syncing)
    @rule(complete=st.booleans())
    def end_sync(self, complete: bool) -> None:
        self.model.syncing = False
        if not complete:
            self.store.abort_sync()
            return
        swept = {k for k, e in self.model.entries.items() if not e.mark}
        live = {k for k in swept if self.model.entries[k].live}
        for key in swept:
            del self.model.entries[key]
        removed = self.store.end_sync()
        assert set(removed) == live and len(removed) == len(live)

    @rule(every=st.integers(1, 4), since=st.one_of(st.none(), st.integers(0, 40)))
    def stream_out(self, every: int, since: int | None) -> None:
        """All that a stream would carry, in small chunks; taken by an empty store: the same."""
        after = None if since is None else SyncPosition(self.position.term, since)
        copy, cursor, done = BindingStore(tombstone_units=TOMBSTONE_UNITS), 0, False
        while not done:
            chunk = self.store.pack_range(BULK, cursor, every, self.now, after)
            assert len(chunk.block) // 48 + len(chunk.others) <= every
            copy.apply_block(chunk.block, self.position, self.now)
            for change in chunk.others:
                assert copy.load(change, self.position, self.now)
            cursor, done = chunk.cursor, chunk.done
        want = {k: e for k, e in self.model.entries.items() if not after or e.position > after}
        got = {entry.key: entry for _, entry in copy.entries(tombstones=True)}
        assert got.keys() == want.keys()
        assert {k for k, e in want.items() if e.live} == {k for k, e in got.items() if e.live}
        if after is None:
            assert copy.digest == self.store.digest
        listed = {e.key for _, e in self.store.entries(tombstones=True, since=after)}
        assert listed == want.keys()

    @rule()
    def copy_by_restore(self) -> None:
        """Entries put back one by one make the same store."""
        copy = BindingStore(refresh_margin_us=MARGIN_US, tombstone_units=TOMBSTONE_UNITS)
        for _, entry in self.store.entries(tombstones=True):
            copy.restore(entry)
            copy.restore(entry)
        assert copy.digest == self.store.digest
        assert copy.tombstones == self.store.tombstones
        assert {e.key: e for _, e in copy.entries(tombstones=True)} == {
            e.key: e for _, e in self.store.entries(tombstones=True)
        }

    @invariant()
    def entries_agree(self) -> None:
        for (home, bid), known in self.model.entries.items():
            found = self.store.find(home, bid)
            assert found == Entry(
                home_address=home,
                bid=bid,
                care_of_address=known.cache.care_of_address,
                flags=known.cache.flags,
                sequence=known.cache.sequence,
                expires_us=known.expires_us,
                longest_units=known.longest_units,
                position=known.position,
                live=known.live,
                options=known.options,
            )
            assert self.store.get(home, bid) == (found if known.live else None)
            last = self.store.last_update(home, bid)
            assert last and (last.live, last.flags, last.sequence) == (
                known.live,
                known.cache.flags,
                known.cache.sequence,
            )
            plain = self.model.entries.get((home, NO_BID))
            care_of = plain.cache.care_of_address if plain and plain.live else None
            assert self.store.care_of(home) == care_of
            assert list(self.store.bids(home)) == self.model.live(home)

    @invariant()
    def totals_agree(self) -> None:
        assert self.store.digest == self.model.digest()
        assert len(self.store) == self.store.digest.count
        assert len(self.store) + self.store.tombstones == len(self.model.entries)

    @invariant()
    def deadlines_are_not_late(self) -> None:
        """An alarm may be early, never more than a tick late."""
        ends = [e.expires_us for e in self.model.entries.values() if e.live]
        graves = [e.expires_us for e in self.model.entries.values() if not e.live]
        for times, deadline in (
            (ends, self.store.deadline),
            (graves, self.store.tombstone_deadline),
        ):
            assert (deadline is None) == (not times)
            if deadline is not None:
                assert deadline < min(times) + 2 * TICK_US or min(times) <= self.now


TestStoreMachine = StoreMachine.TestCase
TestStoreMachine.settings = settings(max_examples=200, stateful_step_count=50, deadline=None)
