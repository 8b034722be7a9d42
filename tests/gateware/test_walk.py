"""The header walk against a twin in plain Python: random chains, gaps, padding, broken lengths."""

import random
from collections import Counter
from itertools import pairwise
from typing import Any

import pytest
from amaranth.sim import Simulator

from harp_gateware.layouts import FrameError
from harp_gateware.walk import Found, Walk

EXTENSIONS = (0, 43, 44, 51, 60)


def walked(frame: bytes) -> Found:
    """Where the walk of an IPv6 frame ends (offload.md §2)."""
    if frame[0] >> 4 != 6:
        return Found.BAD_VERSION
    number, at, end = frame[6], 40, 40 + int.from_bytes(frame[4:6], "big")
    headers, fragment = 0, False
    while number in EXTENSIONS:
        headers += 1
        if headers > 8 or at + 8 > 40 + 256:
            return Found.CHAIN_TOO_LONG
        if end - at < 8:
            return Found.BAD_CHAIN
        units = frame[at + 1]
        octets = {44: 8, 51: 4 * (units + 2) & ~7}.get(number, 8 * (units + 1))
        if at + octets > 40 + 256:
            return Found.CHAIN_TOO_LONG
        if at + octets > end or (number == 51 and units % 2):
            return Found.BAD_CHAIN
        if number == 44:
            offset = int.from_bytes(frame[at + 2 : at + 4], "big")
            if offset >> 3:
                return Found.FRAGMENTED if frame[at] == 135 else Found.NOT_MOBILITY
            fragment = fragment or bool(offset & 1)
        number, at = frame[at], at + octets
    if number != 135:
        return Found.NOT_MOBILITY
    if fragment:
        return Found.FRAGMENTED
    return Found.MOBILITY if end - at >= 8 else Found.TRUNCATED


def chain(rng: random.Random) -> bytes:
    """A frame from its version octet to the octet before its FCS; sometimes broken, never short."""
    numbers = rng.choices(EXTENSIONS, k=rng.choice((0, 1, 2, 3, 8, 9, 10)))
    numbers.append(rng.choice((135, 135, 59, 6)))
    body = bytearray()
    for number, following in pairwise(numbers):
        units = rng.choice((0, 0, 1, 2, 4, 5, rng.choice((26, 27, 28, 30, 31, 62, 255))))
        octets = {44: 8, 51: -(-(units + 2) // 2) * 8}.get(number, 8 * (units + 1))
        header = bytearray(rng.randbytes(octets))
        header[0], header[1] = following, units
        if number == 44:
            header[2:4] = rng.choice((b"\0\0", b"\0\0", b"\0\1", b"\1\0", b"\0\6"))
        body += header
    body += rng.randbytes(rng.choice((0, 7, 8, 16, 24)))
    payload = len(body) if rng.random() < 0.7 else max(0, len(body) - rng.randrange(60))
    fixed = bytearray(rng.randbytes(40))
    fixed[0] = 0x45 if rng.random() < 0.03 else 0x6F
    fixed[4:7] = payload.to_bytes(2, "big") + bytes((numbers[0],))
    return bytes(fixed + body) + rng.randbytes(rng.choice((0, 3, 8, 19)))


def full_chain(last: int, padding: int) -> bytes:
    """Exactly 256 octets of extension headers, the last of which announces `last`, then padding."""
    first = bytes((60, 15)) + bytes(126)
    second = bytes((last, 15)) + bytes(126)
    fixed = bytes((0x60, 0, 0, 0, 1, 0, 60, 255)) + bytes(32)
    return fixed + first + second + bytes(padding)


@pytest.mark.parametrize("pause", [0.0, 0.3])
def test_the_walk_ends_where_its_twin_does(pause: float) -> None:
    rng = random.Random(20260114)
    frames = [full_chain(last, padding) for last in (60, 135, 59) for padding in (0, 8)]
    frames += [chain(rng) for _ in range(1000)]
    want = [walked(frame) for frame in frames]
    dut, got = Walk(), list[Found]()

    async def drive(ctx: Any) -> None:
        for frame in frames:
            for at in range(0, len(frame), 8):
                while rng.random() < pause:
                    ctx.set(dut.i.valid, 0)
                    await ctx.tick()
                piece = frame[at : at + 8]
                word = {
                    "data": int.from_bytes(piece, "little"),
                    "octets": len(piece),
                    "first": at == 0,
                    "last": at + 8 >= len(frame),
                    "error": FrameError.GOOD,
                }
                ctx.set(dut.i.payload, word)
                ctx.set(dut.i.valid, 1)
                await ctx.tick()
        ctx.set(dut.i.valid, 0)
        await ctx.tick().repeat(6)

    async def watch(ctx: Any) -> None:
        async for _, _, valid, found in ctx.tick().sample(dut.o_found.valid, dut.o_found.payload):
            if valid:
                got.append(Found(found))

    simulator = Simulator(dut)
    simulator.add_clock(6.4e-9)
    simulator.add_testbench(drive)
    simulator.add_testbench(watch, background=True)
    simulator.run()
    assert got == want
    assert set(Counter(want)) == set(Found), "every ending is tried"
