"""Crossings between clocks of any ratio, and frames whose end does not come."""

from __future__ import annotations

import random
from typing import Any

import pytest
from amaranth.hdl import ClockDomain, Module
from amaranth.lib import wiring
from amaranth.sim import Simulator

from harp_gateware.layouts import WORD, FrameError
from harp_gateware.mac.closer import FrameCloser
from harp_gateware.mac.crossing import DEPTH, SHELF, ClockWatch, Handshake, WordFifo
from harp_gateware.mac.in_band import SAME_CLOCKS, InBandStatus

Word = dict[str, Any]
LAST = 0xDEAD


def with_domains(component: wiring.Component) -> Module:
    m = Module()
    m.domains.left, m.domains.right = ClockDomain("left"), ClockDomain("right")
    m.submodules.component = component
    return m


@pytest.mark.parametrize(("left_ns", "right_ns"), [(8, 8), (8, 8.0016), (8, 10), (8, 6.4), (40, 8)])
def test_words_cross_in_order(left_ns: float, right_ns: float) -> None:
    rng = random.Random(int(10 * right_ns))
    dut, count = WordFifo("left", "right"), 200
    sent = [rng.getrandbits(64) for _ in range(count)]
    got, levels = list[int](), set[int]()

    async def write(ctx: Any) -> None:
        for data in sent:
            while rng.random() < 0.2:
                await ctx.tick("left")
            ctx.set(dut.i.payload, {"data": data})
            ctx.set(dut.i.valid, 1)
            await ctx.tick("left").until(dut.i.ready)
            ctx.set(dut.i.valid, 0)

    async def read(ctx: Any) -> None:
        while len(got) < count:
            ctx.set(dut.o.ready, rng.random() < 0.5)
            levels.add(ctx.get(dut.level))
            if ctx.get(dut.o.valid) and ctx.get(dut.o.ready):
                got.append(ctx.get(dut.o.p.data))
            await ctx.tick("right")

    simulate(with_domains(dut), {"left": left_ns, "right": right_ns}, write, read)
    assert got == sent
    assert max(levels) <= DEPTH + SHELF


def test_the_level_is_of_all_that_waits_the_shelf_included() -> None:
    dut, levels = WordFifo("left", "right"), list[int]()

    async def drive(ctx: Any) -> None:
        for _ in range(DEPTH // 2):
            ctx.set(dut.i.valid, 1)
            await ctx.tick("left").until(dut.i.ready)
            ctx.set(dut.i.valid, 0)
            await ctx.tick("right").repeat(12)
            levels.append(ctx.get(dut.level))

    simulate(with_domains(dut), {"left": 8, "right": 8}, drive)
    assert levels == list(range(1, DEPTH // 2 + 1))


@pytest.mark.parametrize("asynchronous", [False, True])
def test_a_reset_of_the_writer_empties_and_one_of_the_reader_loses_nothing(
    asynchronous: bool,
) -> None:
    m, dut, got = Module(), WordFifo("left", "right"), list[int]()
    m.domains.left = left = ClockDomain("left", async_reset=asynchronous)
    m.domains.right = right = ClockDomain("right", async_reset=True)
    m.submodules.fifo = dut

    async def write(ctx: Any, *words: int) -> None:
        for data in words:
            ctx.set(dut.i.payload, {"data": data})
            ctx.set(dut.i.valid, 1)
            await ctx.tick("left").until(dut.i.ready)
            ctx.set(dut.i.valid, 0)

    async def reset(ctx: Any, domain: ClockDomain) -> None:
        assert domain.rst is not None
        ctx.set(domain.rst, 1)
        await ctx.delay(40e-9)
        ctx.set(domain.rst, 0)
        await ctx.tick("left").repeat(10)

    async def drive(ctx: Any) -> None:
        for first in range(100, 1100, 100):
            # Each time from another place of the RAM.
            await write(ctx, *range(first, first + first // 100 + 3))
            await ctx.tick("left").repeat(10)
            await reset(ctx, right)
            if first % 200 == 0:
                await reset(ctx, left)
            ctx.set(dut.o.ready, 1)
            await ctx.tick("left").repeat(40)
            ctx.set(dut.o.ready, 0)

    async def read(ctx: Any) -> None:
        async for _, _, valid, ready, word in ctx.tick("right").sample(
            dut.o.valid, dut.o.ready, dut.o.p.data
        ):
            if valid and ready:
                got.append(word)
            if got[-1:] == [LAST]:
                break

    async def end(ctx: Any) -> None:
        await drive(ctx)
        ctx.set(dut.o.ready, 1)
        await write(ctx, LAST)
        await ctx.tick("left").repeat(40)

    simulate(m, {"left": 8, "right": 9}, end, read)
    kept = [n for first in range(100, 1100, 200) for n in range(first, first + first // 100 + 3)]
    assert got == [*kept, LAST]


def simulate(dut: Any, clocks_ns: dict[str, float], *processes: Any) -> None:
    simulator = Simulator(dut)
    for domain, period_ns in clocks_ns.items():
        simulator.add_clock(period_ns * 1e-9, domain=domain)
    for process in processes:
        simulator.add_testbench(process)
    simulator.run()


@pytest.mark.parametrize(("left_ns", "right_ns"), [(8, 10), (400, 8), (8, 400), (8, 8.001)])
def test_a_handshake_never_mixes_two_values(left_ns: float, right_ns: float) -> None:
    dut, seen = Handshake(16, "left", "right"), set[int]()
    values = [n * 0x0101 for n in range(1, 200)]
    done = [False]

    async def change(ctx: Any) -> None:
        for value in values:
            ctx.set(dut.i, value)
            await ctx.tick("left")
        await ctx.tick("left").repeat(12)
        await ctx.tick("right").repeat(12)
        done[0] = True

    async def watch(ctx: Any) -> None:
        while not done[0]:
            seen.add(ctx.get(dut.o))
            await ctx.tick("right")

    simulate(with_domains(dut), {"left": left_ns, "right": right_ns}, change, watch)
    assert seen <= {0, *values}
    assert values[-1] in seen


def test_a_clock_that_stops_is_seen_and_one_that_comes_back_too() -> None:
    m = Module()
    # A domain that the test drives by hand.
    m.domains.phy = phy = ClockDomain("phy", reset_less=True)
    m.submodules.watch = watch = ClockWatch("phy", 100)
    states = list[int]()

    async def drive(ctx: Any) -> None:
        for running, clocks in ((False, 150), (True, 200), (False, 150), (True, 200)):
            for clock in range(clocks):
                ctx.set(phy.clk, running and clock % 2)
                await ctx.tick()
            states.append(ctx.get(watch.o_lost))

    simulate(m, {"sync": 8}, drive)
    assert states == [1, 0, 1, 0]


def word(*, first: bool = False, last: bool = False, data: int = 0) -> Word:
    return {"data": data, "octets": 8, "first": first, "last": last, "error": FrameError.GOOD}


ENDED = {"octets": 8, "first": 0, "last": 1, "error": FrameError.RX_ER}


def close(words: list[Word | int], clocks: int = 10) -> list[Any]:
    """What leaves; a number is so many clocks without a word."""
    dut, got = FrameCloser(clocks), list[Any]()

    async def drive(ctx: Any) -> None:
        for each in words:
            if isinstance(each, int):
                for _ in range(each):
                    await step(ctx)
                continue
            ctx.set(dut.i.payload, each)
            ctx.set(dut.i.valid, 1)
            while not await step(ctx):
                pass
            ctx.set(dut.i.valid, 0)

    async def step(ctx: Any) -> int:
        if ctx.get(dut.o.valid):
            got.append(ctx.get(dut.o.payload))
        ready: int = ctx.get(dut.i.ready)
        await ctx.tick()
        return ready

    simulate(dut, {"sync": 8}, drive)
    return got


def shown(words: list[Any]) -> list[tuple[int, int, FrameError]]:
    return [(w.first, w.last, FrameError(w.error)) for w in words]


GOOD, RX_ER = FrameError.GOOD, FrameError.RX_ER


def test_whole_frames_pass_as_they_are() -> None:
    frame = [word(first=True, data=1), word(data=2), 9, word(last=True, data=3)]
    single = [word(first=True, last=True, data=4)]
    got = close([*frame, *single, 30, *single])
    assert [w.data for w in got] == [1, 2, 3, 4, 4]
    assert shown(got)[:3] == [(1, 0, GOOD), (0, 0, GOOD), (0, 1, GOOD)]


def test_a_frame_that_stops_is_ended_and_its_rest_dropped() -> None:
    got = close([word(first=True), 12, word(data=7), word(last=True), word(first=True, last=True)])
    assert shown(got) == [(1, 0, GOOD), (0, 1, RX_ER), (1, 1, GOOD)]


def test_a_frame_in_a_frame_ends_the_first() -> None:
    got = close([word(first=True), word(), word(first=True, data=9), word(last=True)])
    assert shown(got) == [(1, 0, GOOD), (0, 0, GOOD), (0, 1, RX_ER), (1, 0, GOOD), (0, 1, GOOD)]


def test_in_band_status_is_taken_when_it_stands() -> None:
    dut, states = InBandStatus(), list[tuple[int, int]]()
    up, down = 0b1101, 0b0000  # full duplex, 1000 Mb/s, link

    async def drive(ctx: Any) -> None:
        for nibble, dv, clocks in (
            (up, 1, 40),
            (up, 0, SAME_CLOCKS - 1),
            (down, 0, 2),
            (up, 0, SAME_CLOCKS + 3),
            (down, 0, SAME_CLOCKS - 1),
            (down, 1, 40),
            (down, 0, SAME_CLOCKS + 3),
        ):
            ctx.set(dut.i_data, nibble * 0x11)
            ctx.set(dut.i_dv, dv)
            await ctx.tick().repeat(clocks)
            states.append((ctx.get(dut.known), ctx.get(dut.o.as_value())))

    simulate(dut, {"sync": 8}, drive)
    assert states == [(0, 0), (0, 0), (0, 0), (1, up), (1, up), (1, up), (1, down)]


def test_in_band_status_is_the_same_on_both_edges() -> None:
    dut = InBandStatus()

    async def drive(ctx: Any) -> None:
        for octet, told in ((0x0D, 0), (0xD0, 0), (0x5D, 0), (0xDD, 1)):
            ctx.set(dut.i_data, octet)
            await ctx.tick().repeat(2 * SAME_CLOCKS)
            assert ctx.get(dut.known) == told, f"{octet:#04x}"

    simulate(dut, {"sync": 8}, drive)


def test_word_layout_is_one_ram_wide() -> None:
    assert WORD.size <= 76  # 19 distributed RAMs of 4 bits
