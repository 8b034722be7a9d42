"""An engine that is simple on purpose, and wrong in one way where a test asks for it.

It says HELLO, takes over by rank when it hears no active, and copies bindings to the other members
behind the network's back. Each flaw breaks one rule, so that every invariant is seen to fire.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from random import Random

from harp.engine import effects as fx
from harp.engine import events as ev
from harp.engine.config import EngineConfig
from harp.engine.effects import Role
from harp.engine.role_table import RoleReason
from harp.lab.virtual.probe import Held
from harp.tables.harp_types import HarpFlag, HarpType
from harp.tables.mh import MhType
from harp.wire.codec import DEFAULT_CODEC
from harp.wire.messages import BindingAcknowledgement, BindingUpdate, Harp, SyncPosition
from harp.wire.sequence import newer16, next_harp_sequence

MULTICAST = bytes.fromhex("ff02") + bytes(12) + bytes([1, 0x14])


@dataclass
class Group:
    """What the members of one scenario share."""

    members: list[FakeEngine] = field(default_factory=list)


class FakeEngine:
    """Both the engine and the probe into it."""

    def __init__(self, config: EngineConfig, flaws: frozenset[str], group: Group) -> None:
        self.config = config.groups[0]
        self.flaws, self._group = flaws, group
        self.role = Role.INIT
        self.held = self.config.hold
        self.synchronised = "never_synchronised" not in flaws
        self.following: bytes | None = None
        self.unprotected = 0
        self.store: dict[bytes, Held] = {}
        self.deleted: dict[bytes, int] = {}
        self._heard: dict[bytes, tuple[int, int]] = {}
        self._active_heard = 0
        self._next_hello = 0
        self._sequence = 1
        self._now = 0
        group.members[:] = [m for m in group.members if m.config.identity != self.identity]
        group.members.append(self)

    @property
    def identity(self) -> bytes:
        return self.config.identity

    @property
    def position(self) -> SyncPosition:
        return SyncPosition(1, len(self.store))

    def digest(self) -> tuple[int, int]:
        extra = 1 if "digest_differs" in self.flaws and self.role is Role.STANDBY else 0
        return len(self.store), hash(tuple(sorted(self.store.items()))) + extra

    def holds(self, home_address: bytes) -> Held | None:
        return self.store.get(home_address)

    def buried(self, home_address: bytes) -> int | None:
        return self.deleted.get(home_address)

    def restore(self, group: int, records: Iterable[bytes]) -> None:
        for record in records:
            self.store[record[:16]] = Held(record[16:32], int.from_bytes(record[32:]))

    @property
    def deadline(self) -> int | None:
        if "no_timer" in self.flaws and self.role is Role.STANDBY:
            return None
        if "spins" in self.flaws and self.role is Role.ACTIVE:
            return self._now
        return min(self._next_hello, max(self._takeover_at, self._now + 1))

    def start(self, now: int) -> list[fx.Effect]:
        self._now = self._active_heard = now
        if "sticks_in_claiming" in self.flaws:
            return [*self._turn(Role.CLAIMING, "start"), *self._hello(now)]
        return [*self._turn(Role.STANDBY, "start"), *self._hello(now)]

    def expire(self, now: int) -> list[fx.Effect]:
        self._now = now
        effects: list[fx.Effect] = []
        quorum = self._others(now) + 1 >= self.config.quorum
        if self.role is Role.ACTIVE and not quorum and "ignores_quorum" not in self.flaws:
            effects += self._turn(Role.STANDBY, "below quorum")
        if self.role is not Role.ACTIVE and now >= self._takeover_at and self._may(quorum):
            effects += self._turn(Role.ACTIVE, RoleReason.TAKEOVER)
        if now >= self._next_hello:
            effects += self._hello(now)
        return effects

    def receive(self, event: ev.Event, now: int) -> list[fx.Effect]:
        self._now = now
        match event:
            case ev.PacketReceived():
                return self._packet(event, now)
            case ev.CommandGiven(command=ev.Command.HOLD):
                self.held = True
            case ev.CommandGiven(command=ev.Command.RELEASE):
                self.held = False
            case ev.CommandGiven(command=ev.Command.RESYNC) if "sweeps_all" in self.flaws:
                for member in self._group.members:
                    member.store.clear()
            case ev.Fenced(fenced=True) if self.role is Role.ACTIVE:
                return self._turn(Role.STANDBY, "fenced")
            case ev.StopRequested():
                return self._goodbye()
            case _:
                return []
        if "ignores_commands" in self.flaws:
            return []
        return [fx.CommandAnswered(event.group, event.token, ())]

    # Inside

    def _others(self, now: int) -> int:
        return sum(now - at <= self.config.detection_us for at, _ in self._heard.values())

    def _may(self, quorum: bool) -> bool:
        if "never_takes_over" in self.flaws or self.config.me.witness:
            return False
        if self.held and "ignores_hold" not in self.flaws:
            return False
        return quorum or "ignores_quorum" in self.flaws

    @property
    def _takeover_at(self) -> int:
        if self.role is Role.ACTIVE or not self._may(True):
            return self._now + self.config.hello_interval_us
        me = (self.config.preference, self.identity)
        up = [
            (p, a)
            for a, (at, p) in self._heard.items()
            if p and self._now - at <= self.config.detection_us
        ]
        rank = 0 if "skips_ranks" in self.flaws else sum(other > me for other in up)
        return self._active_heard + self.config.detection_us + rank * self.config.skew_us

    def _turn(self, role: Role, reason: str) -> list[fx.Effect]:
        old, self.role = self.role, role
        effects: list[fx.Effect] = [fx.StateChanged(self.config.group, old, role, reason)]
        serving = role is Role.ACTIVE and "never_serves" not in self.flaws
        address = self.config.virtual_address
        effects.append(fx.SetServing(self.config.group, serving, address))
        announced = 2_000 if "floods_neighbors" in self.flaws else 1
        if serving:
            effects += [fx.AnnounceNeighbor(self.config.group, address, True)] * announced
            effects += self._hello(self._now)
        return effects

    def _hello(self, now: int) -> list[fx.Effect]:
        self._next_hello = now + self.config.hello_interval_us
        if "hello_storm" in self.flaws and self.role is Role.ACTIVE:
            self._next_hello = now + 5_000
        return [self._say(self.config.lifetime_s)]

    def _goodbye(self) -> list[fx.Effect]:
        return [*self._turn(Role.STANDBY, "stop"), self._say(0)]

    def _say(self, lifetime_s: int) -> fx.SendPacket:
        self._sequence = next_harp_sequence(self._sequence)
        flags = HarpFlag.A if self.role is Role.ACTIVE and lifetime_s else HarpFlag(0)
        preference = 0 if self.held or self.config.me.witness else self.config.preference
        hello = Harp(
            HarpType.HELLO,
            self.config.group,
            self._sequence,
            flags=flags,
            preference=preference,
            lifetime_s=lifetime_s,
            interval_ms=self.config.hello_interval_ms,
        )
        payload = DEFAULT_CODEC.build(self.identity, MULTICAST, hello)
        return fx.SendPacket(self.identity, MULTICAST, payload, self.config.links[0].name)

    def _request(self, peer: bytes) -> fx.SendPacket:
        claim = Harp(HarpType.SO_REQ, self.config.group, 9)
        payload = DEFAULT_CODEC.build(self.identity, peer, claim)
        return fx.SendPacket(self.identity, peer, payload, self.config.links[0].name)

    def _packet(self, event: ev.PacketReceived, now: int) -> list[fx.Effect]:
        if "drops_good" in self.flaws:
            return [fx.Dropped(fx.Reason.BAD_OPTION, event.source)]
        if "raises" in self.flaws:
            raise ValueError("an engine never raises")
        message = DEFAULT_CODEC.parse(event.source, event.destination, event.payload)
        match message:
            case Harp(type=HarpType.HELLO):
                return self._heard_hello(event.source, message, now)
            case BindingUpdate() if self.role is Role.ACTIVE:
                return self._update(event, message)
            case _:
                return []

    def _heard_hello(self, peer: bytes, hello: Harp, now: int) -> list[fx.Effect]:
        if hello.lifetime_s == 0:
            self._heard.pop(peer, None)
            if peer == self.following:
                self._active_heard = now - self.config.detection_us
            return []
        self._heard[peer] = (now, hello.preference)
        effects: list[fx.Effect] = []
        if "asks_for_ever" in self.flaws:
            effects.append(self._request(peer))
        if "asks_slowly_for_ever" in self.flaws and hello.sequence % 5 == 0:
            effects.append(self._request(peer))
        if "leaks_parts" in self.flaws:
            effects.append(fx.HelloWanted(fx.HelloKind.PLAIN))
        if hello.flags & HarpFlag.A:
            self._active_heard, self.following = now, peer
            mine = (self.config.preference, self.identity)
            stays = "never_withdraws" in self.flaws
            if self.role is Role.ACTIVE and (hello.preference, peer) > mine and not stays:
                effects += self._turn(Role.STANDBY, "two actives")
            if self.role is Role.STANDBY:
                self._copy_from(peer)
        return effects

    def _copy_from(self, peer: bytes) -> None:
        if "copies_nothing" not in self.flaws:
            for member in self._group.members:
                if member.identity == peer:
                    self.store.update(member.store)

    def _update(self, event: ev.PacketReceived, update: BindingUpdate) -> list[fx.Effect]:
        if "never_answers" in self.flaws:
            return []
        held = self.store.get(event.source)
        if held is not None and not newer16(update.sequence, held.sequence):
            return []
        others = [m for m in self._group.members if m is not self]
        if "acknowledges_early" in self.flaws:
            others = []
        for member in [self, *others]:
            self._put(member, event, update)
        if "counts_unprotected" in self.flaws or not others:
            self.unprotected += "counts_unprotected" in self.flaws
        answer = BindingAcknowledgement(0, update.sequence, update.lifetime_s)
        address = self.config.virtual_address
        payload = DEFAULT_CODEC.build(address, event.source, answer)
        assert payload[2] == MhType.BINDING_ACKNOWLEDGEMENT
        return [fx.SendPacket(address, event.source, payload, via=event.care_of)]

    def _put(self, member: FakeEngine, event: ev.PacketReceived, update: BindingUpdate) -> None:
        if update.lifetime_s and not ("loses" in self.flaws and update.sequence % 4 == 0):
            member.store[event.source] = Held(event.care_of, update.sequence)
        else:
            member.deleted[event.source] = update.sequence
            if "undead" not in self.flaws:
                member.store.pop(event.source, None)


class FakeMaker:
    """A `Maker` whose engines have these flaws; one scenario at a time."""

    def __init__(self, *flaws: str) -> None:
        self._flaws = frozenset(flaws)
        self._group = Group()

    def __call__(self, config: EngineConfig, rng: Random, clock_offset_us: int):
        if self._group.members and self._group.members[0].config.members != (
            config.groups[0].members
        ):
            self._group = Group()
        engine = FakeEngine(config, self._flaws, self._group)
        return engine, engine


fake_maker = FakeMaker
