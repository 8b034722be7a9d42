"""The whole receive path against the reference model: reasons, outcomes, order, times, counters."""

import random
from collections import Counter, deque
from collections.abc import Iterable
from dataclasses import replace
from typing import Any, NamedTuple

import pytest
from amaranth.sim import Simulator
from tests.gateware.keys import WithKeys

from harp.tables.offload import FLOOD_PEERS_INDEX
from harp.tables.reasons import ACTIONS, OFFLOAD_REASONS, OUTCOMES, Action, Outcome, Reason
from harp.tables.registers import BY_NAME
from harp_gateware.layouts import FrameError, HelloVerdict
from harp_gateware.params import CoreParams
from harp_gateware.rx_path import RxPath
from harp_sim.frames import Frames, Stimulus, bench_config
from harp_sim.model.config import Config, Mode, Port, Rule
from harp_sim.model.model import Egress, Judgement, Model

CLOCKS_A_US = 4
VERDICT_CLOCKS = 14
"""From a frame's last word to its verdict, so that a held frame leaves 16 behind it."""
RAM_CLOCKS = 100
KEY_CLOCKS = 1500
"""For a written key, whose rows are written in clocks that no look-up uses."""
Waits = deque[tuple[int, dict[str, int]]]


class Owed(NamedTuple):
    """A frame that has come in."""

    said: Judgement
    clock: int
    stimulus: Stimulus


class Bench:
    """A path, the model, and stand-ins for peer table and monitor that answer from the model."""

    def __init__(self, config: Config, seed: int, plain: bool = False) -> None:
        self.dut = RxPath(CoreParams())
        self.both = WithKeys(self.dut, {"local_rows": "local_rows", "local_word": "local_word"})
        self.config, self.plain = config, plain
        self.rng = random.Random(seed)
        self.model = Model(replace(config, filter_enable=not plain))
        self.clock = 0
        self.owed: deque[Owed] = deque()
        self.hellos: deque[Judgement] = deque()
        self.done: deque[Judgement] = deque()
        self.early: list[int] = []
        self.judged = 0
        self.floods: list[int] = []
        self.want_floods: list[int] = []
        self.seen: Counter[str] = Counter()

    async def tick(self, ctx: Any) -> None:
        await ctx.tick()
        self.clock += 1
        ctx.set(self.dut.now_us, self.clock // CLOCKS_A_US)

    def set_up(self, ctx: Any) -> None:
        """The registers as the configuration has them."""
        dut, config = self.dut, self.config
        for n, reason in enumerate(OFFLOAD_REASONS):
            ctx.set(dut.action__action[n], ACTIONS.index(config.rules[reason].action))
            ctx.set(dut.action__bucket[n], config.rules[reason].bucket)
        ctx.set(dut.control__peers_complete, config.peers_complete)
        ctx.set(dut.control__demand_hop_limit, config.demand_hop_limit)
        ctx.set(dut.control__harp_mh_type, config.harp_type)
        ctx.set(dut.control__harp_types, config.harp_types)
        ctx.set(dut.plain, self.plain)

    async def ram(self, ctx: Any, area: str, address: int, value: int | None = None) -> int:
        """The host reads, or writes `value`."""
        owner = self.both.keys if area == "local" else self.dut
        request, answer = (getattr(owner, f"{way}_ram_{area}") for way in "io")
        access = {"address": address, "write": value is not None, "data": value or 0}
        ctx.set(request.payload, access)
        ctx.set(request.valid, 1)
        await self.tick(ctx)
        ctx.set(request.valid, 0)
        most = KEY_CLOCKS if area == "local" else RAM_CLOCKS
        for _ in range(most):
            if ctx.get(answer.valid):
                return int(ctx.get(answer.p.data))
            await self.tick(ctx)
        raise AssertionError(f"{area} {address:#x}: no answer in {most} clocks")

    async def program(self, ctx: Any) -> None:
        """Type table, local table and buckets."""
        for n, octets in enumerate(self.config.local):
            address = BY_NAME["local"].address(n)
            await self.ram(ctx, "local", address, int.from_bytes(octets, "little"))
        for mh_type, entry in self.config.types.items():
            word = 1 | entry.allowed << 1 | entry.min_header_len << 8
            if entry.bucket is not None:
                word |= 4 | entry.bucket << 4
            await self.ram(ctx, "mh_type", BY_NAME["mh_type"].address(mh_type), word)
        for n, bucket in enumerate(self.config.buckets):
            address = BY_NAME["bucket"].address(n)
            await self.ram(ctx, "bucket", address, bucket.period_us)
            await self.ram(ctx, "bucket", address + 1, bucket.tolerance_us)

    async def send(self, ctx: Any, stimulus: Stimulus, pause: float) -> None:
        """A frame, word by word, and the model's judgement at its last."""
        dut, octets = self.dut, stimulus.octets
        error = FrameError.GOOD if stimulus.fcs_ok else FrameError.FCS
        error = FrameError.RX_ER if stimulus.rx_er else error
        for at in range(0, len(octets), 8):
            while self.rng.random() < pause:
                ctx.set(dut.i.valid, 0)
                await self.tick(ctx)
            last = at + 8 >= len(octets)
            piece = octets[at : at + 8]
            word = {
                "data": int.from_bytes(piece + self.rng.randbytes(8 - len(piece)), "little"),
                "octets": len(piece),
                "first": at == 0,
                "last": last,
                "error": error if last else FrameError.GOOD,
                "append_fcs": 0,
            }
            ctx.set(dut.i.payload, word)
            ctx.set(dut.i.valid, 1)
            if last:
                self.judge(stimulus)
            await self.tick(ctx)
        ctx.set(dut.i.valid, 0)

    def judge(self, stimulus: Stimulus) -> None:
        """What the model says of a frame whose last word comes in now."""
        now = self.clock // CLOCKS_A_US
        self.model.kick(now)
        said = self.model.frame(Port.NETWORK, stimulus.octets, now, stimulus.fcs_ok, stimulus.rx_er)
        self.owed.append(Owed(said, self.clock, stimulus))
        if said.peer is not None:
            self.hellos.append(said)
            self.done.append(said)
        if said.outcome is Outcome.LIMITED_DROP and said.bucket is not None:
            self.want_floods.append(min(said.bucket, FLOOD_PEERS_INDEX))

    async def peer_table(self, ctx: Any) -> None:
        """Answers after exactly 3 clocks; looks at the words as the table does."""
        dut = self.dut
        delay: deque[dict[str, int] | None] = deque([None, None])
        number, source, tag = 0, [0, 0], 0  # a runt of one word says nothing of them
        last = deque([0] * 4, maxlen=4)
        words = dut.o_words
        samples = ctx.tick().sample(dut.o_peer.valid, words.valid, words.p, dut.o_vlan)
        async for _, _, valid, comes, word, vlan in samples:
            last.append(word.data)
            if comes:
                number = 0 if word.first else number + 1
                if number in (1, 2):
                    source[number - 1], tag = word.data, vlan
            key = b"".join(half.to_bytes(8, "little") for half in source)
            delay.append(self.match(key, last[0] >> 56, tag) if valid else None)
            answer = delay.popleft()
            ctx.set(dut.i_peer.valid, answer is not None)
            # Between answers the payload means nothing.
            ctx.set(dut.i_peer.payload, answer or {"hit": 1, "index": 31, "known": 1})

    def match(self, source: bytes, group: int, vlan: int) -> dict[str, int]:
        peers = [(n, p) for n, p in enumerate(self.config.peers) if p and p.source == source]
        for n, peer in peers:
            key = peer.group == group and peer.vlan in (None, vlan)
            if key and not (peer.authenticated and peer.mode is Mode.VERIFIED):
                return {"hit": 1, "index": n, "known": 1}
        return {"hit": 0, "index": 0, "known": int(bool(peers))}

    async def monitor(self, ctx: Any) -> None:
        """Answers each HELLO with what the model said, 1 to 4 clocks later."""
        dut, clock = self.dut, 0
        due: deque[tuple[int, HelloVerdict]] = deque()
        samples = ctx.tick().sample(dut.o_hello.valid, dut.o_hello.payload)
        async for _, _, valid, request in samples:
            if valid:
                said = self.hellos.popleft()
                assert request.peer == said.peer, "whose HELLO"
                due.append((clock + self.rng.randrange(4), self.finding(said)))
            now = bool(due) and due[0][0] == clock
            ctx.set(dut.i_hello.valid, now)
            ctx.set(dut.i_hello.p.verdict, due.popleft()[1] if now else self.rng.randrange(4))
            clock += 1

    def finding(self, said: Judgement) -> HelloVerdict:
        if said.reason is Reason.HEARTBEAT_NEWS:
            return HelloVerdict.NEWS
        if said.reason is Reason.REPLAY:
            return HelloVerdict.REPLAY
        passes = said.outcome is Outcome.PASS
        return HelloVerdict.HEARTBEAT_PASS if passes else HelloVerdict.HEARTBEAT

    async def watch(self, ctx: Any) -> None:
        """Compares verdicts, ends of HELLOs and floods with what is owed."""
        dut, clock = self.dut, 0
        samples = ctx.tick().sample(
            dut.o_verdict.valid,
            dut.o_verdict.payload,
            dut.o_early.valid,
            dut.o_hello_done.valid,
            dut.o_hello_done.payload,
            dut.o_flood.valid,
            dut.o_flood.p.index,
        )
        early = False
        async for _, _, valid, verdict, may, done, commit, flood, index in samples:
            if may:
                assert not early and not valid, "once a frame, before its verdict"
                early = True
            if valid:
                self.compare(self.owed.popleft(), verdict, clock, early)
                early = False
            if done:
                said = self.done.popleft()
                assert commit.absorbed == (said.outcome is Outcome.ABSORB), said
                assert commit.counted >= commit.absorbed, said
                drops = (Outcome.DROP, Outcome.LIMITED_DROP)
                assert commit.store == (said.outcome not in drops), said
            if flood:
                self.floods.append(index)
            clock += 1

    def compare(self, owed: Owed, verdict: Any, clock: int, early: bool) -> None:
        said, stimulus = owed.said, owed.stimulus
        reason = OFFLOAD_REASONS[verdict.reason.value]
        outcome = OUTCOMES[verdict.outcome.value]
        what = f"{stimulus.label}: {stimulus.octets[:160].hex()}"
        assert (reason, outcome) == (said.reason, said.outcome), what
        assert verdict.forward == (outcome in (Outcome.PASS, Outcome.LIMITED_PASS)), what
        assert verdict.octets == len(stimulus.octets), what
        assert clock - owed.clock <= VERDICT_CLOCKS, f"{clock - owed.clock} clocks: {what}"
        # Held frames are not let out; what is let out passes, or was seen to be bad too late.
        assert not early or said.egress in (Egress.WHOLE, Egress.CUT), what
        self.seen[f"reason {reason}"] += 1
        self.seen[f"outcome {outcome}"] += 1
        self.seen["early"] += early

    def run(self, stimuli: Iterable[Stimulus], pause: float, gap: bool = True) -> None:
        """Sends all, and checks at the end that nothing is owed and every counter is right."""

        async def drive(ctx: Any) -> None:
            self.set_up(ctx)
            await self.program(ctx)
            for stimulus in stimuli:
                await self.send(ctx, stimulus, pause)
                for _ in range((stimulus.gap + 8) // 8 if gap else 0):
                    await self.tick(ctx)
            for _ in range(700):
                await self.tick(ctx)
            assert not self.owed and not self.hellos and not self.done
            assert self.floods == self.want_floods
            counters = self.model.counters
            for area, table in (
                ("reason_frames", [counters.reasons[r].value for r in OFFLOAD_REASONS]),
                ("outcome_frames", [counters.outcomes[o].value for o in OUTCOMES]),
            ):
                for n, want in enumerate(table):
                    got = await self.ram(ctx, area, BY_NAME[area].address(n))
                    assert got == want, f"{area}[{n}]"

        simulator = Simulator(self.both)
        simulator.add_clock(6.4e-9)
        simulator.add_testbench(drive)
        for process in (self.watch, self.peer_table, self.monitor):
            simulator.add_testbench(process, background=True)
        simulator.run()


def some(seed: int, count: int, config: Config, runts: int = 0) -> Iterable[Stimulus]:
    """Short frames of the bench's plans, with up to `runts` words alone after each."""
    rng = random.Random(seed)
    short = (stimulus for stimulus in Frames(seed, config) if len(stimulus.octets) < 400)
    for stimulus, _ in zip(short, range(count), strict=False):
        yield stimulus
        for _ in range(rng.randrange(runts + 1)):
            yield Stimulus("runt", rng.randbytes(rng.randrange(1, 9)), gap=0)


@pytest.mark.parametrize(("seed", "pause", "gap"), [(1, 0.0, False), (3, 0.3, True)])
def test_every_frame_is_judged_as_the_model_judges_it(seed: int, pause: float, gap: bool) -> None:
    bench = Bench(bench_config(), seed)
    bench.run(some(seed, 500, bench.config), pause, gap)
    assert bench.seen["early"] > 50
    for outcome in OUTCOMES:
        assert bench.seen[f"outcome {outcome}"] > 5


def test_runts_of_one_word_back_to_back_disturb_nobody() -> None:
    bench = Bench(bench_config(), 5)
    bench.run(some(5, 150, bench.config, runts=14), 0.0, gap=False)
    assert bench.seen[f"reason {Reason.BAD_FRAME}"] > 800


@pytest.mark.parametrize("action", ACTIONS)
def test_every_reason_takes_every_action(action: Action) -> None:
    config = bench_config()
    rules = {reason: Rule(action, n % 8) for n, reason in enumerate(config.rules)}
    bench = Bench(replace(config, rules=rules), 7)
    bench.run(some(7, 150, bench.config), 0.0, gap=False)


def test_a_plain_wire_passes_every_good_frame_and_takes_no_token() -> None:
    bench = Bench(bench_config(), 8, plain=True)
    bench.run(some(8, 100, bench.config), 0.0, gap=True)
    assert bench.seen["outcome pass"] + bench.seen[f"reason {Reason.BAD_FRAME}"] == 100
    assert not bench.floods
