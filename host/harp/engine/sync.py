"""State synchronisation of one group: what the group sees of it (harp.md §5 reconcile, §6).

Ref: harp.md §5 (new term, reconcile, two actives), §6 (log, full sync, drift, merge, durability)

Joins `leader` (active), `replica` (standby), `stream` (answers) and `fullsync` (requests). Effects
out: `SendHarp`, `HelloWanted`, `ChangesDurable`, `CacheChanged`, `BindingMoved`, `WriteJournal`,
`Dropped`, `Log`. What is due at once includes the batch that `submit` began: the caller delivers
all packets that wait, then calls `expire`, and the batch leaves whole.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING

from harp.engine.batch import Packed, Packer
from harp.engine.config import UNSPECIFIED, GroupConfig
from harp.engine.effects import CacheChanged, Dropped, Effect, HelloKind, WriteJournal
from harp.engine.entries import NO_BID, Change, Key
from harp.engine.fullsync import Asker, find_position
from harp.engine.journal import EntryForgotten, JournalCodec, StateKept
from harp.engine.leader import LAST_POSITION, Leader
from harp.engine.replica import Replica
from harp.engine.store import BindingStore
from harp.engine.stream import Answers, whole_store
from harp.tables.harp_types import LOG_INDEX, STATUS_REFUSED, HarpType, Status
from harp.tables.reasons import Reason
from harp.wire.bulk import BulkReply, homes_of
from harp.wire.maker import maker
from harp.wire.messages import (
    CacheDigest,
    Harp,
    IpAddress,
    MobileNetworkPrefix,
    Options,
    SyncPosition,
    Vendor,
)

if TYPE_CHECKING:
    from random import Random

_make_record = maker(WriteJournal)
LAST_TERM = 0xFFFF_FFFF
"""A Term that nobody can go beyond: no position with it is believed."""


class Sync:
    """The replicated binding cache of one group, as this member sees it.

    `journal` encodes what must outlive a restart; None: nothing is kept. ValueError if
    `journal_sync` wants one and there is none.
    """

    def __init__(
        self,
        config: GroupConfig,
        store: BindingStore,
        rng: Random,
        journal: JournalCodec | None = None,
    ) -> None:
        if config.sync.journal_sync and journal is None:
            raise ValueError("journal_sync = true: wants a journal")
        self.config = config
        self.store = store
        self.counters: Counter[str] = Counter()
        """`unprotected`, `full_syncs`, `duplicates`, `gaps`, `merged`, `digest_differs`, ..."""
        self._journal = journal
        self._packer = Packer(config)
        self._asker = Asker(config, rng)
        self._answers = Answers(config, self._packer)
        self._replica = Replica(config, store, self._packer, self._asker, self.counters)
        self._leader = Leader(
            config, store, self._packer, self._asker, self._answers, self.counters
        )
        self._members = {member.identity for member in config.peers if not member.witness}
        self._up: set[bytes] = set()
        self._term_known = 0
        identities = sorted(member.identity for member in config.members)
        self._place = identities.index(config.me.identity)
        self._leading = False
        self._kept = self._state()

    def restore(self, position: SyncPosition, base: SyncPosition, term: int) -> None:
        """What the journal kept: own position, own base, highest term known. Before all else."""
        self._replica.restore(position)
        self._leader.reconcile.base = base
        self._replica.alone = base < position
        for included in (base, position):
            self._leader.reconcile.included.note(included)
        self._term_known = max(term, position.term, base.term)
        self._kept = self._state()

    def reconfigured(self) -> None:
        """Messages may be longer or shorter."""
        self._packer.reconfigured()

    # What others read

    @property
    def position(self) -> SyncPosition:
        """As announced in HELLOs: the old one until a full sync has ended (harp.md §6)."""
        return self._leader.log.here if self._leading else self._replica.position

    @property
    def stamp(self) -> SyncPosition:
        """Position that a binding change made now gets: pass it to `BindingStore.apply`, then
        `submit` the changes in the same step (it corrects those that fall into a later message)."""
        return self._leader.stamp

    @property
    def base(self) -> SyncPosition:
        """Up to here the own state is that of the others: leading, the position before; else the
        present one, unless the last term led here is not known to be anybody else's yet."""
        alone = self._leading or self._replica.alone
        return self._leader.reconcile.base if alone else self._replica.position

    @property
    def term_known(self) -> int:
        """Highest Term heard or used."""
        return self._term_known

    @property
    def synchronised(self) -> bool:
        """The S flag: harp.md §6, "set while ACTIVE"."""
        return self._leading or self._replica.synchronised

    @property
    def leading(self) -> bool:
        """Between `lead` and `stop_leading`."""
        return self._leading

    @property
    def reconciling(self) -> bool:
        """Leading, and the state of members ahead is still being taken."""
        return self._leading and self._leader.reconcile.running

    @property
    def syncing(self) -> bool:
        """A full sync from the active is under way."""
        return self._replica.syncing

    @property
    def drained(self) -> bool:
        """Leading: every synchronised standby that is up acknowledged the whole log."""
        return self._leader.drained

    def standby_synchronised(self, peer: bytes) -> bool:
        """Leading: whether this standby's acknowledgements count for durability now."""
        return self._leading and self._leader.counts(peer)

    def hello_options(self, kind: HelloKind, now: int) -> Options:
        """Sync Position and Cache Digest as a HELLO of this kind carries them: harp.md §2.3,
        "in the first HELLO, in every answer to R, and with every digest"."""
        if kind in (HelloKind.PLAIN, HelloKind.GOODBYE):
            return ()
        if kind is HelloKind.DIGEST and self._leading:
            return self.position, self._leader.log.digest
        return (self.position,)

    # Roles

    def lead(self, now: int) -> list[Effect]:
        """Become active: highest term + 1, Position from 1, base = position before; asks all for
        their HELLO. Called again while leading: a new term above all known, the base kept.

        The base is kept too by a member that led, withdrew and leads again without having been
        synchronised by another: its own positions would hide what others did meanwhile."""
        base = self.base
        if self._leading:
            return self._done(self._begin_term(base, now))
        self._replica.follow(None, now)
        self._answers.break_off_all(now)
        self._leading = True
        return self._done(self._begin_term(base, now))

    def _begin_term(self, base: SyncPosition, now: int) -> list[Effect]:
        """harp.md §5: the least Term of this member's own above the highest known.

        No two members ever lead the same Term: positions of two logs are never confused."""
        effects = self._leader.flush(now)
        self._term_known += 1 + (self._place - self._term_known) % len(self.config.members)
        effects += self._leader.lead(self._term_known, base, self._up, now)
        return effects + self._leader.settle(now)

    def stop_leading(self, now: int) -> list[Effect]:
        """Withdraw: the log ends, pending Binding Acknowledgements are dropped."""
        if not self._leading:
            return []
        effects = self._leader.flush(now)
        self._leader.stop(now)
        self._leading = False
        self._replica.settle(self._leader.log.here)
        return self._done(effects)

    def follow(self, active: bytes | None, now: int) -> list[Effect]:
        """Standby: whose log is applied; None: nobody's. Repeating it does nothing. A witness
        follows nobody."""
        if self._leading or self.config.me.witness:
            return []
        return self._done(self._replica.follow(active, now))

    def submit(self, changes: Iterable[Change], token: int | None, now: int) -> list[Effect]:
        """Leading: changes, applied to the store at `stamp`, go into the log. With a token one
        `ChangesDurable` follows, perhaps at once; none after `stop_leading`."""
        if not self._leading:
            return []
        changes = tuple(changes)
        effects, before = self._kept_changes(changes, token), self._leader.log.position
        effects += self._leader.submit(changes, token, now)
        # As long as the batch is not full, nothing else is to be kept.
        return effects if self._leader.log.position == before else self._done(effects)

    def resync(self, now: int) -> list[Effect]:
        """Full sync now (`harpctl resync`); nothing while leading or following nobody."""
        return self._done(self._replica.start_sync(now))

    def fetch(self, home_addresses: Iterable[bytes], now: int) -> list[Effect]:
        """Standby: asks the active for single home addresses (harp.md §6)."""
        return self._done(self._replica.fetch(list(home_addresses), now))

    # Members

    def member_found(self, peer: bytes) -> None:
        """A member that is not in the configuration: it was discovered."""
        self._members.add(peer)

    def peer_up(self, peer: bytes, now: int) -> list[Effect]:
        """A member can be heard."""
        if peer not in self._members or peer in self._up:
            return []
        self._up.add(peer)
        return self._done(self._leader.appeared(peer, now) if self._leading else [])

    def peer_down(self, peer: bytes, now: int) -> list[Effect]:
        """A member is silent."""
        if peer not in self._up:
            return []
        self._up.discard(peer)
        return self._done(self._leader.lost(peer, now) if self._leading else [])

    def peer_left(self, peer: bytes, now: int) -> list[Effect]:
        """A member said goodbye."""
        return self.peer_down(peer, now)

    def peer_restarted(self, peer: bytes, now: int) -> list[Effect]:
        """A member has a newer Restart Counter: what it knew is gone."""
        self._answers.forget(peer)
        self._replica.restarted(peer, now)
        if peer in self._up and self._leading:
            return self._done(self._leader.restarted(peer, now))
        return []

    # Messages

    def hello_heard(self, peer: bytes, message: Harp, now: int) -> list[Effect]:
        """Every valid HELLO of a member, after roles judged it: `peer_up`, `follow` or
        `stop_leading` first, where the HELLO leads to them."""
        if peer not in self._members:
            return []
        position = find_position(message)
        if position is not None:
            if position.term >= LAST_TERM:
                return [self._drop(peer, "a Term that none can follow")]
            self._term_known = max(self._term_known, position.term)
        if peer not in self._up:
            return self._done([])  # it left, or another detection source calls it down
        if not self._leading:
            if position is None or peer != self._replica.following:
                return self._done([])
            digest = next((o for o in message.options if type(o) is CacheDigest), None)
            return self._done(self._replica.hello(position, digest, now))
        effects: list[Effect] = []
        if position is not None and self._leader.foreign(peer, position):
            # harp.md §5: "begins a new one above it, keeping its old base".
            self._leader.reconcile.included.forget(position.term)
            effects = self._begin_term(self.base, now)
        return self._done(effects + self._leader.hello(peer, message, position, now))

    def receive(self, peer: bytes, message: Harp | BulkReply, now: int) -> list[Effect]:
        """A valid SS-REQ, SS-REP or SS-ACK of a member."""
        if isinstance(message, BulkReply):
            return self._done(self._reply(peer, Packed(message.message, message.block), now))
        match message.type:
            case HarpType.SS_REQ:
                return self._done(self._request(peer, message, now))
            case HarpType.SS_REP:
                return self._done(self._reply(peer, Packed(message, b""), now))
            case HarpType.SS_ACK:
                return self._done(self._acknowledgement(peer, message, now))
            case _:
                return [self._drop(peer, f"{message.type.name} is not of state synchronisation")]

    def _drop(self, peer: bytes, detail: str) -> Effect:
        return Dropped(Reason.UNEXPECTED, peer, self.config.group, detail)

    def _request(self, peer: bytes, message: Harp, now: int) -> list[Effect]:
        known = self._answers.known(peer, message, now)
        if known is not None:
            return known
        homes = [o.address for o in message.options if isinstance(o, IpAddress)]
        since = find_position(message)
        status = self._refusal(message, homes, since)
        if status is not None:
            return self._answers.refuse(peer, message, status, now)
        if self._leading:
            return self._leader.request(peer, message, homes, since, now)
        source = whole_store(self.store, self._packer, since)
        return self._answers.answer(peer, message, self.position, source, now)

    def _refusal(
        self, message: Harp, homes: list[bytes], since: SyncPosition | None
    ) -> Status | None:
        """What role and kind of an SS-REQ forbid."""
        if not homes or any(isinstance(o, MobileNetworkPrefix | Vendor) for o in message.options):
            # harp.md §6: "requests by prefix or Vendor are answered 128".
            return Status.UNSPECIFIED
        if not self._leading and (since is None or UNSPECIFIED not in homes):
            # A standby gives what a new active lacks, nothing else.
            return Status.NOT_ACTIVE
        return None

    def _reply(self, peer: bytes, packed: Packed, now: int) -> list[Effect]:
        message = packed.message
        if message.index == LOG_INDEX:
            return self._replica.log_message(peer, packed, now)
        exchange = self._asker.find(peer, message)
        if exchange is None:
            late = self._asker.late(peer, message, now)
            return [late] if late else [self._drop(peer, "an answer that nobody waits for")]
        if self._leading:
            changes = self._packer.changes(packed)
            return self._leader.state_of_ahead(peer, exchange, packed, changes, now)
        return self._replica.answer(exchange, packed, now)

    def _acknowledgement(self, peer: bytes, message: Harp, now: int) -> list[Effect]:
        refused = message.status >= STATUS_REFUSED
        if message.index != LOG_INDEX:
            if refused and not message.options:
                self._answers.abort(peer, now)  # the asker gave the exchange up
                return []
            effects = self._answers.acknowledged(peer, message, now)
            if effects is None:
                return [self._drop(peer, "SS-ACK of no answer")]
            return effects + (self._leader.served(peer, now) if self._leading else [])
        if not self._leading:
            return [self._drop(peer, "SS-ACK of no log")]
        position = find_position(message)
        if refused or position is None:
            return self._leader.log_refused(peer, message.status, now)
        return self._leader.log_ack(peer, message, position, now)

    def journal_written(self, token: int, now: int) -> list[Effect]:
        """A `WriteJournal` with this token is on disk."""
        return self._leader.journal_written(token, now)

    # Time

    def expire(self, now: int) -> list[Effect]:
        """All that is due at `now`."""
        effects = self._asker.expire(now) + self._answers.expire(now)
        part = self._leader if self._leading else self._replica
        effects += part.expire(now)
        if self._leading and self._leader.log.position >= LAST_POSITION:
            effects += self._begin_term(self.position, now)
        return self._done(effects)

    @property
    def deadline(self) -> int | None:
        """When `expire` is due, µs."""
        first = self._leader.deadline if self._leading else self._replica.deadline
        for due in (self._asker.deadline, self._answers.deadline):
            if due is not None and (first is None or due < first):
                first = due
        return first

    # Journal

    def _done(self, effects: list[Effect]) -> list[Effect]:
        """Every public step ends here: what it taught and changed is kept."""
        self._term_known = max(self._term_known, self._replica.running.term)
        written: list[Effect] = []
        if self._journal is not None:
            for effect in effects:
                if isinstance(effect, CacheChanged):
                    written += self._kept_entries(effect.keys, effect.block, self._journal)
        kept, position, base = self._kept, self.position, self.base
        if position != kept.position or base != kept.base or self._term_known != kept.term_known:
            self._kept = state = StateKept(position, base, self._term_known)
            self._leader.reconcile.included.note(state.position)
            if self._journal is not None:
                written.append(WriteJournal(self.config.group, self._journal.encode(state)))
        return written + effects if written else effects

    def _state(self) -> StateKept:
        return StateKept(self.position, self.base, self._term_known)

    def _kept_changes(self, changes: tuple[Change, ...], token: int | None) -> list[Effect]:
        """Journal records of all that the changes may have reached: the whole home address."""
        journal = self._journal
        if journal is None or not changes:
            return []
        homes = {cache.home_address: None for cache, _ in changes}
        records = b"".join([journal.encode_row(r) for home in homes for r in self.store.rows(home)])
        wanted = token if self.config.sync.journal_sync else None
        return [_make_record(self.config.group, records, wanted)]

    def _kept_entries(
        self, keys: Iterable[Key], block: bytes, journal: JournalCodec
    ) -> list[Effect]:
        """Journal records of entries as they are now, one effect for all."""
        records: list[bytes] = []
        homes = [(home, NO_BID) for home in homes_of(block)] if block else []
        for key in (*keys, *homes):
            row = self.store.row(*key)
            records.append(journal.encode_row(row) if row else journal.encode(EntryForgotten(*key)))
        return [WriteJournal(self.config.group, b"".join(records))] if records else []
