"""The gateware's link driven by the host's own session, octet for octet."""

from __future__ import annotations

import random
from typing import Any

import pytest

from harp.offload.frames import Answer, Deframer, Pushed, Request, encode
from harp.offload.registers import fields_of, words_of
from harp.offload.session import Answered, Ask, Occurred, Over
from harp.tables.link import LinkOp, LinkStatus
from harp.tables.register_schema import Access
from harp.tables.registers import BY_NAME, REGISTERS
from harp_gateware.layouts import EventCode

from .bench import OCTET_CLOCKS, Bench

FEW = tuple(BY_NAME[name] for name in ("magic", "control", "sticky", "guard", "event_ack", "slot"))
"""A bank that simulates fast."""
HARMLESS = frozenset(("guard", "peer_command", "event_ack"))
"""With PULSE fields; written in tests of their own."""


async def quiet(bench: Bench, ctx: Any, octets: int = 40) -> None:
    for _ in range(octets):
        await bench.step(ctx)


async def push(ctx: Any, bench: Bench, kind: int, index: int, count: int, first_us: int) -> None:
    """The core pushes an event; returns when the link has taken it."""
    port = bench.dut.link.i_event
    ctx.set(
        port.payload,
        {"kind": EventCode(kind), "index": index, "first_us": first_us, "count": count},
    )
    ctx.set(port.valid, 1)
    for _ in range(200 * OCTET_CLOCKS):
        _, _, ready = await ctx.tick().sample(port.ready)
        if ready:
            break
    else:
        raise AssertionError("the link takes no event")
    ctx.set(port.valid, 0)


def test_every_register_by_its_kind_of_access() -> None:
    """A random write and read of all registers through the serial path (offload.md §6)."""
    bench = Bench(REGISTERS)
    rng = random.Random(5)

    async def script(ctx: Any) -> None:
        for register in REGISTERS:
            index = rng.randrange(register.count)
            address = register.address(index)
            held = {f.name: register.reset_of(f, index) for f in register.fields}
            if register.name not in HARMLESS:
                new = {
                    f.name: rng.getrandbits(f.width)
                    for f in register.fields
                    if f.access is not Access.PULSE
                }
                words = words_of(register.name, index, **new)
                done = await bench.ask(ctx, Ask(LinkOp.WRITE, address, len(words), words))
                assert isinstance(done, Answered) and done.status is LinkStatus.OK
                writable = {f.name for f in register.fields if f.access is Access.RW}
                held |= {name: value for name, value in new.items() if name in writable}
            read = await bench.ask(ctx, Ask(LinkOp.READ, address, register.words))
            assert isinstance(read, Answered) and read.status is LinkStatus.OK
            found = fields_of(register.name, read.words)
            for field in register.fields:
                if field.access is not Access.RO or field.reset:
                    want = 0 if field.access is Access.PULSE else held[field.name]
                    assert found[field.name] == want, f"{register.name}[{index}].{field.name}"

    bench.run(script)


def test_refused_malformed_and_the_longest() -> None:
    bench = Bench(FEW)
    slot = BY_NAME["slot"]

    async def script(ctx: Any) -> None:
        gap = await bench.ask(ctx, Ask(LinkOp.READ, slot.offset - 2, 4))
        assert isinstance(gap, Answered) and gap.status is LinkStatus.REFUSED
        assert gap.words[:2] == (0, 0), "words that are not there"
        words = tuple(n << 8 & 0xFFFF_FFFF for n in range(32))
        done = await bench.ask(ctx, Ask(LinkOp.WRITE, slot.offset, 32, words))
        assert isinstance(done, Answered) and done.status is LinkStatus.OK
        back = await bench.ask(ctx, Ask(LinkOp.READ, slot.offset, 32))
        assert isinstance(back, Answered) and back.status is LinkStatus.OK
        assert back.words[1::4] == words[1::4], "periods"
        long = await bench.ask(ctx, Ask(LinkOp.WRITE, slot.offset, 64, (0xFFFF_FFFF,) * 64))
        assert isinstance(long, Answered) and long.status is LinkStatus.REFUSED
        back = await bench.ask(ctx, Ask(LinkOp.READ, slot.offset, 64))
        assert isinstance(back, Answered) and len(back.words) == 64

    bench.run(script)


@pytest.mark.parametrize(
    "request_", [Request(9, 5, 0, 1), Request(1, 5, 0, 0), Request(1, 5, 0, 65)]
)
def test_malformed_requests_are_answered_so(request_: Request) -> None:
    assert octets_answer(encode(request_)) == [
        Answer(request_.op, request_.number, LinkStatus.MALFORMED)
    ]


@pytest.mark.parametrize(
    "octets",
    [
        encode(Answer(1, 5, LinkStatus.OK)),
        encode(Pushed(1, 2, 3)),
        b"\0\x01\0\x02\x05\0\xff\xff\xff\0",
        b"\x11" * 1000 + b"\0",
    ],
    ids=["answer", "event", "cobs", "long"],
)
def test_what_is_no_request_is_counted_and_not_answered(octets: bytes) -> None:
    bench = Bench(FEW)
    assert octets_answer(octets, bench) == []
    assert bench.bad >= 1


def octets_answer(octets: bytes, bench: Bench | None = None) -> list[Any]:
    """What the link says to these octets."""
    bench = bench or Bench(FEW)
    said = bytearray()

    async def script(ctx: Any) -> None:
        link = bench.dut.link
        await ctx.tick().repeat(3)
        for octet in (*octets, *(None,) * 60):
            ctx.set(link.i.valid, octet is not None)
            ctx.set(link.i.payload, octet or 0)
            for _ in range(OCTET_CLOCKS):
                ctx.set(link.o.ready, 1)
                _, _, valid, out = await ctx.tick().sample(link.o.valid, link.o.payload)
                ctx.set(link.i.valid, 0)
                if valid:
                    said.append(out)
        bench.bad = ctx.get(link.bad_frames)

    bench.run(script)
    return list(Deframer().feed(bytes(said)))


def test_a_kick_renews_the_lease_keeps_the_rest_and_is_done_once() -> None:
    bench = Bench((*FEW, BY_NAME["kick_answer"]))
    kicks = [0]

    async def script(ctx: Any) -> None:
        guard = words_of("guard", armed=1, lease_ms=30, host_link_grace_us=77)
        await bench.ask(ctx, Ask(LinkOp.WRITE, BY_NAME["guard"].offset, 2, guard))
        kick = await bench.ask(ctx, Ask(LinkOp.KICK, BY_NAME["kick_answer"].offset, 4))
        assert isinstance(kick, Answered) and kick.status is LinkStatus.OK
        assert len(kick.words) == 4
        assert kicks == [1]
        # The same request again, as after an answer that was lost.
        again = encode(Request(LinkOp.KICK, bench.session._number, 0x48, 4))
        for copy in range(3):
            bench.up.send(again, bench.now)
            await quiet(bench, ctx, 80)
            assert ctx.get(bench.dut.link.repeats) == copy + 1
        assert kicks == [1], "a repeat renews nothing"
        read = await bench.ask(ctx, Ask(LinkOp.READ, BY_NAME["guard"].offset, 2))
        assert isinstance(read, Answered)
        found = fields_of("guard", read.words)
        assert (found["armed"], found["lease_ms"], found["host_link_grace_us"]) == (1, 30, 77)
        # The same number with another content is another request: a host that began anew.
        other = encode(Request(LinkOp.KICK, bench.session._number, 0x49, 1))
        bench.up.send(other, bench.now)
        await quiet(bench, ctx, 80)
        assert kicks == [2]

    async def watch(ctx: Any) -> None:
        async for _, _, kick in ctx.tick().sample(bench.dut.bank.guard__kick):
            kicks[0] += kick

    bench.watchers.append(watch)
    bench.run(script)


def test_events_and_answers_take_turns() -> None:
    bench = Bench(FEW)

    async def events(ctx: Any) -> None:
        for n in range(12):
            await push(ctx, bench, EventCode.PEER_DOWN.value, n, 1, (n << 40) + 7)

    async def script(ctx: Any) -> None:
        for _ in range(6):
            done = await bench.ask(ctx, Ask(LinkOp.READ, 0, 1))
            assert isinstance(done, Answered) and done.words == (0x48415250,)
        await quiet(bench, ctx, 600)

    bench.watchers.append(events)
    bench.run(script)
    found = [output for output in bench.heard if isinstance(output, Occurred)]
    assert [(e.kind, e.index, e.first_us, e.count) for e in found] == [
        ("peer_down", n, (n << 40) + 7, 1) for n in range(12)
    ]
    first_answer = next(n for n, o in enumerate(bench.heard) if isinstance(o, Answered))
    assert first_answer < 3, "events do not keep an answer waiting"
    assert bench.session.retries == 0


def test_a_request_that_comes_while_another_waits_is_lost_whole() -> None:
    """While an answer is sent one request is kept; the frame after it is ignored, not half read."""
    bench = Bench(FEW)
    said: list[Any] = []

    async def script(ctx: Any) -> None:
        long = encode(Request(LinkOp.READ, 1, BY_NAME["slot"].offset, 64))
        bench.up.send(long, bench.now)
        deframer = Deframer()
        receive = bench.session.receive

        def listen(octets: bytes, now: int) -> Any:
            said.extend(deframer.feed(octets))
            return receive(octets, now)

        bench.session.receive = listen
        await quiet(bench, ctx, 220)
        assert not said, "the answer is on its way"
        for number in (2, 3, 4):
            bench.up.send(encode(Request(LinkOp.READ, number, 0, 1)), bench.now)
        await quiet(bench, ctx, 400)
        assert ctx.get(bench.dut.link.bad_frames) == 0

    bench.run(script)
    assert [answer.number for answer in said] == [1, 2]


def test_a_hostile_wire() -> None:
    """Two hundred operations with 1 % of the octets wrong, missing, doubled or late."""
    bench = Bench(FEW, seed=11, rate=0.01)
    rng = random.Random(12)
    held = [0] * 8
    done = failed = 0

    async def script(ctx: Any) -> None:
        nonlocal done, failed
        for _ in range(200):
            index, value = rng.randrange(8), rng.getrandbits(32)
            address, write = BY_NAME["slot"].address(index) + 1, rng.random() < 0.5
            ask = Ask(LinkOp.WRITE, address, 1, (value,)) if write else Ask(LinkOp.READ, address, 1)
            end = await bench.ask(ctx, ask)
            if isinstance(end, Over):
                failed += 1
                bench.connect()
                held[index] = -1 if write else held[index]
                continue
            done += 1
            assert end.status is LinkStatus.OK
            if write:
                held[index] = value
            elif held[index] > 0:
                assert end.words == (held[index],)
            elif held[index] < 0:
                held[index] = end.words[0]

    bench.run(script)
    assert done > 190
    assert bench.up.faults + bench.down.faults > 30


def test_replugged_and_noise() -> None:
    """Twenty conversations, each after a cut in the middle and noise of its own."""
    bench = Bench(FEW, seed=3)

    async def script(ctx: Any) -> None:
        for _ in range(20):
            cut = encode(Request(LinkOp.READ, 1, 0, 1))[: bench.rng.randrange(1, 12)]
            bench.up.send(cut + bench.rng.randbytes(bench.rng.randrange(60)), bench.now)
            bench.connect()
            done = await bench.ask(ctx, Ask(LinkOp.READ, 0, 1))
            assert isinstance(done, Answered) and done.words == (0x48415250,)

    bench.run(script)
