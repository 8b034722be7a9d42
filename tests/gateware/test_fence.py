"""The fence: which host frames it marks, in whatever chain, and that each has its verdict."""

import random
from typing import Any

from amaranth.sim import Simulator
from tests.gateware.keys import WithKeys

from harp.tables.registers import BY_NAME
from harp_gateware.fence import Fence
from harp_gateware.layouts import FrameError

FENCE = BY_NAME["fence"]
HARP_MH = 11
OWN = 1 << 8
"""Beside a prefix length: the host's own."""
Entries = list[tuple[int, int]]  # address, first octet highest; prefix length, OWN


def listed(target: bytes, entries: Entries) -> bool:
    number = int.from_bytes(target, "big")
    for address, length in entries:
        if address and (number ^ address) >> 128 - min(length % OWN, 128) == 0:
            return length < OWN
    return False


class Made:
    """A random frame and whether a fence stops it."""

    def __init__(self, rng: random.Random, entries: Entries) -> None:
        body, number, self.marked = self._message(rng, entries)
        for _ in range(rng.choice((0, 0, 1, 2, 3))):
            kind = rng.choice((0, 43, 60, 44, 51))
            units = {44: 0, 51: 2}.get(kind, rng.choice((0, 1, 3)))
            octets = {44: 8, 51: 16}.get(kind, 8 * units + 8)
            header = bytearray(octets)
            header[0], header[1] = number, units
            if kind == 44 and rng.random() < 0.5:
                header[3] = 1
                self.marked = False
            body, number = bytes(header) + body, kind
        fixed = bytearray(40)
        fixed[0], fixed[4:6], fixed[6] = 0x60, len(body).to_bytes(2, "big"), number
        tags = rng.choice((b"", b"\x81\0\0\5", b"\x88\xa8\0\1\x81\0\0\2"))
        ethertype = b"\x86\xdd"
        if rng.random() < 0.1:
            ethertype, self.marked = b"\x08\0", False
        frame = rng.randbytes(12) + tags + ethertype + bytes(fixed) + body
        self.octets = frame + bytes(max(0, 60 - len(frame))) + b"FCS!"
        if rng.random() < 0.1:
            self.octets, self.marked = rng.randbytes(rng.randint(1, 13)), False

    @staticmethod
    def _message(rng: random.Random, entries: Entries) -> tuple[bytes, int, bool]:
        if rng.random() < 0.4:
            kind, flags = rng.choice((HARP_MH, HARP_MH, 5)), rng.choice((0x80, 0xC8, 0x7F, 0))
            mh = bytes((59, 2, kind, 0, 0, 0, rng.randrange(10), 1, 0, 1, 0, flags)) + bytes(12)
            return mh, 135, kind == HARP_MH and flags >= 0x80
        address, _ = rng.choice(entries)
        target = address ^ (1 << rng.randrange(128) if rng.random() < 0.6 else 0)
        octets = target.to_bytes(16, "big")
        kind = rng.choice((136, 136, 136, 135, 128))
        number = rng.choice((58, 58, 58, 17))
        marked = kind == 136 and number == 58 and listed(octets, entries)
        return bytes((kind,)) + bytes(7) + octets + bytes(rng.choice((0, 8))), number, marked


def test_what_a_fenced_host_may_not_send_is_marked() -> None:
    rng = random.Random(14)
    entries = [(rng.getrandbits(128) | 1 << 127, length) for length in (128, 127, 64, 9, 1)]
    own = entries[2][0] ^ 1, 128 | OWN  # in the /64 behind it
    entries[2:2] = [own, (0, 128)]
    entries.append((rng.getrandbits(127) | 1, 128))
    made = [Made(rng, entries) for _ in range(600)]
    dut, marks = Fence(), list[bool]()
    both = WithKeys(dut, {"fence_word": "word"})
    port, answer = both.keys.i_ram_fence, both.keys.o_ram_fence
    early: list[int] = []
    late: list[int] = []

    async def drive(ctx: Any) -> None:
        ctx.set(dut.harp_mh_type, HARP_MH)
        ctx.set(dut.fenced, 1)
        for index, (address, length) in enumerate(entries):
            number = int.from_bytes(address.to_bytes(16, "big"), "little")
            for word, value in ((0, number), (4, length)):
                request = {"address": FENCE.address(index) + word, "write": 1, "data": value}
                ctx.set(port.payload, request)
                ctx.set(port.valid, 1)
                await ctx.tick()
                ctx.set(port.valid, 0)
                await ctx.tick().until(answer.valid)
        for number, frame in enumerate(made):
            for at in range(0, len(frame.octets), 8):
                piece = frame.octets[at : at + 8]
                word = {
                    "data": int.from_bytes(piece, "little"),
                    "octets": len(piece),
                    "first": at == 0,
                    "last": at + 8 >= len(frame.octets),
                    "error": FrameError.GOOD,
                }
                ctx.set(dut.i.payload, word)
                ctx.set(dut.i.valid, 1)
                await ctx.tick()
                while number % 2 and rng.random() < 0.2:
                    ctx.set(dut.i.valid, 0)
                    await ctx.tick()
            ctx.set(dut.i.valid, 0)
            await ctx.tick()
            await ctx.tick()
        for _ in range(30):
            await ctx.tick()

    async def watch(ctx: Any) -> None:
        clock, ends = 0, []
        async for _, _, valid, mark, ended, soon in ctx.tick().sample(
            dut.o_verdict.valid, dut.mark, dut.i.valid & dut.i.p.last, dut.o_early.valid
        ):
            clock += 1
            if ended:
                ends.append(clock)
            if valid:
                marks.append(bool(mark))
                late.append(clock - ends[len(marks) - 1])
            if soon:
                early.append(clock)

    simulator = Simulator(both)
    simulator.add_clock(6.4e-9)
    simulator.add_testbench(drive)
    simulator.add_testbench(watch, background=True)
    simulator.run()
    for frame, mark in zip(made, marks, strict=True):
        assert mark == frame.marked, frame.octets.hex()
    assert sum(marks) > 60
    assert 16 <= min(late) and max(late) <= 20
    assert not early, "frames are held while fenced"
