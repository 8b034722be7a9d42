"""The frame buffer: what is let out, whole and in order; what is dropped, cut, refused."""

import random
from collections import deque
from dataclasses import dataclass
from typing import Any

import pytest
from amaranth.sim import Simulator

from harp_gateware.frame_buffer import FrameBuffer
from harp_gateware.layouts import FrameError, OutcomeCode, ReasonCode

PATIENCE = 400_000


@dataclass(frozen=True)
class Frame:
    octets: bytes
    error: FrameError
    early: bool
    forward: bool
    mark: bool = False

    @property
    def bad(self) -> bool:
        return self.error is not FrameError.GOOD or not 64 <= len(self.octets) <= 9216


def words(octets: bytes) -> list[bytes]:
    return [octets[at : at + 8] for at in range(0, len(octets), 8)]


class Bench:
    """Drives frames and their verdicts; collects what comes out as (octets, error)."""

    def __init__(
        self, dut: FrameBuffer, frames: list[Frame], seed: int, pause: float, stall: float
    ):
        self.dut, self.frames = dut, frames
        self.rng = random.Random(seed)
        self.pause, self.stall = pause, stall
        self.out: list[tuple[bytes, bool]] = []
        self.ended: deque[tuple[int, Frame]] = deque()
        self.begun: deque[tuple[int, int]] = deque()
        self.clock, self.overruns, self.refused, self.judged = 0, 0, 0, 0
        self.latency = 0
        self.first_in: list[int] = []
        self.first_out: list[int] = []
        self.early_at: list[int] = []

    async def drive(self, ctx: Any) -> None:
        for number, frame in enumerate(self.frames):
            pieces = words(frame.octets)
            for at, piece in enumerate(pieces):
                while self.rng.random() < self.pause:
                    ctx.set(self.dut.i.valid, 0)
                    await ctx.tick()
                last = at == len(pieces) - 1
                word = {
                    "data": int.from_bytes(piece, "little"),
                    "octets": len(piece),
                    "first": at == 0,
                    "last": last,
                    "error": frame.error if last else FrameError.GOOD,
                }
                ctx.set(self.dut.i.payload, word)
                ctx.set(self.dut.i.valid, 1)
                if at == 0:
                    if frame.early:
                        self.begun.append((self.clock + 9, number))
                if last:
                    self.ended.append((self.clock + self.rng.randint(2, 12), frame))
                await ctx.tick()
            ctx.set(self.dut.i.valid, 0)
            await ctx.tick().repeat(2)
        while self.judged < len(self.frames):
            await ctx.tick()
        await ctx.tick().repeat(3000)

    async def judge(self, ctx: Any) -> None:
        while True:
            await ctx.tick()
            verdict = bool(self.ended and self.ended[0][0] <= self.clock)
            early = bool(
                self.begun and self.begun[0][0] <= self.clock and self.begun[0][1] == self.judged
            )
            if verdict:
                _, frame = self.ended.popleft()
                ctx.set(
                    self.dut.i_verdict.payload,
                    {
                        "reason": ReasonCode.NOT_IPV6,
                        "outcome": OutcomeCode.PASS,
                        "forward": frame.forward,
                        "octets": 0,
                        "error": frame.error,
                    },
                )
                ctx.set(self.dut.i_mark, frame.mark)
                if self.begun and self.begun[0][1] == self.judged:
                    self.begun.popleft()
                    early = False
                self.judged += 1
            elif early:
                self.begun.popleft()
            ctx.set(self.dut.i_verdict.valid, verdict)
            ctx.set(self.dut.i_early.valid, early and not verdict)

    async def take(self, ctx: Any) -> None:
        frame = bytearray()
        held = None
        while True:
            ctx.set(self.dut.o.ready, self.rng.random() >= self.stall)
            (
                _,
                _,
                valid,
                ready,
                word,
                over,
                refused,
                early,
                fed,
                begins,
                self.latency,
            ) = await ctx.tick().sample(
                self.dut.o.valid,
                self.dut.o.ready,
                self.dut.o.payload,
                self.dut.o_overrun,
                self.dut.o_refused,
                self.dut.i_early.valid,
                self.dut.i.valid,
                self.dut.i.p.first,
                self.dut.latency_max,
            )
            self.clock += 1
            assert self.clock < PATIENCE
            self.overruns += over
            self.refused += refused
            if fed and begins:
                self.first_in.append(self.clock - 1)
            if early:
                self.early_at.append(self.clock - 1)
            assert held is None or (valid and word == held), "a word waits as it is"
            held = word if valid and not ready else None
            if valid and ready:
                assert word.first == (not frame)
                if word.first:
                    self.first_out.append(self.clock - 1)
                frame += word.data.to_bytes(8, "little")[: word.octets]
                assert word.last or word.error is FrameError.GOOD
                if word.last:
                    self.out.append((bytes(frame), word.error is not FrameError.GOOD))
                    frame.clear()

    def run(self, refuse: bool = False) -> None:
        async def fence(ctx: Any) -> None:
            ctx.set(self.dut.refuse, refuse)

        simulator = Simulator(self.dut)
        simulator.add_clock(6.4e-9)
        simulator.add_testbench(self.drive)
        simulator.add_testbench(fence, background=True)
        simulator.add_testbench(self.judge, background=True)
        simulator.add_testbench(self.take, background=True)
        simulator.run()


def made(rng: random.Random, count: int) -> list[Frame]:
    frames = []
    for _ in range(count):
        size = rng.choice((rng.randint(1, 63), 64, 65, 71, 72, 73, rng.randint(64, 400)))
        error = FrameError.FCS if rng.random() < 0.1 else FrameError.GOOD
        frame = Frame(rng.randbytes(size), error, rng.random() < 0.4, True)
        forward = not frame.bad and rng.random() < 0.6
        frames.append(
            Frame(frame.octets, error, frame.early, forward or (frame.early and not frame.bad))
        )
    return frames


@pytest.mark.parametrize(
    ("depth", "pause", "stall"),
    [(1024, 0.0, 0.0), (1536, 0.3, 0.0), (1024, 0.3, 0.25), (1536, 0.75, 0.6)],
)
def test_forwarded_frames_leave_whole_and_in_order(depth: int, pause: float, stall: float) -> None:
    frames = made(random.Random(7), 160)
    bench = Bench(FrameBuffer(words=depth, frames=128), frames, 11, pause, stall)
    bench.run()
    assert bench.overruns == 0
    owed = deque(frames)
    for octets, error in bench.out:
        while True:
            frame = owed.popleft()  # IndexError: a frame that nobody sent
            if octets == frame.octets:
                break
            assert not frame.forward, f"lost: {frame.octets.hex()}"
        assert error == frame.bad
        assert frame.forward or frame.early
    assert not any(frame.forward for frame in owed)
    early_bad = sum(error for _, error in bench.out)
    assert early_bad > 2, "some bad frames were caught leaving"
    assert early_bad < sum(frame.bad for frame in frames), "the others vanished"


def test_an_early_frame_leaves_two_clocks_later() -> None:
    frames = [Frame(bytes(range(200)), FrameError.GOOD, True, True)]
    bench = Bench(FrameBuffer(words=256, frames=64), frames, 1, 0.0, 0.0)
    bench.run()
    assert bench.first_out[0] - bench.early_at[0] == 2
    assert bench.latency == bench.first_out[0] - bench.first_in[0]
    assert len(bench.out) == 1


def test_the_frame_that_finds_no_room_is_cut_or_never_seen() -> None:
    rng = random.Random(3)
    frames = [Frame(rng.randbytes(600), FrameError.GOOD, False, True) for _ in range(40)]
    bench = Bench(FrameBuffer(words=200, frames=64), frames, 5, 0.0, 0.9)
    bench.run()
    sent = [frame.octets for frame in frames]
    assert bench.overruns > 0
    assert all(not error and octets in sent for octets, error in bench.out)
    assert len(bench.out) + bench.overruns == len(frames)


def test_an_oversize_frame_ends_with_an_error_and_leaves_room() -> None:
    frames = [
        Frame(bytes(9216), FrameError.GOOD, True, True),
        Frame(bytes(9217), FrameError.GOOD, True, False),
        Frame(bytes(30000), FrameError.GOOD, True, False),
        Frame(bytes(64), FrameError.GOOD, False, True),
    ]
    bench = Bench(FrameBuffer(words=4096, frames=512), frames, 5, 0.0, 0.0)
    bench.run()
    assert [(len(octets), error) for octets, error in bench.out] == [
        (9216, False),
        (9217, True),
        (9224, True),
        (64, False),
    ]


def test_marked_frames_are_refused_while_it_is_demanded() -> None:
    rng = random.Random(5)
    frames = [
        Frame(rng.randbytes(80), FrameError.GOOD, False, True, mark=n % 3 == 0) for n in range(60)
    ]
    bench = Bench(FrameBuffer(words=512, frames=64), frames, 5, 0.0, 0.2)
    bench.run(refuse=True)
    assert [octets for octets, _ in bench.out] == [f.octets for f in frames if not f.mark]
    assert bench.refused == 20


def test_no_frame_is_lost_at_line_rate() -> None:
    """Minimum frames and a gap of two words, forwarded one by one or dropped."""
    rng = random.Random(9)
    frames = [Frame(rng.randbytes(64), FrameError.GOOD, False, n % 4 > 0) for n in range(600)]
    dut = FrameBuffer(words=64, frames=64)
    bench = Bench(dut, frames, 5, 0.0, 0.0)
    bench.run()
    assert bench.overruns == 0
    assert [octets for octets, _ in bench.out] == [f.octets for f in frames if f.forward]


def test_a_frame_that_found_no_room_takes_no_word_of_the_next_when_it_leaves_early() -> None:
    """Found by the proof: it had ended and was let out early while the next one came in."""
    dut = FrameBuffer(words=16, frames=64)
    out: list[int] = []

    async def frame(ctx: Any, number: int, count: int) -> None:
        for at in range(count):
            word = {"data": number, "octets": 8, "first": at == 0, "last": at == count - 1}
            ctx.set(dut.i.payload, word)
            ctx.set(dut.i.valid, 1)
            await ctx.tick()
        ctx.set(dut.i.valid, 0)

    async def pulse(ctx: Any, port: Any) -> None:
        ctx.set(port, 1)
        await ctx.tick()
        ctx.set(port, 0)

    async def drive(ctx: Any) -> None:
        ctx.set(dut.i_verdict.p.forward, 1)
        await frame(ctx, 1, 10)
        await ctx.tick().repeat(2)
        await pulse(ctx, dut.i_verdict.valid)
        await frame(ctx, 2, 8)  # no room
        ctx.set(dut.o.ready, 1)
        await ctx.tick().repeat(4)
        await frame(ctx, 3, 8)
        await pulse(ctx, dut.i_early.valid)
        ctx.set(dut.i_verdict.p.forward, 0)
        await ctx.tick().repeat(4)
        await pulse(ctx, dut.i_verdict.valid)
        await pulse(ctx, dut.i_verdict.valid)
        await ctx.tick().repeat(40)

    async def take(ctx: Any) -> None:
        async for _, _, valid, ready, word in ctx.tick().sample(
            dut.o.valid, dut.o.ready, dut.o.payload
        ):
            if valid and ready:
                out.append(word.data)

    simulator = Simulator(dut)
    simulator.add_clock(6.4e-9)
    simulator.add_testbench(drive)
    simulator.add_testbench(take, background=True)
    simulator.run()
    assert out == [1] * 10
