"""Whole engines wired back to back: no loss, 500 µs on the way, one clock; cuts by hand.

Also short ways to configurations, HELLOs and peers for the tests of single parts.
"""

from __future__ import annotations

import heapq
from dataclasses import replace
from random import Random
from typing import Any, TypeVar

from harp.engine import effects as fx
from harp.engine import events as ev
from harp.engine.config import (
    EngineConfig,
    GroupConfig,
    HomeAgentConfig,
    LinkConfig,
    MemberConfig,
    Prefix,
    Protection,
    Security,
)
from harp.engine.engine import Engine
from harp.engine.group import Group
from harp.tables.harp_types import HarpFlag, HarpType
from harp.tables.mh import BuFlag
from harp.wire.codec import DEFAULT_CODEC
from harp.wire.messages import BindingAcknowledgement, BindingUpdate, Harp, Options

MS = 1_000
S = 1_000_000
WAY_US = 500
UNIX_US = 1_800_000_000 * S
GROUP = 7
MULTICAST = bytes.fromhex("ff020000000000000000000000000114")
HOME_PREFIX = Prefix(bytes.fromhex("20010db8000000010000000000000000"), 64)
VIRTUAL = HOME_PREFIX.address[:8] + bytes(6) + b"\xff\xff"
E = TypeVar("E")


def address(member: int, link: int = 0) -> bytes:
    """A member's address on a link; on the first it is the identity."""
    return HOME_PREFIX.address[:8] + bytes(5) + bytes((link, 1, member))


def home(number: int) -> bytes:
    """A home address."""
    return HOME_PREFIX.address[:8] + bytes(4) + b"\x02" + number.to_bytes(3)


def care_of(number: int) -> bytes:
    """A care-of address."""
    return bytes.fromhex("20010db8ffff0000") + number.to_bytes(8)


def config(
    me: int = 0, members: int = 3, links: int | tuple[LinkConfig, ...] = 1, **changes: Any
) -> GroupConfig:
    """Member `me` of some: the higher its number the higher its preference; no DAD."""
    if not isinstance(links, int):
        changes["links"], links = links, 1
    base = GroupConfig(
        group=GROUP,
        links=tuple(LinkConfig(f"eth{i}") for i in range(links)),
        members=tuple(
            MemberConfig(chr(ord("a") + m), tuple(address(m, i) for i in range(links)))
            for m in range(members)
        ),
        self_index=me,
        preference=100 + me,
        virtual_address=VIRTUAL,
        home_prefixes=(HOME_PREFIX,),
        home_agent=HomeAgentConfig(dad=False),
        protection=Protection(Security.NONE, insecure=True),
    )
    return replace(base, **changes)


def hello(
    sequence: int = 1,
    flags: int = 0,
    preference: int = 100,
    lifetime_s: int = 9,
    interval_ms: int = 1000,
    options: Options = (),
) -> Harp:
    """A HELLO as a peer might send it."""
    return Harp(
        HarpType.HELLO,
        GROUP,
        sequence,
        flags=flags,
        preference=preference,
        lifetime_s=lifetime_s,
        interval_ms=interval_ms,
        options=options,
    )


def packet(
    message: Harp, source: bytes, destination: bytes = MULTICAST, **more: Any
) -> ev.PacketReceived:
    """A message on the wire, unprotected."""
    payload = DEFAULT_CODEC.build(source, destination, message)
    return ev.PacketReceived(source, destination, payload, **more)


def of(kind: type[E], effects: list[Any]) -> list[E]:
    """Those of a kind."""
    return [effect for effect in effects if isinstance(effect, kind)]


def sent(effects: list[Any], kind: HarpType | None = None) -> list[Harp]:
    """HARP messages that leave, of one Type or of any."""
    found = []
    for effect in of(fx.SendPacket, effects):
        message = DEFAULT_CODEC.parse(effect.source, effect.destination, effect.payload)
        if isinstance(message, Harp) and kind in (None, message.type):
            found.append(message)
    return found


class Net:
    """Engines on one link or several."""

    def __init__(self, count: int = 3, seed: int = 1, **changes: Any) -> None:
        self.now = 0
        self.configs = [config(m, count, **changes) for m in range(count)]
        self.engines: list[Engine | None] = [None] * count
        self.seen: list[tuple[int, int, fx.Effect]] = []
        """(when, member, effect) of all but packets and journal records."""
        self.answers: list[BindingAcknowledgement] = []
        """What mobile nodes got."""
        self.tokens: list[int] = []
        """Journal records that somebody waits for: not told to be on disk by themselves."""
        self.cut: set[tuple[int, int]] = set()
        """(from, to): nothing passes."""
        self.tap: list[ev.PacketReceived] = []
        """Every packet between members, as it left."""
        self.journals: list[list[bytes]] = [[] for _ in range(count)]
        self._seed = seed
        self._heap: list[tuple[int, int, int, ev.PacketReceived]] = []
        self._order = 0
        for member in range(count):
            self.boot(member)

    def boot(self, member: int) -> None:
        """Starts a member with what its journal kept."""
        self._seed += 1
        engine = Engine(EngineConfig((self.configs[member],)), Random(self._seed), UNIX_US)
        self.engines[member] = engine
        engine.restore(GROUP, self.journals[member])
        self.carry_out(member, engine.start(self.now))

    def crash(self, member: int) -> None:
        """It is gone without a word."""
        self.engines[member] = None

    def engine(self, member: int) -> Engine:
        """A running engine."""
        engine = self.engines[member]
        assert engine is not None
        return engine

    def group(self, member: int) -> Group:
        """Its group."""
        return self.engine(member).groups[GROUP]

    @property
    def roles(self) -> list[fx.Role | None]:
        """Of all members; None: not running."""
        return [e.groups[GROUP].role if e else None for e in self.engines]

    def tell(self, member: int, event: ev.Event) -> list[fx.Effect]:
        """Gives an event to a member, carries out what it wants."""
        effects = self.engine(member).receive(event, self.now)
        self.carry_out(member, effects)
        return effects

    def order(self, member: int, command: ev.Command, **more: Any) -> None:
        """An operator's command; its token is the number of the member."""
        self.tell(member, ev.CommandGiven(GROUP, command, member, **more))

    def register(self, member: int, number: int, sequence: int, lifetime_s: int = 600) -> None:
        """A Binding Update of a mobile node to a member."""
        flags = int(BuFlag.ACKNOWLEDGE | BuFlag.HOME_REGISTRATION)
        update = BindingUpdate(sequence, flags, lifetime_s)
        to = self.group(member).home_agent.address
        payload = DEFAULT_CODEC.build(home(number), to, update)
        event = ev.PacketReceived(home(number), to, payload, care_of=care_of(number))
        self.tell(member, event)

    def carry_out(self, member: int, effects: list[fx.Effect]) -> None:
        """Sends packets, keeps the journal, notes the rest."""
        for effect in effects:
            if isinstance(effect, fx.SendPacket):
                self._send(member, effect)
            elif isinstance(effect, fx.WriteJournal):
                self.journals[member].append(effect.record)
                if effect.token is not None:
                    self.tokens.append(effect.token)
            else:
                self.seen.append((self.now, member, effect))

    def _send(self, member: int, effect: fx.SendPacket) -> None:
        if not effect.via:
            self.tap.append(ev.PacketReceived(effect.source, effect.destination, effect.payload))
        for other in range(len(self.engines)):
            mine = effect.destination in self.configs[other].me.addresses
            if other == member or not (mine or effect.destination[0] == 0xFF):
                continue
            if (member, other) not in self.cut:
                event = ev.PacketReceived(
                    effect.source, effect.destination, effect.payload, link=effect.link
                )
                self._order += 1
                heapq.heappush(self._heap, (self.now + WAY_US, self._order, other, event))
        if effect.via:
            message = DEFAULT_CODEC.parse(effect.source, effect.destination, effect.payload)
            if isinstance(message, BindingAcknowledgement):
                self.answers.append(message)

    def run(self, microseconds: int) -> list[tuple[int, int, fx.Effect]]:
        """Lets time pass; what was seen in it."""
        until, begin = self.now + microseconds, len(self.seen)
        while True:
            due = [
                (engine.deadline, member)
                for member, engine in enumerate(self.engines)
                if engine is not None and engine.deadline is not None
            ]
            first, member = min(due, default=(until + 1, 0))
            if self._heap and self._heap[0][0] <= min(first, until):
                self.now, _, to, event = heapq.heappop(self._heap)
                if self.engines[to] is not None:
                    self.carry_out(to, self.engine(to).receive(event, self.now))
            elif first <= until:
                self.now = max(self.now, first)
                self.carry_out(member, self.engine(member).expire(self.now))
            else:
                self.now = until
                return self.seen[begin:]

    def changes(self, member: int) -> list[tuple[str, str]]:
        """(state, reason) of every change of a member's role so far."""
        return [
            (effect.new.value, effect.reason)
            for _, who, effect in self.seen
            if who == member and isinstance(effect, fx.StateChanged)
        ]

    def answer(self, member: int) -> tuple[str, ...] | None:
        """Refusals of the last command of a member; None: not answered."""
        found = [
            effect.refusals
            for _, who, effect in self.seen
            if who == member and isinstance(effect, fx.CommandAnswered)
        ]
        return found[-1] if found else None


FLAG_A, FLAG_R, FLAG_S, FLAG_D = (
    int(flag) for flag in (HarpFlag.A, HarpFlag.R, HarpFlag.S, HarpFlag.D)
)
