"""The core as a whole: a plain wire, heartbeats, slots, lease, watchdog and fence, counters."""

from collections import Counter, deque
from collections.abc import Callable, Coroutine
from typing import Any

from amaranth.sim import Simulator

from harp.tables.offload import EVENT_STRIDE, SlotFlag
from harp.tables.registers import BY_NAME
from harp_gateware.core import Core, Identity
from harp_gateware.layouts import EventCode, FrameError
from harp_gateware.params import CoreParams

CLOCKS_A_US = 20
PATIENCE = 300
SOURCE = bytes.fromhex("20010db8000000000000000000000001")
GROUP = bytes.fromhex("ff020000000000000000000000000114")
Script = Callable[["Bench", Any], Coroutine[Any, Any, None]]


def checksum(octets: bytes) -> int:
    total = sum(int.from_bytes(octets[at : at + 2], "big") for at in range(0, len(octets), 2))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def ipv6(payload: bytes, number: int, source: bytes = SOURCE, target: bytes = GROUP) -> bytes:
    """An Ethernet frame with an IPv6 packet, padding and a dummy FCS."""
    fixed = bytes((0x60, 0, 0, 0)) + len(payload).to_bytes(2, "big") + bytes((number, 255))
    frame = bytes(12) + b"\x86\xdd" + fixed + source + target + payload
    return frame + bytes(max(0, 60 - len(frame))) + b"FCS!"


def harp(
    kind: int, sequence: int, flags: int = 0x80, lifetime: int = 30, source: bytes = SOURCE
) -> bytes:
    mh = bytearray((59, 2, 11, 0, 0, 0, kind, 7))
    mh += sequence.to_bytes(2, "big") + bytes((0, flags, 0, 1))
    mh += lifetime.to_bytes(2, "big") + bytes((3, 232, 0, 0)) + bytes((1, 2, 0, 0))
    pseudo = source + GROUP + len(mh).to_bytes(4, "big") + bytes((0, 0, 0, 135))
    mh[4:6] = checksum(pseudo + bytes(mh)).to_bytes(2, "big")
    return ipv6(bytes(mh), 135, source)


def hello(sequence: int, **fields: Any) -> bytes:
    return harp(0, sequence, **fields)


def advertisement(target: bytes) -> bytes:
    return ipv6(bytes((136, 0, 0, 0, 0xA0, 0, 0, 0)) + target, 58)


class Bench:
    """Drives both ports, the registers and the time; collects frames and events."""

    def __init__(self, params: CoreParams | None = None) -> None:
        self.dut = Core(params or CoreParams(), Identity(version=(1, 2, 3), board=9))
        self.queues = {"i_net": deque[bytes](), "i_host": deque[bytes]()}
        self.out: dict[str, list[bytes]] = {"o_net": [], "o_host": []}
        self.wrong = Counter[str]()
        self.events = Counter[tuple[EventCode, int]]()
        self.now = 1_000_000

    def feeder(self, name: str) -> Any:
        port, queue = getattr(self.dut, name), self.queues[name]

        async def feed(ctx: Any) -> None:
            while True:
                ctx.set(port.valid, 0)
                await ctx.tick()
                await ctx.tick()
                if not queue:
                    continue
                frame = queue[0]
                for at in range(0, len(frame), 8):
                    piece, last = frame[at : at + 8], at + 8 >= len(frame)
                    bad = last and frame.endswith(b"bad!")
                    word = {
                        "data": int.from_bytes(piece, "little"),
                        "octets": len(piece),
                        "first": at == 0,
                        "last": last,
                        "error": FrameError.FCS if bad else FrameError.GOOD,
                    }
                    ctx.set(port.payload, word)
                    ctx.set(port.valid, 1)
                    await ctx.tick()
                queue.popleft()

        return feed

    def drain(self, name: str) -> Any:
        port, frames = getattr(self.dut, name), self.out[name]

        async def take(ctx: Any) -> None:
            frame = bytearray()
            ctx.set(port.ready, 1)
            async for _, _, valid, word in ctx.tick().sample(port.valid, port.payload):
                if not valid:
                    continue
                assert word.first == (not frame)
                frame += word.data.to_bytes(8, "little")[: word.octets]
                if word.last:
                    self.wrong[name] += word.error is not FrameError.GOOD
                    frames.append(bytes(frame))
                    frame.clear()

        return take

    async def link(self, ctx: Any) -> None:
        ctx.set(self.dut.o_event.ready, 1)
        async for _, _, valid, event in ctx.tick().sample(
            self.dut.o_event.valid, self.dut.o_event.payload
        ):
            if valid:
                self.events[EventCode(event.kind), event.index] = event.count

    async def access(self, ctx: Any, address: int, data: int | None = None) -> int:
        dut = self.dut
        write = {"write": data is not None, "data": data or 0, "first": 1}
        ctx.set(dut.i_request.payload, {"address": address, **write})
        ctx.set(dut.i_request.valid, 1)
        await ctx.tick().until(dut.i_request.ready)
        ctx.set(dut.i_request.valid, 0)
        ctx.set(dut.o_response.ready, 1)
        for _ in range(PATIENCE):
            _, _, valid, answer = await ctx.tick().sample(
                dut.o_response.valid, dut.o_response.payload
            )
            if valid:
                assert not answer.error, f"{address:#06x}"
                return int(answer.data)
        raise AssertionError("no answer")

    async def write(self, ctx: Any, name: str, field: str, value: int, index: int = 0) -> None:
        """Writes one field; other fields of its word become 0."""
        register = BY_NAME[name]
        at, width = register.field(field).at, register.field(field).width
        words = -(-width // 32)
        for n in range(words):
            word = value >> 32 * n & 0xFFFF_FFFF if words > 1 else value << at % 32
            await self.access(ctx, register.address(index) + at // 32 + n, word)

    async def read(self, ctx: Any, name: str, field: str, index: int = 0) -> int:
        register = BY_NAME[name]
        at, width = register.field(field).at, register.field(field).width
        base = register.address(index) + at // 32
        if width <= 32:
            return await self.access(ctx, base) >> at % 32 & (1 << width) - 1
        return sum([await self.access(ctx, base + n) << 32 * n for n in range(-(-width // 32))])

    async def idle(self, ctx: Any) -> None:
        """Until all frames are in, and long enough for the last one to be out."""
        for _ in range(20_000):
            await ctx.tick()
            if not any(self.queues.values()):
                break
        await ctx.tick().repeat(120)

    async def at(self, ctx: Any, us: int) -> None:
        """Time goes on to `us`, a µs after the other when it is near."""
        self.now = max(self.now, us - 5)
        while self.now < us:
            self.now += 1
            ctx.set(self.dut.now_us, self.now)
            await ctx.tick().repeat(CLOCKS_A_US)

    async def add_peer(
        self, ctx: Any, index: int, deadline_us: int, source: bytes = SOURCE
    ) -> None:
        await self.write(ctx, "peer", "address", int.from_bytes(source, "little"), index)
        base = BY_NAME["peer"].address(index) + 4
        await self.access(ctx, base, 1 << 31 | 1 << 20 | 7)
        await self.write(ctx, "peer_timing", "deadline_us", deadline_us, index)

    async def load_slot(self, ctx: Any, slot: int, octets: bytes, flags: SlotFlag) -> None:
        octets += bytes(-len(octets) % 4)
        for n in range(0, len(octets), 4):
            word = int.from_bytes(octets[n : n + 4], "little")
            address = BY_NAME["slot_template"].address(64 * slot + n // 4)
            await self.access(ctx, address, word)
        base = BY_NAME["slot"].address(slot)
        await self.access(ctx, base + 1, 1000)
        await self.access(ctx, base, int(flags) | 54 << 8 | len(octets) << 16 | slot << 28)

    def run(self, script: Script) -> None:
        async def whole(ctx: Any) -> None:
            up = {"link": 1, "full_duplex": 1, "speed": 3, "unsupported_speed": 0, "no_clock": 0}
            ctx.set(self.dut.now_us, self.now)
            ctx.set(self.dut.net_state, up)
            ctx.set(self.dut.host_state, up)
            await ctx.tick().repeat(4)
            await script(self, ctx)

        simulator = Simulator(self.dut)
        simulator.add_clock(6.4e-9)
        simulator.add_testbench(whole)
        for name in ("i_net", "i_host"):
            if hasattr(self.dut, name):
                simulator.add_testbench(self.feeder(name), background=True)
        for name in ("o_net", "o_host"):
            if hasattr(self.dut, name):
                simulator.add_testbench(self.drain(name), background=True)
        simulator.add_testbench(self.link, background=True)
        simulator.run()


async def enforce(bench: Bench, ctx: Any) -> None:
    """Filter on, lease live."""
    control = BY_NAME["control"].offset
    await bench.access(ctx, control, await bench.access(ctx, control) | 1)
    await bench.access(ctx, BY_NAME["guard"].offset, 0b0001 | 200 << 8)


def test_after_reset_it_is_a_plain_wire_both_ways() -> None:
    frames = [ipv6(bytes(n), 17) for n in (0, 1, 2, 3, 4, 5, 6, 7, 8, 600)]
    frames += [bytes(64), hello(5), hello(4), bytes(range(200)), hello(6)[:-4] + b"XXXX"]

    async def script(bench: Bench, ctx: Any) -> None:
        for queue in bench.queues.values():
            queue.extend(frames)
        await bench.idle(ctx)
        assert bench.out == {"o_net": frames, "o_host": frames}
        assert not bench.wrong.total()
        octets = sum(map(len, frames))
        for port in (0, 1):
            for name in ("rx_frames", "tx_frames"):
                assert await bench.read(ctx, "port", name, port) == len(frames)
            for name in ("rx_octets", "tx_octets"):
                assert await bench.read(ctx, "port", name, port) == octets
            for name in ("rx_fcs_errors", "rx_errors", "rx_runts", "rx_oversize", "rx_overruns"):
                assert await bench.read(ctx, "port", name, port) == 0
            assert 0 < await bench.read(ctx, "port_state", "latency_max", port) < 100
        reasons = [await bench.read(ctx, "reason_frames", "frames", n) for n in range(23)]
        assert sum(reasons) == len(frames)
        assert await bench.read(ctx, "sticky", "verdict_late") == 0

    Bench().run(script)


def test_identity_and_reset() -> None:
    async def script(bench: Bench, ctx: Any) -> None:
        assert await bench.read(ctx, "magic", "value") == 0x48415250
        assert await bench.read(ctx, "gateware_version", "major") == 1
        assert await bench.read(ctx, "board", "id") == 9
        assert await bench.read(ctx, "now", "us") == bench.now
        assert await bench.read(ctx, "event_pending", "indexes", EventCode.RESET.value) == 1
        await ctx.tick().repeat(4000)  # a sweep over all events, some clocks each
        assert bench.events[EventCode.RESET, 0] == 1
        ident = EventCode.RESET.value * EVENT_STRIDE
        await bench.access(ctx, BY_NAME["event_ack"].offset, ident | 1 << 16)
        assert await bench.read(ctx, "event_pending", "indexes", EventCode.RESET.value) == 0

    Bench().run(script)


def test_heartbeats_are_absorbed_and_their_end_is_seen() -> None:
    async def script(bench: Bench, ctx: Any) -> None:
        await bench.add_peer(ctx, 3, deadline_us=3000)
        await enforce(bench, ctx)
        frames = [hello(n) for n in range(10, 20)]
        for frame in frames:
            bench.queues["i_net"].append(frame)
            await bench.idle(ctx)
            await bench.at(ctx, bench.now + 100)
        last = bench.now - 100
        assert bench.out["o_host"] == frames[:1], "only the first has news"
        assert await bench.read(ctx, "peer_state", "state", 3) == 1
        assert await bench.read(ctx, "peer_state", "accepted", 3) == 10
        assert await bench.read(ctx, "peer_state", "absorbed", 3) == 9
        assert await bench.read(ctx, "peer_sequence", "multicast", 3) == 19
        bench.queues["i_net"].append(hello(10))
        await bench.idle(ctx)
        await bench.at(ctx, last + 2998)
        assert await bench.read(ctx, "peer_state", "state", 3) == 1
        await bench.at(ctx, last + 3002)
        await ctx.tick().repeat(4 * 32 + 8)  # a round of the scan
        assert await bench.read(ctx, "peer_state", "state", 3) == 3
        await ctx.tick().repeat(5000)
        down = BY_NAME["event"].address(EventCode.PEER_DOWN.value * EVENT_STRIDE + 3)
        assert 3000 <= await bench.access(ctx, down) - last <= 3002
        for kind in (EventCode.PEER_UP, EventCode.PEER_NEWS, EventCode.PEER_DOWN):
            assert bench.events[kind, 3] == 1
        assert bench.events[EventCode.REPLAY, 3] == 1

    Bench().run(script)


def test_heartbeats_at_line_rate_are_all_judged() -> None:
    """A gap of two words, five peers in turn and one stranger; every tenth HELLO has news."""
    sources = [SOURCE[:-1] + bytes((n,)) for n in range(6)]
    rounds = 30

    async def script(bench: Bench, ctx: Any) -> None:
        for n in range(5):
            await bench.add_peer(ctx, 6 * n, 100_000, sources[n])
        await enforce(bench, ctx)
        frames = [
            hello(1 + turn, lifetime=30 + turn // 10, source=source)
            for turn in range(rounds)
            for source in sources
        ]
        bench.queues["i_net"].extend(frames)
        await bench.idle(ctx)
        news = [n for n in range(len(frames)) if n // 6 % 10 == 0 and n % 6 < 5]
        strange = [n for n in range(len(frames)) if n % 6 == 5][:10]
        assert bench.out["o_host"] == [frames[n] for n in sorted(news + strange)]
        for n in range(5):
            assert await bench.read(ctx, "peer_state", "accepted", 6 * n) == rounds
            assert await bench.read(ctx, "peer_state", "absorbed", 6 * n) == rounds - 3
        assert await bench.read(ctx, "sticky", "verdict_late") == 0
        assert await bench.read(ctx, "port", "rx_overruns", 0) == 0

    Bench().run(script)


def test_the_watchdog_resigns_and_fences() -> None:
    home = bytes.fromhex("20010db8000000010000000000000099")
    active, calm = harp(2, 1, flags=0x80), harp(2, 1, flags=0x40)
    listed, other = advertisement(home), advertisement(SOURCE)
    traffic = [active, calm, listed, other, ipv6(bytes(100), 6)]

    async def script(bench: Bench, ctx: Any) -> None:
        await bench.write(ctx, "fence", "address", int.from_bytes(home, "little"), 5)
        slot, resign = hello(0)[:-4], hello(0, flags=0, lifetime=0)[:-4]
        plain = SlotFlag.ENABLE | SlotFlag.SEQUENCE | SlotFlag.CHECKSUM
        await bench.load_slot(ctx, 0, slot, plain)
        await bench.load_slot(ctx, 1, resign, plain | SlotFlag.RESIGN)
        await enforce(bench, ctx)
        await bench.access(ctx, BY_NAME["guard"].offset, 0b0101 | 200 << 8)
        begin = bench.now
        await bench.at(ctx, begin + 100)
        assert len(bench.out["o_net"]) == 1
        bench.queues["i_host"].extend(traffic)
        await bench.idle(ctx)
        assert bench.out["o_net"][1:] == traffic
        bench.out["o_net"].clear()
        await bench.at(ctx, begin + 199_990)
        await bench.at(ctx, begin + 200_010)
        await bench.at(ctx, begin + 201_010)
        assert await bench.read(ctx, "guard_state", "fenced") == 0
        await bench.at(ctx, begin + 202_010)
        assert await bench.read(ctx, "guard_state", "fenced") == 1
        # The slot still sends before the lease is over, and never after.
        resigns = bench.out["o_net"][-3:]
        assert all(frame[54 + 11] == 0x80 for frame in bench.out["o_net"][:-3])
        assert [frame[54 + 8 : 54 + 10] for frame in resigns] == [b"\0\1", b"\0\2", b"\0\3"]
        for frame in resigns:
            mh = frame[54:78]
            assert mh[14:16] == b"\0\0" and mh[11] == 0
            pseudo = SOURCE + GROUP + len(mh).to_bytes(4, "big") + bytes((0, 0, 0, 135))
            assert checksum(pseudo + mh) == 0
        bench.out["o_net"].clear()
        bench.queues["i_host"].extend(traffic)
        await bench.idle(ctx)
        assert bench.out["o_net"] == [calm, other, traffic[-1]]
        assert await bench.read(ctx, "guard_state", "fenced_frames") == 2
        await ctx.tick().repeat(4000)
        for kind in (EventCode.WATCHDOG_FIRED, EventCode.FENCED, EventCode.LEASE_LOST):
            assert bench.events[kind, 0] == 1
        await bench.access(ctx, BY_NAME["guard"].offset, 0b0010)
        bench.queues["i_host"].extend(traffic)
        await bench.idle(ctx)
        assert bench.out["o_net"][3:] == traffic

    Bench().run(script)


def test_bad_frames_are_dropped_toward_the_host() -> None:
    bad = ipv6(bytes(80), 17)[:-4] + b"bad!"
    mobile = hello(9)[:-4] + b"bad!"

    async def script(bench: Bench, ctx: Any) -> None:
        await enforce(bench, ctx)
        bench.queues["i_net"].extend([bad, mobile, bytes(20), bytes(64)])
        await bench.idle(ctx)
        assert await bench.read(ctx, "reason_frames", "frames", 0) == 3
        assert await bench.read(ctx, "outcome_frames", "frames", 3) == 3
        assert await bench.read(ctx, "port", "rx_fcs_errors", 0) == 2
        assert await bench.read(ctx, "port", "rx_runts", 0) == 1
        left = len(bench.out["o_host"])
        assert bench.out["o_host"][-1] == bytes(64)
        assert mobile not in bench.out["o_host"], "an MH is held until it is known to be good"
        assert bench.wrong["o_host"] == left - 1

    Bench().run(script)


def test_a_monitor_watches() -> None:
    async def script(bench: Bench, ctx: Any) -> None:
        await bench.add_peer(ctx, 0, deadline_us=3000)
        await enforce(bench, ctx)
        bench.queues["i_net"].extend([hello(3), hello(4)])
        await bench.idle(ctx)
        assert await bench.read(ctx, "peer_state", "accepted") == 2
        assert await bench.read(ctx, "capabilities", "ports") == 1

    Bench(CoreParams(ports=1)).run(script)
