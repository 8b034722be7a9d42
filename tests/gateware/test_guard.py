"""Lease, watchdog, resign and fence, against the clock."""

from collections import Counter
from collections.abc import Callable, Coroutine
from typing import Any

from amaranth.sim import Simulator

from harp.tables.offload import WatchdogAction
from harp_gateware.guard import Guard
from harp_gateware.layouts import EventCode

Script = Callable[["Bench", Any], Coroutine[Any, Any, None]]
SETTLE = 10


class Bench:
    """A guard, its events, and the µs in which `resign` came."""

    def __init__(self) -> None:
        self.dut = Guard()
        self.events = Counter[tuple[EventCode, int]]()
        self.resigned: list[int] = []
        self.now = 1_000_000

    async def at(self, ctx: Any, us: int) -> None:
        """Time goes on to `us`, a µs a clock near it."""
        self.now = max(self.now, us - 12)
        while self.now < us:
            self.now += 1
            ctx.set(self.dut.now_us, self.now)
            await ctx.tick()
        await ctx.tick().repeat(SETTLE)

    async def pulse(self, ctx: Any, signal: Any) -> None:
        ctx.set(signal, 1)
        await ctx.tick()
        ctx.set(signal, 0)
        await ctx.tick().repeat(SETTLE)

    async def watch(self, ctx: Any) -> None:
        async for _, _, valid, event, resign, now in ctx.tick().sample(
            self.dut.o_event.valid, self.dut.o_event.payload, self.dut.resign, self.dut.now_us
        ):
            if valid:
                self.events[EventCode(event.kind), event.index] += 1
            if resign:
                self.resigned.append(now)

    def run(self, script: Script) -> None:
        async def whole(ctx: Any) -> None:
            ctx.set(self.dut.links, 0b11)
            ctx.set(self.dut.now_us, self.now)
            ctx.set(self.dut.filter_enable, 1)
            ctx.set(self.dut.lease_ms, 50)
            ctx.set(self.dut.resigns, 1)
            ctx.set(self.dut.host_link_grace_us, 3000)
            await ctx.tick().repeat(SETTLE)
            self.events.clear()
            await script(self, ctx)

        simulator = Simulator(self.dut)
        simulator.add_clock(6.4e-9)
        simulator.add_testbench(whole)
        simulator.add_testbench(self.watch, background=True)
        simulator.run()


def test_reset_is_the_first_event() -> None:
    bench = Bench()
    seen: list[EventCode] = []

    async def script(ctx: Any) -> None:
        for _ in range(8):
            _, _, valid, event = await ctx.tick().sample(
                bench.dut.o_event.valid, bench.dut.o_event.payload
            )
            if valid:
                seen.append(EventCode(event.kind))

    simulator = Simulator(bench.dut)
    simulator.add_clock(6.4e-9)
    simulator.add_testbench(script)
    simulator.run()
    assert seen == [EventCode.RESET]


def test_the_lease_lives_for_its_length_and_at_most_200_ms() -> None:
    async def script(bench: Bench, ctx: Any) -> None:
        dut = bench.dut
        assert ctx.get(dut.plain) and not ctx.get(dut.run)
        for lease_ms, us in ((50, 50_000), (201, 200_000), (255, 200_000), (1, 1000)):
            ctx.set(dut.lease_ms, lease_ms)
            start = bench.now
            await bench.pulse(ctx, dut.kick)
            assert ctx.get(dut.lease_left_us) == us
            assert not ctx.get(dut.plain) and ctx.get(dut.run)
            await bench.at(ctx, start + us - 1)
            assert ctx.get(dut.lease) and ctx.get(dut.lease_left_us) == 1
            await bench.at(ctx, start + us)
            assert not ctx.get(dut.lease) and ctx.get(dut.plain) and not ctx.get(dut.run)
            assert ctx.get(dut.lease_left_us) == 0
        assert bench.events == {(EventCode.LEASE_LOST, 0): 4}

    Bench().run(script)


def test_a_kick_renews_and_nothing_is_enforced_without_the_filter() -> None:
    async def script(bench: Bench, ctx: Any) -> None:
        dut, start = bench.dut, bench.now
        await bench.pulse(ctx, dut.kick)
        await bench.at(ctx, start + 49_999)
        await bench.pulse(ctx, dut.kick)
        await bench.at(ctx, start + 99_000)
        assert ctx.get(dut.lease)
        ctx.set(dut.filter_enable, 0)
        await ctx.tick().repeat(2)
        assert ctx.get(dut.plain) and ctx.get(dut.run)
        assert not bench.events
        ctx.set(dut.lease_ms, 0)
        await bench.pulse(ctx, dut.kick)
        assert not ctx.get(dut.lease)
        assert bench.events == {(EventCode.LEASE_LOST, 0): 1}

    Bench().run(script)


def test_the_armed_watchdog_resigns_three_times_then_fences() -> None:
    async def script(bench: Bench, ctx: Any) -> None:
        dut, start = bench.dut, bench.now
        ctx.set(dut.armed, 1)
        await bench.pulse(ctx, dut.kick)
        await bench.at(ctx, start + 50_000)
        assert ctx.get(dut.fired) and not ctx.get(dut.fenced)
        await bench.at(ctx, start + 51_000)
        await bench.pulse(ctx, dut.kick)
        assert ctx.get(dut.lease) and not ctx.get(dut.run), "a kick does not start the slots"
        assert not ctx.get(dut.fenced)
        await bench.at(ctx, start + 52_000)
        assert ctx.get(dut.fenced)
        await bench.at(ctx, start + 60_000)
        assert bench.resigned == [start + 50_000, start + 51_000, start + 52_000]
        await bench.pulse(ctx, dut.unfence)
        assert not ctx.get(dut.fenced) and not ctx.get(dut.fired) and ctx.get(dut.run)
        await bench.at(ctx, start + 101_000)
        assert not ctx.get(dut.fired), "spent until disarmed"
        assert bench.events == {
            (EventCode.WATCHDOG_FIRED, 0): 1,
            (EventCode.FENCED, 0): 1,
            (EventCode.LEASE_LOST, 0): 2,
        }
        ctx.set(dut.armed, 0)
        await ctx.tick()
        ctx.set(dut.armed, 1)
        ctx.set(dut.resigns, 0)
        start = bench.now
        await bench.pulse(ctx, dut.kick)
        await bench.at(ctx, start + 50_000)
        assert ctx.get(dut.fired) and ctx.get(dut.fenced), "nobody resigns: fenced at once"

    Bench().run(script)


def test_a_lost_host_link_fires_after_its_grace() -> None:
    async def script(bench: Bench, ctx: Any) -> None:
        dut, start = bench.dut, bench.now
        await bench.pulse(ctx, dut.kick)
        ctx.set(dut.links, 0b01)
        await ctx.tick().repeat(4)
        await bench.at(ctx, start + 2999)
        ctx.set(dut.links, 0b11)
        await ctx.tick().repeat(4)
        ctx.set(dut.links, 0b01)
        await ctx.tick().repeat(4)
        ctx.set(dut.armed, 1)
        await bench.at(ctx, start + 2999 + 2999)
        assert not ctx.get(dut.fired)
        await bench.at(ctx, start + 2999 + 3000)
        assert ctx.get(dut.fired)
        assert ctx.get(dut.lease) and not ctx.get(dut.run)
        assert bench.events[EventCode.LINK, 1] == 3
        assert bench.events[EventCode.WATCHDOG_FIRED, 0] == 1

    Bench().run(script)


def test_action_event_is_an_event_and_nothing_else() -> None:
    async def script(bench: Bench, ctx: Any) -> None:
        dut = bench.dut
        ctx.set(dut.action, WatchdogAction.EVENT)
        ctx.set(dut.armed, 1)
        await bench.pulse(ctx, dut.kick)
        await bench.at(ctx, bench.now + 60_000)
        await bench.pulse(ctx, dut.kick)
        assert ctx.get(dut.fired) and not ctx.get(dut.fenced) and ctx.get(dut.run)
        assert bench.resigned == []
        assert bench.events[EventCode.WATCHDOG_FIRED, 0] == 1

    Bench().run(script)


def test_the_mirror_hides_the_host_link() -> None:
    async def script(bench: Bench, ctx: Any) -> None:
        dut = bench.dut
        ctx.set(dut.links, 0b10)
        await ctx.tick().repeat(SETTLE)
        assert ctx.get(dut.host_link_enable)
        ctx.set(dut.link_mirror, 1)
        await ctx.tick().repeat(2)
        assert not ctx.get(dut.host_link_enable)
        assert bench.events == {(EventCode.LINK, 0): 1}

    Bench().run(script)
