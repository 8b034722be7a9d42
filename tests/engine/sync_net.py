"""Some `Sync`s back to back over a lossy network, with just as much of a group as they need.

HELLOs are real messages; a HELLO with A is followed, of two actives the one with the lower address
withdraws. Down is what `cut` and `crash` say. All octets pass the codec.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any

from harp.engine.config import (
    GroupConfig,
    LinkConfig,
    MemberConfig,
    Protection,
    Security,
    SyncConfig,
)
from harp.engine.effects import (
    ChangesDurable,
    Dropped,
    Effect,
    HelloKind,
    HelloWanted,
    SendHarp,
    WriteJournal,
)
from harp.engine.entries import Change
from harp.engine.store import BindingStore
from harp.engine.sync import Sync
from harp.tables.harp_types import HarpFlag, HarpType
from harp.wire.bulk import BulkCodec, BulkReply
from harp.wire.codec import DEFAULT_CODEC
from harp.wire.messages import BindingCache, BindingIdentifier, Harp
from harp.wire.sequence import newer16, next_harp_sequence

MS = 1_000
S = 1_000_000
BULK = BulkCodec(DEFAULT_CODEC)
PREFIX = bytes.fromhex("20010db800000001")


def address(number: int) -> bytes:
    """Identity of the member `number`."""
    return bytes.fromhex("20010db8") + bytes(11) + bytes((number + 1,))


def home(number: int) -> bytes:
    """A home address."""
    return PREFIX + number.to_bytes(8)


def care_of(number: int) -> bytes:
    """A care-of address."""
    return bytes.fromhex("20010db8ffff0000") + number.to_bytes(8)


def binding(
    number: int, sequence: int = 1, lifetime_s: int = 3600, flags: int = 0xC000, bid: int = 0
) -> Change:
    """A change of the binding cache; its care-of address follows the sequence."""
    cache = BindingCache(home(number), care_of(sequence), flags, sequence, lifetime_s)
    return cache, (BindingIdentifier(bid),) if bid else ()


def group(count: int, **sync: Any) -> GroupConfig:
    """The configuration of member 0."""
    members = tuple(MemberConfig(f"m{n}", (address(n),)) for n in range(count))
    return GroupConfig(
        group=7,
        links=(LinkConfig("core"),),
        members=members,
        self_index=0,
        virtual_address=bytes.fromhex("20010db8") + bytes(11) + b"\xff",
        protection=Protection(Security.NONE, insecure=True),
        sync=SyncConfig(**sync),
    )


@dataclass
class Node:
    """One member."""

    identity: bytes
    store: BindingStore
    sync: Sync
    alive: bool = True
    sequence: int = 0
    heard: dict[bytes, int] = field(default_factory=dict)
    durable: dict[int, bool] = field(default_factory=dict)
    journal: list[WriteJournal] = field(default_factory=list)
    dropped: list[Dropped] = field(default_factory=list)
    token: int = 0


class Net:
    """The members and what is between them; deterministic for a seed."""

    def __init__(
        self,
        count: int = 2,
        *,
        seed: int = 1,
        loss: float = 0,
        twice: float = 0,
        delay_us: tuple[int, int] = (100, 100),
        config: GroupConfig | None = None,
    ) -> None:
        self.rng = Random(seed)
        self.now = 1 * S
        self.loss, self.twice, self.delay_us = loss, twice, delay_us
        self.config = config or group(count)
        self.nodes = [self._node(n) for n in range(count)]
        self.cuts: set[tuple[int, int]] = set()
        self.sent: list[tuple[int, int, int, Harp]] = []
        """(time, from, to, message) of every message of synchronisation."""
        self.filter = lambda source, to, message: True
        """Whether a message passes; beside loss."""
        self._queue: list[tuple[int, int, int, int, bytes]] = []
        self._number = 0
        self._hello_at = self.now

    def _node(self, number: int) -> Node:
        store = BindingStore()
        sync = Sync(replace(self.config, self_index=number), store, Random(number))
        return Node(address(number), store, sync)

    def numbers(self) -> list[int]:
        """All that live."""
        return [n for n, node in enumerate(self.nodes) if node.alive]

    def start(self, active: int = 0) -> None:
        """All hear each other; `active` leads."""
        for me in self.numbers():
            for peer in self.numbers():
                if peer != me:
                    self.do(me, self.nodes[me].sync.peer_up(address(peer), self.now))
        self.lead(active)

    def lead(self, number: int) -> None:
        """A member becomes active and says so."""
        self.do(number, self.nodes[number].sync.lead(self.now))
        self.hello(number, HelloKind.PLAIN)

    def crash(self, number: int) -> None:
        """A member dies; the others find out at once."""
        self.nodes[number].alive = False
        for me in self.numbers():
            self._lost(me, number)

    def restart(self, number: int) -> None:
        """A member is back with nothing."""
        self.nodes[number] = self._node(number)
        for peer in self.numbers():
            if peer != number:
                self.do(peer, self.nodes[peer].sync.peer_restarted(address(number), self.now))
                self.do(peer, self.nodes[peer].sync.peer_up(address(number), self.now))
                self.do(number, self.nodes[number].sync.peer_up(address(peer), self.now))
        self.hello(number, HelloKind.FIRST)

    def cut(self, one: int, other: int) -> None:
        """Two members hear each other no more."""
        self.cuts |= {(one, other), (other, one)}
        self._lost(one, other)
        self._lost(other, one)

    def heal(self, one: int, other: int) -> None:
        """They hear each other again."""
        self.cuts -= {(one, other), (other, one)}
        self.do(one, self.nodes[one].sync.peer_up(address(other), self.now))
        self.do(other, self.nodes[other].sync.peer_up(address(one), self.now))
        self.hello(one, HelloKind.PLAIN)
        self.hello(other, HelloKind.PLAIN)

    def _lost(self, me: int, peer: int) -> None:
        node = self.nodes[me]
        self.do(me, node.sync.peer_down(address(peer), self.now))
        if node.sync._replica.following == address(peer):
            self.do(me, node.sync.follow(None, self.now))

    def register(self, number: int, *changes: Change) -> int:
        """A mobile node's binding changes at the active; the token that tells when it is safe."""
        node = self.nodes[number]
        assert node.sync.leading
        for change in changes:
            node.store.apply(change, node.sync.stamp, self.now)
        node.token += 1
        self.do(number, node.sync.submit(changes, node.token, self.now))
        return node.token

    # Effects

    def do(self, number: int, effects: list[Effect]) -> None:
        """Carries out effects."""
        node = self.nodes[number]
        for effect in effects:
            match effect:
                case SendHarp(peer, message, block):
                    to = peer[-1] - 1
                    self.sent.append((self.now, number, to, message))
                    octets = BULK.build(node.identity, peer, message, block)
                    assert len(octets) <= 1460, "1,500 less the IPv6 header"
                    if self.filter(number, to, message):
                        self._send(number, to, octets)
                case HelloWanted(kind=kind, peer=peer):
                    self.hello(number, kind, None if peer is None else peer[-1] - 1)
                case ChangesDurable(token, protected):
                    assert token not in node.durable
                    node.durable[token] = protected
                case WriteJournal():
                    node.journal.append(effect)
                case Dropped():
                    node.dropped.append(effect)
                case _:
                    pass

    def hello(self, number: int, kind: HelloKind, to: int | None = None) -> None:
        """Sends a HELLO to one or all."""
        node = self.nodes[number]
        node.sequence = next_harp_sequence(node.sequence)
        flags = (HarpFlag.A if node.sync.leading else 0) | (
            HarpFlag.S if node.sync.synchronised else 0
        )
        if kind in (HelloKind.ASK, HelloKind.FIRST):
            flags |= HarpFlag.R
        message = Harp(
            HarpType.HELLO,
            7,
            node.sequence,
            flags=flags,
            lifetime_s=9,
            options=node.sync.hello_options(kind, self.now),
        )
        for each in range(len(self.nodes)) if to is None else (to,):
            if each != number and self.filter(number, each, message):
                octets = BULK.build(node.identity, address(each), message, b"")
                self._send(number, each, octets)

    def _send(self, source: int, to: int, octets: bytes) -> None:
        copies = 1 + (self.rng.random() < self.twice)
        for _ in range(copies):
            if self.rng.random() >= self.loss:
                self._number += 1
                at = self.now + self.rng.randint(*self.delay_us)
                heapq.heappush(self._queue, (at, self._number, source, to, octets))

    # Time

    def run(self, us: int) -> None:
        """Lets time pass."""
        end = self.now + us
        while True:
            times = [self._hello_at]
            if self._queue:
                times.append(self._queue[0][0])
            for number in self.numbers():
                due = self.nodes[number].sync.deadline
                if due is not None:
                    times.append(max(due, self.now))
            now = min(times)
            if now > end:
                break
            self.now = max(self.now, now)
            self._step()
        self.now = end

    def _step(self) -> None:
        while self._queue and self._queue[0][0] <= self.now:
            _, _, source, to, octets = heapq.heappop(self._queue)
            if self.nodes[to].alive and (source, to) not in self.cuts:
                self._deliver(source, to, octets)
        if self._hello_at <= self.now:
            self._hello_at += 1 * S
            for number in self.numbers():
                self.hello(number, HelloKind.PLAIN)
        for number in self.numbers():
            sync = self.nodes[number].sync
            due = sync.deadline
            if due is not None and due <= self.now:
                self.do(number, sync.expire(self.now))
                after = sync.deadline
                assert after is None or after > self.now, "a timer that is never over"

    def _deliver(self, source: int, to: int, octets: bytes) -> None:
        peer, node = address(source), self.nodes[to]
        message = BULK.parse(peer, node.identity, octets)
        assert isinstance(message, Harp | BulkReply), message
        if isinstance(message, Harp) and message.type is HarpType.HELLO:
            self._heard(source, to, message)
        else:
            self.do(to, node.sync.receive(peer, message, self.now))

    def _heard(self, source: int, to: int, message: Harp) -> None:
        peer, node = address(source), self.nodes[to]
        last = node.heard.get(peer)
        restarted = self.nodes[source].sequence < (last or 0)
        if last is not None and not restarted and not newer16(message.sequence, last):
            return  # HELLO replay
        node.heard[peer] = message.sequence
        if message.flags & HarpFlag.A:
            if node.sync.leading and source > to:
                self.do(to, node.sync.stop_leading(self.now))
                self.hello(to, HelloKind.PLAIN)
            if not node.sync.leading:
                self.do(to, node.sync.follow(peer, self.now))
        self.do(to, node.sync.hello_heard(peer, message, self.now))
        if message.flags & HarpFlag.R:
            self.hello(to, HelloKind.ANSWER, source)

    # Judgement

    def same(self) -> bool:
        """Whether all that live hold the same bindings."""
        return len({self.nodes[n].store.digest for n in self.numbers()}) == 1
