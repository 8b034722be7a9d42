"""How large and how fast the binding store is, and the home agent over it.

Ref: harp.md §6, §10. Rates are of this machine; memory is measured in processes of their own.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from pathlib import Path
from random import Random

from harp.engine.config import (
    Durability,
    EngineConfig,
    GroupConfig,
    HomeAgentConfig,
    LinkConfig,
    MemberConfig,
    Prefix,
    SyncConfig,
)
from harp.engine.effects import SendPacket, SubmitChanges
from harp.engine.engine import Engine
from harp.engine.entries import Change
from harp.engine.events import PacketReceived
from harp.engine.home_agent import HomeAgent
from harp.engine.store import BindingStore
from harp.tables.constants import US_PER_S
from harp.tables.mh import BuFlag, MhType
from harp.wire.codec import DEFAULT_CODEC
from harp.wire.messages import BindingCache, BindingIdentifier, BindingUpdate, SyncPosition

MILLION = 1_000_000
HOME_PREFIX = bytes.fromhex("20010db800000000")
CARE_OF_PREFIX = bytes.fromhex("20010db8000f0000")
VIRTUAL = HOME_PREFIX + bytes(7) + b"\x01"
FLAGS = BuFlag.ACKNOWLEDGE.value | BuFlag.HOME_REGISTRATION.value
LIFETIME_S = 3600
SPREAD_S = 3000
"""Ends of bindings lie this far apart: as many wheel buckets are in use."""
START_US = 1_000 * US_PER_S
CONFIG = GroupConfig(
    group=1,
    links=(LinkConfig("net0"),),
    members=(
        MemberConfig("a", (HOME_PREFIX + bytes(7) + b"\x0a",)),
        MemberConfig("b", (HOME_PREFIX + bytes(7) + b"\x0b",)),
    ),
    self_index=0,
    virtual_address=VIRTUAL,
    home_prefixes=(Prefix(HOME_PREFIX + bytes(8), 64),),
    sync=SyncConfig(durability=Durability.LOCAL),
    home_agent=HomeAgentConfig(dad=False, max_bindings=2 * MILLION),
)


def home(number: int) -> bytes:
    """Home address of a mobile node."""
    return HOME_PREFIX + (number + 4096).to_bytes(8)


def care_of(number: int) -> bytes:
    """Care-of address of a mobile node."""
    return CARE_OF_PREFIX + (number + 1).to_bytes(8)


def changes(bindings: int, sequence: int = 1, bids: int = 0) -> Iterator[Change]:
    """Registrations of as many mobile nodes; with `bids` each has so many care-of addresses."""
    for number in range(bindings):
        node, bid = (number // bids, number % bids + 1) if bids else (number, 0)
        lifetime_s = LIFETIME_S - 4 * (number * 2_654_435_761 % (SPREAD_S // 4))
        cache = BindingCache(home(node), care_of(number), FLAGS, sequence, lifetime_s)
        yield cache, ((BindingIdentifier(bid),) if bid else ())


def filled(bindings: int, bids: int = 0) -> BindingStore:
    """A store with as many bindings, put in one by one as the log does."""
    store = BindingStore(refresh_margin_us=30 * US_PER_S)
    position = 0
    for position, change in enumerate(changes(bindings, bids=bids), 1):
        store.apply(change, SyncPosition(1, position), START_US)
    assert len(store) == bindings
    return store


# Memory


def memory(bindings: int = MILLION) -> dict[str, int | float]:
    """Octets of process memory (RSS) a binding, in fresh processes: what each kind of filling adds
    to an interpreter that has loaded the same code."""
    empty = _fresh(0, "plain")
    plain, tombstones, bids = (_fresh(bindings, how) for how in ("plain", "tombstones", "bids"))
    return {
        "bindings": bindings,
        "empty_process_octets": empty["rss_octets"],
        "process_octets": plain["rss_octets"],
        "octets_per_binding": round(plain["rss_octets"] / bindings, 1),
        "octets_per_binding_without_interpreter": round(
            (plain["rss_octets"] - empty["rss_octets"]) / bindings, 1
        ),
        "peak_octets_per_binding": round(plain["peak_octets"] / bindings, 1),
        "octets_per_tombstone": round(tombstones["rss_octets"] / bindings, 1),
        "octets_per_binding_with_bid": round(bids["rss_octets"] / bindings, 1),
    }


def _fresh(bindings: int, how: str) -> dict[str, int]:
    command = [sys.executable, "-m", __spec__.name, "--fill", str(bindings), "--how", how]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    sizes: dict[str, int] = json.loads(done.stdout)
    return sizes


def _fill_and_weigh(bindings: int, how: str) -> dict[str, int]:
    store = filled(bindings, bids=4 if how == "bids" else 0)
    if how == "tombstones":
        for number in range(bindings):
            gone = BindingCache(home(number), care_of(number), FLAGS, 2, 0)
            store.apply((gone, ()), SyncPosition(2, number), START_US)
        assert store.tombstones == bindings
    sizes = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return {
        "rss_octets": 1024 * int(sizes["VmRSS"].split()[0]),
        "peak_octets": 1024 * int(sizes["VmHWM"].split()[0]),
    }


# Rates


def _rate(call: Callable[[], object], operations: int) -> int:
    """Operations a second of this process's CPU time."""
    begin = time.process_time()
    call()
    return round(operations / (time.process_time() - begin))


def store_rates(bindings: int = MILLION) -> dict[str, int | float]:
    """Look-ups, updates and streams of a store that holds as many bindings."""
    store, rng, some = filled(bindings), Random(1), min(bindings, 200_000)
    wanted = [home(rng.randrange(bindings)) for _ in range(some)]
    refreshes = list(changes(some, sequence=2))

    def look_up() -> None:
        for address in wanted:
            store.get(address)

    def update() -> None:
        for position, change in enumerate(refreshes):
            store.apply(change, SyncPosition(2, position), START_US + US_PER_S)

    return {
        "bindings": bindings,
        "lookups_per_s": _rate(look_up, some),
        "updates_per_s": _rate(update, some),
    }


def expiry(bindings: int = MILLION, over: int = 100_000) -> dict[str, int | float]:
    """`over` bindings that end together in a store of `bindings`: home agent, store, log."""
    store = BindingStore()
    at = SyncPosition(1, 1)
    short = ((BindingCache(home(n), care_of(n), FLAGS, 1, 4), ()) for n in range(over))
    rest = changes(bindings - over)
    for cache, options in chain(short, ((_moved(c, over), o) for c, o in rest)):
        store.apply((cache, options), at, START_US)
    agent = HomeAgent(CONFIG, store, Random(1), lambda: at)
    agent.activate(START_US)
    now, longest, ended = START_US + 4 * US_PER_S, 0.0, 0
    begin = time.process_time()
    while agent.deadline is not None and agent.deadline <= now:
        step = time.process_time()
        for effect in agent.expire(now):
            ended += len(effect.changes) if isinstance(effect, SubmitChanges) else 0
        longest = max(longest, time.process_time() - step)
    seconds = time.process_time() - begin
    assert ended == over and len(store) == bindings - over
    return {
        "bindings": bindings,
        "expired": over,
        "seconds": round(seconds, 3),
        "expired_per_s": round(over / seconds),
        "longest_batch_ms": round(1000 * longest, 2),
    }


def _moved(cache: BindingCache, by: int) -> BindingCache:
    number = int.from_bytes(cache.home_address[8:]) - 4096 + by
    return BindingCache(home(number), care_of(number), FLAGS, 1, cache.lifetime_s)


# Binding Updates


def _packets(nodes: int, sequence: int) -> list[PacketReceived]:
    """A Binding Update of each mobile node, as it comes from the socket."""
    return [
        PacketReceived(
            home(n),
            VIRTUAL,
            DEFAULT_CODEC.build(home(n), VIRTUAL, BindingUpdate(sequence, FLAGS, LIFETIME_S)),
            care_of=care_of(n),
        )
        for n in range(nodes)
    ]


def binding_updates(nodes: int = 50_000) -> dict[str, int | float]:
    """Binding Updates a second on one core: octets in, Binding Acknowledgement octets out."""
    first, second = _packets(nodes, 1), _packets(nodes, 2)
    agent = _HomeAgentAlone()
    engine = _WholeEngine()
    return {
        "mobile_nodes": nodes,
        "home_agent_registrations_per_s": _rate(lambda: agent.serve(first), nodes),
        "home_agent_refreshes_per_s": _rate(lambda: agent.serve(second), nodes),
        "engine_registrations_per_s": _rate(lambda: engine.serve(first), nodes),
        "engine_refreshes_per_s": _rate(lambda: engine.serve(second), nodes),
    }


class _HomeAgentAlone:
    """Codec, home agent and store; the log takes everything at once."""

    def __init__(self) -> None:
        self.store = BindingStore(refresh_margin_us=30 * US_PER_S)
        self.agent = HomeAgent(CONFIG, self.store, Random(1), lambda: SyncPosition(1, 1))
        self.agent.activate(START_US)

    def serve(self, packets: Iterable[PacketReceived]) -> None:
        """Every packet is answered."""
        answered = asked = 0
        for packet in packets:
            asked += 1
            message = DEFAULT_CODEC.parse(packet.source, packet.destination, packet.payload)
            assert isinstance(message, BindingUpdate)
            effects = self.agent.receive_binding_update(
                packet.source, packet.destination, packet.care_of, message, packet.payload, START_US
            )
            submitted = effects[-1]
            assert isinstance(submitted, SubmitChanges) and submitted.token is not None
            answered += len(self.agent.durable(submitted.token, True, START_US))
        assert answered == asked


class _WholeEngine:
    """An engine whose only group is active, durability local."""

    def __init__(self) -> None:
        self.engine = Engine(EngineConfig((CONFIG,)), Random(1), 0)
        self.now = START_US
        self.engine.start(self.now)
        for _ in range(100):
            deadline = self.engine.deadline
            assert deadline is not None
            self.now = max(self.now, deadline)
            self.engine.expire(self.now)
            if self.engine.groups[CONFIG.group].sync.leading:
                break
        assert self.engine.groups[CONFIG.group].sync.leading, "the group has no active"

    def serve(self, packets: Iterable[PacketReceived], batch: int = 64) -> None:
        """Packets of a wake-up first, then what is due: as the daemon does."""
        answered = asked = 0
        for packet in packets:
            asked += 1
            effects = self.engine.receive(packet, self.now)
            if asked % batch == 0:
                self.now += 1000
                effects += self.engine.expire(self.now)
            answered += sum(
                isinstance(e, SendPacket) and e.payload[2] == MhType.BINDING_ACKNOWLEDGEMENT
                for e in effects
            )
        assert answered == asked, (answered, asked)


def bench_store() -> dict[str, int | float]:
    """All figures, each with the name of its part before it."""
    parts: dict[str, Callable[[], dict[str, int | float]]] = {
        "memory": memory,
        "store": store_rates,
        "expiry": expiry,
        "updates": binding_updates,
    }
    return {f"{part}_{name}": value for part, run in parts.items() for name, value in run().items()}


def main() -> None:
    """`--fill`: what `memory` runs in a process of its own; else all figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--fill", type=int, help="bindings to put into a store, then weigh it")
    parser.add_argument("--how", default="plain", choices=("plain", "tombstones", "bids"))
    arguments = parser.parse_args()
    figures: object = (
        bench_store() if arguments.fill is None else _fill_and_weigh(arguments.fill, arguments.how)
    )
    sys.stdout.write(json.dumps(figures, indent=None if arguments.fill is not None else 2) + "\n")


if __name__ == "__main__":
    main()
