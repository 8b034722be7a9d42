"""MAC Control frames end in the port; all others pass as they are."""

from __future__ import annotations

import random
from typing import Any

import pytest
from amaranth.sim import Simulator

from harp_gateware.layouts import FrameError
from harp_gateware.mac.control import ControlFilter

PAUSE = bytes.fromhex("0180c2000001 020000000001 8808 0001 ffff") + bytes(46)
Frame = tuple[bytes, FrameError]


def words(frame: Frame) -> list[dict[str, Any]]:
    octets, error = frame
    starts = range(0, len(octets), 8)
    return [
        {
            "data": int.from_bytes(octets[at : at + 8], "little"),
            "octets": len(octets[at : at + 8]),
            "first": at == 0,
            "last": at == starts[-1],
            "error": error if at == starts[-1] else FrameError.GOOD,
        }
        for at in starts
    ]


def passed(frames: list[Frame], gap: int, rng: random.Random) -> list[Frame]:
    """What leaves, with up to `gap` idle clocks before each word."""
    dut, found, part = ControlFilter(), list[Frame](), bytearray()

    async def drive(ctx: Any) -> None:
        for word in [word for frame in frames for word in words(frame)]:
            for _ in range(rng.randint(0, gap)):
                await tick(ctx)
            ctx.set(dut.i.payload, word)
            ctx.set(dut.i.valid, 1)
            await tick(ctx)
            ctx.set(dut.i.valid, 0)
        for _ in range(3):
            await tick(ctx)

    async def tick(ctx: Any) -> None:
        if ctx.get(dut.o.valid):
            word = ctx.get(dut.o.payload)
            assert bool(word.first) == (not part)
            part.extend(int(word.data).to_bytes(8, "little")[: word.octets])
            if word.last:
                found.append((bytes(part), FrameError(word.error)))
                part.clear()
        await ctx.tick()

    simulator = Simulator(dut)
    simulator.add_clock(1e-8)
    simulator.add_testbench(drive)
    simulator.run()
    assert not part
    return found


def test_only_control_frames_end_here() -> None:
    plain = bytes(range(64))
    tagged = PAUSE[:12] + b"\x81\x00\x00\x05" + PAUSE[12:]  # the type of a tagged frame is 8100
    other = PAUSE[:12] + b"\x08\x88" + PAUSE[14:]
    frames = [(octets, FrameError.GOOD) for octets in (plain, PAUSE, tagged, other, PAUSE, PAUSE)]
    wanted = [frame for frame in frames if frame[0] != PAUSE]
    for gap in (0, 1, 7):
        assert passed([*frames, frames[0]], gap, random.Random(gap)) == [*wanted, frames[0]]


@pytest.mark.parametrize("size", [1, 7, 8, 9, 12, 13, 14, 15, 16, 17])
def test_short_frames_pass_unless_they_have_the_type(size: int) -> None:
    frames = [(PAUSE[:size], FrameError.FCS), (bytes(64), FrameError.GOOD)]
    wanted = frames if size < 14 else frames[1:]
    assert passed(frames * 2, 0, random.Random(size)) == wanted * 2


def test_random_frames_in_any_rhythm() -> None:
    rng = random.Random(3)
    frames: list[Frame] = []
    for _ in range(200):
        octets = rng.randbytes(rng.randint(1, 40))
        if rng.random() < 0.4:
            octets = (octets.ljust(12, b"\0"))[:12] + b"\x88\x08" + octets[12:]
        frames.append((octets, rng.choice(list(FrameError))))
    wanted = [frame for frame in frames if frame[0][12:14] != b"\x88\x08"]
    assert passed(frames, 2, rng) == wanted
