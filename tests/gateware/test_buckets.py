"""Token buckets against the rule itself, at the pace and with the lags of the verdict."""

import random
from typing import Any

from amaranth.sim import Simulator

from harp.tables.offload import BUCKETS, DEFAULT_BUCKETS, PEER_BUCKET, Bucket
from harp.tables.registers import BY_NAME
from harp_gateware.buckets import LAGS, Buckets

PEERS = 32
ANSWER_CLOCKS, TAKE_CLOCKS = 4, 5
AREA = BY_NAME["bucket"]


class Rule:
    """`now + tolerance >= due`, then `due = max(now, due) + period` (tables.offload.Bucket)."""

    def __init__(self) -> None:
        self.settings = [*DEFAULT_BUCKETS, *(PEER_BUCKET,) * PEERS]
        self.due = [0] * (BUCKETS + PEERS)

    def conforms(self, index: int, now: int) -> bool:
        bucket = self.settings[index]
        return bucket.period_us == 0 or now + bucket.tolerance_us >= self.due[index]

    def take(self, index: int, now: int) -> None:
        if period := self.settings[index].period_us:
            self.due[index] = max(now, self.due[index]) + period


class Host:
    """Reads and writes settings in between; answers must come within 16 clocks."""

    def __init__(self, dut: Buckets, rng: random.Random, rule: Rule) -> None:
        self.dut, self.rng, self.rule = dut, rng, rule
        self.want: int | None = None
        self.since = self.answers = 0

    def step(self, ctx: Any, quiet: bool) -> None:
        """One clock; `quiet`: no frame is under way, so settings may change."""
        ctx.set(self.dut.i_ram_bucket.valid, 0)
        if self.want is not None:
            self.since += 1
            assert self.since <= 16
            if ctx.get(self.dut.o_ram_bucket.valid):
                assert ctx.get(self.dut.o_ram_bucket.p.data) == self.want
                self.want, self.answers = None, self.answers + 1
        elif self.rng.random() < 0.1:
            self.ask(ctx, quiet)

    def ask(self, ctx: Any, quiet: bool) -> None:
        index, word = self.rng.randrange(BUCKETS + PEERS), self.rng.randrange(2)
        old = self.rule.settings[index]
        self.since, write = 0, quiet and self.rng.random() < 0.5
        value = self.rng.choice((0, 1, 7, 40, 1000, 0xFFFF_FFFF)) if write else 0
        if write:
            pair = [old.period_us, old.tolerance_us]
            pair[word] = value
            self.rule.settings[index] = Bucket(*pair)
        self.want = 0 if write else (old.period_us, old.tolerance_us)[word]
        access = {"address": AREA.address(index) + word, "write": write, "data": value}
        ctx.set(self.dut.i_ram_bucket.payload, access)
        ctx.set(self.dut.i_ram_bucket.valid, 1)


def test_a_bucket_lets_through_what_the_rule_does() -> None:
    rng, dut, rule = random.Random(20260503), Buckets(PEERS), Rule()
    host = Host(dut, rng, rule)
    seen = {True: 0, False: 0}

    async def look_up(ctx: Any, now: int) -> None:
        """Three look-ups, a clock each; one of them at most takes its token."""
        asked = [
            rng.choice((rng.randrange(4), rng.randrange(BUCKETS + PEERS))) for _ in range(LAGS)
        ]
        chosen = rng.randrange(LAGS)
        take = rng.random() < 0.9
        want = [rule.conforms(index, now) for index in asked]
        for clock in range(LAGS + TAKE_CLOCKS):
            ctx.set(dut.busy, clock < LAGS)
            ctx.set(dut.index, asked[clock] if clock < LAGS else rng.randrange(40))
            ctx.set(dut.now_us, now if 2 <= clock < LAGS + 3 else rng.getrandbits(64))
            if 0 <= (n := clock - ANSWER_CLOCKS) < LAGS:
                assert ctx.get(dut.o_conforms) == want[n]
                seen[want[n]] += 1
            taken = clock == LAGS + TAKE_CLOCKS - 1 and take and want[chosen]
            ctx.set(dut.take, taken)
            ctx.set(dut.lag, LAGS - 1 - chosen if taken else rng.randrange(LAGS))
            if taken:
                rule.take(asked[chosen], now)
            host.step(ctx, quiet=False)
            await ctx.tick()
        ctx.set(dut.take, 0)

    async def drive(ctx: Any) -> None:
        now = 0
        for _ in range(1500):
            now += rng.choice((0, 0, 1, 5, 100, 10_000, 1 << 34 if rng.random() < 0.01 else 3))
            await look_up(ctx, now)
            for _ in range(rng.choice((0, 0, 0, 12))):
                ctx.set(dut.busy, 0)
                host.step(ctx, quiet=host.want is None)
                await ctx.tick()
            while host.want is not None:
                ctx.set(dut.busy, 0)
                host.step(ctx, quiet=False)
                await ctx.tick()

    simulator = Simulator(dut)
    simulator.add_clock(6.4e-9)
    simulator.add_testbench(drive)
    simulator.run()
    assert host.answers > 100
    assert min(seen.values()) > 500, seen
