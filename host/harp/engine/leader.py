"""The active's side of synchronisation: log, reconcile, answers, and what it knows of standbys.

Ref: harp.md §5 (new term, reconcile, two actives), §6 (log, full sync, durability)

A standby's acknowledgements count for durability once it is *confirmed*: it said with S that its
position is one of this term's. Before that it may lack what was there when the term began.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from harp.engine.addresses import is_unicast
from harp.engine.batch import PLAIN_OCTETS, Packed, Packer
from harp.engine.config import UNSPECIFIED, GroupConfig
from harp.engine.durability import DurabilityGate
from harp.engine.effects import (
    CacheChanged,
    Dropped,
    Effect,
    HelloKind,
    HelloWanted,
    Level,
    Log,
)
from harp.engine.entries import Change, key_of
from harp.engine.fullsync import Arrival, Asker, Exchange, acknowledgement
from harp.engine.log import ReplicatedLog
from harp.engine.peers import FLAG_A, FLAG_S
from harp.engine.reconcile import Reconcile
from harp.engine.store import BindingStore
from harp.engine.stream import Answers, some_homes, whole_store
from harp.tables.constants import US_PER_S
from harp.tables.harp_types import Status
from harp.tables.reasons import Reason
from harp.wire.maker import maker
from harp.wire.messages import Harp, SyncPosition

_make_position = maker(SyncPosition)
LAST_POSITION = 0xFFFF_0000
"""harp.md §2.3: Position has 32 bits; short of the end a new term begins."""
BATCH_GAP_US = 2_000
"""A batch is due at once, but not so soon after the one before: what comes by the thousand a second
goes ten to a message, and a message is what costs every member its time."""
POLLS = 8
"""How often a reconcile asks members that do not answer."""
NEVER_REACHED = -1
"""A member that can have no position of our log."""


@dataclass(slots=True)
class Standby:
    """What the active knows of one member."""

    claims: bool = False
    """S in its last HELLO."""
    confirmed: bool = False
    """It is synchronised in this term."""
    known: bool = False
    """It was confirmed in this term before: a position of ours that it announces is true."""
    reached: int = NEVER_REACHED
    """Highest position of our log that it can have, apart from its lane."""
    asked_at: int | None = None
    """When it was last asked for its position, µs."""


class Leader:
    """Between `lead` and `stop`."""

    def __init__(
        self,
        config: GroupConfig,
        store: BindingStore,
        packer: Packer,
        asker: Asker,
        answers: Answers,
        counters: Counter[str],
    ) -> None:
        self._config = config
        self._store = store
        self._packer = packer
        self._counters = counters
        self.log = ReplicatedLog(config, packer)
        self.answers = answers
        self.reconcile = Reconcile(config, store, asker)
        self._gate = DurabilityGate(config.sync)
        self._standbys: dict[bytes, Standby] = {}
        self._up: set[bytes] = set()
        self._digest_at = 0
        self._poll_at = 0
        self._told_at: int | None = None
        self._batch_due = 0
        self._flushed_at = -BATCH_GAP_US

    # The term

    def lead(self, term: int, base: SyncPosition, up: set[bytes], now: int) -> list[Effect]:
        """A new term begins; all are asked for their position."""
        self.log.begin(term, self._store.digest)
        self._standbys = {peer: Standby(asked_at=now) for peer in sorted(up)}
        self._up = set(up)
        self.answers.break_off_all(now)
        self.reconcile.begin(base, up, now)
        self._digest_at = now + self._config.sync.digest_interval_us
        self._poll_at = now + self._poll_us
        return [HelloWanted(HelloKind.ASK), *self._gate_effects(self._gate.hopeless(), now)]

    def stop(self, now: int) -> None:
        """Withdraw: the log ends, pending Binding Acknowledgements are dropped."""
        self.answers.break_off_all(now)
        self.reconcile.stop(now)
        self._gate.clear()
        for peer in self._standbys:
            self.log.detach(peer)
        self._standbys.clear()

    # Members

    def appeared(self, peer: bytes, now: int) -> list[Effect]:
        """A member is up."""
        self._up.add(peer)
        self._standbys.setdefault(peer, Standby()).asked_at = None
        self.reconcile.appeared(peer)
        return self._ask(peer, now)

    def lost(self, peer: bytes, now: int) -> list[Effect]:
        """A member is down or left."""
        self._up.discard(peer)
        standby = self._standbys[peer]
        self._detach(peer, standby)
        standby.claims = False
        if not standby.known:
            standby.reached = NEVER_REACHED
        self.answers.break_off(peer, now)
        self.reconcile.lost(peer, now)
        return self._hopes(now) + self.settle(now)

    def restarted(self, peer: bytes, now: int) -> list[Effect]:
        """A member lost what it knew."""
        self.answers.forget(peer)
        self.reconcile.lost(peer, now)
        self.log.detach(peer)
        self._standbys[peer] = Standby()
        return self.appeared(peer, now) + self._hopes(now)

    def _ask(self, peer: bytes, now: int) -> list[Effect]:
        """HELLO with R; harp.md §8: at most MAX_HELLO_RATE."""
        standby = self._standbys[peer]
        gap = US_PER_S // self._config.max_hello_rate
        if standby.asked_at is not None and now < standby.asked_at + gap:
            return []
        standby.asked_at = now
        return [HelloWanted(HelloKind.ASK, peer)]

    def _detach(self, peer: bytes, standby: Standby) -> None:
        """It gets no log messages any more, and counts no longer."""
        lane = self.log.lanes.get(peer)
        if lane:
            standby.reached = max(standby.reached, lane.reached)
        self.log.detach(peer)
        standby.confirmed = False

    def foreign(self, peer: bytes, position: SyncPosition) -> bool:
        """Whether a position cannot come from our log: harp.md §5, "hears a Term >= its own"."""
        if position.term != self.log.term:
            return position.term > self.log.term
        standby, lane = self._standbys.get(peer), self.log.lanes.get(peer)
        reached = standby.reached if standby else NEVER_REACHED
        return position.position > max(reached, lane.reached if lane else NEVER_REACHED)

    def hello(
        self, peer: bytes, message: Harp, position: SyncPosition | None, now: int
    ) -> list[Effect]:
        """A HELLO of a member that is up, no position in it foreign."""
        standby = self._standbys[peer]
        standby.claims = bool(message.flags & FLAG_S)
        if not standby.claims:
            standby.confirmed = False
        active = bool(message.flags & FLAG_A)
        if position is None:
            effects = self.reconcile.noticed(peer, active, now)
            if self.reconcile.unknown(peer):
                effects += self._ask(peer, now)
        elif position.term == self.log.term:
            effects = self._follows(peer, standby, position, now)
        else:
            effects = self.reconcile.heard(peer, position, active, now)
            if not active:
                effects += self._welcome(peer, standby, now)
        return effects + self._hopes(now) + self.settle(now)

    def _follows(
        self, peer: bytes, standby: Standby, position: SyncPosition, now: int
    ) -> list[Effect]:
        """Its position is one of our log."""
        self.reconcile.follows(peer, now)
        effects: list[Effect] = []
        if peer not in self.log.lanes and self.answers.running(peer) is None:
            effects = self.log.attach(peer, position.position, now)
        if standby.claims and self.answers.running(peer) is None:
            standby.confirmed = standby.known = True
            effects += self._acknowledged(peer, now)
        return effects

    def _welcome(self, peer: bytes, standby: Standby, now: int) -> list[Effect]:
        """A synchronised member of before this term gets the whole log of it, once its state was
        taken: nothing in the log may end what only it knows."""
        if not standby.claims or self.reconcile.ahead(peer) or self.reconcile.unknown(peer):
            return []
        if peer in self.log.lanes or self.answers.running(peer):
            return []
        effects = self.log.attach(peer, 0, now)
        if not self.reconcile.running:
            standby.reached = max(standby.reached, self.log.position)
            effects.append(HelloWanted(HelloKind.DIGEST, peer))
        return effects

    # The log

    @property
    def stamp(self) -> SyncPosition:
        """Position of the batch that is being filled."""
        return _make_position(self.log.term, self.log.position + 1)

    def submit(self, changes: tuple[Change, ...], token: int | None, now: int) -> list[Effect]:
        """Changes applied at `stamp` go into the log; those of one home address stay together."""
        log = self.log
        if len(changes) == 1 and not changes[0][1] and not log.full:
            log.add(changes, PLAIN_OCTETS)  # the commonest: one plain binding, and there is room
            effects = self.flush(now) if log.full else []
        else:
            effects = self._enter_all(changes, now)
        self._batch_due = max(now, self._flushed_at + BATCH_GAP_US)
        if token is not None:
            position = log.position + log.batched
            gate = self._gate.add(token, position, self._hopeful(), now)
            effects += self._gate_effects(gate, now)
        return effects

    def _enter_all(self, changes: tuple[Change, ...], now: int) -> list[Effect]:
        effects: list[Effect] = []
        stamp = self.stamp
        for _, unit in groupby(changes, key=_home_of):
            effects += self._enter(list(unit), stamp, now)
        split = self.stamp != stamp  # digests stand for whole messages
        # The O flag spares what is of the same log message: each Binding Update has its own.
        if split or self.log.full or any(options for _, options in changes):
            effects += self.flush(now)
        return effects

    def _enter(self, unit: list[Change], stamp: SyncPosition, now: int) -> list[Effect]:
        """Puts changes of one home address into one log message, if one can hold them."""
        effects: list[Effect] = []
        left = len(unit)
        for part in self._packer.split(unit):
            left -= len(part)
            octets = sum(self._packer.octets(change) for change in part)
            if not self.log.add(part, octets):
                effects += self.flush(now)
                self.log.add(part, octets)
            if self.stamp != stamp:
                for home in {change[0].home_address for change in part}:
                    self._store.restamp(home, stamp, self.stamp)
        self._counters["too_long"] += left
        return effects

    def flush(self, now: int) -> list[Effect]:
        """The batch becomes a log message."""
        if not self.log.batched:
            return []
        self._flushed_at = now
        return self.log.flush(self._store.digest, now)

    def log_ack(self, peer: bytes, message: Harp, position: SyncPosition, now: int) -> list[Effect]:
        """An SS-ACK of the log."""
        effects = self.log.acknowledged(peer, message.sequence, position, now)
        if effects is None:
            detail = "SS-ACK for nothing sent"
            return [Dropped(Reason.UNEXPECTED, peer, self._config.group, detail)]
        return effects + self._acknowledged(peer, now)

    def log_refused(self, peer: bytes, status: int, now: int) -> list[Effect]:
        """An SS-ACK of the log with a Status that refuses."""
        self._counters[f"log_refused_{status}"] += 1
        standby = self._standbys.get(peer)
        if standby is None or status != Status.UNSPECIFIED:
            return []  # 130: it does not follow us yet; the repetitions go on
        self._detach(peer, standby)  # 128: it asks for a full sync
        return self._hopes(now)

    # Durability

    def counts(self, peer: bytes) -> bool:
        """Whether the acknowledgements of a standby count for durability."""
        standby, lane = self._standbys.get(peer), self.log.lanes.get(peer)
        if standby is None or lane is None or lane.lost:
            return False
        return standby.confirmed and self.answers.running(peer) is None

    @property
    def drained(self) -> bool:
        """Nothing in the log waits for a standby that counts."""
        lanes = self.log.lanes.items()
        return not self.log.batched and all(
            lane.acked == self.log.position for peer, lane in lanes if self.counts(peer)
        )

    def _hopeful(self) -> bool:
        """Whether a standby may acknowledge within the time: it is up and says that it is
        synchronised, or has not said anything yet."""
        for peer in self._up:
            standby, lane = self._standbys[peer], self.log.lanes.get(peer)
            may = standby.claims or self.reconcile.unknown(peer)
            if may and not (lane and lane.lost) and self.answers.running(peer) is None:
                return True
        return False

    def _hopes(self, now: int) -> list[Effect]:
        return [] if self._hopeful() else self._gate_effects(self._gate.hopeless(), now)

    def _acknowledged(self, peer: bytes, now: int) -> list[Effect]:
        if not self.counts(peer):
            return []
        return self._gate_effects(self._gate.acknowledged(self.log.lanes[peer].acked), now)

    def journal_written(self, token: int, now: int) -> list[Effect]:
        """The journal holds the changes of a token."""
        return self._gate_effects(self._gate.journal_written(token), now)

    def _gate_effects(self, told: Sequence[Effect], now: int) -> list[Effect]:
        """harp.md §6: "both counted and logged as `unprotected`"; a line a second at most."""
        new = self._gate.unprotected - self._counters["unprotected"]
        if not new:
            return list(told)
        self._counters["unprotected"] += new
        if self._told_at is not None and now < self._told_at + US_PER_S:
            return list(told)
        self._told_at = now
        text = f"{self._counters['unprotected']} bindings unprotected so far: no standby has them"
        return [*told, Log(Level.WARNING, text, self._config.group)]

    # Answers

    def request(
        self,
        peer: bytes,
        message: Harp,
        homes: list[bytes],
        since: SyncPosition | None,
        now: int,
    ) -> list[Effect]:
        """A new SS-REQ, of home addresses only."""
        whole = UNSPECIFIED in homes
        standby = self._standbys.setdefault(peer, Standby())
        effects: list[Effect] = []
        unknown = peer not in self._up or self.reconcile.unknown(peer)
        if unknown:
            effects = self._ask(peer, now)
        elif self.reconcile.ahead(peer):
            effects = self.reconcile.take(peer, now)
        # harp.md §5: "SS-REQs before that get 133; so does an SS-REQ `::` of a member ahead".
        blocked = whole and (unknown or self.reconcile.ahead(peer))
        if self.reconcile.running or blocked:
            return effects + self.answers.refuse(peer, message, Status.NOT_SYNCHRONISED, now)
        effects += self.flush(now)
        position = self.log.here
        if whole:
            self._detach(peer, standby)
            standby.reached = max(standby.reached, position.position)
            effects += self.log.attach(peer, position.position, now)
            source = whole_store(self._store, self._packer, since)
        else:
            source = some_homes(self._store, self._packer, homes, now)
        effects += self.answers.answer(peer, message, position, source, now)
        return effects + self._hopes(now)

    def served(self, peer: bytes, now: int) -> list[Effect]:
        """An answer is acknowledged: at its end the standby's word that it is synchronised is
        wanted; what it said before the last acknowledgement came could be older."""
        over = self.answers.running(peer) is None and peer in self._standbys
        return self._ask(peer, now) if over and not self._standbys[peer].confirmed else []

    def state_of_ahead(
        self, peer: bytes, exchange: Exchange, packed: Packed, changes: list[Change], now: int
    ) -> list[Effect]:
        """An SS-REP of a member ahead."""
        effects: list[Effect] = []
        arrival = exchange.arrived(packed.message, now)
        if arrival is not Arrival.USELESS:
            effects.append(acknowledgement(self._config, peer, packed.message))
        if arrival is Arrival.NEW:
            effects += self._merge(peer, changes, now)
        return effects + self.settle(now)

    def _merge(self, peer: bytes, changes: list[Change], now: int) -> list[Effect]:
        stamp = self.stamp
        usable = [change for change in changes if is_unicast(change[0].home_address)]
        won = self.reconcile.winners(peer, usable, stamp, now)
        effects: list[Effect] = []
        for unit in won:
            effects += self._enter(unit, stamp, now)
        if won:
            effects += self.flush(now)
            effects.append(CacheChanged(tuple(key_of(unit[0]) for unit in won)))
        self._counters["merged"] += len(won)
        return effects

    # Time

    def settle(self, now: int) -> list[Effect]:
        """Ends what is over: exchanges with members ahead, then the reconcile."""
        done, effects = self.reconcile.check(now)
        for peer in done:
            effects += self._welcome(peer, self._standbys[peer], now)
        if self.reconcile.settled(now):
            # harp.md §5: "Reconcile ends with a HELLO with Sync Position and Cache Digest".
            self.reconcile.running = False
            effects += self.flush(now)
            effects += self._announce_digest(now)
        return effects

    def _announce_digest(self, now: int) -> list[Effect]:
        self._digest_at = now + self._config.sync.digest_interval_us
        self._poll_at = now + self._poll_us
        for peer, standby in self._standbys.items():
            if not self.reconcile.unknown(peer):
                standby.reached = max(standby.reached, self.log.position)
        return [HelloWanted(HelloKind.DIGEST)]

    def _poll(self, now: int) -> list[Effect]:
        """Asks members whose position is not known, and standbys that did not say that they are
        synchronised in this term: their HELLO, or ours with the digest, may be lost."""
        self._poll_at = now + self._poll_us
        effects: list[Effect] = []
        for peer in self._waiting():
            if peer in self.log.lanes:
                effects.append(HelloWanted(HelloKind.DIGEST, peer))
            effects += self._ask(peer, now)
        return effects

    @property
    def _poll_us(self) -> int:
        if self.reconcile.running:
            return self._config.sync.reconcile_timeout_us // POLLS
        return self._config.hello_interval_us

    def _waiting(self) -> list[bytes]:
        return [peer for peer in self._standbys if self._waits(peer)]

    def _waits(self, peer: bytes) -> bool:
        if self.reconcile.unknown(peer):
            return True
        standby = self._standbys[peer]
        unsure = standby.claims and not standby.confirmed and not self.reconcile.ahead(peer)
        return unsure and not self.reconcile.running and self.answers.running(peer) is None

    def expire(self, now: int) -> list[Effect]:
        """All that is due at `now`; exchanges were told before (`Asker.expire`)."""
        effects = self.settle(now)
        if self._batch_due <= now:
            effects += self.flush(now)
        effects += self.log.expire(now)
        effects += self._gate_effects(self._gate.expire(now), now)
        effects += self.reconcile.retry(now)
        if self._digest_at <= now and not self.reconcile.running:
            effects += self._announce_digest(now)
        elif self._poll_at <= now:
            effects += self._poll(now)
        return effects + self._hopes(now)

    @property
    def deadline(self) -> int | None:
        """When something is due, µs; exchanges and answers apart."""
        first = self._poll_at if any(map(self._waits, self._standbys)) else None
        batch_due = self._batch_due if self.log.batched else None
        digest_due = None if self.reconcile.running else self._digest_at
        others = (self.log.deadline, self._gate.deadline, self.reconcile.deadline)
        for due in (batch_due, digest_due, *others):
            if due is not None and (first is None or due < first):
                first = due
        return first


def _home_of(change: Change) -> bytes:
    return change[0].home_address
