"""Events against a twin: flags, counts and first times; pushes by priority, repeats, ceilings."""

import random
from collections import defaultdict
from itertools import pairwise
from typing import Any

import pytest
from amaranth.sim import Simulator

from harp.tables.offload import EVENT_KINDS, EVENT_REPEAT_US, EventKind
from harp.tables.registers import BY_NAME
from harp_gateware.events import QUEUE, SPACING_US, Events
from harp_gateware.layouts import EventCode

SWEEP = 5 * 384 + 20
Push = tuple[int, int, int, int]  # time, id, first, count


class Bench:
    def __init__(self) -> None:
        self.dut = Events(sources=2)
        self.pushes: list[Push] = []
        self.lost = 0
        self.now = 5_000_000
        self.stall = 0.0
        self.rng = random.Random(2)
        self.pause = 3

    async def raise_(self, ctx: Any, source: int, ident: int) -> None:
        port = getattr(self.dut, f"i_{source}")
        ctx.set(port.payload, {"kind": EventCode(ident >> 5), "index": ident & 31})
        ctx.set(port.valid, 1)
        await ctx.tick()
        ctx.set(port.valid, 0)
        for _ in range(self.pause):
            await ctx.tick()

    async def ack(self, ctx: Any, ident: int, count: int) -> None:
        ctx.set(self.dut.ack_id, ident)
        ctx.set(self.dut.ack_count, count)
        ctx.set(self.dut.ack, 1)
        await ctx.tick()
        ctx.set(self.dut.ack, 0)
        await ctx.tick().repeat(12)

    async def read(self, ctx: Any, address: int, area: str = "event") -> int:
        request, response = (getattr(self.dut, f"{way}_ram_{area}") for way in "io")
        ctx.set(request.payload, {"address": address, "write": 0, "data": 0})
        ctx.set(request.valid, 1)
        await ctx.tick()
        ctx.set(request.valid, 0)
        for _ in range(16):
            _, _, valid, answer = await ctx.tick().sample(response.valid, response.payload)
            if valid:
                return int(answer.data)
        raise AssertionError("no answer within 16 clocks")

    async def pending(self, ctx: Any, kind: int) -> int:
        return await self.read(ctx, BY_NAME["event_pending"].address(kind), "event_pending")

    async def wait(self, ctx: Any, us: int, clocks: int = SWEEP) -> None:
        self.now += us
        ctx.set(self.dut.now_us, self.now)
        await ctx.tick().repeat(clocks)

    async def take(self, ctx: Any) -> None:
        while True:
            ctx.set(self.dut.o.ready, self.rng.random() >= self.stall)
            _, _, valid, ready, push, lost = await ctx.tick().sample(
                self.dut.o.valid, self.dut.o.ready, self.dut.o.payload, self.dut.lost
            )
            self.lost += lost
            if valid and ready:
                ident = EventCode(push.kind).value << 5 | push.index
                self.pushes.append((self.now, ident, push.first_us, push.count))

    def run(self, script: Any, beside: Any = None) -> None:
        async def whole(ctx: Any) -> None:
            ctx.set(self.dut.now_us, self.now)
            await ctx.tick()
            await script(ctx)

        simulator = Simulator(self.dut)
        simulator.add_clock(6.4e-9)
        simulator.add_testbench(whole)
        simulator.add_testbench(self.take, background=True)
        if beside is not None:
            simulator.add_testbench(beside)
        simulator.run()


def test_nothing_is_lost_until_it_is_acknowledged() -> None:
    bench, rng = Bench(), random.Random(8)
    bench.stall = 0.5
    first: dict[int, int] = {}
    count: dict[int, int] = defaultdict(int)
    idents = [kind << 5 | index for kind in range(12) for index in (0, 3, 31)]

    async def script(ctx: Any) -> None:
        for _ in range(400):
            for _ in range(rng.randrange(4)):
                ident = rng.choice(idents)
                await bench.raise_(ctx, rng.randrange(2), ident)
                first.setdefault(ident, bench.now)
                count[ident] += 1
            await bench.wait(ctx, rng.choice((0, 1, 7, 3000)), rng.choice((1, 30)))
            if rng.random() < 0.5 and first:
                ident = rng.choice(list(first))
                await ctx.tick().repeat(40)
                known = count[ident] - (rng.random() < 0.3)
                await bench.ack(ctx, ident, known)
                if known == count[ident]:
                    del first[ident], count[ident]
        await ctx.tick().repeat(40)
        for ident in idents:
            address = BY_NAME["event"].address(ident)
            assert await bench.read(ctx, address) == first.get(ident, 0)
            assert await bench.read(ctx, address + 2) == count.get(ident, 0)
            flags = await bench.pending(ctx, ident >> 5)
            assert flags >> (ident & 31) & 1 == (ident in first)

    bench.run(script)
    assert bench.lost == 0
    assert len(bench.pushes) > 50


def test_the_highest_priority_is_pushed_first() -> None:
    bench = Bench()
    idents = [0x160, 0x60, 0x7F, 0x00, 0xE1]

    async def script(ctx: Any) -> None:
        for ident in idents:
            await bench.raise_(ctx, 0, ident)
        await bench.wait(ctx, 1, 6 * SWEEP)

    bench.stall = 0.95
    bench.run(script)
    # The one that the scan met while the others came may go before them.
    order = [ident for _, ident, _, _ in bench.pushes]
    assert sorted(order) == sorted(idents)
    assert order[1:] == sorted(order[1:])


def test_a_push_is_repeated_until_its_count_is_acknowledged() -> None:
    bench, ident = Bench(), EventCode.PEER_DOWN.value << 5 | 4

    async def script(ctx: Any) -> None:
        await bench.raise_(ctx, 1, ident)
        await bench.wait(ctx, 10)
        assert len(bench.pushes) == 1
        await bench.wait(ctx, EVENT_REPEAT_US - 100)
        assert len(bench.pushes) == 1
        await bench.wait(ctx, 100)
        assert len(bench.pushes) == 2
        await bench.raise_(ctx, 1, ident)
        await ctx.tick().repeat(10)
        await bench.ack(ctx, ident, 1)
        await bench.wait(ctx, 1)
        assert bench.pushes[-1][1:] == (ident, 5_000_000, 2), "an old count: pushed at once"
        await bench.ack(ctx, ident, 2)
        await bench.wait(ctx, 2 * EVENT_REPEAT_US)
        assert len(bench.pushes) == 3
        assert await bench.pending(ctx, EVENT_KINDS.index(EventKind.PEER_DOWN)) == 0

    bench.run(script)


def test_replay_and_flood_are_pushed_ten_times_a_second_each() -> None:
    bench = Bench()
    replay, flood = EventCode.REPLAY.value << 5, EventCode.FLOOD.value << 5

    async def script(ctx: Any) -> None:
        for step in range(300):
            await bench.raise_(ctx, 0, replay | step % 32)
            await bench.raise_(ctx, 1, flood | step % 9)
            await bench.wait(ctx, 2000, SWEEP if step % 5 == 0 else 20)
            for _, ident, _, count in bench.pushes[-2:]:
                await bench.ack(ctx, ident, count)

    bench.run(script)
    for kind in (replay, flood):
        times = [time for time, ident, _, _ in bench.pushes if ident & ~31 == kind]
        assert len(times) >= 5
        assert all(b - a >= SPACING_US for a, b in pairwise(times))


def test_a_burst_of_all_peers_waits_its_turn() -> None:
    """Deadlines of 32 peers in 4 clocks each, and as many HELLOs with two events in 10 clocks."""
    bench = Bench()

    async def hellos(ctx: Any) -> None:
        for n in range(32):
            for kind in (EventCode.PEER_UP, EventCode.PEER_NEWS):
                await bench.raise_(ctx, 1, kind.value << 5 | n)
            await ctx.tick().repeat(2)

    async def script(ctx: Any) -> None:
        for n in range(32):
            await bench.raise_(ctx, 0, EventCode.PEER_DOWN.value << 5 | n)
        await ctx.tick().repeat(400)
        for kind in (EventCode.PEER_DOWN, EventCode.PEER_UP, EventCode.PEER_NEWS):
            assert await bench.pending(ctx, kind.value) == 2**32 - 1

    bench.run(script, hellos)
    assert bench.lost == 0


@pytest.mark.parametrize(
    ("pause", "events"), [(0, 12), (3, 2 * QUEUE)], ids=["too fast", "too many"]
)
def test_what_is_lost_is_told(pause: int, events: int) -> None:
    bench = Bench()
    bench.pause = pause

    async def other(ctx: Any) -> None:
        for _ in range(events):
            await bench.raise_(ctx, 1, 5)

    async def script(ctx: Any) -> None:
        for ident in range(events):
            await bench.raise_(ctx, 0, ident)
        await ctx.tick().repeat(60)

    bench.run(script, other)
    assert bench.lost > 0
