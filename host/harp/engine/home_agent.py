"""The home agent of one group: from Binding Update to Binding Acknowledgement.

Ref: RFC 6275 §9.5, §10.3, §10.5; RFC 3963; RFC 4285; RFC 5648; harp.md §6 (durability), §9 (hard
     switch), §10

The rules are elsewhere (`registration`, `multihoming`, `nemo`, `mnauth`); here they are put to
work: what is granted goes into the store and, as `SubmitChanges`, into the log, and is answered
when `durable` says so. Refusals are answered at once: they change nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from enum import StrEnum
from typing import TYPE_CHECKING

from harp.engine import dhaad
from harp.engine.acknowledge import Acknowledger
from harp.engine.addresses import is_unicast, link_local_of
from harp.engine.config import GroupConfig, SwitchMode
from harp.engine.dad import DadQueue
from harp.engine.effects import (
    AnnounceNeighbor,
    Dropped,
    Effect,
    SendPacket,
    StartDad,
    SubmitChanges,
)
from harp.engine.entries import NO_BID, Change, Entry, Key
from harp.engine.mnauth import MnAuthenticator
from harp.engine.refresh import refresh_request
from harp.engine.registration import Registrar, check_form
from harp.engine.request import Detect, Discard, Grant, Refuse, Request, make_request
from harp.engine.routes import make_route, route_effects
from harp.engine.store import BindingStore
from harp.tables.mh import BaStatus, BuFlag
from harp.tables.reasons import Reason
from harp.wire.codec import Codec
from harp.wire.maker import maker
from harp.wire.mandatory import OF_BINDING
from harp.wire.messages import (
    BindingCache,
    BindingIdentifier,
    BindingUpdate,
    DhaadRequest,
    SyncPosition,
)

if TYPE_CHECKING:
    from random import Random

_make_submission = maker(SubmitChanges)
EXPIRE_BATCH = 1024
"""Bindings looked at in one `expire`: what waits in sockets comes between two batches."""


_LINK_LOCAL = BuFlag.LINK_LOCAL.value  # as int: arithmetic with members costs ten times as much
_MOBILE_ROUTER = BuFlag.MOBILE_ROUTER.value


class Service(StrEnum):
    """What the home agent does with Binding Updates."""

    OFF = "off"
    """Nothing: another member is active."""
    ON = "on"
    """Serves them."""
    PAUSED = "paused"
    """Drops them until the log is acknowledged: a planned switch (harp.md §5)."""
    DRAINING = "draining"
    """Refuses them with 129: mobile nodes are to move (harp.md §9)."""


class HomeAgent:
    """One group's home agent over its binding store.

    `stamp` gives the Sync Position of a change made now (`Sync.stamp`).
    """

    def __init__(
        self,
        config: GroupConfig,
        store: BindingStore,
        rng: Random,
        stamp: Callable[[], SyncPosition],
        *,
        codec: Codec | None = None,
        clock_offset_us: int = 0,
    ) -> None:
        self.counters: Counter[str] = Counter()
        """`binding_updates`, answers by `ba_STATUS`, `unprotected`, `expired`,
        `refresh_requests`, `dad_timeouts`."""
        self._config = config
        self._store = store
        self._rng = rng
        self._stamp = stamp
        self._codec = codec or Codec(config.code_points)
        self._authenticator = MnAuthenticator(config.home_agent, clock_offset_us)
        self._registrar = Registrar(config, store)
        self._acknowledger = Acknowledger(config, self._codec)
        self._dad = DadQueue(config.home_agent)
        self._service = Service.OFF
        self._tokens = 0
        self._pending: dict[int, tuple[Request, SendPacket]] = {}
        """Answers that wait until their changes are durable, by token."""
        self._latest: dict[bytes, int] = {}
        """Token of the last pending Binding Update of a home address."""

    @property
    def service(self) -> Service:
        """What becomes of Binding Updates now."""
        return self._service

    @property
    def address(self) -> bytes:
        """Home agent address that mobile nodes use with this member."""
        virtual = self._config.mode is SwitchMode.VIRTUAL
        return self._config.virtual_address if virtual else self._config.identity

    def member_found(self, address: bytes) -> None:
        """A member's address that is not in the configuration: no mobile node may have it."""
        self._registrar.own.add(address)

    def reconfigured(self) -> None:
        """Other keys and prefixes of mobile nodes."""
        self._authenticator.reconfigured()
        self._registrar.reconfigured()

    # The role

    def activate(self, now: int) -> list[Effect]:
        """Active: serve. What is over already, `expire` takes at once."""
        return self._serve(Service.ON)

    def pause(self, now: int) -> list[Effect]:
        """Take no Binding Updates for the moment; `activate` ends it."""
        self._service = Service.PAUSED
        return []

    def drain(self, now: int) -> list[Effect]:
        """Hard mode, another took over: refuse with 129."""
        return self._serve(Service.DRAINING)

    def deactivate(self, now: int) -> list[Effect]:
        """Standby: answers that still wait are never given (harp.md §5)."""
        return self._serve(Service.OFF)

    def clock_stepped(self, offset_us: int) -> None:
        """UNIX time minus `now` is new, µs."""
        self._authenticator.clock_offset_us = offset_us

    def _serve(self, service: Service) -> list[Effect]:
        if service is not Service.ON:
            self._pending.clear()
            self._latest.clear()
            self._dad.clear()
        self._service = service
        return []

    # Binding Updates

    def receive_binding_update(
        self,
        source: bytes,
        destination: bytes,
        care_of: bytes,
        message: BindingUpdate,
        raw: bytes,
        now: int,
    ) -> list[Effect]:
        """One Binding Update. `source`: the home address if a Home Address option carried it,
        then `care_of` is the IPv6 source on the wire, else empty; `raw`: its Mobility Header."""
        self.counters["binding_updates"] += 1
        request = make_request(message, raw, source, destination, care_of, OF_BINDING)
        dropped = self._check(request)
        if dropped:
            return [self._drop(request, dropped)]
        refused = self._authenticator.check(request, now)
        if isinstance(refused, Discard):
            return [self._drop(request, refused)]
        if refused is None and self._service is Service.DRAINING:
            refused = Refuse(BaStatus.PROHIBITED)
        if refused:
            return self._refuse(request, refused)
        return self._decide(request, now, unique=not self._config.home_agent.dad)

    def _check(self, request: Request) -> Discard | None:
        if self._service is Service.OFF or self._service is Service.PAUSED:
            return Discard(Reason.UNEXPECTED, f"home agent is {self._service}")
        pending = self._pending.get(self._latest.get(request.home_address, 0))
        if pending and pending[0].raw == request.raw:
            return Discard(Reason.REPLAY, "its answer waits for durability")
        return check_form(request)

    def _decide(self, request: Request, now: int, *, unique: bool) -> list[Effect]:
        verdict = self._registrar.judge(request, now, unique=unique)
        if isinstance(verdict, Grant):
            return self._grant(request, verdict, now)
        if isinstance(verdict, Detect):
            return self._detect(request, now)
        if isinstance(verdict, Refuse):
            return self._refuse(request, verdict)
        return [self._drop(request, verdict)]

    def _drop(self, request: Request, why: Discard) -> Dropped:
        return Dropped(why.reason, request.source, self._config.group, why.detail)

    def _refuse(self, request: Request, refusal: Refuse) -> list[Effect]:
        """RFC 6275 §9.5.4, §10.3.1: refusals are answered whatever the A flag."""
        self.counters[f"ba_{int(refusal.status)}"] += 1
        key = self._authenticator.key_of(request)
        return [self._acknowledger.refusal(request, refusal, key)]

    def _grant(self, request: Request, grant: Grant, now: int) -> list[Effect]:
        home = request.home_address
        effects = self._apply(grant.changes, now)
        if grant.is_first:
            effects += self._announce(request)
        self._tokens += 1
        key = self._authenticator.key_of(request)
        answer = self._acknowledger.acceptance(request, grant, key)
        self._pending[self._tokens] = request, answer
        self._latest[home] = self._tokens
        effects.append(_make_submission(grant.changes, self._tokens))
        return effects

    def _apply(self, changes: tuple[Change, ...], now: int) -> list[Effect]:
        """Into the store; the routes that follow."""
        keys: list[Key] = []
        for change in changes:
            keys += self._store.apply(change, self._stamp(), now)
        cache, options = changes[0]
        if len(keys) == 1 and cache.lifetime_s and not options:  # the commonest: a plain binding
            route = make_route(
                self._config.group, cache.home_address, NO_BID, cache.care_of_address, ()
            )
            return [route]
        distinct = keys if len(keys) == 1 else dict.fromkeys(keys)
        return route_effects(self._config.group, self._store, distinct)

    def _announce(self, request: Request) -> list[Effect]:
        """RFC 6275 §10.4.1: "it MUST multicast onto the home link a Neighbor Advertisement message
        on behalf of the mobile node"; with L also for the link-local address. RFC 3963 §6.2: of a
        mobile router "the Router (R) bit in the Advertisement MUST be set"."""
        flags, home, group = request.message.flags, request.home_address, self._config.group
        router = flags & _MOBILE_ROUTER != 0
        effects: list[Effect] = [AnnounceNeighbor(group, home, router)]
        if flags & _LINK_LOCAL:
            effects.append(AnnounceNeighbor(group, link_local_of(home), router))
        return effects

    # Durability

    def durable(self, token: int, protected: bool, now: int) -> list[Effect]:
        """Changes are durable, or the wait is over: the Binding Acknowledgement (harp.md §6).
        Unknown tokens, of an earlier time as active, are ignored."""
        waiting = self._pending.pop(token, None)
        if waiting is None:
            return []
        request, answer = waiting
        if self._latest.get(request.home_address) == token:
            del self._latest[request.home_address]
        self.counters["unprotected"] += not protected
        return [answer]

    # Duplicate address detection

    def _detect(self, request: Request, now: int) -> list[Effect]:
        if len(self._store) + len(self._dad) >= self._config.home_agent.max_bindings:
            return self._refuse(request, Refuse(BaStatus.INSUFFICIENT_RESOURCES))
        group = self._config.group
        return [StartDad(group, address) for address in self._dad.wait(request, now)]

    def dad_finished(self, address: bytes, duplicate: bool, now: int) -> list[Effect]:
        """Detection of a home or link-local address ended."""
        effects: list[Effect] = []
        for request in self._dad.finished(address, duplicate):
            if self._service is not Service.ON:
                effects.append(self._drop(request, Discard(Reason.UNEXPECTED, "a switch began")))
            elif duplicate:
                # RFC 6275 §10.3.1: "the home agent MUST reject the complete Binding Update and
                # MUST return ... 134 (Duplicate Address Detection failed)".
                effects += self._refuse(request, Refuse(BaStatus.DAD_FAILED))
            else:
                effects += self._decide(request, now, unique=True)
        return effects

    # Time

    def expire(self, now: int) -> list[Effect]:
        """All that is due at `now`; at most `EXPIRE_BATCH` bindings, the rest is due again."""
        self._store.purge_tombstones(now, EXPIRE_BATCH)
        if self._service is not Service.ON:
            return []
        effects: list[Effect] = []
        for request in self._dad.overdue(now):
            self.counters["dad_timeouts"] += 1
            effects += self._refuse(request, Refuse(BaStatus.UNSPECIFIED))
        due = self._store.take_due(now, EXPIRE_BATCH)
        entries = [self._entry(key) for key in due.refresh]
        self.counters["refresh_requests"] += len(entries)
        effects += [
            refresh_request(self._codec, self._config.group, self.address, entry)
            for entry in entries
        ]
        if due.over:
            self.counters["expired"] += len(due.over)
            changes = tuple(_expiry(self._entry(key)) for key in due.over)
            effects += self._apply(changes, now)
            effects.append(SubmitChanges(changes))
        return effects

    @property
    def deadline(self) -> int | None:
        """When `expire` is due, µs."""
        first = self._store.tombstone_deadline
        if self._service is Service.ON:
            for due in (self._store.deadline, self._dad.deadline):
                if due is not None and (first is None or due < first):
                    first = due
        return first

    def _entry(self, key: Key) -> Entry:
        entry = self._store.get(*key)
        assert entry is not None, "only live bindings are due"
        return entry

    # Discovery

    def dhaad(
        self,
        request: DhaadRequest,
        source: bytes,
        now: int,
        agents: Iterable[dhaad.Agent] = (),
    ) -> list[Effect]:
        """Answers a discovery request: in virtual mode with the virtual address, in hard mode with
        `agents`, the members that have A set, this one included (harp.md §10)."""
        if self._service is not Service.ON or not is_unicast(source):
            return [Dropped(Reason.UNEXPECTED, source, self._config.group, "discovery request")]
        if self._config.mode is SwitchMode.VIRTUAL:
            agents = (dhaad.Agent(self.address, self._config.preference),)
        return [dhaad.reply(request, self.address, source, agents, self._rng, self._config.group)]


def _expiry(entry: Entry) -> Change:
    """The deletion of a binding whose lifetime is over: no Binding Update's, so without flags."""
    cache = BindingCache(entry.home_address, entry.care_of_address, 0, entry.sequence, 0)
    return cache, (BindingIdentifier(entry.bid),) if entry.bid else ()
