"""A standby's copy of the binding cache: the active's log in order, a full sync where that fails.

Ref: harp.md §5 (reconcile), §6 (log, S, full sync, drift)

`running` is the last log message applied; `position` is what HELLOs announce. They are the same
once the copy is *confirmed* to be the active's in its term: by an equal digest, or by a full sync.
Until then the old position is announced, for the state as a whole is still the old one.
"""

from __future__ import annotations

from collections import Counter
from enum import Enum

from harp.engine.addresses import is_unicast
from harp.engine.batch import Packed, Packer
from harp.engine.config import GroupConfig, SwitchMode
from harp.engine.digests import DIFFERENCES, Digests, Finding
from harp.engine.effects import (
    BindingMoved,
    CacheChanged,
    Dropped,
    Effect,
    HelloKind,
    HelloWanted,
    Level,
    Log,
    SendHarp,
)
from harp.engine.entries import Change, Key, key_of
from harp.engine.fullsync import (
    ALL,
    Arrival,
    Asker,
    Exchange,
    acknowledgement,
    find_position,
    single,
)
from harp.engine.fullsync_table import Phase
from harp.engine.store import BindingStore
from harp.engine.timers import Timers
from harp.tables.constants import BACKOFF_FACTOR
from harp.tables.harp_types import LOG_INDEX, HarpType, Status
from harp.tables.options import BINDING_CACHE
from harp.tables.reasons import Reason
from harp.wire.bindings import bindings
from harp.wire.bulk import RECORD_OCTETS
from harp.wire.messages import CacheDigest, Harp, SyncPosition
from harp.wire.sequence import log_sequence

HELD_MESSAGES = 256
"""Log messages kept that came before their time; more come again by retransmission."""
_HOME_OCTET = RECORD_OCTETS - BINDING_CACHE.lengths[0]
"""Where the home address begins in a record of a block."""
_STRANGE = frozenset((0x00, 0xFF))
"""First octets that no usual home address has."""
START = SyncPosition(0, 0)
"""Before any log."""


class _Timer(Enum):
    """What a standby waits for."""

    GAP = "gap"
    """HARELIABILITY_TIMEOUT for a missing log message."""
    BEHIND = "behind"
    """The same, for a position whose digest the active announced."""
    RETRY = "retry"
    """Before the next SS-REQ, after one that failed."""


class Replica:
    """The standby side of one group's synchronisation."""

    def __init__(
        self,
        config: GroupConfig,
        store: BindingStore,
        packer: Packer,
        asker: Asker,
        counters: Counter[str],
    ) -> None:
        self._config = config
        self._store = store
        self._packer = packer
        self._asker = asker
        self._counters = counters
        self._digests = Digests()
        self._timers: Timers[_Timer] = Timers()
        self.alone = False
        """This member led, and its copy was not confirmed by another active since."""
        self.following: bytes | None = None
        """The active whose log is applied."""
        self.synchronised = False
        """The S flag of a standby (harp.md §6)."""
        self._restored = False
        """The copy is the journal's: it kept lifetimes by the wall clock, which may have been set
        since, and no digest tells."""
        self.running = START
        """The last log message applied, and all before it."""
        self._old = START
        self._confirmed = True
        self._joined = False
        """`running` is a position of the log that is followed."""
        self._left: tuple[bytes, bool] | None = None
        """Whose log `running` is a position of, if it is not followed now; whether confirmed."""
        self._held: dict[int, Packed] = {}
        self._seen = 0
        """Highest position of the followed log that arrived."""
        self._exchange: Exchange | None = None
        self._homes: list[bytes] = []
        """What the exchange asks for; empty: all."""
        self._fetched: set[Key] = set()
        """What came of them."""
        self._failures = 0
        self._resync_at = 0
        """harp.md §6: "at most one per resync_min" for a differing digest; µs."""

    @property
    def position(self) -> SyncPosition:
        """As announced: harp.md §6, "until the end ... the announced position is the old one"."""
        return self.running if self._confirmed else self._old

    @property
    def syncing(self) -> bool:
        """A full sync is under way."""
        return self._exchange is not None and not self._homes

    def restore(self, position: SyncPosition) -> None:
        """The position that the journal kept."""
        self.running = self._old = position
        self._restored = True

    # Whom to follow

    def follow(self, active: bytes | None, now: int) -> list[Effect]:
        """Applies the log of `active` from now on. Not synchronised: a full sync begins."""
        if active == self.following:
            return []
        left = (self.following, self._confirmed) if self.following and self._joined else self._left
        self._leave(now)
        self.following, self._left = active, left
        if left and active == left[0]:  # lost and found again: its log goes on
            self._joined, self._confirmed = True, left[1]
        return [] if self.synchronised else self.start_sync(now)

    def restarted(self, peer: bytes, now: int) -> None:
        """A member began anew: no log of it goes on."""
        if self.following == peer:
            self._new_log(now)
        elif self._left and self._left[0] == peer:
            self._left = None

    def settle(self, position: SyncPosition) -> None:
        """Until now this member led: what its log reached is its own position."""
        self.running, self._confirmed, self._joined = position, True, False
        self.synchronised, self._left = True, None
        self.alone, self._restored = True, False

    def _leave(self, now: int) -> None:
        """The log followed ends here: what was applied of it stays, unconfirmed."""
        self._abort(now)
        self._old, self._confirmed, self._joined = self.position, False, False
        self._left = None
        self._held.clear()
        self._seen = 0
        self._digests.forget()
        self._timers.stop(*_Timer)
        self._failures = 0

    def _new_log(self, now: int) -> None:
        """The active followed began a new log."""
        self._leave(now)
        if not self.synchronised:
            self._retry(now)

    # The log

    def log_message(self, peer: bytes, packed: Packed, now: int) -> list[Effect]:
        """An SS-REP with Index 0."""
        message = packed.message
        position = find_position(message)
        if peer != self.following:
            # harp.md §6: "A log message from another than the active followed: SS-ACK 130"
            return [acknowledgement(self._config, peer, message, Status.NOT_ACTIVE)]
        if (
            position is None
            or not position.position
            or message.sequence != log_sequence(position.position)
        ):
            detail = "Sequence # and Sync Position of a log message disagree"
            return [Dropped(Reason.UNEXPECTED, peer, self._config.group, detail)]
        self._enter_term(position, now)
        effects: list[Effect] = []
        bad: list[bytes] = []
        if self._joined and position.term == self.running.term:
            bad = self._in_order(position.position, packed, now, effects)
        elif position > self.running:
            self._missing(position.position, now)
        if bad:
            return effects + self._cannot_apply(message, bad, now)
        effects.append(self._log_ack(message))
        return effects

    def _enter_term(self, position: SyncPosition, now: int) -> None:
        """A log begins: its Position 1 follows whatever was before. A newer term of the active
        followed is another log."""
        if self._joined and position.term > self.running.term:
            self._new_log(now)
        if not self._joined and position.position == 1 and position.term > self.running.term:
            self._join(SyncPosition(position.term, 0))

    def _join(self, position: SyncPosition) -> None:
        self.running, self._joined, self._left = position, True, None
        self._timers.stop(_Timer.GAP)

    def _in_order(
        self, position: int, packed: Packed, now: int, effects: list[Effect]
    ) -> list[bytes]:
        """Applies a message if it is its time, then those that wait behind it; home addresses of
        bindings that cannot be applied."""
        ahead = position - self.running.position
        if ahead <= 0:
            self._counters["duplicates"] += 1
            return []
        if ahead <= HELD_MESSAGES:
            self._held[position] = packed
        if ahead > 1:
            self._missing(position, now)
            return []
        return self._drain(now, effects)

    def _missing(self, position: int, now: int) -> None:
        self._counters["gaps"] += 1
        self._seen = max(self._seen, position)
        if self._timers.due(_Timer.GAP) is None:
            self._timers.set(_Timer.GAP, now + self._config.reliability_timeout_us)

    def _drain(self, now: int, effects: list[Effect]) -> list[bytes]:
        """Applies what follows on `running`."""
        while packed := self._held.pop(self.running.position + 1, None):
            changes = self._packer.changes(packed)
            bad = unusable(changes)
            if bad:
                return bad
            self.running = SyncPosition(self.running.term, self.running.position + 1)
            effects += self._apply(changes, now)
            effects += self._note(now)
            if self._timers.due(_Timer.GAP) is not None:
                self._timers.set(_Timer.GAP, now + self._config.reliability_timeout_us)
        if self._seen <= self.running.position:
            self._timers.stop(_Timer.GAP)
        return []

    def _apply(self, changes: list[Change], now: int) -> list[Effect]:
        keys: list[Key] = []
        for change in changes:
            keys += self._store.apply(change, self.running, now)
        effects: list[Effect] = [CacheChanged(tuple(keys))]
        if self._config.mode is SwitchMode.HARD:
            moved = dict.fromkeys(cache.home_address for cache, _ in changes if cache.lifetime_s)
            effects += [BindingMoved(home) for home in moved]
        return effects

    def _cannot_apply(self, message: Harp, bad: list[bytes], now: int) -> list[Effect]:
        """harp.md §6: "one that cannot be applied: SS-ACK 128, S clear, full sync"."""
        peer = self.following
        assert peer is not None
        self._counters["refused"] += 1
        self._held.clear()
        ack = acknowledgement(self._config, peer, message, Status.UNSPECIFIED, single(bad))
        return [ack, *self.start_sync(now)]

    def _log_ack(self, message: Harp) -> Effect:
        """harp.md §6: "SS-ACK with Sync Position: all up to it are applied"."""
        peer = self.following
        assert peer is not None
        return acknowledgement(self._config, peer, message, options=(self.running,))

    # Digests

    def hello(self, position: SyncPosition, digest: CacheDigest | None, now: int) -> list[Effect]:
        """A HELLO of the active followed, with its Sync Position."""
        if self._joined and position.term > self.running.term:
            self._new_log(now)
        if digest is None or self._exchange is not None:
            return []
        effects = self._compare(position, digest, now)
        if not self.synchronised and self._exchange is None:
            effects += self.start_sync(now)
        return effects

    def _compare(self, position: SyncPosition, digest: CacheDigest, now: int) -> list[Effect]:
        if not self._joined and not position.position and position.term > self.running.term:
            self._join(position)  # nothing in its log yet: what is here now is compared
        here = self.running.position if self._joined else 0
        if self._joined and position <= self.running:
            if position == self.running:
                self._digests.note(position, self._store.digest)
            return self._found(self._digests.compare(position, digest), now)
        if position.position - here > self._config.sync.log_window_messages:
            return self.start_sync(now)  # the active keeps no message so old
        self._digests.wait(position, digest, now)
        if self._timers.due(_Timer.BEHIND) is None:
            self._timers.set(_Timer.BEHIND, now + self._config.reliability_timeout_us)
        return [self._nudge()]

    def _nudge(self) -> Effect:
        """Tells the active what is applied: it may have given up resending."""
        peer = self.following
        assert peer is not None
        message = Harp(
            HarpType.SS_ACK,
            self._config.group,
            log_sequence(self.running.position if self._joined else 0),
            index=LOG_INDEX,
            options=(self.running,),
        )
        return SendHarp(peer, message)

    def _note(self, now: int) -> list[Effect]:
        """Own digest at `running`; compared where the active's was heard before."""
        if self.syncing:
            return []
        finding = self._digests.note(self.running, self._store.digest)
        if self._digests.awaited is None:
            self._timers.stop(_Timer.BEHIND)
        return self._found(finding, now)

    def _found(self, finding: Finding, now: int) -> list[Effect]:
        if finding is Finding.EQUAL:
            if self._restored:
                return self.start_sync(now)
            self._timers.stop(_Timer.RETRY)
            return self._confirm()
        if finding is Finding.DIFFERENT:
            self._counters["digest_differs"] += 1
            if not self._confirmed:  # harp.md §5: "every other does a full sync"
                return self.start_sync(now)
            if self._digests.differences >= DIFFERENCES and now >= self._resync_at:
                self._resync_at = now + self._config.sync.resync_min_us
                return self.start_sync(now)
        return []

    def _confirm(self) -> list[Effect]:
        """The copy is the active's at `running`."""
        self.alone = False
        news: list[Effect] = []
        if not self.synchronised:
            self.synchronised = True
            news.append(HelloWanted(HelloKind.PLAIN))
        if not self._confirmed:
            self._confirmed = True
            news.append(HelloWanted(HelloKind.ANSWER, self.following))
        return news

    # Full sync

    def start_sync(self, now: int) -> list[Effect]:
        """SS-REQ `::` to the active; nothing if one is under way."""
        peer = self.following
        if peer is None or self.syncing:
            return []
        self._abort(now)
        self._timers.stop(*_Timer)
        self._old, self._confirmed = self.position, False
        effects: list[Effect] = []
        if self.synchronised:
            self.synchronised = False
            effects.append(HelloWanted(HelloKind.PLAIN))
        self._digests.forget()
        self._homes = []
        self._exchange, ask = self._asker.ask(peer, ALL, now)
        effects.append(ask)
        return effects

    def fetch(self, homes: list[bytes], now: int) -> list[Effect]:
        """Asks the active for single home addresses; nothing while it asks for anything else."""
        peer = self.following
        if peer is None or self._exchange is not None or not homes:
            return []
        self._homes, self._fetched = homes, set()
        self._exchange, ask = self._asker.ask(peer, single(homes), now)
        return [ask]

    def _abort(self, now: int) -> None:
        """Ends what is under way; harp.md §6: "ended early, nothing is removed"."""
        if self._exchange is not None:
            if self.syncing:
                self._store.abort_sync()
            self._asker.close(self._exchange, now)
            self._exchange = None

    def answer(self, exchange: Exchange, packed: Packed, now: int) -> list[Effect]:
        """An SS-REP of the exchange under way."""
        began = exchange.phase
        arrival = exchange.arrived(packed.message, now)
        if arrival is Arrival.USELESS:
            return self.check(now)
        effects: list[Effect] = []
        if began is Phase.ASKED and not self._homes:
            effects += self._begin(exchange, now)
        position = exchange.position
        assert position is not None
        bad = self._load(packed, position, now, effects) if arrival is Arrival.NEW else []
        status = Status.UNSPECIFIED if bad else Status.SUCCESS
        effects.append(
            acknowledgement(self._config, exchange.peer, packed.message, status, single(bad))
        )
        return effects + self.check(now)

    def _begin(self, exchange: Exchange, now: int) -> list[Effect]:
        """The first message of a full sync: the log goes on behind its position."""
        start = exchange.position
        assert start is not None
        self._store.begin_sync()
        effects: list[Effect] = []
        if self._joined and self.running.term == start.term and self.running >= start:
            if self.running > start:
                self._store.spare_after(start)
            return effects
        self._join(start)
        self._held = {at: held for at, held in self._held.items() if at > start.position}
        self._drain(now, effects)
        return effects

    def _load(
        self, packed: Packed, position: SyncPosition, now: int, effects: list[Effect]
    ) -> list[bytes]:
        """Takes bindings of an answer, but those that cannot be: their home addresses."""
        store = self._store
        if self._homes:
            return self._load_some(self._packer.changes(packed), position, now, effects)
        changes = list(bindings(packed.message.options))
        bad = unusable(changes)
        block = packed.block
        if not _STRANGE.isdisjoint(block[_HOME_OCTET::RECORD_OCTETS]):  # rare: look closer
            records = list(self._packer.bulk.unpack(block))
            bad += [record.home_address for record in records if not is_unicast(record[0])]
            block = self._packer.bulk.pack(record for record in records if is_unicast(record[0]))
        store.apply_block(block, position, now)
        keys: list[Key] = []
        for change in changes:
            if is_unicast(change[0].home_address):
                store.load(change, position, now)
                keys.append(key_of(change))
        effects.append(CacheChanged(tuple(keys), block))
        return bad

    def _load_some(
        self, changes: list[Change], position: SyncPosition, now: int, effects: list[Effect]
    ) -> list[bytes]:
        """Bindings of the home addresses asked for; what the log changed since then wins."""
        keys: list[Key] = []
        for change in changes:
            key = key_of(change)
            self._fetched.add(key)
            ours = self._store.find(*key)
            if key[0] in self._homes and not (ours and ours.position > position):
                self._store.load(change, position, now)
                keys.append(key)
        effects.append(CacheChanged(tuple(keys)))
        return []

    def check(self, now: int) -> list[Effect]:
        """What an exchange that is over leads to."""
        exchange = self._exchange
        if exchange is None or not exchange.ended:
            return []
        complete, whole = exchange.phase is Phase.COMPLETE, self.syncing
        if complete and whole:
            removed = self._store.end_sync()
        elif complete:
            removed = self._drop_absent(exchange)
        else:
            removed = []
        self._abort(now)
        effects: list[Effect] = [CacheChanged(tuple(removed))] if removed else []
        if complete and whole:
            self._counters["full_syncs"] += 1
            self._failures, self._restored = 0, False
            return effects + self._confirm()
        if not complete:
            text = f"state synchronisation ended early: {exchange.phase.value}"
            effects.append(Log(Level.WARNING, text, self._config.group))
        if whole:
            self._retry(now)
        return effects

    def _drop_absent(self, exchange: Exchange) -> list[Key]:
        """Removes bindings of the homes asked for that the active does not have."""
        position = exchange.position
        assert position is not None
        removed: list[Key] = []
        for home in self._homes:
            for bid in self._store.bids(home):
                entry = self._store.get(home, bid)
                if (home, bid) not in self._fetched and entry and entry.position <= position:
                    self._store.forget(home, bid)
                    removed.append((home, bid))
        return removed

    def _retry(self, now: int) -> None:
        """harp.md §8: backoff x2 between attempts."""
        limit = self._config.reliability_timeout_us
        wait = min(self._config.sync.ss_req_timer_us * BACKOFF_FACTOR**self._failures, limit)
        self._failures = self._failures + 1 if wait < limit else self._failures
        self._timers.set(_Timer.RETRY, now + wait)

    # Time

    def expire(self, now: int) -> list[Effect]:
        """All that is due at `now`; exchanges were told before (`Asker.expire`)."""
        effects = self.check(now)
        while timer := self._timers.pop(now):
            self._counters[f"sync_{timer.value}"] += 1
            effects += self.start_sync(now)  # harp.md §6 (S): "then SS-REQ `::`"
        return effects

    @property
    def deadline(self) -> int | None:
        """When something is due, µs; exchanges apart."""
        return self._timers.next


def unusable(changes: list[Change]) -> list[bytes]:
    """Home addresses of the changes that no store may hold."""
    homes = [cache.home_address for cache, _ in changes]
    return [home for home in homes if not is_unicast(home)]
