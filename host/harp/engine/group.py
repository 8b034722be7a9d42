"""One group: joins detection, roles, synchronisation, switching and home agent (harp.md §4 to §10).

Parts do not know each other; what one wants of another is an effect (`effects.PartEffect`) that
this module routes. Whatever comes in is settled before it returns: all consequences between the
parts are drawn, and a HELLO that would say something new is sent.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Protocol

from harp.engine.announce import Announcer
from harp.engine.checks import Refusal
from harp.engine.config import GroupConfig, Security
from harp.engine.detection import Detector
from harp.engine.dhaad import Agent
from harp.engine.effects import (
    AnnounceAgain,
    BindingMoved,
    CacheChanged,
    ChangesDurable,
    CommandAnswered,
    Dropped,
    Effect,
    HelloKind,
    HelloWanted,
    Level,
    Log,
    PrepareRoutes,
    Role,
    SendHarp,
    SetServing,
    StateChanged,
    SubmitChanges,
    WriteJournal,
)
from harp.engine.events import (
    Command,
    CommandGiven,
    DetectorAttached,
    DetectorLost,
    HelloSlotChanged,
    PacketReceived,
    PeerChanged,
    PeerDown,
    PeerEvent,
    PeerLeft,
    PeerReported,
    PeerUp,
    SequenceSeen,
)
from harp.engine.heartbeat import Heartbeats
from harp.engine.hellos import HelloSender
from harp.engine.home_agent import HomeAgent
from harp.engine.joining import as_member
from harp.engine.journal import (
    EntryForgotten,
    EntryKept,
    JournalCodec,
    RestartKept,
    StateKept,
    TimestampKept,
    split,
)
from harp.engine.moved import Draining
from harp.engine.peers import FLAG_S, Peer, PeerLink, PeerTable
from harp.engine.protection import AFTER_ANSWER, Heard, Judgement, Protector
from harp.engine.reconfigure import own_copy, take
from harp.engine.role_base import SERVING, Input
from harp.engine.role_table import Happening
from harp.engine.roles import Roles
from harp.engine.routes import route_effects
from harp.engine.status import GroupStatus, status_of
from harp.engine.store import BindingStore
from harp.engine.switching import Mover, Rekeyer
from harp.engine.sync import Sync
from harp.tables.constants import US_PER_S
from harp.tables.harp_types import HarpFlag, HarpType
from harp.tables.mh import LIFETIME_UNIT_S
from harp.tables.reasons import Reason
from harp.wire.bulk import BulkReply
from harp.wire.codec import Codec
from harp.wire.messages import BindingUpdate, DhaadRequest, Heartbeat

if TYPE_CHECKING:
    from random import Random

_SYNC_TYPES = frozenset((HarpType.SS_REQ, HarpType.SS_REP, HarpType.SS_ACK))
_FLAG_R = int(HarpFlag.R)
_COUNTER_BITS = 0xFFFF_FFFF

_PASSIVE = frozenset((Role.INIT, Role.STANDBY, Role.CLAIMING))
"""Roles in which nothing is announced, moved or drained."""


class Part(Protocol):
    """What has timers."""

    @property
    def deadline(self) -> int | None:
        """When `expire` is due, µs."""

    def expire(self, now: int) -> list[Effect]:
        """All that is due at `now`."""


class Reconfigured(Protocol):
    """What keeps something that it made of settings."""

    def reconfigured(self) -> None:
        """They may be others now."""


class Group:
    """One group as this member runs it."""

    def __init__(
        self, config: GroupConfig, codec: Codec, rng: Random, clock_offset_us: int
    ) -> None:
        self.config = config = own_copy(config)
        self.counters: Counter[str] = Counter()
        """Drops by reason name, and what else is counted by name."""
        self._deadline: int | None = None
        self._deadline_known = True
        self._settled_us = 0
        """`now` of the last time that everything was settled."""
        home = config.home_agent
        self.store = BindingStore(
            refresh_margin_us=home.refresh_margin_s * US_PER_S,
            tombstone_units=home.max_lifetime_s // LIFETIME_UNIT_S,
        )
        self.peers = PeerTable(config)
        self.protector = Protector(config, codec, clock_offset_us)
        self.detector = Detector(config, self.peers)
        self._heartbeats = Heartbeats(config, codec)
        self.hellos = HelloSender(config, self.peers, self.protector, rng)
        self.roles = Roles(config, self.peers, rng)
        self._journal = JournalCodec(codec, clock_offset_us)
        self.sync = Sync(config, self.store, rng, self._journal)
        self.home_agent = HomeAgent(
            config,
            self.store,
            rng,
            lambda: self.sync.stamp,
            codec=codec,
            clock_offset_us=clock_offset_us,
        )
        self.announcer = Announcer(config, self.store)
        self.mover = Mover(config, self.store, self.peers, codec, rng)
        self.rekeyer = Rekeyer(config, self.store, codec, self.home_agent.address, rng)
        self.draining = Draining(config, self.store)
        self._always = (self.detector, self.roles, self.sync, self.home_agent)
        self._all = (*self._always, self.announcer, self.mover, self.rekeyer, self.draining)
        self._restart_counter = 0
        self._followed: bytes | None = None
        self._news = False
        self._clock_warned: set[bytes] = set()
        self.role_since_us = 0
        """When the role was entered, µs."""
        self.role_reason = ""
        """Why, by name; empty: it is the first."""
        self._takers = self._takers_by_type()

    @property
    def role(self) -> Role:
        """The role now."""
        return self.roles.role

    @property
    def deadline(self) -> int | None:
        """When `expire` is due, µs; not before the last settling: what a part finds overdue was
        not late until it said so. Found when asked for, once a batch of packets, not a packet."""
        if not self._deadline_known:
            first = self.hellos.deadline
            for part in self._parts():
                due = part.deadline
                if due is not None and (first is None or due < first):
                    first = due
            self._deadline = None if first is None else max(first, self._settled_us)
            self._deadline_known = True
        return self._deadline

    def reconfigure(self, config: GroupConfig, now: int) -> list[Effect]:
        """Takes new settings. ValueError, and nothing taken, if one may not change."""
        effects = self._wake(now)
        take(self.config, config)
        home = config.home_agent
        self.store.refresh_margin_us = home.refresh_margin_s * US_PER_S
        self.store.tombstone_units = home.max_lifetime_s // LIFETIME_UNIT_S
        keeping: tuple[Reconfigured, ...] = (
            *(self.protector, self.hellos, self.detector, self.roles, self.sync),
            *(self.home_agent, self.announcer, self.mover, self.rekeyer),
        )
        for part in keeping:
            part.reconfigured()
        self._news = True
        return effects + self._settle(self.roles.hear(Happening.PEERS_CHANGED, now), now)

    def status(self, now: int) -> GroupStatus:
        """All of it, for people."""
        return status_of(self, now)

    # Start and end

    def restore(self, records: Iterable[bytes]) -> None:
        """What the journal kept, oldest first, one or more records in each; before `start`. What
        this version does not know is counted."""
        for octets in (one for some in records for one in split(some).records):
            match self._journal.decode(octets):
                case EntryKept(entry):
                    self.store.restore(entry)
                case EntryForgotten() as gone:
                    self.store.forget(gone.home_address, gone.bid)
                case StateKept() as state:
                    self.sync.restore(state.position, state.base, state.term_known)
                case RestartKept() as last:
                    self._restart_counter = last.counter + 1
                case TimestampKept() as last_sent:
                    self.protector.restore(last_sent.timestamp)
                case _:
                    self.counters["unknown_record"] += 1

    def start(self, now: int) -> list[Effect]:
        """INIT (harp.md §5). The Restart Counter is "the greater of the journal's + 1 and UNIX
        seconds at start" (harp.md §3)."""
        unix_s = (now + self.protector.clock_offset_us) // US_PER_S
        self.role_since_us = now
        counter = max(self._restart_counter, unix_s) & _COUNTER_BITS
        self.hellos.restart_counter = counter
        record = self._journal.encode(RestartKept(counter))
        effects: list[Effect] = [WriteJournal(self.config.group, record)]
        if self.config.protection.security is Security.NONE:
            text = "HARP messages of this group are not protected"
            effects.append(Log(Level.WARNING, text, self.config.group))
        return self._settle([*effects, *self.roles.start(now)], now)

    def stop(self, now: int) -> list[Effect]:
        """A clean end: withdraw, then say goodbye; nothing after it. No HELLO without A comes
        before: it would tell of a planned switch, and the others would wait."""
        effects = self._route(self.roles.hear(Happening.STOP, now), now)
        effects += self.hellos.goodbye(now)
        self._deadline, self._deadline_known = None, True
        return effects

    # HARP messages that passed harp.md §3 rules 1 to 12, HELLO replay apart

    def receive(
        self, peer: Peer, link: PeerLink, heard: Heard, bulk: BulkReply | None, now: int
    ) -> list[Effect]:
        """A message of a member."""
        effects = self._wake(now)
        kind = heard.message.type
        if kind is HarpType.HELLO:
            return effects + self._settle(self._hello(peer, link, heard, now), now, routed=True)
        if kind in _SYNC_TYPES:
            found = self.sync.receive(peer.identity, bulk or heard.message, now)
        elif kind is HarpType.REKEY:
            found = [self._dropped(heard, Judgement(Reason.UNEXPECTED, "HA-REKEY is for MNs"))]
        else:
            self._brief_roles()
            found = self.roles.receive(peer, heard.message, now)
        return effects + self._settle(found, now)

    def _hello(self, peer: Peer, link: PeerLink, heard: Heard, now: int) -> list[Effect]:
        """What a HELLO leads to, routed."""
        hello = heard.message
        if self.detector.replayed(peer, link, hello, heard.multicast):
            drop = self._dropped(heard, Judgement(Reason.REPLAY, f"HELLO {hello.sequence}"))
            return self._route([drop, *self.detector.replay_heard(peer, link, now)], now)
        self._clock_warned.discard(peer.identity)
        effects = self._route(self.detector.heard(peer, link, hello, heard.multicast, now), now)
        self._follow(effects, now)
        effects += self._route(self.sync.hello_heard(peer.identity, hello, now), now)
        if hello.flags & _FLAG_R and self.hellos.may_answer(peer.identity, now):
            answer = HelloWanted(HelloKind.ANSWER, peer.identity, link.index)
            effects += self._route([answer], now)
        return effects

    def join(self, heard: Heard, now: int) -> list[Effect]:
        """The HELLO of a member that nobody configured; it passed the protection (`joining`)."""
        peer, link = self.peers.add(as_member(heard.source))
        self.sync.member_found(peer.identity)
        self.home_agent.member_found(peer.identity)
        text = f"{peer.name} is a member now: it was discovered"
        return [
            Log(Level.INFO, text, self.config.group),
            *self.receive(peer, link, heard, None, now),
        ]

    def refuse(
        self, peer: Peer, link: PeerLink, heard: Heard, judgement: Judgement, now: int
    ) -> list[Effect]:
        """A message of a member that failed harp.md §3 rules 11 or 12."""
        effects: list[Effect] = [*self._wake(now), self._dropped(heard, judgement)]
        kind = heard.message.type
        if judgement.reason is Reason.REPLAY and kind in AFTER_ANSWER:
            if self.protector.awaits_answer(peer.identity):
                effects += self.detector.ask(peer, link, now)
        elif judgement.reason is Reason.CLOCK:
            if peer.identity not in self._clock_warned:
                self._clock_warned.add(peer.identity)
                text = f"{peer.name}: {judgement.detail}; its messages are not applied"
                effects.append(Log(Level.ERROR, text, self.config.group))
            if kind is HarpType.HELLO:
                effects += self.detector.heard_late(peer, link, heard.message, now)
        return self._settle(effects, now)

    def _dropped(self, heard: Heard, judgement: Judgement) -> Dropped:
        return Dropped(judgement.reason, heard.source, self.config.group, judgement.detail)

    # Other events

    def detection(
        self, event: PeerReported | DetectorAttached | DetectorLost | SequenceSeen, now: int
    ) -> list[Effect]:
        """Another detection source speaks (harp.md §4)."""
        effects = self._wake(now)
        match event:
            case PeerReported():
                found = self.detector.reported(event, now)
            case DetectorAttached():
                found = self.detector.attached(event)
            case DetectorLost():
                found = self.detector.lost(event, now)
            case _:
                found = self.detector.sequence_seen(event)
        return effects + self._settle(found, now)

    def hello_slot(self, event: HelloSlotChanged) -> list[Effect]:
        """An offload's slot took our multicast HELLO over, or gave it back."""
        index = self._link_index(event.link)
        if index is not None:
            return self.hellos.slot_changed(index, event.running, event.sequence)
        return []

    def link_changed(self, link: str, up: bool, now: int) -> list[Effect]:
        """A local interface went up or down."""
        index = self._link_index(link)
        if index is None:
            return []
        effects = self._wake(now)
        self._news |= self._update_hello()
        return effects + self._settle(self.hellos.link_changed(index, up, now), now)

    def _link_index(self, name: str) -> int | None:
        names = [link.name for link in self.config.links]
        return names.index(name) if name in names else None

    def fenced(self, fenced: bool, now: int) -> list[Effect]:
        """The board fences this member, or does no more (offload.md §4)."""
        effects = self._wake(now)
        happening = Happening.FENCED if fenced else Happening.UNFENCED
        return effects + self._settle(self.roles.hear(happening, now), now)

    def clock_stepped(self, offset_us: int) -> None:
        """UNIX time minus `now` is new, µs."""
        self.protector.clock_offset_us = offset_us
        self.home_agent.clock_stepped(offset_us)
        self._journal.clock_offset_us = offset_us

    def journal_written(self, token: int, now: int) -> list[Effect]:
        """A journal record is on disk."""
        return self._wake(now) + self._settle(self.sync.journal_written(token, now), now)

    def binding_update(
        self, message: BindingUpdate, event: PacketReceived, now: int
    ) -> list[Effect]:
        """A Binding Update for this group."""
        effects = self._wake(now)
        found = self.home_agent.receive_binding_update(
            event.source, event.destination, event.care_of, message, event.payload, now
        )
        effects += self._route(found, now)
        # It changes bindings alone: no role, no S flag, nothing that a HELLO says is to settle.
        self._settled_us, self._deadline_known = now, False
        return effects

    def heartbeat(self, request: Heartbeat, event: PacketReceived, now: int) -> list[Effect]:
        """A member's Heartbeat request (RFC 5847 §3.1): no sign of life here (offload.md §3)."""
        link = self.config.me.addresses.index(event.destination)
        counter = self.hellos.restart_counter
        answer = self._heartbeats.answer(request, event.source, link, counter, now)
        if answer is None:
            text = "Heartbeats come too fast"
            drop = Dropped(Reason.UNEXPECTED, event.source, self.config.group, text)
            return self._count(drop, now)
        return [answer]

    def dad_finished(self, address: bytes, duplicate: bool, now: int) -> list[Effect]:
        """Duplicate address detection ended."""
        found = self._wake(now)
        return found + self._settle(self.home_agent.dad_finished(address, duplicate, now), now)

    def discovery(self, request: DhaadRequest, source: bytes, now: int) -> list[Effect]:
        """Dynamic home agent address discovery (harp.md §10)."""
        agents = [Agent(self.config.identity, self.roles.preference)]
        agents += [Agent(peer.identity, peer.preference) for peer in self.peers if peer.active]
        return self._settle(self.home_agent.dhaad(request, source, now, agents), now)

    def command(self, order: CommandGiven, now: int) -> list[Effect]:
        """An operator's command."""
        effects = self._wake(now)
        answer = CommandAnswered(self.config.group, order.token, ())
        match order.command:
            case Command.RESYNC:
                found = [*self.sync.resync(now), answer]
            case Command.REKEY:
                if self.role in SERVING:
                    found = [*self.rekeyer.start(now), answer]
                else:
                    refused = (Refusal.NOT_ACTIVE.value,)
                    found = [CommandAnswered(self.config.group, order.token, refused)]
            case _:
                self._brief_roles()
                found = self.roles.command(order, now)
        return effects + self._settle(found, now)

    # Time

    def expire(self, now: int) -> list[Effect]:
        """All that is due at `now`."""
        due = self.deadline
        if due is None or now < due:
            return []
        effects = self._wake(now)
        for part in self._parts():
            due = part.deadline
            if due is not None and due <= now:
                self._brief_roles()
                effects += self._route(part.expire(now), now)
        effects = self._settle(effects, now, routed=True)
        if self.hellos.deadline is not None and self.hellos.deadline <= now:
            effects += self.hellos.expire(now)
            self._deadline_known = False
        return effects

    def _wake(self, now: int) -> list[Effect]:
        """Finds out whether the process stood still (harp.md §5, Pause)."""
        if now - self._settled_us <= self.config.hello_interval_us:
            return []  # no deadline lies before the last settling
        late_us = 0 if self.deadline is None else now - self.deadline
        if late_us <= self.config.hello_interval_us:
            return []
        text = f"stood still for {late_us} µs: peers are watched anew"
        self.detector.restart(now)
        effects: list[Effect] = [Log(Level.WARNING, text, self.config.group)]
        return self._settle(
            effects + self.roles.hear(Happening.PAUSED, now, Input(late_us=late_us)), now
        )

    # Between the parts

    def _brief_roles(self) -> None:
        """What the role machine must know of the others before it decides."""
        self.roles.reconciling = self.sync.reconciling
        self.roles.has_bindings = len(self.store) > 0

    def _settle(self, effects: list[Effect], now: int, *, routed: bool = False) -> list[Effect]:
        """Draws all consequences; what is left leaves the engine."""
        out = effects if routed else self._route(effects, now)
        roles, sync = self.roles, self.sync
        while True:
            if roles.synchronised != sync.synchronised:
                roles.synchronised = sync.synchronised
                out += self._route(roles.hear(Happening.SYNC_CHANGED, now), now)
            elif roles.role is Role.RESIGNING and sync.drained:
                out += self._route(roles.hear(Happening.LOG_DRAINED, now), now)
            elif self.draining.empty:
                out += self._route(roles.hear(Happening.EMPTIED, now), now)
            elif not self._follow(out, now):
                break
        self._news |= self._update_hello()
        if self._news:
            self._news = False
            out += self.hellos.say(HelloKind.PLAIN, now)
        self._settled_us, self._deadline_known = now, False
        return out

    def _follow(self, out: list[Effect], now: int) -> bool:
        """Tells `sync` whose log is applied now; whether that is new."""
        followed = self.roles.active
        if followed == self._followed or self.roles.role in SERVING:
            return False
        self._followed = followed
        out += self._route(self.sync.follow(followed, now), now)
        return True

    def _update_hello(self) -> bool:
        flags = self.roles.flags | (FLAG_S if self.sync.synchronised else 0)
        return self.hellos.update(flags, self.roles.preference)

    def _parts(self) -> tuple[Part, ...]:
        """Those that may have something to wait for in this role."""
        return self._always if self.roles.role in _PASSIVE else self._all

    def _route(self, effects: list[Effect], now: int) -> list[Effect]:
        """Takes what is meant for other parts to them, in order; returns the rest."""
        out: list[Effect] = []
        for effect in effects:
            take = self._takers.get(type(effect))
            if take is None:
                out.append(effect)
            else:
                out += take(effect, now)
        return out

    def _takers_by_type(self) -> dict[type[Effect], Callable[[Any, int], list[Effect]]]:
        """Who takes what; each returns what is left, routed."""
        return {
            SendHarp: self._send,
            HelloWanted: self._say,
            PeerUp: self._peer_event,
            PeerDown: self._peer_event,
            PeerLeft: self._peer_event,
            PeerChanged: self._peer_event,
            StateChanged: self._role_changed,
            SubmitChanges: self._submit,
            ChangesDurable: self._durable,
            CacheChanged: self._cache_changed,
            BindingMoved: self._binding_moved,
            AnnounceAgain: self._announce_again,
            Dropped: self._count,
        }

    def _send(self, effect: SendHarp, now: int) -> list[Effect]:
        peer = self.peers.peers[effect.peer]
        link = peer.best_link()
        return self.protector.send(
            self.config.me.addresses[link.index],
            link.address,
            self.config.links[link.index].name,
            effect.message,
            now,
            effect.block,
        )

    def _say(self, effect: HelloWanted, now: int) -> list[Effect]:
        self._news |= self._update_hello()
        if effect.peer is None and effect.link is None:
            self._news = False
        options = self.sync.hello_options(effect.kind, now)
        return self.hellos.say(effect.kind, now, effect.peer, effect.link, effect.times, options)

    def _peer_event(self, event: PeerEvent, now: int) -> list[Effect]:
        self._brief_roles()
        match event:
            case PeerUp():
                # It may have been active where we were not heard, and the home link know it.
                effects = [*self.sync.peer_up(event.peer, now), AnnounceAgain()]
            case PeerDown():
                effects = self.sync.peer_down(event.peer, now)
            case PeerLeft():
                effects = self.sync.peer_left(event.peer, now)
            case PeerChanged(restarted=True):
                effects = self.sync.peer_restarted(event.peer, now)
            case _:
                effects = []
        return [event, *self._route(self.roles.peer_event(event, now) + effects, now)]

    def _submit(self, effect: SubmitChanges, now: int) -> list[Effect]:
        if effect.token is not None:
            for cache, _ in effect.changes:
                self.mover.moved(cache.home_address)
        return self._route(self.sync.submit(effect.changes, effect.token, now), now)

    def _durable(self, effect: ChangesDurable, now: int) -> list[Effect]:
        return self.home_agent.durable(effect.token, effect.protected, now)

    def _binding_moved(self, effect: BindingMoved, now: int) -> list[Effect]:
        return self.draining.moved(effect.home_address)

    def _announce_again(self, effect: AnnounceAgain, now: int) -> list[Effect]:
        return self.announcer.start(now) if self.role is Role.ACTIVE else []

    def _count(self, effect: Dropped, now: int) -> list[Effect]:
        self.counters[effect.reason] += 1
        return [effect]

    def _cache_changed(self, effect: CacheChanged, now: int) -> list[Effect]:
        keys = [key for key in effect.keys if self.draining.keeps(key)]
        effects = route_effects(self.config.group, self.store, keys)
        if effect.block:
            effects.append(PrepareRoutes(self.config.group, effect.block))
        return effects

    def _role_changed(self, change: StateChanged, now: int) -> list[Effect]:
        """harp.md §9: what a change of role means to forwarding, log and home agent."""
        old, new = change.old, change.new
        self.role_since_us, self.role_reason = now, change.reason
        effects: list[Effect] = []
        if old is Role.DRAINING:
            effects += self.draining.stop()
        if new is Role.ACTIVE:
            effects += self.home_agent.activate(now)
            if old is not Role.RESIGNING:
                effects += self._begin_serving(now)
        elif new is Role.RESIGNING:
            effects += self.home_agent.pause(now)
        elif new is Role.DRAINING:
            effects += self._end_leading(now)
            effects += self.home_agent.drain(now)
            self.draining.start(now)
        elif old in SERVING or old is Role.DRAINING:
            effects.append(self._serving(False))
            if old in SERVING:
                effects += self._end_leading(now)
            effects += self.home_agent.deactivate(now)
        return [change, *self._route(effects, now)]

    def _begin_serving(self, now: int) -> list[Effect]:
        """Address and rule first: they do not depend on the number of bindings."""
        effects: list[Effect] = [self._serving(True)]
        effects += self.sync.lead(now)
        effects += self.announcer.start(now)
        effects += self.mover.start(now)
        if self.config.rekey_on_takeover:
            effects += self.rekeyer.start(now)
        return effects

    def _end_leading(self, now: int) -> list[Effect]:
        self.announcer.stop()
        self.mover.stop()
        self.rekeyer.stop()
        self._followed = None
        return self.sync.stop_leading(now)

    def _serving(self, serving: bool) -> SetServing:
        return SetServing(self.config.group, serving, self.config.virtual_address)
