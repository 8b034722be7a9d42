"""The board's page: accesses that stay there, delay cells that are counted up, requests to PHYs."""

from __future__ import annotations

from typing import Any

import pytest
from amaranth.sim import Simulator

from harp.tables.registers import BY_NAME
from harp_gateware.board_page import BoardPage
from harp_gateware.mac.pin_delay import PinDelay
from harp_gateware.params import CoreParams


def run(dut: Any, *processes: Any) -> None:
    simulator = Simulator(dut)
    simulator.add_clock(1e-8)
    simulator.add_testbench(processes[0])
    for each in processes[1:]:
        simulator.add_testbench(each, background=True)
    simulator.run()


async def access(ctx: Any, dut: Any, address: int, data: int | None = None) -> tuple[int, int]:
    request = {"address": address, "first": 1, "write": data is not None, "data": data or 0}
    ctx.set(dut.i_request.payload, request)
    ctx.set(dut.i_request.valid, 1)
    ctx.set(dut.o_response.ready, 1)
    await ctx.tick().until(dut.i_request.ready)
    ctx.set(dut.i_request.valid, 0)
    found, error = (
        await ctx.tick()
        .sample(dut.o_response.p.data, dut.o_response.p.error)
        .until(dut.o_response.valid)
    )
    return found, error


@pytest.mark.parametrize("ports", [1, 2])
def test_accesses_go_to_the_page_or_to_the_core(ports: int) -> None:
    dut, asked = BoardPage(CoreParams(ports=ports)), list[int]()
    test, mdio = BY_NAME["port_test"], BY_NAME["mdio"]

    async def core(ctx: Any) -> None:
        while True:
            await ctx.tick()
            valid = ctx.get(dut.o_core.valid)
            ctx.set(dut.o_core.ready, valid)
            ctx.set(dut.i_core.valid, 0)
            if valid:
                asked.append(ctx.get(dut.o_core.p.address))
                await ctx.tick()
                ctx.set(dut.o_core.ready, 0)
                ctx.set(dut.i_core.payload, {"data": asked[-1] + 1, "error": 0})
                ctx.set(dut.i_core.valid, 1)

    async def host(ctx: Any) -> None:
        assert await access(ctx, dut, 0x0020) == (0x0021, 0)
        assert await access(ctx, dut, 0x0800, 5) == (0x0801, 0)
        assert await access(ctx, dut, test.address(0), 0x1FF) == (0, 0)
        assert await access(ctx, dut, test.address(0)) == (0x1FF, 0)
        assert (ctx.get(dut.mute), ctx.get(dut.force)) == (1, 1)
        assert await access(ctx, dut, test.address(0), 0) == (0, 0)
        assert (ctx.get(dut.mute), ctx.get(dut.force)) == (0, 0)
        assert (await access(ctx, dut, test.address(1)))[1] == (ports == 1)
        assert (await access(ctx, dut, 0x07FF))[1] == 1
        word = 0xBEEF | 17 << 16 | 3 << 21 | 1 << 26 | 1 << 27 | 1 << 28
        assert await access(ctx, dut, mdio.address(), word) == (0, 0)
        assert await access(ctx, dut, mdio.address()) == (word & ~(1 << 28), 0)
        wanted = {"phy": 3, "register": 17, "write": 1, "data": 0xBEEF}
        assert {name: getattr(ctx.get(dut.o_mdio), name) for name in wanted} == wanted
        assert (ctx.get(dut.o_bus), ctx.get(dut.o_asked)) == (1, 1)
        assert await access(ctx, dut, mdio.address() + 1) == (1 << 16, 0)
        ctx.set(dut.answer, 0x1234)
        ctx.set(dut.answered, 1)
        await ctx.tick()
        ctx.set(dut.answered, 0)
        assert await access(ctx, dut, mdio.address() + 1) == (0x1234, 0)

    run(dut, host, core)
    assert asked == [0x0020, 0x0800]


def test_delay_cells_are_reloaded_and_counted_up() -> None:
    dut, steps, lows = PinDelay(), list[int](), list[int]()

    async def cell(ctx: Any) -> None:
        """As the data sheet has it: 0 at LOADN, one more at each falling edge of MOVE."""
        at, before = 0, 0
        while True:
            await ctx.tick()
            now = ctx.get(dut.move)
            if not ctx.get(dut.load_n):
                at = 0
                lows.append(now)
            elif before and not now:
                at += 1
            before = now
            steps.append(at)

    async def host(ctx: Any) -> None:
        await ctx.tick().repeat(100)
        assert set(steps) == {0} and not lows
        for wanted in (5, 127, 3, 0):
            ctx.set(dut.steps, wanted)
            await ctx.tick().repeat(16 * wanted + 40)
            assert steps[-1] == wanted

    run(dut, host, cell)
    assert len(lows) == 4 * 8 and not any(lows)
