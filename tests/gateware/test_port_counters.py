"""Port counters and arbiter: every frame counts once; a frame at a time, slots first."""

import random
from collections import Counter
from typing import Any

from amaranth.sim import Simulator

from harp.tables.registers import BY_NAME
from harp_gateware.arbiter import Arbiter
from harp_gateware.layouts import FrameError
from harp_gateware.port_counters import NAMES, PortCounters

PORT = BY_NAME["port"]


def words(rng: random.Random, size: int, error: FrameError) -> list[dict[str, Any]]:
    last = (size - 1) // 8
    return [
        {
            "data": rng.getrandbits(64),
            "octets": size - 8 * last if n == last else 8,
            "first": n == 0,
            "last": n == last,
            "error": error if n == last else FrameError.GOOD,
            "append_fcs": 0,
        }
        for n in range(last + 1)
    ]


def test_every_frame_and_octet_is_counted() -> None:
    dut, want = PortCounters(), Counter[tuple[int, str]]()
    left = 4

    def feed(name: str, port: int) -> Any:
        rng = random.Random(name)
        stream = getattr(dut, name)
        receives = name.startswith("rx")

        async def run(ctx: Any) -> None:
            nonlocal left
            for n in range(400):
                # Runts of one word come a clock apart; the longest are rare.
                size = rng.choice((1, 8, 8, 8, 63, 64, 65, rng.randint(1, 300)))
                size = rng.choice((9216, 9217, 9300)) if n % 150 == 149 else size
                error = rng.choice((FrameError.GOOD, FrameError.GOOD, *FrameError))
                appended = not receives and rng.random() < 0.3
                for word in words(rng, size, error):
                    ctx.set(stream.payload, word | {"append_fcs": appended})
                    ctx.set(stream.valid, 1)
                    await ctx.tick()
                while rng.random() < 0.2:
                    ctx.set(stream.valid, 0)
                    await ctx.tick()
                side = "rx" if receives else "tx"
                want[port, f"{side}_frames"] += 1
                want[port, f"{side}_octets"] += size + 4 * appended
                if receives:
                    want[port, "rx_runts"] += size < 64
                    want[port, "rx_oversize"] += size > 9216
                    want[port, "rx_fcs_errors"] += error is FrameError.FCS
                    want[port, "rx_errors"] += error is FrameError.RX_ER
                    want[port, "rx_overruns"] += error is FrameError.OVERRUN
                else:
                    want[port, "tx_errors"] += error is not FrameError.GOOD
            ctx.set(stream.valid, 0)
            left -= 1

        return run

    async def check(ctx: Any) -> None:
        rng = random.Random(1)
        while left:
            lost = rng.random() < 0.1
            ctx.set(dut.overrun, 2 * lost)
            await ctx.tick()
            want[1, "rx_overruns"] += lost
        ctx.set(dut.overrun, 0)
        await ctx.tick().repeat(80)
        for port in (0, 1):
            for name in NAMES:
                address = PORT.address(port) + PORT.field(name).at // 32
                ctx.set(dut.i_ram_port.payload, {"address": address, "write": 0, "data": 0})
                ctx.set(dut.i_ram_port.valid, 1)
                await ctx.tick()
                ctx.set(dut.i_ram_port.valid, 0)
                for _ in range(36):
                    _, _, valid, answer = await ctx.tick().sample(
                        dut.o_ram_port.valid, dut.o_ram_port.payload
                    )
                    if valid:
                        break
                assert valid and answer.data == want[port, name], (port, name)
                assert want[port, name] > 0

    simulator = Simulator(dut)
    simulator.add_clock(6.4e-9)
    for name in ("rx_0", "rx_1", "tx_0", "tx_1"):
        simulator.add_testbench(feed(name, int(name[-1])))
    simulator.add_testbench(check)
    simulator.run()


def test_frames_stay_whole_and_slots_go_first() -> None:
    rng, dut = random.Random(3), Arbiter()
    host = [words(rng, rng.randint(1, 90), FrameError.GOOD) for _ in range(150)]
    slot = [words(rng, rng.randint(60, 90), FrameError.GOOD) for _ in range(40)]
    order: list[list[int]] = []
    waits: list[int] = []

    async def feed_host(ctx: Any) -> None:
        for frame in host:
            for word in frame:
                while rng.random() < 0.1:
                    ctx.set(dut.i_host.valid, 0)
                    await ctx.tick()
                ctx.set(dut.i_host.payload, word)
                ctx.set(dut.i_host.valid, 1)
                await ctx.tick().until(dut.i_host.ready)
        ctx.set(dut.i_host.valid, 0)

    async def feed_slot(ctx: Any) -> None:
        for frame in slot:
            for _ in range(rng.randrange(60)):
                await ctx.tick()
            ctx.set(dut.request, 1)
            await ctx.tick().until(dut.grant)
            ctx.set(dut.request, 0)
            waits.append(len(order))
            for word in frame:
                ctx.set(dut.i_slot.payload, word)
                ctx.set(dut.i_slot.valid, 1)
                await ctx.tick().until(dut.i_slot.ready)
            ctx.set(dut.i_slot.valid, 0)
        for _ in range(4000):
            await ctx.tick()
            if len(order) == len(host) + len(slot):
                break

    async def take(ctx: Any) -> None:
        frame: list[int] = []
        while True:
            ctx.set(dut.o.ready, rng.random() < 0.8)
            _, _, valid, ready, word = await ctx.tick().sample(
                dut.o.valid, dut.o.ready, dut.o.payload
            )
            if valid and ready:
                assert word.first == (not frame)
                frame.append(word.data)
                if word.last:
                    order.append(frame)
                    frame = []

    simulator = Simulator(dut)
    simulator.add_clock(6.4e-9)
    simulator.add_testbench(feed_host)
    simulator.add_testbench(feed_slot)
    simulator.add_testbench(take, background=True)
    simulator.run()
    hosts = [[word["data"] for word in frame] for frame in host]
    slots = [[word["data"] for word in frame] for frame in slot]
    assert [frame for frame in order if frame in hosts] == hosts
    assert [frame for frame in order if frame in slots] == slots
    assert len(order) == len(host) + len(slot)
    for granted, frame in zip(waits, slots, strict=True):
        # At most the host frame in the output register's way is between grant and slot.
        assert order.index(frame) - granted <= 1
