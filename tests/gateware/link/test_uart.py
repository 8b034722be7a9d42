"""The UART: bit clocks, each octet, clocks that differ, breaks; and COBS and CRC with the host's
library as judge."""

from __future__ import annotations

import random
import zlib
from typing import Any

import pytest
from amaranth import Elaboratable, Module
from amaranth.lib import memory
from amaranth.sim import Simulator
from cobs import cobs

from harp.tables.link import BAUD, MAX_BAUD, MAX_BAUD_ERROR
from harp_gateware.link.bit_clock import ACCURACY, step_of
from harp_gateware.link.cobs_decoder import CobsDecoder
from harp_gateware.link.crc32 import Crc32
from harp_gateware.link.frame_sender import FrameSender
from harp_gateware.link.uart_receiver import UartReceiver
from harp_gateware.link.uart_sender import UartSender

CLOCK, FAST = 125_000_000, 5_000_000
"""Hz; the second of the fictitious core that simulates fast."""
SLOW_BAUD = 200_000
BIT = FAST // SLOW_BAUD


@pytest.mark.parametrize("clock_hz", [25_000_000, 125_000_000, 156_000_000])
@pytest.mark.parametrize("baud", [9600, 115_200, BAUD, 1_500_000])
def test_the_bit_clock_is_near_enough(clock_hz: int, baud: int) -> None:
    step, width = step_of(clock_hz, baud)
    error = abs(step * clock_hz / (1 << width) / baud - 1)
    assert error <= ACCURACY < MAX_BAUD_ERROR
    assert width <= 26


@pytest.mark.parametrize(
    ("clock_hz", "baud"), [(CLOCK, MAX_BAUD + 1), (CLOCK, 0), (25_000_000, 2_000_000)]
)
def test_rates_that_cannot_be_made_are_refused(clock_hz: int, baud: int) -> None:
    with pytest.raises(ValueError, match="bit/s from"):
        step_of(clock_hz, baud)


def run(dut: Elaboratable, *scripts: Any, background: tuple[Any, ...] = ()) -> None:
    simulator = Simulator(dut)
    simulator.add_clock(1 / FAST)
    for script in scripts:
        simulator.add_testbench(script)
    for script in background:
        simulator.add_testbench(script, background=True)
    simulator.run()


def bits(octets: bytes, stop: int = 1) -> list[int]:
    """Levels of the line, a bit each."""
    levels: list[int] = []
    for octet in octets:
        levels += [0, *(octet >> n & 1 for n in range(8)), stop]
    return levels


def received(levels: list[int], error: float = 0.0, glitches: bool = False) -> tuple[bytes, int]:
    """What the receiver makes of a line whose sender's clock is off by `error`."""
    dut, octets, errors = UartReceiver(FAST, SLOW_BAUD), bytearray(), [0]

    async def line(ctx: Any) -> None:
        time = clock = 0.0
        for level in [1, 1, *levels, 1, 1, 1]:
            time += BIT * (1 + error)
            ctx.set(dut.rx, level)
            if glitches and level:
                ctx.set(dut.rx, 0)
                await ctx.tick().repeat(BIT // 2 - 4)
                clock += BIT // 2 - 4
                ctx.set(dut.rx, 1)
            await ctx.tick().repeat(round(time - clock))
            clock += round(time - clock)

    async def take(ctx: Any) -> None:
        async for _, _, valid, octet, bad in ctx.tick().sample(
            dut.o.valid, dut.o.payload, dut.error
        ):
            errors[0] += bad
            if valid:
                octets.append(octet)

    run(dut, line, background=(take,))
    return bytes(octets), errors[0]


@pytest.mark.parametrize("error", [-0.02, -0.005, 0.0, 0.005, 0.02])
def test_every_octet_back_to_back_with_clocks_that_differ(error: float) -> None:
    octets = random.Random(1).sample(range(256), 64)
    assert received(bits(bytes(octets)), error) == (bytes(octets), 0)


def test_a_missing_stop_bit_is_an_error_and_the_next_octet_is_right() -> None:
    levels = [*bits(b"\x5a", stop=0), 1, *bits(b"\xa5"), *[0] * 40, 1, *bits(b"\x33")]
    assert received(levels) == (b"\xa5\x33", 2)


def test_a_pulse_shorter_than_half_a_bit_is_nothing() -> None:
    assert received([1] * 20, glitches=True) == (b"", 0)


def test_the_sender_sends_what_the_receiver_reads() -> None:
    class Loop(Elaboratable):
        def __init__(self) -> None:
            self.sender, self.receiver = UartSender(FAST, SLOW_BAUD), UartReceiver(FAST, SLOW_BAUD)

        def elaborate(self, platform: object) -> Module:
            m = Module()
            m.submodules.sender, m.submodules.receiver = self.sender, self.receiver
            m.d.comb += self.receiver.rx.eq(self.sender.tx)
            return m

    dut, got = Loop(), bytearray()
    octets = random.Random(2).randbytes(40)
    lasted = [0]

    async def send(ctx: Any) -> None:
        for octet in octets:
            ctx.set(dut.sender.i.payload, octet)
            ctx.set(dut.sender.i.valid, 1)
            await ctx.tick().until(dut.sender.i.ready)
        ctx.set(dut.sender.i.valid, 0)
        await ctx.tick().repeat(12 * BIT)

    async def take(ctx: Any) -> None:
        async for _, _, valid, octet in ctx.tick().sample(
            dut.receiver.o.valid, dut.receiver.o.payload
        ):
            lasted[0] += 1
            if valid:
                got.append(octet)

    run(dut, send, background=(take,))
    assert bytes(got) == octets
    assert lasted[0] <= (len(octets) + 2) * 10 * BIT + len(octets) * 4


def test_crc() -> None:
    dut, message = Crc32(), random.Random(3).randbytes(30)

    async def script(ctx: Any) -> None:
        for octets in (message, message + zlib.crc32(message).to_bytes(4, "little")):
            ctx.set(dut.clear, 1)
            await ctx.tick()
            ctx.set(dut.clear, 0)
            for octet in octets:
                ctx.set(dut.i.payload, octet)
                ctx.set(dut.i.valid, 1)
                await ctx.tick().until(dut.i.ready)
            ctx.set(dut.i.valid, 0)
            await ctx.tick().repeat(9)
            assert ctx.get(dut.value) == zlib.crc32(octets)
            assert ctx.get(dut.good) == (octets != message)

    run(dut, script)


MESSAGES = [
    b"\0",
    b"\0\0",
    b"\x11\0",
    b"\0\x11",
    b"\x01" * 253,
    b"\x01" * 254,
    b"\x01" * 255,
    b"\x01" * 254 + b"\0",
    b"\0" + b"\x02" * 254 + b"\x03",
    *(random.Random(n).randbytes(266) for n in range(3)),
]


@pytest.mark.parametrize("message", MESSAGES, ids=range(len(MESSAGES)))
def test_cobs_out(message: bytes) -> None:
    class Sender(Elaboratable):
        def __init__(self) -> None:
            self.frame = FrameSender()

        def elaborate(self, platform: object) -> Module:
            m = Module()
            m.submodules.frame = self.frame
            m.submodules.ram = ram = memory.Memory(shape=8, depth=512, init=list(message))
            port = ram.read_port()
            m.d.comb += [port.addr.eq(self.frame.address), self.frame.data.eq(port.data)]
            return m

    dut, octets = Sender(), bytearray()
    rng = random.Random(4)

    async def script(ctx: Any) -> None:
        frame = dut.frame
        ctx.set(frame.length, len(message))
        ctx.set(frame.start, 1)
        await ctx.tick()
        ctx.set(frame.start, 0)
        for _ in range(8000):
            ctx.set(frame.o.ready, rng.random() < 0.7)
            _, _, valid, ready, octet, busy = await ctx.tick().sample(
                frame.o.valid, frame.o.ready, frame.o.payload, frame.busy
            )
            if valid and ready:
                octets.append(octet)
            if not busy:
                return
        raise AssertionError("never done")

    run(dut, script)
    assert bytes(octets) == b"\0" + cobs.encode(message) + b"\0"


def test_cobs_in() -> None:
    rng = random.Random(5)
    frames = [b"\0" + cobs.encode(m) + b"\0" for m in MESSAGES]
    frames += [b"\x05\x01\x02\0", b"\0", b"\xff\x01\0", b"\x02\x11\0"]
    want = [(m, True) for m in MESSAGES] + [(b"\x01\x02", False), (b"\x01", False), (b"\x11", True)]
    dut, found, part = CobsDecoder(), [], bytearray()

    async def script(ctx: Any) -> None:
        for octet in b"".join(frames):
            ctx.set(dut.i.payload, octet)
            ctx.set(dut.i.valid, 1)
            await ctx.tick()
            ctx.set(dut.i.valid, 0)
            await ctx.tick().repeat(rng.randrange(3) + 1)
        await ctx.tick().repeat(3)

    async def take(ctx: Any) -> None:
        async for _, _, valid, octet, first, end, good in ctx.tick().sample(
            dut.o.valid, dut.o.payload, dut.first, dut.end, dut.good
        ):
            if valid:
                assert first == (not part)
                part.append(octet)
            if end:
                found.append((bytes(part), bool(good)))
                part.clear()

    run(dut, script, background=(take,))
    assert found == want
