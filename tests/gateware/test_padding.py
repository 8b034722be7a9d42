"""Padding against a twin: random options headers, well formed and not."""

import random
from typing import Any

import pytest
from amaranth.sim import Simulator

from harp_gateware.padding import Padding


def only_padding(header: bytes) -> bool:
    """Nothing but whole Pad1 and PadN (RFC 8200 §4.2)."""
    at = 2
    while at < len(header):
        if header[at] == 0:
            at += 1
        elif header[at] == 1 and at + 1 < len(header):
            at += 2 + header[at + 1]
        else:
            return False
    return at == len(header)


def options(rng: random.Random) -> bytes:
    """A header of 1 to 33 words; sometimes cut, sometimes with an octet changed."""
    body = bytearray()
    size = 8 * rng.choice((1, 1, 2, 2, 3, 4, 8, 33)) - 2
    while len(body) < size:
        if rng.random() < 0.5:
            body += bytes(rng.randrange(1, 9))
        length = rng.choice((*range(9), rng.randrange(256)))
        exact = max(0, size - len(body) - 2)
        length = min(length, exact) if rng.random() < 0.9 else length
        # What a PadN holds is no option, whatever it looks like.
        body += bytes((1, length)) + bytes(rng.choice((0, 1, 5)) for _ in range(length))
    if rng.random() < 0.3:
        body[rng.randrange(size)] = rng.choice((0, 1, 2, 5, 201))
    return rng.randbytes(2) + bytes(body[:size])


@pytest.mark.parametrize("pause", [0.0, 0.3])
def test_only_padding_is_clean(pause: float) -> None:
    rng = random.Random(20260502)
    headers = [(options(rng), rng.random() < 0.9) for _ in range(1500)]
    words = [
        (header[at : at + 8], at == 0, read)
        for header, read in headers
        for at in range(0, len(header), 8)
    ]
    words.append((bytes(8), True, False))
    dut, got = Padding(), list[bool]()
    marks: list[tuple[bool, bool]] = [(False, False)] * 2
    starts: list[bool] = [False] * 4

    async def drive(ctx: Any) -> None:
        """`marks` come 2 clocks behind their word, `o_clean` 4."""
        for word, start, read in [*words, *[(b"", False, False)] * 6]:
            while word and rng.random() < pause:
                await step(ctx, None, False, False)
            await step(ctx, word or None, start, read)

    async def step(ctx: Any, word: bytes | None, start: bool, read: bool) -> None:
        ctx.set(dut.valid, word is not None)
        ctx.set(dut.word, int.from_bytes(word or rng.randbytes(8), "little"))
        marks.append((start, read) if word else (rng.random() < 0.5, True))
        starts.append(start and word is not None)
        now = marks.pop(0)
        ctx.set(dut.i_start, now[0])
        ctx.set(dut.i_options, now[1])
        if starts.pop(0):
            got.append(bool(ctx.get(dut.o_clean)))
        await ctx.tick()

    simulator = Simulator(dut)
    simulator.add_clock(6.4e-9)
    simulator.add_testbench(drive)
    simulator.run()
    want = [only_padding(header) or not read for header, read in headers]
    assert got[1:] == want
    assert 0.2 < sum(want) / len(want) < 0.8
