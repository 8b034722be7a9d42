"""How fast state synchronisation is: full sync and log between two engines' parts in memory.

Ref: harp.md §6. Every message is built to octets and parsed again; nothing is lost on the way.
"""

from __future__ import annotations

import resource
import time
from collections import deque
from dataclasses import replace
from random import Random

from harp.engine.config import (
    Durability,
    GroupConfig,
    LinkConfig,
    MemberConfig,
    Protection,
    Security,
    SyncConfig,
)
from harp.engine.effects import ChangesDurable, Effect, HelloKind, HelloWanted, SendHarp
from harp.engine.entries import Change
from harp.engine.leader import BATCH_GAP_US
from harp.engine.store import BindingStore
from harp.engine.sync import Sync
from harp.tables.constants import US_PER_S
from harp.tables.harp_types import HarpFlag, HarpType
from harp.wire.bulk import BindingRecord, BulkCodec, BulkReply
from harp.wire.codec import DEFAULT_CODEC
from harp.wire.messages import BindingCache, Harp, SyncPosition

PREFIX = bytes.fromhex("20010db8000000010000000000")
CARE_OF = bytes.fromhex("20010db8ffff") + bytes(9) + b"\x01"
LIFETIMES_UNITS = range(300, 900)
MTU_OCTETS = 9000
"""No path in memory bounds a message: the 2,048 octets of a Mobility Header do."""
ETHERNET_OCTETS = 1500
"""Path MTU of an Ethernet: 29 plain bindings a message instead of 41."""
MEMBERS = (
    MemberConfig("a", (bytes.fromhex("20010db8") + bytes(11) + b"\x0a",)),
    MemberConfig("b", (bytes.fromhex("20010db8") + bytes(11) + b"\x0b",)),
)
CONFIG = GroupConfig(
    group=1,
    links=(LinkConfig("core"),),
    members=MEMBERS,
    self_index=0,
    virtual_address=bytes.fromhex("20010db8") + bytes(11) + b"\x01",
    protection=Protection(Security.NONE, insecure=True),
    sync=SyncConfig(durability=Durability.STANDBY, mtu_octets=MTU_OCTETS),
)


def home(number: int) -> bytes:
    """The home address of a mobile node, up to 2^24 of them."""
    return PREFIX + number.to_bytes(3)


class Pair:
    """An active and a standby joined by octets. Time stands still but for what is added."""

    def __init__(self, bindings: int, mtu_octets: int = MTU_OCTETS) -> None:
        config = replace(CONFIG, sync=replace(CONFIG.sync, mtu_octets=mtu_octets))
        self.now = US_PER_S
        self.bulk = BulkCodec(DEFAULT_CODEC)
        self.stores = [BindingStore(), BindingStore()]
        records = (
            BindingRecord(home(number), CARE_OF, 0xC000, 1, LIFETIMES_UNITS[number % 600])
            for number in range(bindings)
        )
        self.stores[0].apply_records(records, SyncPosition(1, 0), self.now)
        self.ends = [
            Sync(replace(config, self_index=index), store, Random(index))
            for index, store in enumerate(self.stores)
        ]
        self.messages = 0
        self.octets = 0
        self.durable = 0
        self._queue: deque[tuple[int, bytes]] = deque()

    def do(self, index: int, effects: list[Effect]) -> None:
        """Carries out what one end wants; HELLOs go straight across."""
        me, other = MEMBERS[index].identity, MEMBERS[1 - index].identity
        for effect in effects:
            if type(effect) is SendHarp:
                octets = self.bulk.build(me, other, effect.message, effect.block)
                self._queue.append((1 - index, octets))
            elif type(effect) is HelloWanted:
                self._hello(index, effect.kind)
            elif type(effect) is ChangesDurable:
                self.durable += effect.protected

    def _hello(self, index: int, kind: HelloKind) -> None:
        end, other = self.ends[index], self.ends[1 - index]
        flags = (HarpFlag.A if end.leading else 0) | (HarpFlag.S if end.synchronised else 0)
        message = Harp(HarpType.HELLO, 1, 1, flags=flags, options=end.hello_options(kind, self.now))
        self.do(1 - index, other.hello_heard(MEMBERS[index].identity, message, self.now))
        if kind is HelloKind.ASK:
            self._hello(1 - index, HelloKind.ANSWER)

    def run(self) -> None:
        """Delivers until nothing is on its way."""
        while self._queue:
            index, octets = self._queue.popleft()
            self.messages += 1
            self.octets += len(octets)
            peer = MEMBERS[1 - index].identity
            message = self.bulk.parse(peer, MEMBERS[index].identity, octets)
            assert isinstance(message, Harp | BulkReply), message
            self.do(index, self.ends[index].receive(peer, message, self.now))

    def start(self) -> None:
        """The first leads, the second follows it and asks for everything."""
        for index, end in enumerate(self.ends):
            self.do(index, end.peer_up(MEMBERS[1 - index].identity, self.now))
        self.do(0, self.ends[0].lead(self.now))
        self.do(1, self.ends[1].follow(MEMBERS[0].identity, self.now))
        self.run()
        self.now += US_PER_S
        for index, end in enumerate(self.ends):
            self.do(index, end.expire(self.now))
        self.run()


def bench_sync(bindings: int = 1_000_000, updates: int = 100_000) -> dict[str, float]:
    """Figures of a full sync of `bindings` and of `updates` Binding Updates through the log."""
    ethernet = full_sync(bindings, ETHERNET_OCTETS)
    return {
        **full_sync(bindings),
        **{f"mtu_1500_{name}": value for name, value in ethernet.items()},
        **log_path(updates),
    }


def log_path(updates: int, burst: int = 64, homes: int = 50_000) -> dict[str, float]:
    """Binding Updates that arrive in bursts: into the store, through the log to the standby and
    into its store, acknowledged, and told durable; both members on one core."""
    pair = Pair(homes)
    pair.start()
    active, store = pair.ends[0], pair.stores[0]
    messages = pair.messages
    began = time.perf_counter()
    for token in range(1, updates + 1):
        cache = BindingCache(home(token % homes), CARE_OF, 0xC000, token & 0xFFFF, 3600)
        changes: tuple[Change, ...] = ((cache, ()),)
        store.apply(changes[0], active.stamp, pair.now)
        pair.do(0, active.submit(changes, token, pair.now))
        if token % burst == 0:
            pair.now += BATCH_GAP_US  # as soon as the last batch of the burst may leave
            pair.do(0, active.expire(pair.now))
            pair.run()
    seconds = time.perf_counter() - began
    assert pair.durable == updates // burst * burst, "a standby acknowledged every one"
    return {
        "log_updates": updates,
        "log_seconds": round(seconds, 3),
        "log_updates_per_second": round(updates / seconds),
        "log_messages": pair.messages - messages,
    }


def full_sync(bindings: int = 1_000_000, mtu_octets: int = MTU_OCTETS) -> dict[str, float]:
    """A standby that knows nothing takes everything from the active."""
    pair = Pair(bindings, mtu_octets)
    began, cpu = time.perf_counter(), time.process_time()
    pair.start()
    seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
    assert pair.ends[1].synchronised
    assert pair.stores[0].digest == pair.stores[1].digest
    peak_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {
        "full_sync_bindings": bindings,
        "full_sync_seconds": round(seconds, 3),
        "full_sync_cpu_seconds": round(cpu, 3),
        "full_sync_bindings_per_second": round(bindings / seconds),
        "full_sync_messages": pair.messages,
        "full_sync_octets": pair.octets,
        "full_sync_peak_mebibytes": round(peak_kib / 1024),
    }
