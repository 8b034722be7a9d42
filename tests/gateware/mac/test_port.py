"""A port looped back on itself: frames out, over the octets of a line, in again."""

from __future__ import annotations

import random
import zlib
from typing import Any

import pytest
from amaranth.hdl import ClockDomain, Module
from amaranth.sim import Simulator

from harp_gateware.layouts import FrameError
from harp_gateware.mac.port import GIGABIT, EthernetPort

CLOCK_HZ = 100_000_000
UP = {"known": 1, "link": 1, "full_duplex": 1, "speed": GIGABIT}


class Loop:
    """A port whose output octets are its input octets, a clock of the receiver later."""

    def __init__(self, ppm: int = 0) -> None:
        self.port = EthernetPort("rx", "tx", CLOCK_HZ)
        m = Module()
        m.domains.rx, m.domains.tx = ClockDomain("rx"), ClockDomain("tx")
        m.submodules.port = self.port
        self.simulator = Simulator(m)
        self.simulator.add_clock(1 / CLOCK_HZ)
        self.simulator.add_clock(8e-9, domain="tx")
        # The same clock: a line has one. `ppm` is between the port and the core.
        self.simulator.add_clock(8e-9 * (1 + ppm * 1e-6), domain="rx", phase=3e-9)
        self.line: list[int] = []
        """Octets that the far end sends while the port is silent."""
        self.frames: list[tuple[bytes, FrameError]] = []
        self.done = False

    async def echo(self, ctx: Any) -> None:
        port = self.port
        while not self.done:
            await ctx.tick("tx")
            if ctx.get(port.tx_en):
                values = ctx.get(port.tx_data), 1, ctx.get(port.tx_er)
            elif self.line:
                values = self.line.pop(0), 1, 0
            else:
                values = 0xDD, 0, 0  # in-band status: full duplex, 1000 Mb/s, link
            for signal, value in zip((port.rx_data, port.rx_dv, port.rx_er), values, strict=True):
                ctx.set(signal, value)

    async def watch(self, ctx: Any) -> None:
        octets = b""
        while not self.done:
            if ctx.get(self.port.o.valid):
                word = ctx.get(self.port.o.payload)
                assert bool(word.first) == (not octets)
                octets += int(word.data).to_bytes(8, "little")[: word.octets]
                if word.last:
                    self.frames.append((octets, FrameError(word.error)))
                    octets = b""
            await ctx.tick()

    def run(self, *processes: Any) -> None:
        for process in (self.echo, self.watch, *processes):
            self.simulator.add_testbench(process)
        self.simulator.run()

    async def send(self, ctx: Any, octets: bytes, *, append: bool = False) -> None:
        for at in range(0, len(octets), 8):
            part = octets[at : at + 8]
            word = {
                "data": int.from_bytes(part, "little"),
                "octets": len(part),
                "first": at == 0,
                "last": at + 8 >= len(octets),
                "append_fcs": append,
            }
            ctx.set(self.port.i.payload, word)
            ctx.set(self.port.i.valid, 1)
            await ctx.tick().until(self.port.i.ready)
            ctx.set(self.port.i.valid, 0)

    async def come_up(self, ctx: Any, managed: dict[str, int] = UP) -> None:
        ctx.set(self.port.enable, 1)
        ctx.set(self.port.managed, managed)
        await ctx.tick().repeat(80)


def good(octets: bytes) -> bytes:
    return octets + zlib.crc32(octets).to_bytes(4, "little")


def test_frames_of_all_sizes_come_back_whole() -> None:
    rng, loop = random.Random(8), Loop()
    bodies = [rng.randbytes(size) for size in (60, 61, 64, 67, 68, 100, 300)]

    async def drive(ctx: Any) -> None:
        await loop.come_up(ctx)
        for n, body in enumerate(bodies):
            if n % 2:
                await loop.send(ctx, body, append=True)
            else:
                await loop.send(ctx, good(body))
        await ctx.tick().repeat(400)
        loop.done = True

    loop.run(drive)
    assert loop.frames == [(good(body), FrameError.GOOD) for body in bodies]


@pytest.mark.parametrize(
    ("managed", "state"),
    [
        (UP, {"link": 1, "speed": 2, "full_duplex": 1}),
        (UP | {"known": 0}, {"speed": 2, "full_duplex": 1}),
        (UP | {"link": 0}, {"speed": 2, "full_duplex": 1}),
        (UP | {"speed": 1}, {"unsupported_speed": 1, "speed": 1, "full_duplex": 1}),
        (UP | {"full_duplex": 0}, {"unsupported_speed": 1, "speed": 2}),
    ],
)
def test_a_link_that_is_not_carried_is_said_and_carries_nothing(
    managed: dict[str, int], state: dict[str, int]
) -> None:
    loop, seen = Loop(), dict[str, int]()

    async def drive(ctx: Any) -> None:
        await loop.come_up(ctx, managed)
        for _ in range(3):  # taken, whatever the link is
            await loop.send(ctx, good(bytes(60)))
        await ctx.tick().repeat(200)
        told = ctx.get(loop.port.state)
        seen.update({name: getattr(told, name) for name in ("link", "speed", "full_duplex")})
        seen["unsupported_speed"], seen["no_clock"] = told.unsupported_speed, told.no_clock
        loop.done = True

    loop.run(drive)
    wanted = dict.fromkeys(("link", "speed", "full_duplex", "unsupported_speed", "no_clock"), 0)
    assert seen == wanted | state
    assert len(loop.frames) == 3 * state.get("link", 0)


@pytest.mark.parametrize(("speed", "taken"), [(GIGABIT, 1), (GIGABIT - 1, 0)])
def test_what_comes_by_a_link_that_is_not_carried_stays_out(speed: int, taken: int) -> None:
    loop, frame = Loop(), good(bytes(60))

    async def drive(ctx: Any) -> None:
        await loop.come_up(ctx, UP | {"speed": speed})
        loop.line += bytes([0x55] * 7 + [0xD5]) + frame
        await ctx.tick().repeat(200)
        loop.done = True

    loop.run(drive)
    assert loop.frames == [(frame, FrameError.GOOD)] * taken


def test_the_link_ends_in_a_frame_and_the_core_gets_its_end() -> None:
    loop, frame = Loop(), good(random.Random(9).randbytes(196))

    async def drive(ctx: Any) -> None:
        await loop.come_up(ctx)
        await loop.send(ctx, frame)
        await ctx.tick().repeat(60)
        ctx.set(loop.port.enable, 0)
        await ctx.tick().repeat(250)
        ctx.set(loop.port.enable, 1)
        await loop.send(ctx, frame)
        await ctx.tick().repeat(400)
        loop.done = True

    loop.run(drive)
    (cut, error), whole = loop.frames
    assert error is not FrameError.GOOD
    assert frame.startswith(cut)
    assert whole == (frame, FrameError.GOOD)
