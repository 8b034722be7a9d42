"""Counters: bad frames one a clock among others, the host reading all the time."""

import random
from typing import Any

from amaranth.sim import Simulator

from harp.tables.reasons import OFFLOAD_REASONS, OUTCOMES, Outcome, Reason
from harp.tables.registers import BY_NAME
from harp_gateware.frame_counters import PENDING, FrameCounters

GOOD_CLOCKS = 7
READ_CLOCKS = 16
WAITING = (1 << PENDING) - 1
"""Frames that came in and are not yet added, at most."""


def test_every_frame_counts_once_in_each_table() -> None:
    rng, dut = random.Random(20260504), FrameCounters()
    reasons, outcomes = [0] * len(OFFLOAD_REASONS), [0] * len(OUTCOMES)
    reading: list[tuple[str, int, int]] = []
    answers = 0

    def read(ctx: Any) -> None:
        """The value is at least what it was when asked, at most what it is now."""
        nonlocal answers, waited
        for area, table in (("reason_frames", reasons), ("outcome_frames", outcomes)):
            answer = getattr(dut, f"o_ram_{area}")
            if ctx.get(answer.valid):
                asked, index, least = reading.pop()
                assert asked == area
                assert least - WAITING <= ctx.get(answer.p.data) <= table[index]
                answers, waited = answers + 1, 0
        for area, table in (("reason_frames", reasons), ("outcome_frames", outcomes)):
            request = getattr(dut, f"i_ram_{area}")
            ctx.set(request.valid, 0)
            if not reading and rng.random() < 0.1:
                index = rng.randrange(len(table))
                reading.append((area, index, table[index]))
                ctx.set(request.p.address, BY_NAME[area].address(index))
                ctx.set(request.valid, 1)

    async def count(ctx: Any, reason: int, outcome: int) -> None:
        bad = reason == OFFLOAD_REASONS.index(Reason.BAD_FRAME)
        ctx.set(dut.i.payload, {"reason": reason, "outcome": outcome, "bad": bad})
        ctx.set(dut.i.valid, 1)
        reasons[reason] += 1
        outcomes[outcome] += 1
        await step(ctx)

    async def step(ctx: Any) -> None:
        nonlocal waited
        read(ctx)
        await ctx.tick()
        ctx.set(dut.i.valid, 0)
        waited = waited + 1 if reading else 0
        assert waited <= READ_CLOCKS, "no answer"

    waited = 0

    async def drive(ctx: Any) -> None:
        bad = OFFLOAD_REASONS.index(Reason.BAD_FRAME), OUTCOMES.index(Outcome.DROP)
        for _ in range(1000):
            good = rng.randrange(1, len(OFFLOAD_REASONS)), rng.randrange(len(OUTCOMES))
            await count(ctx, *good)
            share = rng.choice((0.0, 0.0, 0.3, 1.0))
            for _ in range(GOOD_CLOCKS - 1 + rng.choice((0, 0, 1, 20))):
                if rng.random() < share:
                    await count(ctx, *bad)
                else:
                    await step(ctx)
        for _ in range(30):
            await step(ctx)
        while reading:
            await step(ctx)
        for area, table in (("reason_frames", reasons), ("outcome_frames", outcomes)):
            for index, want in enumerate(table):
                request, answer = (getattr(dut, f"{way}_ram_{area}") for way in "io")
                ctx.set(request.p.address, BY_NAME[area].address(index))
                ctx.set(request.valid, 1)
                await ctx.tick()
                ctx.set(request.valid, 0)
                (got,) = await ctx.tick().sample(answer.p.data).until(answer.valid)
                assert got == want, f"{area}[{index}]"

    simulator = Simulator(dut)
    simulator.add_clock(6.4e-9)
    simulator.add_testbench(drive)
    simulator.run()
    assert answers > 100
