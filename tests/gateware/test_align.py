"""Align against a twin in plain Python: every length, depth of tags, and runts back to back."""

import random
from typing import Any, NamedTuple

import pytest
from amaranth.sim import Simulator

from harp_gateware.align import Align
from harp_gateware.layouts import FrameError

TYPES = (b"\x86\xdd", b"\x08\x06", b"\x05\xff", b"\x81\x00")


class Frame(NamedTuple):
    """A frame as it comes, and how the MAC says it ended."""

    octets: bytes
    error: FrameError = FrameError.GOOD


class Seen(NamedTuple):
    """What is known of a frame behind `align`."""

    packet: bytes
    not_ipv6: bool
    vlan: int
    tags: int
    octets: int
    bad: bool
    error: int


def aligned(frame: Frame) -> Seen:
    """What leaves: IPv6 to the octet before the FCS (offload.md §1, §2)."""
    octets = frame.octets
    tags, vlan, at = 0, 0, 12
    while octets[at : at + 2] in (b"\x81\x00", b"\x88\xa8") and tags < 2:
        vlan = int.from_bytes(octets[at + 2 : at + 4], "big") & 0xFFF
        tags, at = tags + 1, at + 4
    bad = frame.error is not FrameError.GOOD or not 64 <= len(octets) <= 9216
    not_ipv6 = octets[at : at + 2] != b"\x86\xdd"
    return Seen(octets[at + 2 : -4], not_ipv6, vlan, tags, len(octets), bad, frame.error.value)


def make(rng: random.Random, size: int, tags: int, ethertype: bytes = b"\x86\xdd") -> Frame:
    """Random octets of this size with this many tags."""
    head = b"".join(rng.choice((b"\x81\x00", b"\x88\xa8")) + rng.randbytes(2) for _ in range(tags))
    octets = (rng.randbytes(12) + head + ethertype + rng.randbytes(size))[:size]
    return Frame(octets, rng.choice((FrameError.GOOD,) * 9 + (FrameError.FCS, FrameError.RX_ER)))


def frames(rng: random.Random) -> list[Frame]:
    """Each size and depth, runts of one word in rows, and the longest."""
    some = [make(rng, size, tags) for size in range(1, 150) for tags in range(3)]
    some += [make(rng, 64 + n, tags, kind) for n in range(8) for tags in range(3) for kind in TYPES]
    some += [make(rng, size, 1) for size in (9215, 9216, 9217, 16380, 17000)]
    rng.shuffle(some)
    runts = [[make(rng, rng.randrange(1, 9), 0) for _ in range(rng.randrange(6))] for _ in some]
    return [frame for one, row in zip(some, runts, strict=True) for frame in (one, *row)]


def check(want: Seen, got: Seen) -> None:
    """A runt that ends inside L2, as far as 64-bit words show it, has one word and is bad."""
    if len(want.packet) == 0 or want.octets <= (24 if want.tags < 2 else 32):
        assert got.not_ipv6 and len(got.packet) == 1 and got.bad, want
        assert (got.octets, got.error) == (want.octets, want.error)
        return
    if want.octets > 16376:
        want = want._replace(octets=got.octets)
        assert got.octets > 9216
    assert got == want


@pytest.mark.parametrize("pause", [0.0, 0.3])
def test_what_leaves_is_the_packet_without_its_fcs(pause: float) -> None:
    rng = random.Random(20260501)
    sent = frames(rng)
    dut, got, good = Align(), list[Seen](), 0

    async def drive(ctx: Any) -> None:
        nonlocal good
        for frame in sent:
            for at in range(0, len(frame.octets), 8):
                while rng.random() < pause:
                    ctx.set(dut.i.valid, 0)
                    await ctx.tick()
                piece = frame.octets[at : at + 8]
                last = at + 8 >= len(frame.octets)
                word = {
                    "data": int.from_bytes(piece, "little"),
                    "octets": len(piece),
                    "first": at == 0,
                    "last": last,
                    "error": frame.error if last else FrameError.GOOD,
                }
                ctx.set(dut.i.payload, word)
                ctx.set(dut.i.valid, 1)
                assert ctx.get(dut.o_good) == (last and not aligned(frame).bad)
                await ctx.tick()
        ctx.set(dut.i.valid, 0)
        await ctx.tick().repeat(4)

    async def watch(ctx: Any) -> None:
        packet, not_ipv6 = b"", 0
        samples = ctx.tick().sample(dut.o.valid, dut.o.payload, dut.meta)
        async for _, _, valid, word, meta in samples:
            if not valid:
                continue
            assert word.first == (not packet)
            assert word.octets == 8 or (word.last and word.octets > 0)
            not_ipv6 = meta.not_ipv6 if word.first else not_ipv6
            assert meta.not_ipv6 == not_ipv6, "holds from the first word on"
            packet += word.data.to_bytes(8, "little")[: word.octets]
            if word.last:
                vlan, error, bad = meta.vlan, FrameError(meta.error).value, bool(meta.bad)
                assert FrameError(word.error).value == error
                got.append(
                    Seen(packet, bool(not_ipv6), vlan.id, vlan.tags, meta.octets, bad, error)
                )
                packet = b""

    simulator = Simulator(dut)
    simulator.add_clock(6.4e-9)
    simulator.add_testbench(drive)
    simulator.add_testbench(watch, background=True)
    simulator.run()
    assert len(got) == len(sent)
    for frame, seen in zip(sent, got, strict=True):
        check(aligned(frame), seen)
