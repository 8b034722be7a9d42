"""The peer table against a list of keys: random tables, frames that differ in one thing."""

import random
from collections import Counter
from typing import Any, NamedTuple

from amaranth.sim import Simulator
from tests.gateware.keys import WithKeys

from harp.tables.registers import BY_NAME
from harp_gateware.peer_table import PeerTable

WORD_MASK = 0xFFFF_FFFF
PEER = BY_NAME["peer"]
FIXED_WORDS = 5
ASK_CLOCKS = 3
"""From the word that begins a Mobility Header to `i`."""
ALONE_CLOCKS, CROWDED_CLOCKS = 300, 1500
Key = dict[str, int]


class Frame(NamedTuple):
    """An IPv6 frame with `chain` words before its Mobility Header and `rest` behind its first."""

    source: int
    group: int
    vlan: int
    chain: int
    rest: int


def match(keys: list[Key], frame: Frame) -> tuple[bool, int, bool]:
    enabled = [(n, key) for n, key in enumerate(keys) if key["enable"]]
    known = any(key["address"] == frame.source for _, key in enabled)
    for index, key in enabled:
        judged = key["mode"] or not key["authenticate"]
        if key["address"] == frame.source and key["group"] == frame.group and judged:
            if key["any_vlan"] or key["vlan"] == frame.vlan:
                return True, index, known
    return False, 0, known


def some_keys(rng: random.Random, count: int) -> list[Key]:
    """Few addresses, groups and VLANs, so that keys share parts."""
    addresses = [rng.getrandbits(128) for _ in range(6)]
    addresses += [addresses[0] ^ 1 << bit for bit in (0, 31, 32, 64, 127)]
    return [
        {
            "address": rng.choice(addresses),
            "group": rng.choice((1, 2, 0x81)),
            "vlan": rng.choice((0, 1, 0x801)),
            "any_vlan": rng.random() < 0.2,
            "mode": rng.getrandbits(1),
            "authenticate": rng.getrandbits(1),
            "enable": rng.random() < 0.8,
        }
        for _ in range(count)
    ]


def some_frames(rng: random.Random, keys: list[Key], count: int) -> list[Frame]:
    frames = []
    for _ in range(count):
        key = dict(rng.choice(keys))
        if rng.random() < 0.4:
            key["address"] ^= 1 << rng.randrange(128)
        if rng.random() < 0.3:
            key["group"] ^= 1 << rng.randrange(8)
        if rng.random() < 0.5:
            key["vlan"] = rng.choice((0, 1, 0x801, 1 << rng.randrange(12)))
        chain = rng.choice((0, 0, 0, 1, 2, 32))
        rest = rng.choice((0, 0, 1, 60))
        frames.append(Frame(key["address"], key["group"], key["vlan"], chain, rest))
    return frames


class Bench:
    """A table, frames that pass, and what it answers."""

    def __init__(self, seed: int) -> None:
        self.dut, self.rng = PeerTable(), random.Random(seed)
        self.both = WithKeys(self.dut, {"peer_rows": "rows", "peer_word": "word"})
        self.clock = 0
        self.asks: list[int] = []
        self.got: list[tuple[int, tuple[bool, int, bool]]] = []
        self.pause = 0.0

    async def tick(self, ctx: Any) -> None:
        ctx.set(self.dut.i.valid, self.clock in self.asks[-3:])
        await ctx.tick()
        self.clock += 1

    async def send(self, ctx: Any, frame: Frame) -> None:
        """Its words, back to back but for the pauses, and what a line leaves free behind it."""
        rng, words = self.rng, [rng_word := self.rng.getrandbits(64)]
        words += [frame.source & (1 << 64) - 1, frame.source >> 64]
        words += [rng.getrandbits(64) for _ in range(2 + frame.chain)]
        mh = len(words)
        words.append(frame.group << 56 | rng.getrandbits(56))
        words += [rng_word] * frame.rest
        for n, word in enumerate(words):
            while rng.random() < self.pause:
                ctx.set(self.dut.i_words.valid, 0)
                await self.tick(ctx)
            ctx.set(self.dut.i_words.p.data, word)
            ctx.set(self.dut.i_words.p.first, n == 0)
            ctx.set(self.dut.i_words.valid, 1)
            ctx.set(self.dut.vlan, frame.vlan)
            if n == mh:
                self.asks.append(self.clock + ASK_CLOCKS)
            await self.tick(ctx)
        ctx.set(self.dut.i_words.valid, 0)
        for _ in range(3):
            await self.tick(ctx)

    async def host(self, ctx: Any, address: int, data: int | None = None) -> int:
        """An access; frames pass by themselves meanwhile."""
        port = self.both.keys.i_ram_peer
        ctx.set(port.payload, {"address": address, "write": data is not None, "data": data or 0})
        ctx.set(port.valid, 1)
        await ctx.tick()
        ctx.set(port.valid, 0)
        limit = CROWDED_CLOCKS if self.asks else ALONE_CLOCKS
        for _ in range(limit):
            answer = self.both.keys.o_ram_peer
            _, _, valid, word = await ctx.tick().sample(answer.valid, answer.p.data)
            if valid:
                return int(word) & WORD_MASK
        raise AssertionError(f"no answer within {limit} clocks")

    async def write(self, ctx: Any, index: int, key: Key) -> None:
        second = sum(key[f.name] << f.at - 128 for f in PEER.fields if f.name != "address")
        await self.host(ctx, PEER.address(index), key["address"])
        await self.host(ctx, PEER.address(index) + 4, second)
        words = [await self.host(ctx, PEER.address(index) + n) for n in range(5)]
        assert sum(word << 32 * n for n, word in enumerate(words[:4])) == key["address"]
        assert words[4] == second

    async def watch(self, ctx: Any) -> None:
        clock = 0
        samples = ctx.tick().sample(self.dut.o.valid, self.dut.o.payload)
        async for _, _, valid, answer in samples:
            if valid:
                self.got.append((clock, (bool(answer.hit), answer.index, bool(answer.known))))
            clock += 1

    def run(self, *scripts: Any) -> None:
        simulator = Simulator(self.both)
        simulator.add_clock(6.4e-9)
        simulator.add_testbench(self.watch, background=True)
        for script in scripts:
            simulator.add_testbench(script)
        simulator.run()


def test_the_lowest_enabled_key_matches_three_clocks_later() -> None:
    bench = Bench(12)
    keys = some_keys(bench.rng, 32)
    keys[7] |= {"address": bench.rng.getrandbits(128), "enable": 0}  # nobody else has its address
    frames = some_frames(bench.rng, keys, 1500)
    seen, began = 0, 0

    async def drive(ctx: Any) -> None:
        nonlocal seen, began
        for index, key in enumerate(some_keys(bench.rng, 32)):  # what is written over
            await bench.write(ctx, index, key)
        for index, key in enumerate(keys):
            await bench.write(ctx, index, key)
        seen = ctx.get(bench.dut.seen)
        began = len(bench.got)
        for n, frame in enumerate(frames):
            bench.pause = (0.0, 0.3)[n % 50 > 35]
            await bench.send(ctx, frame)
        for _ in range(8):
            await bench.tick(ctx)

    bench.run(drive)
    assert not began
    assert [answer for _, answer in bench.got] == [match(keys, frame) for frame in frames]
    clocks = [clock for clock, _ in bench.got]
    assert [at - clocks[0] for at in clocks] == [at - bench.asks[0] for at in bench.asks]
    assert seen == sum(key["mode"] << n for n, key in enumerate(keys))
    kinds = Counter((hit, known) for hit, _, known in (match(keys, frame) for frame in frames))
    assert kinds.keys() == {(True, True), (False, True), (False, False)}


def test_a_key_is_written_while_frames_come_as_close_as_they_can() -> None:
    """Nobody else's answer changes meanwhile; afterwards the key is the new one."""
    bench = Bench(13)
    keys = some_keys(bench.rng, 32)
    for key in keys:
        key["address"] ^= 1 << 90  # not that of the one that is written
    done = False

    async def drive(ctx: Any) -> None:
        for index, key in enumerate(keys):
            await bench.write(ctx, index, key)
        while not done:
            await bench.send(ctx, frame := some_frames(bench.rng, keys, 1)[0])
            sent.append(frame)
        for _ in range(8):
            await bench.tick(ctx)

    async def host(ctx: Any) -> None:
        nonlocal done
        while len(bench.asks) < 2:
            await ctx.tick()
        for turn in range(12):
            for index, key in enumerate(some_keys(bench.rng, 32)[: 2 + turn % 2]):
                await bench.write(ctx, 30 + index % 2, key | {"enable": 0})
        done = True

    sent: list[Frame] = []
    for key in keys[30:]:
        key["enable"] = 0
    bench.run(drive, host)
    assert len(sent) > 500
    assert [answer for _, answer in bench.got] == [match(keys, frame) for frame in sent]
