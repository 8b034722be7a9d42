"""The heartbeat monitor against a twin: verdicts, states, events, snapshots, punctuality."""

import random
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import pytest
from amaranth.sim import Simulator

from harp.tables.registers import BY_NAME
from harp_gateware.layouts import EventCode, HelloVerdict
from harp_gateware.monitor import Monitor, State

AUTH_SUBTYPE = 241
PASS_EVERY = 4
TIMING, SEQUENCE, SNAPSHOT = (BY_NAME[n] for n in ("peer_timing", "peer_sequence", "peer_state"))


def essence(mh: bytes) -> bytes:
    """What of a HELLO is compared (offload.md §3)."""
    octets = bytearray(mh)
    octets[4:6] = octets[8:10] = b"\0\0"
    end = len(mh)
    if end >= 48 and mh[-23:-20] == bytes((9, 21, AUTH_SUBTYPE)):
        octets[-16:] = bytes(16)
        if end >= 64 and mh[-38:-36] == bytes((10, 8)):
            octets[-36:-28] = bytes(8)
    return bytes(octets)


@dataclass
class Peer:
    """The twin of one peer."""

    down_us: int = 0
    late_us: int = 0
    multiplier: int = 3
    last: list[int] = field(default_factory=lambda: [0, 0])
    state: State = State.UNKNOWN
    down_at: int | None = None
    late_at: int | None = None
    stored: bytes = b""
    quiet: int = 0
    heard: int = 0
    accepted: int = 0
    absorbed: int = 0
    seen: bool = False

    def expire(self, now: int) -> list[EventCode]:
        if self.down_at is not None and self.down_at <= now:
            self.down_at = self.late_at = None
            self.state, self.last = State.DOWN, [0, 0]
            return [EventCode.PEER_DOWN]
        if self.late_at is not None and self.late_at <= now:
            self.late_at = None
            if self.state is State.UP:
                self.state = State.LATE
                return [EventCode.PEER_LATE]
        return []

    def arm(self, now: int) -> None:
        self.state = State.UP
        self.down_at = now + self.down_us if self.down_us else None
        self.late_at = now + self.late_us if self.late_us else None

    def forget(self) -> None:
        self.state, self.last, self.stored = State.UNKNOWN, [0, 0], b""
        self.down_at = self.late_at = None
        self.quiet = self.heard = 0

    def judge(self, mh: bytes, multicast: bool) -> tuple[HelloVerdict, bool]:
        """The verdict, and whether the HELLO is accepted."""
        last, new = self.last[not multicast], int.from_bytes(mh[8:10], "big")
        step = (new - last) % 65536
        inside = last == 0 or 0 < step <= max(64, 2 * self.multiplier)
        news = len(mh) > 96 or essence(mh) != essence(self.stored or b"\0" * 24)
        news = news or not self.stored or bool(mh[11] & 0x40)
        news = news or (self.seen and mh[14:16] == b"\0\0")
        if news or not inside:
            return (HelloVerdict.NEWS if news else HelloVerdict.REPLAY), inside
        if self.seen:
            return HelloVerdict.HEARTBEAT_PASS, True
        turn = self.quiet + 1 >= PASS_EVERY
        return (HelloVerdict.HEARTBEAT_PASS if turn else HelloVerdict.HEARTBEAT), True

    def hello(
        self, mh: bytes, multicast: bool, store: bool, absorb: bool, counted: bool, now: int
    ) -> tuple[HelloVerdict, list[EventCode]]:
        verdict, accepted = self.judge(mh, multicast)
        events = [EventCode.REPLAY] if verdict is HelloVerdict.REPLAY else []
        if accepted:
            leaving = mh[14:16] == b"\0\0" and not self.seen
            if leaving and self.state is not State.LEFT:
                events.append(EventCode.PEER_LEFT)
            if not leaving and self.state not in (State.UP, State.LATE):
                events.append(EventCode.PEER_UP)
            self.arm(now)
            self.last[not multicast] = int.from_bytes(mh[8:10], "big")
            if leaving:
                self.state, self.down_at, self.late_at = State.LEFT, None, None
                self.last = [0, 0]
            self.heard, self.accepted = now, self.accepted + 1
            self.absorbed += absorb
            if store:
                self.stored = mh if len(mh) <= 96 else b""
            if counted and verdict is HelloVerdict.HEARTBEAT:
                self.quiet += 1
            elif counted and verdict is HelloVerdict.HEARTBEAT_PASS and not self.seen:
                self.quiet = 0
        if verdict is HelloVerdict.NEWS and store:
            events.append(EventCode.PEER_NEWS)
        return verdict, events


class Bench:
    def __init__(self, peers: int = 32) -> None:
        self.dut = Monitor(peers)
        self.events = Counter[tuple[EventCode, int]]()
        self.clock = 0
        self.due_at: list[int] = []

    async def watch(self, ctx: Any) -> None:
        heard, due = self.dut.o_heard, self.dut.o_due
        async for _, _, one, first, two, second in ctx.tick().sample(
            heard.valid, heard.payload, due.valid, due.payload
        ):
            self.clock += 1
            if one:
                self.events[EventCode(first.kind), first.index] += 1
            if two:
                self.events[EventCode(second.kind), second.index] += 1
                self.due_at.append(self.clock)

    async def mh(self, ctx: Any, mh: bytes, peer: int) -> None:
        """The words of an MH and the match of its peer 3 clocks after the first."""
        for clock in range(max(len(mh) // 8, 4)):
            word = mh[8 * clock : 8 * clock + 8]
            ctx.set(self.dut.i_mh.valid, bool(word))
            ctx.set(
                self.dut.i_mh.payload,
                {
                    "data": int.from_bytes(word, "little"),
                    "first": clock == 0,
                    "last": 8 * clock + 8 == len(mh),
                },
            )
            ctx.set(self.dut.i_peer.valid, clock == 3)
            ctx.set(self.dut.i_peer.payload, {"hit": 1, "index": peer, "known": 1})
            await ctx.tick()
        ctx.set(self.dut.i_mh.valid, 0)
        ctx.set(self.dut.i_peer.valid, 0)

    async def hello(self, ctx: Any, mh: bytes, peer: int, multicast: bool) -> HelloVerdict:
        ctx.set(
            self.dut.i_hello.payload,
            {
                "peer": peer,
                "multicast": multicast,
                "sequence": int.from_bytes(mh[8:10], "big"),
                "reply": bool(mh[11] & 0x40),
                "lifetime_zero": mh[14:16] == b"\0\0",
            },
        )
        ctx.set(self.dut.i_hello.valid, 1)
        await ctx.tick()
        ctx.set(self.dut.i_hello.valid, 0)
        for clock in range(1, 6):
            _, _, valid, answer = await ctx.tick().sample(
                self.dut.o_hello.valid, self.dut.o_hello.payload
            )
            if valid:
                assert clock == 4, "answered after 4 clocks"
                return HelloVerdict(answer.verdict)
        raise AssertionError("no answer")

    async def done(self, ctx: Any, store: bool, absorb: bool, counted: bool) -> None:
        commit = {"store": store, "absorbed": absorb, "counted": counted}
        ctx.set(self.dut.i_hello_done.payload, commit)
        ctx.set(self.dut.i_hello_done.valid, 1)
        await ctx.tick()
        ctx.set(self.dut.i_hello_done.valid, 0)

    async def access(self, ctx: Any, area: str, address: int, data: int | None = None) -> int:
        port, back = getattr(self.dut, f"i_ram_{area}"), getattr(self.dut, f"o_ram_{area}")
        write = {"write": data is not None, "data": data or 0}
        ctx.set(port.payload, {"address": address, **write})
        ctx.set(port.valid, 1)
        await ctx.tick()
        ctx.set(port.valid, 0)
        for _ in range(16):
            _, _, valid, answer = await ctx.tick().sample(back.valid, back.payload)
            if valid:
                return int(answer.data)
        raise AssertionError("no answer within 16 clocks")

    def run(self, script: Any) -> None:
        simulator = Simulator(self.dut)
        simulator.add_clock(6.4e-9)
        simulator.add_testbench(script)
        simulator.add_testbench(self.watch, background=True)
        simulator.run()


def a_hello(rng: random.Random, before: bytes, peer: Peer, multicast: bool) -> bytes:
    """Mostly the last one with the next Sequence #; sometimes with a change somewhere."""
    if not before or rng.random() < 0.15:
        words = rng.choice((3, 3, 4, 6, 8, 8, 9, 12, 12, 13, 20))
        mh = bytearray(rng.randbytes(8 * words))
        mh[1], mh[11], mh[14:16] = words - 1, 0x80, rng.choice((b"\0\x1e", b"\0\x1e", b"\0\0"))
        if words >= 6 and rng.random() < 0.8:
            mh[-23:-20] = bytes((9, 21, AUTH_SUBTYPE))
        if words >= 8 and rng.random() < 0.8:
            mh[-38:-36] = bytes((10, 8))
    else:
        mh = bytearray(before)
        if len(mh) >= 64 and rng.random() < 0.7:
            mh[-36:-28] = rng.randbytes(8)
            mh[-16:] = rng.choice((bytes(mh[-16:]), rng.randbytes(16)))
        if rng.random() < 0.3:
            mh[rng.randrange(2, len(mh))] ^= 1 << rng.randrange(8)
    mh[4:6] = rng.randbytes(2)
    step = rng.choice((1, 1, 1, 1, 2, 64, 65, 0, -1, 6000))
    mh[8:10] = ((peer.last[not multicast] + step) % 65536 or 1).to_bytes(2, "big")
    return bytes(mh)


def test_verdicts_events_and_snapshots_are_the_twins() -> None:
    rng = random.Random(31)
    bench = Bench()
    dut = bench.dut
    peers = {n: Peer(seen=n == 9) for n in (0, 5, 9, 31)}
    sent = dict.fromkeys(peers, b"")
    want, verdicts = Counter[tuple[EventCode, int]](), Counter[HelloVerdict]()
    now = 1 << 41

    async def wait(ctx: Any, us: int) -> None:
        nonlocal now
        now += us
        ctx.set(dut.now_us, now)
        ctx.set(dut.arrival_us, now)
        for n, peer in peers.items():
            want.update((event, n) for event in peer.expire(now))
        await ctx.tick().repeat(4 * 32 + 8)

    async def host(ctx: Any, n: int, peer: Peer) -> None:
        match rng.randrange(5):
            case 0:
                peer.arm(now)
                ctx.set(dut.arm, 1 << n)
            case 1:
                peer.forget()
                ctx.set(dut.forget, 1 << n)
            case 2:
                peer.last = [rng.getrandbits(16), 0]
                await bench.access(ctx, "peer_sequence", SEQUENCE.address(n), peer.last[0])
            case 3:
                peer.down_us, peer.late_us = rng.choice(((0, 0), (300, 200), (200, 0)))
                await bench.access(ctx, "peer_timing", TIMING.address(n), peer.down_us)
                await bench.access(ctx, "peer_timing", TIMING.address(n) + 2, peer.late_us)
            case 4:
                peer.multiplier = rng.choice((3, 32, 33, 255))
                await bench.access(ctx, "peer_timing", TIMING.address(n) + 4, peer.multiplier)
        await ctx.tick()
        ctx.set(dut.arm, 0)
        ctx.set(dut.forget, 0)
        await ctx.tick().repeat(12)

    async def check(ctx: Any, n: int, peer: Peer) -> None:
        base = SNAPSHOT.address(n)
        words = len(peer.stored) // 8
        assert await bench.access(ctx, "peer_state", base) == peer.heard
        assert await bench.access(ctx, "peer_state", base + 2) == peer.state.value | words << 3
        last = peer.last[0] | peer.last[1] << 16
        assert await bench.access(ctx, "peer_state", base + 3) == last
        assert await bench.access(ctx, "peer_state", base + 4) == peer.accepted
        assert await bench.access(ctx, "peer_state", base + 6) == peer.absorbed
        assert await bench.access(ctx, "peer_sequence", SEQUENCE.address(n)) == last
        assert await bench.access(ctx, "peer_timing", TIMING.address(n)) == peer.down_us
        assert bench.events == want

    async def script(ctx: Any) -> None:
        ctx.set(dut.now_us, now)
        ctx.set(dut.arrival_us, now)
        ctx.set(dut.seen, 1 << 9)
        ctx.set(dut.auth_subtype, AUTH_SUBTYPE)
        ctx.set(dut.pass_every, PASS_EVERY)
        for step in range(500):
            n = rng.choice(list(peers))
            peer = peers[n]
            await wait(ctx, rng.choice((0, 1, 50, 90, 400)))
            if rng.random() < 0.15:
                await host(ctx, n, peer)
            multicast = rng.random() < 0.7
            mh = a_hello(rng, sent[n], peer, multicast)
            sent[n] = mh
            await bench.mh(ctx, mh, n)
            await ctx.tick().repeat(max(0, rng.choice((3, 4, 5, 6)) - (len(mh) < 32)))
            got = await bench.hello(ctx, mh, n, multicast)
            store, absorb, counted = (rng.random() < share for share in (0.8, 0.5, 0.8))
            if got is not HelloVerdict.NEWS:
                store = True
            # Words of the next MH arrive while this one waits for its end.
            await bench.mh(
                ctx, rng.randbytes(8 * rng.randint(0, 3)) or bytes(8), rng.choice((1, n))
            )
            await bench.done(ctx, store, absorb, counted)
            verdict, events = peer.hello(mh, multicast, store, absorb, counted, now)
            assert got is verdict, f"step {step}"
            want.update((event, n) for event in events)
            verdicts[verdict] += 1
            if rng.random() < 0.2:
                await ctx.tick().repeat(5)
                await check(ctx, n, peer)

    bench.run(script)
    assert all(verdicts[verdict] > 10 for verdict in HelloVerdict)
    assert {event for event, _ in want} == {
        EventCode.PEER_DOWN,
        EventCode.PEER_LATE,
        EventCode.PEER_LEFT,
        EventCode.PEER_UP,
        EventCode.PEER_NEWS,
        EventCode.REPLAY,
    }


@pytest.mark.parametrize("words", range(3, 13))
@pytest.mark.parametrize("clocks", (4, 5))
def test_news_in_the_last_word_alone(words: int, clocks: int) -> None:
    """`i_hello` so soon after it, 4 clocks, as in a frame that has nothing behind its MH."""
    bench = Bench()
    mh = bytes((59, words - 1, 11, 0, 0, 0, 0, 1)) + b"\x01" * (8 * words - 8)
    other = mh[:-1] + b"\x02"

    async def script(ctx: Any) -> None:
        ctx.set(bench.dut.auth_subtype, AUTH_SUBTYPE)
        await ctx.tick().repeat(40)  # rows are cleared after a reset
        got = []
        for n, octets in enumerate((mh, mh, other, other, mh)):
            octets = octets[:8] + (n + 1).to_bytes(2) + octets[10:]
            await bench.mh(ctx, octets, 5)
            await ctx.tick().repeat(clocks - 1 - (words < 4))
            got.append(await bench.hello(ctx, octets, 5, multicast=True))
            await ctx.tick()
            await bench.done(ctx, store=True, absorb=False, counted=True)
            await ctx.tick().repeat(4)
        beat = HelloVerdict.HEARTBEAT
        assert got == [HelloVerdict.NEWS, beat, HelloVerdict.NEWS, beat, HelloVerdict.NEWS]

    bench.run(script)


def test_every_peer_is_down_at_once_under_a_flood_of_hellos() -> None:
    """32 deadlines in the same µs, while HELLOs of another peer keep the monitor busy."""
    bench = Bench()
    dut, mh = bench.dut, bytes((59, 2, 11, 0, 0, 0, 0, 1)) + b"\x01" * 16
    begun = 0

    async def script(ctx: Any) -> None:
        nonlocal begun
        await ctx.tick().repeat(32)
        for n in range(32):
            await bench.access(ctx, "peer_timing", TIMING.address(n), 10)
        ctx.set(dut.now_us, 1000)
        ctx.set(dut.arm, (1 << 32) - 1)
        await ctx.tick()
        ctx.set(dut.arm, 0)
        await ctx.tick().repeat(7 * 32 + 8)
        ctx.set(dut.now_us, 1009)
        await ctx.tick().repeat(4 * 32 + 8)
        assert not bench.events
        begun = bench.clock
        ctx.set(dut.now_us, 1010)
        ctx.set(dut.arrival_us, 1010)
        for n in range(20):
            await bench.mh(ctx, mh, 7)
            await bench.hello(ctx, mh[:8] + bytes((0, n + 1)) + mh[10:], 7, True)
            await bench.done(ctx, True, False, False)

    bench.run(script)
    down = {index for kind, index in bench.events if kind is EventCode.PEER_DOWN}
    assert down | {7} == set(range(32))
    assert max(bench.due_at) - begun <= 4 * 32 + 16
