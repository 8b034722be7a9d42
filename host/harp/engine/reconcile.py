"""A new active takes the state of the members ahead of it and merges it with its own.

Ref: harp.md §5 (new term, reconcile), §6 (merge)

*Ahead* is a member at a position of a log that our state does not include so far (`included`).
What changed there behind what it includes, all of it if that log is not known here, is asked for
with SS-REQ `::`; what wins by the rules of `merge` is taken literally and goes into the log.
"""

from __future__ import annotations

from dataclasses import dataclass

from harp.engine.config import GroupConfig
from harp.engine.effects import Effect, Level, Log
from harp.engine.entries import NO_BID, Change, Entry, bid_of
from harp.engine.fullsync import Asker, Exchange, all_since
from harp.engine.fullsync_table import Phase
from harp.engine.included import START, Included
from harp.engine.merge import Winner, merge
from harp.engine.store import BindingStore
from harp.tables.constants import BACKOFF_FACTOR, US_PER_S
from harp.tables.mh import LIFETIME_UNIT_S, BuFlag
from harp.wire.messages import SyncPosition


@dataclass(slots=True)
class _Ahead:
    """A member whose state is not taken yet."""

    position: SyncPosition
    active: bool
    """It has A: it is asked when it has withdrawn, not while its state still grows."""
    since: SyncPosition = START
    """What is asked for changed after it."""
    exchange: Exchange | None = None
    retry_at: int = 0
    failures: int = 0


class Reconcile:
    """Who is ahead, whose position is not known, and whether the reconcile still runs."""

    def __init__(self, config: GroupConfig, store: BindingStore, asker: Asker) -> None:
        self._config = config
        self._store = store
        self._asker = asker
        self.base = START
        """Own position before this member became active."""
        self.included = Included()
        """What the own state includes."""
        self.running = False
        """harp.md §5: SS-REQs get 133 while it does."""
        self._until = 0
        self._unknown: set[bytes] = set()
        self._ahead: dict[bytes, _Ahead] = {}

    def begin(self, base: SyncPosition, members: set[bytes], now: int) -> None:
        """A new term: the position of every member that is up must be heard anew."""
        self.stop(now)
        self.base, self.running = base, True
        self._until = now + self._config.sync.reconcile_timeout_us
        self._unknown = set(members)

    def stop(self, now: int) -> None:
        """Nothing is taken any more."""
        for peer in list(self._ahead):
            self._drop(peer, now)
        self._unknown.clear()
        self.running = False

    def appeared(self, peer: bytes) -> None:
        """A member is up; its position must be heard before anything is done with it."""
        self._unknown.add(peer)

    def lost(self, peer: bytes, now: int) -> None:
        """A member is gone. What it has is taken when it is there again."""
        self._unknown.discard(peer)
        self._drop(peer, now)

    def unknown(self, peer: bytes) -> bool:
        """Its position was not heard since it is up, or since the term began."""
        return peer in self._unknown

    def ahead(self, peer: bytes) -> bool:
        """It has what our state may lack, and that was not taken."""
        return peer in self._ahead

    def heard(self, peer: bytes, position: SyncPosition, active: bool, now: int) -> list[Effect]:
        """A member announces a position of another term."""
        self._unknown.discard(peer)
        if self.included.covers(position):
            return []
        self._ahead.setdefault(peer, _Ahead(position, active)).position = position
        return self.noticed(peer, active, now)

    def noticed(self, peer: bytes, active: bool, now: int) -> list[Effect]:
        """Whether a member has A now: its state is asked for once it has not."""
        ahead = self._ahead.get(peer)
        if ahead is None:
            return []
        ahead.active = active
        return self.take(peer, now)

    def follows(self, peer: bytes, now: int) -> None:
        """A member announces a position of our own log."""
        self._unknown.discard(peer)
        self._drop(peer, now)

    def take(self, peer: bytes, now: int) -> list[Effect]:
        """Asks a member ahead for its state, unless that is under way or was just refused."""
        ahead = self._ahead[peer]
        if ahead.exchange or ahead.active or now < ahead.retry_at:
            return []
        ahead.since = self.included.before(ahead.position)
        ahead.exchange, ask = self._asker.ask(peer, all_since(ahead.since), now)
        return [ask]

    def _drop(self, peer: bytes, now: int) -> None:
        ahead = self._ahead.pop(peer, None)
        if ahead and ahead.exchange:
            self._asker.close(ahead.exchange, now)

    # Merging

    def winners(
        self, peer: bytes, changes: list[Change], stamp: SyncPosition, now: int
    ) -> list[list[Change]]:
        """Takes the entries of a member ahead that win, literally, at `stamp`. For each what the
        log must say."""
        # What of their log is included here says nothing of what theirs includes of ours: all
        # since our own base may be new to them.
        base = min(self._ahead[peer].since, self.base)
        won: list[list[Change]] = []
        for change in changes:
            cache, options = change
            home, bid = cache.home_address, bid_of(options)
            ours = self._store.find(home, bid)
            theirs = entry_of(change, bid, stamp, now)
            if merge(ours, theirs, base) is Winner.THEIRS:
                self._store.load(change, stamp, now)
                won.append([change, *self._siblings(change, bid, now)])
        return won

    def _siblings(self, change: Change, bid: int, now: int) -> list[Change]:
        """Other bindings of the home address that the change, read as a log message, would end
        (O flag, deletion without BID): they are said again behind it, in the same message."""
        cache, _ = change
        if not ((bid == NO_BID and not cache.lifetime_s) or cache.flags & BuFlag.OVERWRITE):
            return []
        home, others = cache.home_address, list[Change]()
        for other in self._store.bids(home):
            entry = self._store.get(home, other)
            if other != bid and entry:
                others.append(entry.change(now))
        return others

    # Time

    def check(self, now: int) -> tuple[list[bytes], list[Effect]]:
        """Members whose state is taken now; what else exchanges that are over lead to."""
        done: list[bytes] = []
        effects: list[Effect] = []
        for peer, ahead in list(self._ahead.items()):
            exchange = ahead.exchange
            if exchange is None or not exchange.ended:
                continue
            self._asker.close(exchange, now)
            ahead.exchange = None
            if exchange.phase is Phase.COMPLETE:
                self.included.note(ahead.position)
                self.included.note(exchange.position or ahead.position)
                del self._ahead[peer]
                done.append(peer)
                continue
            wait = self._config.sync.ss_req_timer_us * BACKOFF_FACTOR**ahead.failures
            ahead.retry_at = now + min(wait, self._config.reliability_timeout_us)
            ahead.failures += wait < self._config.reliability_timeout_us
            text = f"state of a member ahead was not taken: {exchange.phase.value}"
            effects.append(Log(Level.WARNING, text, self._config.group))
        return done, effects

    def retry(self, now: int) -> list[Effect]:
        """Asks again where it is time."""
        effects: list[Effect] = []
        for peer in self._ahead:
            effects += self.take(peer, now)
        return effects

    def settled(self, now: int) -> bool:
        """Whether the reconcile ends now: all that are ahead were taken, or its time is over."""
        return self.running and (now >= self._until or not (self._unknown or self._ahead))

    @property
    def deadline(self) -> int | None:
        """End of the reconcile, or the next attempt, µs; exchanges apart."""
        if not self._ahead:
            return self._until if self.running else None
        waiting = (a for a in self._ahead.values() if not (a.exchange or a.active))
        times = [ahead.retry_at for ahead in waiting]
        if self.running:
            times.append(self._until)
        return min(times, default=None)


def entry_of(change: Change, bid: int, position: SyncPosition, now: int) -> Entry:
    """A change as an entry would be that took it at `position`."""
    cache, options = change
    return Entry(
        home_address=cache.home_address,
        bid=bid,
        care_of_address=cache.care_of_address,
        flags=cache.flags,
        sequence=cache.sequence,
        expires_us=now + cache.lifetime_s * US_PER_S,
        longest_units=cache.lifetime_s // LIFETIME_UNIT_S,
        position=position,
        live=cache.lifetime_s > 0,
        options=options,
    )
