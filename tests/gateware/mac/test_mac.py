"""MAC receive and transmit: octets and words against IEEE 802.3 frames made by zlib and hand."""

from __future__ import annotations

import random
import zlib
from dataclasses import dataclass, field
from typing import Any

import pytest
from amaranth.sim import Simulator

from harp_gateware.layouts import FrameError
from harp_gateware.mac.receive import PREAMBLE, SFD, MacReceive
from harp_gateware.mac.transmit import (
    GAP_OCTETS,
    HURRY_WORDS,
    LEAD_CLOCKS,
    LEAD_WORDS,
    LEAST_GAP_OCTETS,
    PREAMBLE_OCTETS,
    SETTLE_CLOCKS,
    MacTransmit,
)

START = bytes([PREAMBLE] * 7 + [SFD])
SIZES = (1, 7, 8, 9, 15, 16, 17, 60, 61, 63, 64, 65, 71, 72, 73, 128)


def frame(rng: random.Random, octets: int) -> bytes:
    """A good frame of `octets` with its FCS; below 5 no FCS is possible."""
    body = rng.randbytes(max(octets - 4, 0))
    return (body + zlib.crc32(body).to_bytes(4, "little"))[-octets:]


@dataclass
class Line:
    """Octets with DV and ER as a PHY gives them, clock by clock."""

    clocks: list[tuple[int, int, int]] = field(default_factory=list)

    def idle(self, clocks: int) -> None:
        self.clocks += [(0xDD, 0, 0)] * clocks

    def carry(self, octets: bytes, errors: frozenset[int] = frozenset()) -> None:
        self.clocks += [(octet, 1, int(n in errors)) for n, octet in enumerate(octets)]


def collect(words: list[Any]) -> list[tuple[bytes, FrameError]]:
    """Frames from words, whose flags must be right."""
    frames, octets = [], b""
    for word in words:
        assert bool(word.first) == (octets == b"")
        assert 1 <= word.octets <= 8
        octets += int(word.data).to_bytes(8, "little")[: word.octets]
        if word.last:
            frames.append((octets, FrameError(word.error)))
            octets = b""
        else:
            assert word.octets == 8
            assert FrameError(word.error) is FrameError.GOOD
    assert octets == b"", "a frame without end"
    return frames


def receive(line: Line, stalls: frozenset[int] = frozenset()) -> list[tuple[bytes, FrameError]]:
    """What comes out; in the clocks of `stalls` the output is not taken."""
    dut, words = MacReceive(), list[Any]()

    async def drive(ctx: Any) -> None:
        for clock, (data, dv, er) in enumerate([*line.clocks, *[(0, 0, 0)] * 8]):
            ctx.set(dut.i_data, data)
            ctx.set(dut.i_dv, dv)
            ctx.set(dut.i_er, er)
            ctx.set(dut.o.ready, clock not in stalls)
            if ctx.get(dut.o.valid) and clock not in stalls:
                words.append(ctx.get(dut.o.payload))
            await ctx.tick()

    run(dut, drive)
    return collect(words)


def run(dut: Any, *processes: Any) -> None:
    simulator = Simulator(dut)
    simulator.add_clock(8e-9)
    for process in processes:
        simulator.add_testbench(process)
    simulator.run()


@pytest.mark.parametrize("gap", [1, 8, 12])
def test_good_frames_of_every_residue_come_whole(gap: int) -> None:
    rng, line = random.Random(gap), Line()
    frames = [frame(rng, size) for size in SIZES if size > 4]
    for each in frames:
        line.idle(gap)
        line.carry(START + each)
    assert receive(line) == [(each, FrameError.GOOD) for each in frames]


def test_what_is_wrong_stays_wrong() -> None:
    rng, line = random.Random(3), Line()
    good, bad, errored = (bytearray(frame(rng, 64)) for _ in range(3))
    bad[20] ^= 1
    line.carry(START + bad)
    line.idle(8)
    line.carry(START + errored, errors=frozenset({8 + 63}))
    line.idle(8)
    line.carry(START + good[:30])  # the carrier drops
    line.idle(1)
    line.carry(good[30:])  # and comes back without a preamble
    line.idle(8)
    line.carry(START + good)
    assert receive(line) == [
        (bytes(bad), FrameError.FCS),
        (bytes(errored), FrameError.RX_ER),
        (bytes(good[:30]), FrameError.FCS),
        (bytes(good), FrameError.GOOD),
    ]


@pytest.mark.parametrize(
    "nothing",
    [
        START,
        b"\x55" * 40,
        b"\x0f" * 3 + START + b"\x01" * 64,
        b"\x55" * 3 + b"\x54" + START + b"\x01" * 64,
    ],
)
def test_a_carrier_without_a_frame_gives_nothing(nothing: bytes) -> None:
    line, good = Line(), frame(random.Random(1), 64)
    line.carry(nothing)
    line.idle(2)
    line.carry(bytes([PREAMBLE, SFD]) + good)  # a PHY may eat most of the preamble
    assert receive(line) == [(good, FrameError.GOOD)]


def test_an_error_in_the_preamble_is_no_frame() -> None:
    line, good = Line(), frame(random.Random(1), 64)
    line.carry(START + good, errors=frozenset({3}))
    line.idle(8)
    line.carry(START + good)
    assert receive(line) == [(good, FrameError.GOOD)]


@pytest.mark.parametrize("seed", range(6))
def test_a_full_fifo_costs_whole_frames_and_is_said(seed: int) -> None:
    rng, line = random.Random(seed), Line()
    frames = [frame(rng, rng.choice(SIZES[7:])) for _ in range(60)]
    for each in frames:
        line.idle(8)
        line.carry(START + each)
    stalls = set[int]()
    while len(stalls) < 900:
        begin = rng.randrange(len(line.clocks))
        stalls |= set(range(begin, begin + rng.choice((1, 9, 40, 200))))
    seen = receive(line, frozenset(stalls))
    good = [octets for octets, error in seen if error is FrameError.GOOD]
    cut = [octets for octets, error in seen if error is FrameError.OVERRUN]
    assert len(good) + len(cut) == len(seen)
    assert cut
    assert good
    order = [frames.index(octets) for octets in good]
    assert order == sorted(order)


@dataclass
class Sent:
    octets: bytes
    error: bool
    gap: int


def transmit(
    frames: list[tuple[bytes, FrameError, bool]], *, level: int, dry_at: int | None = None
) -> tuple[list[Sent], int]:
    """Frames on the line (preamble checked and off), and how often the words ran out."""
    dut, clocks, dry = MacTransmit(), list[tuple[int, int, int]](), [0]
    words = [word for each in frames for word in as_words(*each)]
    done = [False]

    async def feed(ctx: Any) -> None:
        ctx.set(dut.i_level, level)
        for number, word in enumerate(words):
            if number == dry_at:
                await ctx.tick().repeat(100)
            ctx.set(dut.i.payload, word)
            ctx.set(dut.i.valid, 1)
            await ctx.tick().until(dut.i.ready)
            ctx.set(dut.i.valid, 0)
        await ctx.tick().repeat(60)
        done[0] = True

    async def watch(ctx: Any) -> None:
        while not done[0]:
            clocks.append((ctx.get(dut.o_data), ctx.get(dut.o_en), ctx.get(dut.o_er)))
            dry[0] += ctx.get(dut.o_underflow)
            await ctx.tick()

    run(dut, feed, watch)
    return on_line(clocks), dry[0]


def as_words(octets: bytes, error: FrameError, append: bool) -> list[dict[str, Any]]:
    return [
        {
            "data": int.from_bytes(octets[at : at + 8], "little"),
            "octets": len(octets[at : at + 8]),
            "first": at == 0,
            "last": at + 8 >= len(octets),
            "error": error if at + 8 >= len(octets) else FrameError.GOOD,
            "append_fcs": append,
        }
        for at in range(0, len(octets), 8)
    ]


def on_line(clocks: list[tuple[int, int, int]]) -> list[Sent]:
    sent, gap, octets, error = list[Sent](), 0, b"", False
    for data, en, er in [*clocks, (0, 0, 0)]:
        if en:
            octets, error = octets + bytes([data]), error or bool(er)
            continue
        if octets:
            assert octets[:PREAMBLE_OCTETS] == START
            sent.append(Sent(octets[PREAMBLE_OCTETS:], error, gap))
            gap, octets, error = 0, b"", False
        gap += 1
    return sent


@pytest.mark.parametrize(
    ("level", "gap"),
    [(LEAD_WORDS, GAP_OCTETS), (HURRY_WORDS, LEAST_GAP_OCTETS)],
)
def test_frames_leave_with_preamble_fcs_and_gap(level: int, gap: int) -> None:
    rng = random.Random(level)
    frames = [
        (frame(rng, size) if n % 2 else rng.randbytes(size), FrameError.GOOD, n % 2 == 0)
        for n, size in enumerate(SIZES)
    ]
    sent, dry = transmit(frames, level=level)
    assert dry == 0
    for (octets, _, append), each in zip(frames, sent, strict=True):
        fcs = zlib.crc32(octets).to_bytes(4, "little") if append else b""
        assert (each.octets, each.error) == (octets + fcs, False)
    assert {each.gap for each in sent[1:]} == {gap}


def test_a_bad_frame_never_becomes_good() -> None:
    good = frame(random.Random(5), 70)
    errors = (FrameError.FCS, FrameError.RX_ER, FrameError.OVERRUN, FrameError.GOOD)
    sent, _ = transmit([(good, error, False) for error in errors], level=LEAD_WORDS)
    assert [each.error for each in sent] == [True, True, True, False]
    assert {each.octets for each in sent} == {good}


def test_a_short_frame_does_not_wait_for_ever() -> None:
    short = frame(random.Random(6), 9)
    sent, _ = transmit([(short, FrameError.GOOD, False)], level=2)
    assert [each.octets for each in sent] == [short]


@pytest.mark.parametrize("word", [1, 5, 8])
def test_a_frame_that_runs_dry_ends_with_an_error_and_the_next_is_whole(word: int) -> None:
    rng = random.Random(word)
    frames = [(frame(rng, 72), FrameError.GOOD, False) for _ in range(3)]
    sent, dry = transmit(frames, level=LEAD_WORDS, dry_at=9 + word)
    assert dry == 1
    assert [each.error for each in sent] == [False, True, False]
    assert sent[1].octets == frames[1][0][: 8 * word]
    assert sent[2].octets == frames[2][0]


def test_what_is_dropped_does_not_count_for_the_lead_of_the_next() -> None:
    """The level that is told is that of SETTLE_CLOCKS ago: the rest of a frame was in it."""
    dut = MacTransmit()
    rest, following = (
        as_words(bytes(16), FrameError.GOOD, True)[1],
        as_words(bytes(60), FrameError.GOOD, True),
    )
    waited = 0

    async def drive(ctx: Any) -> None:
        nonlocal waited
        ctx.set(dut.i_level, LEAD_WORDS)
        ctx.set(dut.i.payload, rest)
        ctx.set(dut.i.valid, 1)
        await ctx.tick().until(dut.i.ready)
        ctx.set(dut.i.payload, following[0])
        while not ctx.get(dut.o_en):
            if waited == SETTLE_CLOCKS - 1:
                ctx.set(dut.i_level, 1)
            waited += 1
            await ctx.tick()

    run(dut, drive)
    assert waited > LEAD_CLOCKS
