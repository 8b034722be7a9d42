"""State synchronisation of one group: what the group sees of it (harp.md §5 reconcile, §6).

Ref: harp.md §5 (new term, reconcile, two actives), §6 (log, full sync, drift, merge, durability)

Joins the parts: `log` (active), `replica` (standby), `fullsync` (both), `reconcile` (new active),
`digests`, `durability`. Effects out: `SendHarp`, `HelloWanted`, `ChangesDurable`, `WriteJournal`,
`BindingMoved`, `Dropped`, `Log`. What is due at once includes the batch that `submit` began:
the caller delivers all packets that wait, then calls `expire`, and the batch leaves whole.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from random import Random

from harp.engine.config import GroupConfig
from harp.engine.effects import Effect, HelloKind
from harp.engine.entries import Change
from harp.engine.store import BindingStore
from harp.wire.bulk import BulkReply
from harp.wire.messages import Harp, Options, SyncPosition


class Sync:
    """The replicated binding cache of one group, as this member sees it."""

    def __init__(self, config: GroupConfig, store: BindingStore, rng: Random) -> None:
        self.config = config
        self.store = store
        self.counters: Counter[str] = Counter()
        """By name: `unprotected`, `full_syncs`, `duplicates`, `gaps`, drops by reason, ..."""
        raise NotImplementedError

    def restore(self, position: SyncPosition, base: SyncPosition, term: int) -> None:
        """What the journal kept: own position, own base, highest term known. Before all else."""
        raise NotImplementedError

    @property
    def position(self) -> SyncPosition:
        """As announced in HELLOs: the old one until a full sync has ended (harp.md §6)."""
        raise NotImplementedError

    @property
    def stamp(self) -> SyncPosition:
        """Position that a binding change made now gets: pass it to `BindingStore.apply`, then
        `submit` the changes in the same step (it corrects those that fall into a later message)."""
        raise NotImplementedError

    @property
    def base(self) -> SyncPosition:
        """Position before this member became active."""
        raise NotImplementedError

    @property
    def term_known(self) -> int:
        """Highest Term heard or used."""
        raise NotImplementedError

    @property
    def synchronised(self) -> bool:
        """The S flag."""
        raise NotImplementedError

    @property
    def leading(self) -> bool:
        """Between `lead` and `stop_leading`."""
        raise NotImplementedError

    @property
    def reconciling(self) -> bool:
        """Leading, and the state of members ahead is still being taken."""
        raise NotImplementedError

    @property
    def drained(self) -> bool:
        """Leading: every synchronised standby that is up acknowledged the whole log."""
        raise NotImplementedError

    def standby_synchronised(self, peer: bytes) -> bool:
        """Leading: whether this standby's acknowledgements count for durability now."""
        raise NotImplementedError

    def lead(self, now: int) -> list[Effect]:
        """Become active: highest term + 1, Position from 1, base = position before; asks all for
        their HELLO. Called again while leading: a new term above all known, the base kept."""
        raise NotImplementedError

    def stop_leading(self, now: int) -> list[Effect]:
        """Withdraw: the log ends, pending Binding Acknowledgements are dropped."""
        raise NotImplementedError

    def follow(self, active: bytes | None, now: int) -> list[Effect]:
        """Standby: whose log is applied; None: nobody's. Repeating it does nothing."""
        raise NotImplementedError

    def submit(self, changes: Iterable[Change], token: int | None, now: int) -> list[Effect]:
        """Leading: changes, applied to the store at `stamp`, go into the log. With a token one
        `ChangesDurable` follows, perhaps at once."""
        raise NotImplementedError

    def hello_options(self, kind: HelloKind, now: int) -> Options:
        """Sync Position and Cache Digest as a HELLO of this kind carries them (harp.md §2.3)."""
        raise NotImplementedError

    def hello_heard(self, peer: bytes, message: Harp, now: int) -> list[Effect]:
        """Every valid HELLO of a member, after roles judged it: `follow` or `stop_leading` first,
        where the HELLO leads to them."""
        raise NotImplementedError

    def receive(self, peer: bytes, message: Harp | BulkReply, now: int) -> list[Effect]:
        """A valid SS-REQ, SS-REP or SS-ACK of a member."""
        raise NotImplementedError

    def journal_written(self, token: int, now: int) -> list[Effect]:
        """A `WriteJournal` with this token is on disk."""
        raise NotImplementedError

    def peer_up(self, peer: bytes, now: int) -> list[Effect]:
        """A member can be heard."""
        raise NotImplementedError

    def peer_down(self, peer: bytes, now: int) -> list[Effect]:
        """A member is silent."""
        raise NotImplementedError

    def peer_left(self, peer: bytes, now: int) -> list[Effect]:
        """A member said goodbye."""
        raise NotImplementedError

    def peer_restarted(self, peer: bytes, now: int) -> list[Effect]:
        """A member has a newer Restart Counter: what it knew is gone."""
        raise NotImplementedError

    def resync(self, now: int) -> list[Effect]:
        """Full sync now (`harpctl resync`); nothing while leading or following nobody."""
        raise NotImplementedError

    def fetch(self, home_addresses: Iterable[bytes], now: int) -> list[Effect]:
        """Standby: asks the active for single home addresses (harp.md §6)."""
        raise NotImplementedError

    def expire(self, now: int) -> list[Effect]:
        """All that is due at `now`."""
        raise NotImplementedError

    @property
    def deadline(self) -> int | None:
        """When `expire` is due, µs."""
        raise NotImplementedError
