"""Slots: patches, periods, jitter, order, share of the line, resigns."""

import random
from collections.abc import Callable, Coroutine
from itertools import pairwise
from typing import Any

from amaranth.sim import Simulator

from harp.tables.offload import SlotFlag
from harp.tables.registers import BY_NAME
from harp_gateware.slots import Slots

TEMPLATE, SLOT = BY_NAME["slot_template"], BY_NAME["slot"]
CLOCKS_A_US = 25
Script = Callable[["Bench", Any], Coroutine[Any, Any, None]]
PLAIN = SlotFlag.ENABLE | SlotFlag.SEQUENCE | SlotFlag.CHECKSUM


def checksum(octets: bytes) -> int:
    total = sum(int.from_bytes(octets[at : at + 2], "big") for at in range(0, len(octets), 2))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def template(rng: random.Random, offset: int, words: int) -> bytes:
    """A frame whose MH is right (without a pseudo-header) for Sequence # 0."""
    mh = bytearray(rng.randbytes(8 * words))
    mh[4:6] = mh[8:10] = b"\0\0"
    mh[4:6] = checksum(bytes(mh)).to_bytes(2, "big")
    return rng.randbytes(offset) + bytes(mh)


class Bench:
    """Slots on a line that takes words with pauses; frames out, with the µs of their start."""

    def __init__(self, slots: int = 8) -> None:
        self.dut = Slots(slots)
        self.frames: list[tuple[int, bytes]] = []
        self.begun = list[int]()
        self.now = 0
        self.clock = 0
        self.resigned_at = 0

    async def load(self, ctx: Any, slot: int, octets: bytes) -> None:
        padded = octets + bytes(-len(octets) % 4)
        for at in range(0, len(padded), 4):
            word = int.from_bytes(padded[at : at + 4], "little")
            port = self.dut.i_ram_slot_template
            address = TEMPLATE.address(64 * slot + at // 4)
            for write in (1, 0):
                ctx.set(port.payload, {"address": address, "write": write, "data": word})
                ctx.set(port.valid, 1)
                await ctx.tick()
                ctx.set(port.valid, 0)
                answer = self.dut.o_ram_slot_template
                (data,) = await ctx.tick().sample(answer.payload).until(answer.valid)
            assert data.data == word

    async def ram(self, ctx: Any, area: str, index: int, word: int, data: int = -1) -> int:
        """The host writes `data`, or reads."""
        request, response = (getattr(self.dut, f"{way}_ram_{area}") for way in "io")
        address = BY_NAME[area].address(index) + word
        ctx.set(request.payload, {"address": address, "write": data >= 0, "data": max(data, 0)})
        ctx.set(request.valid, 1)
        await ctx.tick()
        ctx.set(request.valid, 0)
        for _ in range(100):
            if ctx.get(response.valid):
                return int(ctx.get(response.p.data))
            await ctx.tick()
        raise AssertionError(f"{area}: no answer within 100 clocks")

    async def set(
        self,
        ctx: Any,
        slot: int,
        octets: bytes,
        offset: int,
        flags: SlotFlag,
        period: int = 1000,
        jitter: int = 0,
        source: int | None = None,
    ) -> None:
        values = {
            "flags": int(flags),
            "mh_offset": offset,
            "length": len(octets),
            "sequence_from": slot if source is None else source,
            "period_us": period,
            "jitter": jitter,
            "spi": 5,
        }
        whole = sum(value << SLOT.field(name).at for name, value in values.items())
        for word in (2, 1, 0):
            await self.ram(ctx, "slot", slot, word, whole >> 32 * word & 0xFFFF_FFFF)
        for word in range(3):
            assert await self.ram(ctx, "slot", slot, word) == whole >> 32 * word & 0xFFFF_FFFF

    async def state(self, ctx: Any, slot: int, field: str) -> int:
        word = BY_NAME["slot_state"].field(field).at // 32
        return await self.ram(ctx, "slot_state", slot, word)

    async def pass_(self, ctx: Any, us: int) -> None:
        for _ in range(us):
            await ctx.tick().repeat(CLOCKS_A_US)
            self.now += 1
            ctx.set(self.dut.now_us, self.now)

    async def line(self, ctx: Any) -> None:
        """Grants at once; takes the words with pauses that the seed decides."""
        rng, frame, granted = random.Random(3), bytearray(), False
        dut = self.dut
        while True:
            ctx.set(dut.o.ready, rng.random() < 0.7)
            _, _, request, valid, ready, word = await ctx.tick().sample(
                dut.request, dut.o.valid, dut.o.ready, dut.o.payload
            )
            self.clock += 1
            ctx.set(dut.grant, request and not granted)
            granted = granted or bool(request)
            if valid and ready:
                assert word.first == (not frame) and word.append_fcs
                if word.first:
                    self.frames.append((self.now, b""))
                    self.begun.append(self.clock)
                frame += word.data.to_bytes(8, "little")[: word.octets]
                if word.last:
                    self.frames[-1] = (self.frames[-1][0], bytes(frame))
                    frame.clear()
                    granted = False

    def run(self, script: Script) -> None:
        async def whole(ctx: Any) -> None:
            ctx.set(self.dut.speed, 3)
            await script(self, ctx)

        simulator = Simulator(self.dut)
        simulator.add_clock(6.4e-9)
        simulator.add_testbench(whole)
        simulator.add_testbench(self.line, background=True)
        simulator.run()


def test_sequence_and_checksum_are_right_wherever_the_mh_lies() -> None:
    rng = random.Random(6)
    for offset in (54, 58, 62, 94, 98, 198):
        bench = Bench()
        frame = template(rng, offset, 5)

        async def script(
            bench: Bench, ctx: Any, frame: bytes = frame, offset: int = offset
        ) -> None:
            await bench.load(ctx, 3, frame)
            await bench.ram(ctx, "slot", 5, 3, 65533)
            assert await bench.ram(ctx, "slot", 5, 3) == 65533
            await bench.set(ctx, 3, frame, offset, PLAIN, period=100, source=5)
            ctx.set(bench.dut.run, 1)
            await bench.pass_(ctx, 390)
            assert await bench.ram(ctx, "slot", 5, 3) == 2
            assert await bench.ram(ctx, "kick_answer", 0, 2) == 2 << 16
            assert await bench.state(ctx, 3, "sent") == 4
            assert await bench.state(ctx, 3, "missed") == 0

        bench.run(script)
        numbers = []
        for _, octets in bench.frames:
            assert len(octets) == len(frame)
            mh = octets[offset:]
            numbers.append(int.from_bytes(mh[8:10], "big"))
            assert checksum(mh) == 0
            mh = mh[:4] + frame[offset + 4 : offset + 6] + mh[6:8] + b"\0\0" + mh[10:]
            assert octets[:offset] + mh == frame, "nothing else is changed"
        assert numbers == [65534, 65535, 1, 2]


def test_periods_and_jitter() -> None:
    bench = Bench()
    rng = random.Random(9)
    frame = template(rng, 54, 3) + bytes(5)

    async def script(bench: Bench, ctx: Any) -> None:
        await bench.load(ctx, 0, frame)
        await bench.set(ctx, 0, frame, 54, SlotFlag.ENABLE, period=100, jitter=10)
        ctx.set(bench.dut.run, 1)
        await bench.pass_(ctx, 2000)

    bench.run(script)
    gaps = [b - a for (a, _), (b, _) in pairwise(bench.frames)]
    assert len(gaps) >= 19
    # Two µs: when the frame was ready, and when the line took it.
    assert min(gaps) >= 90 - 2 and max(gaps) <= 100 + 2
    assert max(gaps) - min(gaps) > 5, "the jitter is there"
    assert all(octets == frame for _, octets in bench.frames)


def test_lower_slots_first_and_two_percent_of_the_line() -> None:
    bench = Bench()
    frame = bytes(226)  # 250 octets on the line: 10 µs of 10 Gb/s at 2 %

    async def script(bench: Bench, ctx: Any) -> None:
        for slot in (1, 4, 6):
            octets = bytes((slot,)) + frame[1:]
            await bench.load(ctx, slot, octets)
            await bench.set(ctx, slot, octets, 54, SlotFlag.ENABLE, period=100)
        ctx.set(bench.dut.run, 1)
        await bench.pass_(ctx, 95)
        ctx.set(bench.dut.speed, 2)
        await bench.pass_(ctx, 1000)
        missed = sum([await bench.state(ctx, n, "missed") for n in range(8)])
        sent = sum([await bench.state(ctx, n, "sent") for n in range(8)])
        assert 25 <= missed + sent <= 33 and sent <= 14

    bench.run(script)
    # The one that is found due first goes at once; of those that wait then the lower one.
    _, second, third = order = [octets[0] for _, octets in bench.frames[:3]]
    assert sorted(order) == [1, 4, 6] and second < third
    begins = [time for time, _ in bench.frames]
    assert all(10 <= b - a <= 14 for a, b in pairwise(begins[:3]))
    assert all(b - a >= 100 for a, b in pairwise(begins[3:]))


def test_resign_slots_speak_when_told_and_nobody_else() -> None:
    bench = Bench()

    async def script(bench: Bench, ctx: Any) -> None:
        for slot, flags in (
            (0, SlotFlag.ENABLE),
            (2, SlotFlag.ENABLE | SlotFlag.RESIGN),
            (5, SlotFlag.ENABLE | SlotFlag.RESIGN),
            (6, SlotFlag.RESIGN),
            (7, SlotFlag.ENABLE | SlotFlag.AUTHENTICATE),
        ):
            octets = bytes((slot,)) + bytes(79)
            await bench.load(ctx, slot, octets)
            await bench.set(ctx, slot, octets, 54, flags, period=100)
        ctx.set(bench.dut.run, 1)
        await bench.pass_(ctx, 250)
        assert ctx.get(bench.dut.resigns)
        # The watchdog fires while a HELLO is about to be sent.
        while bench.now < 299:
            await bench.pass_(ctx, 1)
        ctx.set(bench.dut.now_us, 302)
        await ctx.tick().repeat(20)
        ctx.set(bench.dut.run, 0)
        ctx.set(bench.dut.resign, 1)
        bench.resigned_at = bench.clock
        await ctx.tick()
        ctx.set(bench.dut.resign, 0)
        await ctx.tick().repeat(400)
        assert [await bench.state(ctx, n, "sent") for n in (2, 5, 6, 7)] == [1, 1, 0, 0]

    bench.run(script)
    assert [octets[0] for _, octets in bench.frames] == [0, 0, 0, 2, 5]
    assert bench.begun[3] - bench.resigned_at <= 100
