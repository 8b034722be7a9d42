"""MDIO frames and the bring-up of PHYs against a PHY in Python that reads the wire."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from amaranth.sim import Simulator

from harp_gateware.mac.manager import PhyManager
from harp_gateware.mac.mdio import MAX_MDC_HZ, Mdio
from harp_gateware.mac.phys import (
    BROADCOM_B50612D,
    MARVELL_88E1512,
    MICROCHIP_KSZ9031,
    NEGOTIATE,
    PHYS,
    POWER_DOWN,
    Phy,
    PhyBus,
)
from harp_gateware.mac.port import GIGABIT
from harp_sim.pins.mdio import Wire

CLOCK_HZ = 5_000_000


async def attend(ctx: Any, dut: Any, wire: Wire, clocks: int) -> list[int]:
    """Runs the wire for some clocks; the clocks of MDC's rising edges."""
    before, edges = 0, list[int]()
    for clock in range(clocks):
        driven = ctx.get(dut.mdio_oe)
        if driven or wire.busy:
            line = ctx.get(dut.mdio_o) if driven else wire.drives
            ctx.set(dut.mdio_i, line)
            now = ctx.get(dut.mdc)
            if now and not before:
                edges.append(clock)
                wire.rising(line)
            before = now
        await ctx.tick()
    return edges


def run(dut: Any, process: Any) -> None:
    simulator = Simulator(dut)
    simulator.add_clock(1 / CLOCK_HZ)
    simulator.add_testbench(process)
    simulator.run()


def test_requests_are_frames_of_802_3() -> None:
    dut, wire, answers = Mdio(CLOCK_HZ), Wire({3: {17: 0xA5C3}}), list[int]()
    requests = [
        {"phy": 3, "register": 17},
        {"phy": 3, "register": 21, "write": 1, "data": 0x1234},
        {"phy": 3, "register": 21},
        {"phy": 4, "register": 2},
    ]

    async def drive(ctx: Any) -> None:
        for request in requests:
            ctx.set(dut.i.payload, request)
            ctx.set(dut.i.valid, 1)
            await ctx.tick()
            ctx.set(dut.i.valid, 0)
            edges = await attend(ctx, dut, wire, 64 * (CLOCK_HZ // MAX_MDC_HZ) + 40)
            assert len(edges) == 64
            assert min(b - a for a, b in pairwise(edges)) >= CLOCK_HZ // MAX_MDC_HZ
            answers.append(ctx.get(dut.o.payload))

    run(dut, drive)
    assert answers == [0xA5C3, 0x1234, 0x1234, 0xFFFF]
    assert wire.writes == [(3, 21, 0x1234)]


def phy_registers(phy: Phy, status: int = 0) -> dict[int, int]:
    return {2: phy.identity >> 16, 3: phy.identity & 0xFFFF | 5, phy.status: status}


UP = {
    MARVELL_88E1512.name: {17: 0xAC00},
    BROADCOM_B50612D.name: {0x19: 0x8704},
    MICROCHIP_KSZ9031.name: {1: 0x796D, 0x1F: 0x004C},
}
HUNDRED = {
    MARVELL_88E1512.name: {17: 0x6C00},
    BROADCOM_B50612D.name: {0x19: 0x8504},
    MICROCHIP_KSZ9031.name: {1: 0x796D, 0x1F: 0x002C},
}


def manage(
    phy: Phy, wire: Wire, addresses: tuple[int, ...], rounds: list[Any]
) -> list[tuple[int, list[tuple[int, int, int, int]]]]:
    """The manager's view after each round; a round changes the wire first."""
    dut, views = (
        PhyManager(PhyBus(phy, addresses, reset_us=100, poll_us=100), CLOCK_HZ),
        list[Any](),
    )

    async def drive(ctx: Any) -> None:
        assert ctx.get(dut.phy_reset)
        for change in rounds:
            change()
            await attend(ctx, dut, wire, 9_000)
            views.append(view(ctx))

    def view(ctx: Any) -> tuple[int, list[tuple[int, int, int, int]]]:
        states = ctx.get(dut.managed)
        return ctx.get(dut.unknown), [
            (each.known, each.link, each.speed, each.full_duplex) for each in states
        ]

    run(dut, drive)
    return views


@pytest.mark.parametrize("phy", PHYS, ids=lambda phy: phy.name)
def test_delays_are_set_and_links_followed(phy: Phy) -> None:
    wire = Wire({0: phy_registers(phy), 1: phy_registers(phy)})

    def both_up() -> None:
        wire.registers[0] |= UP[phy.name]
        wire.registers[1] |= HUNDRED[phy.name]

    def gone() -> None:
        wire.registers[0] |= dict.fromkeys(UP[phy.name], 0)
        del wire.registers[1]

    views = manage(phy, wire, (0, 1), [lambda: None, both_up, gone])
    assert [unknown for unknown, _ in views] == [0, 0, 0b10]
    down, hundred = (1, 0, GIGABIT - 1, 0), (1, 1, GIGABIT - 1, 0)
    assert views[0][1] == [down, down]
    assert views[1][1] == [(1, 1, GIGABIT, 1), hundred]
    assert views[2][1][0] == down
    assert views[2][1][1][0] == 0
    setup = [(register, value) for address, register, value in wire.writes if address == 0]
    if phy is MARVELL_88E1512:
        assert setup == [(22, 2), (21, 0x0030), (22, 0), (0, 0x9140)]
    elif phy is BROADCOM_B50612D:
        delays = [(0x18, 0x7007), (0x18, 0xF107), (0x1C, 0x0C00), (0x1C, 0x8E00)]
        assert setup == [*delays, (0, NEGOTIATE)]
    else:
        assert setup[8:] == [(13, 2), (14, 8), (13, 0x4002), (14, 0x03EF), (0, NEGOTIATE)]


def test_a_port_without_power_negotiates_anew_when_it_has_it_again() -> None:
    wire, controls = Wire({0: phy_registers(MARVELL_88E1512)}), list[int]()
    dut = PhyManager(PhyBus(MARVELL_88E1512, (0,), reset_us=100, poll_us=100), CLOCK_HZ)

    async def drive(ctx: Any) -> None:
        for enable, clocks in ((1, 6_000), (0, 4_000), (1, 4_000)):
            ctx.set(dut.enable, enable)
            await attend(ctx, dut, wire, clocks)
        controls.extend(value for _, register, value in wire.writes if register == 0)

    run(dut, drive)
    assert controls == [0x9140, POWER_DOWN, NEGOTIATE]


def test_another_phy_is_told_and_its_link_stays_down() -> None:
    wire = Wire({0: phy_registers(BROADCOM_B50612D, 0xFFFE)})
    views = manage(MARVELL_88E1512, wire, (0,), [lambda: None])
    assert views == [(1, [(0, 0, 0, 0)])]
    assert wire.writes == []


@pytest.mark.parametrize("addresses", [(32,), (-1,), (), (1, 1)])
def test_wrong_addresses_are_refused(addresses: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="address"):
        PhyBus(MARVELL_88E1512, addresses)
