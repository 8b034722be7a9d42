"""The key table against a list: every write leaves all other keys as they were."""

import random
from typing import Any

from amaranth.sim import Simulator

from harp.tables.registers import BY_NAME
from harp_gateware.key_cam import DIGIT, KeyCam

LOCAL = BY_NAME["local"]
BITS = 128
PATIENCE = 100


async def write(ctx: Any, dut: KeyCam, index: int, key: int) -> int:
    """The host's write; the clocks until its answer."""
    ctx.set(dut.i.payload, {"address": LOCAL.address(index), "write": 1, "data": key})
    ctx.set(dut.i.valid, 1)
    await ctx.tick()
    ctx.set(dut.i.valid, 0)
    for clocks in range(PATIENCE):
        if ctx.get(dut.o.valid):
            await ctx.tick()
            return clocks
        await ctx.tick()
    raise AssertionError(f"no answer within {PATIENCE} clocks")


def test_digits_are_equal_in_exactly_the_keys_that_have_them() -> None:
    rng = random.Random(21)
    dut, keys = KeyCam(LOCAL, BITS), [0] * LOCAL.count
    order = list(range(LOCAL.count)) + [rng.randrange(LOCAL.count) for _ in range(24)]
    checked = 0

    async def script(ctx: Any) -> None:
        nonlocal checked
        for turn, index in enumerate(order):
            # Keys that share digits with others, and now and then none at all.
            keys[index] = rng.choice((rng.getrandbits(BITS), rng.choice(keys) ^ 1 << 77, 0))
            assert await write(ctx, dut, index, keys[index]) >= BITS // DIGIT
            if turn < LOCAL.count - 1:
                continue
            for probe in (rng.choice(keys), rng.getrandbits(BITS)):
                ctx.set(dut.probe, probe)
                for digit in range(BITS // DIGIT):
                    want = sum(
                        ((key ^ probe) >> DIGIT * digit & 0xF == 0) << n
                        for n, key in enumerate(keys)
                    )
                    assert ctx.get(dut.equal[digit]) == want
                    checked += 1

    simulator = Simulator(dut)
    simulator.add_clock(6.4e-9)
    simulator.add_testbench(script)
    simulator.run()
    assert checked == 25 * 2 * BITS // DIGIT
