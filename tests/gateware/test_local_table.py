"""The local table against a list of addresses: random tables, destinations that differ in a bit."""

import random
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from amaranth.sim import Simulator
from tests.gateware.keys import WithKeys

from harp.tables.registers import BY_NAME
from harp_gateware.local_table import LocalTable

LOCAL = BY_NAME["local"]
ANSWER_CLOCKS = 6
"""From the word that ends the destination."""
LEAST_CLOCKS = 8
"""From a frame's first word to the next one's: 64 octets."""
ALONE_CLOCKS, CROWDED_CLOCKS = 300, 1500
HALF = (1 << 64) - 1


class Bench:
    """A table, frames that pass, and what it says of them when it must."""

    def __init__(self, seed: int) -> None:
        self.dut, self.rng = LocalTable(), random.Random(seed)
        self.both = WithKeys(self.dut, {"local_rows": "rows", "local_word": "word"})
        self.keys = [0] * LOCAL.count
        self.clock, self.pause = 0, 0.0
        self.words: list[tuple[int, int, int]] = []  # data, first, last; those that come
        self.asks: dict[int, tuple[bool, bool]] = {}
        self.due: list[tuple[bool, bool]] = []
        self.answers = 0

    def expected(self, destination: int) -> tuple[bool, bool]:
        used = [key for key in self.keys if key]
        multicast = destination & 0xFF == 0xFF
        return not used or destination in used or multicast, multicast

    def simulate(self, drive: Callable[[Any], Coroutine[Any, Any, None]]) -> None:
        """Frames pass while `drive` says what happens."""
        simulator = Simulator(self.both)
        simulator.add_clock(6.4e-9)
        simulator.add_testbench(self.run, background=True)
        simulator.add_testbench(drive)
        simulator.run()

    async def run(self, ctx: Any) -> None:
        """A clock each: the words that come, a clock before them their data, the answers due."""
        dut, now = self.dut, None
        while True:
            coming = None
            if self.words and self.rng.random() >= self.pause:
                coming = self.words.pop(0)
            ctx.set(dut.coming, coming[0] if coming else self.rng.getrandbits(64))
            ctx.set(dut.i.valid, now is not None and now[1] >= 0)
            if now is not None:
                data, first, last = now
                ctx.set(dut.i.payload, {"data": data, "first": first > 0, "last": last > 0})
                if last < 0:
                    ctx.set(dut.i.p.last, 0)
            if self.clock in self.asks:
                said = bool(ctx.get(dut.local)), bool(ctx.get(dut.multicast))
                assert said == self.asks.pop(self.clock), self.clock
                self.answers += 1
            if now is not None and last < 0:  # the word that ends the destination
                self.asks[self.clock + ANSWER_CLOCKS] = self.due.pop(0)
            now = coming
            await ctx.tick()
            self.clock += 1

    def frame(self, destination: int, rest: int) -> None:
        """Five words, `rest` more; the space behind keeps frames LEAST_CLOCKS apart."""
        rng = self.rng
        words = [rng.getrandbits(64) for _ in range(3)]
        words += [destination & HALF, destination >> 64]
        words += [rng.getrandbits(64) for _ in range(rest)]
        for n, word in enumerate(words):
            last = -1 if n == 4 and rest else n == len(words) - 1
            self.words.append((word, n == 0, last))
        self.words += [(rng.getrandbits(64), -1, 0)] * max(0, LEAST_CLOCKS - len(words))
        self.due.append(self.expected(destination))

    async def write(self, ctx: Any, index: int, key: int) -> None:
        port, answer = self.both.keys.i_ram_local, self.both.keys.o_ram_local
        request = {"address": LOCAL.address(index), "write": 1, "data": key}
        ctx.set(port.payload, request)
        ctx.set(port.valid, 1)
        await ctx.tick()
        ctx.set(port.valid, 0)
        limit = CROWDED_CLOCKS if self.words else ALONE_CLOCKS
        for _ in range(limit):
            _, _, valid = await ctx.tick().sample(answer.valid)
            if valid:
                return
        raise AssertionError(f"no answer within {limit} clocks")

    def destination(self) -> int:
        rng = self.rng
        chosen = rng.choice(self.keys) or rng.getrandbits(128)
        kind = rng.random()
        if kind < 0.5:
            return chosen
        return chosen ^ 1 << rng.randrange(128) if kind < 0.9 else chosen | 0xFF


@pytest.mark.parametrize("pause", [0.0, 0.3])
def test_a_destination_is_local_exactly_if_it_is_in_the_table(pause: float) -> None:
    bench = Bench(31)
    rng = bench.rng

    async def drive(ctx: Any) -> None:
        for turn in range(5):
            for index in range(LOCAL.count) if turn else ():
                # Keys that share digits with others, the same twice, and unused ones.
                other = rng.choice(bench.keys) ^ (1 << rng.randrange(128))
                bench.keys[index] = rng.choice((rng.getrandbits(128), other, other, 0))
                bench.keys[index] &= ~0 << 8 | 0xFE
                await bench.write(ctx, index, bench.keys[index])
            await ctx.tick().repeat(4)
            for _ in range(120):
                bench.frame(bench.destination(), rng.choice((1, 1, 2, 3, 20)))
            bench.pause = pause
            while bench.words or bench.asks:
                await ctx.tick()

    bench.simulate(drive)
    assert bench.answers == 5 * 120


def test_a_key_is_written_while_frames_come_as_close_as_they_can() -> None:
    """Nobody else's answer changes meanwhile."""
    bench = Bench(32)
    rng = bench.rng

    async def drive(ctx: Any) -> None:
        for index in range(LOCAL.count - 1):
            bench.keys[index] = rng.getrandbits(128) & ~0xFF | 1
            await bench.write(ctx, index, bench.keys[index])
        for _ in range(6):
            for _ in range(400):
                bench.frame(bench.destination() & ~0xFE, rng.choice((1, 1, 2)))
            await bench.write(ctx, LOCAL.count - 1, rng.getrandbits(128) | 0xFE)
            while bench.words or bench.asks:
                await ctx.tick()

    bench.simulate(drive)
    assert bench.answers == 6 * 400
