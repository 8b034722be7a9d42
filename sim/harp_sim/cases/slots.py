"""Frames that the core sends by itself: times, sequences, checksums, order with the host's.

Ref: offload.md §4; RFC 1624
"""

import random
from dataclasses import replace
from itertools import islice
from typing import Any

import cocotb

from harp_sim.bench.bench import RATE, Bench
from harp_sim.bench.device import Frame
from harp_sim.build import Draft, harp
from harp_sim.frames import ALL_HOME_AGENTS, GROUP, OWN, bench_config, host_frames
from harp_sim.model import golden
from harp_sim.model.config import Config, Port, Slot
from harp_sim.model.events import EventKind
from harp_sim.model.slots import Slots

GRAIN_US = 320 // RATE
"""In what time a slot that may run is noticed: a round over 8 slots, each with its jitter."""
WIRE_US = 160 // RATE
"""From due to the first word out: some of such a round, and two readings of the template."""
SHARE_US = 50
"""Between two of its frames, as 2 % of a 1 Gb/s line are its (offload.md §4)."""
HOST_US = 3 * 9216 // 2 // 8 // RATE + WIRE_US
"""The longest host frame on the wire, with idle clocks in it."""


def template(group: int = GROUP, flags: int = 0, lifetime: int = 3, vlan: int = 0) -> bytes:
    """A HELLO with Sequence # 0, without FCS."""
    mh = harp(golden.HARP_HELLO, group, 0, flags, lifetime=lifetime)
    tags = (vlan,) if vlan else ()
    return Draft(OWN, ALL_HOME_AGENTS, mh, tags=tags).octets()[: -golden.FCS_OCTETS]


def slots(*entries: Slot) -> tuple[Slot | None, ...]:
    """A whole array of slots that begins with these."""
    return (*entries, *(None,) * (golden.SLOTS - len(entries)))


class Watch:
    """Compares the frames that the core made with the model's slots."""

    def __init__(self, bench: Bench, config: Config, delay_us: int) -> None:
        self._bench, self.delay_us = bench, delay_us
        self.slots = Slots(config.slots, GRAIN_US)
        self.sent: list[int] = []
        """Slot of each frame, in order."""
        self.times_us: list[int] = []
        bench.sent = self._left

    def _left(self, frame: Frame) -> None:
        at_us = self._bench.device.was_us(frame.begin)
        due = self.slots.sent(frame.octets, at_us, self.delay_us)
        if due is None:
            wanted = [(due.slot, due.earliest_us, due.latest_us) for due in self.slots.due()]
            self._bench.mismatches.note(
                f"at {at_us} µs nobody owes {frame.octets.hex()}; due are {wanted}"
            )
            return
        self.sent.append(due.slot)
        self.times_us.append(at_us)


@cocotb.test()
@cocotb.parametrize(busy=[False, True])
async def one(dut: Any, busy: bool) -> None:
    """A slot with jitter is within its times, alone and between host frames."""
    config = replace(bench_config(), slots=slots(Slot(template(), 300, jitter_percent=10)))
    bench, watch = await _sending(dut, config, HOST_US if busy else WIRE_US, busy)
    assert 12_000 // 300 <= len(watch.sent) <= 12_000 // 270 + 1
    await _agree(bench, watch)


@cocotb.test()
async def four(dut: Any) -> None:
    """Four slots with and without jitter and patches; two of them share a Sequence #."""
    config = replace(
        bench_config(),
        slots=slots(
            Slot(template(1), 300, jitter_percent=10),
            Slot(template(2, vlan=5), 500, mh_offset=58),
            Slot(template(3), 700, jitter_percent=5, patch_sequence=False, patch_checksum=False),
            Slot(template(4), 1100, sequence_slot=0),
        ),
    )
    bench, watch = await _sending(dut, config, 3 * SHARE_US, busy=False)
    assert set(watch.sent) == {0, 1, 2, 3}
    await _agree(bench, watch)


async def _sending(dut: Any, config: Config, delay_us: int, busy: bool) -> tuple[Bench, Watch]:
    """A core that has sent for 12 ms."""
    bench = Bench(dut, config, cocotb.RANDOM_SEED)
    await bench.start()
    watch = Watch(bench, config, delay_us)
    await bench.kick()
    begun = bench.device.now_us
    watch.slots.run(begun, True)
    await bench.run_time()
    if busy:
        await bench.traffic((), islice(host_frames(3), 900))
    await bench.device.until_us(begun + 12_000)
    await bench.settle()
    bench.mismatches.check()
    return bench, watch


async def _agree(bench: Bench, watch: Watch) -> None:
    """What the registers say of the slots is what was seen."""
    states = [await bench.device.read("slot_state", n) for n in range(golden.SLOTS)]
    assert [state["missed"] for state in states] == [0] * golden.SLOTS
    assert [state["sent"] for state in states] == [watch.sent.count(n) for n in range(golden.SLOTS)]
    answer = await bench.device.read("kick_answer")
    assert [answer[f"sequence_{n}"] for n in range(golden.SLOTS)] == watch.slots.sequence


@cocotb.test()
async def sequence_skips_zero(dut: Any) -> None:
    """After 65535 comes 1, and the checksum follows through every carry."""
    config = replace(bench_config(), slots=slots(Slot(template(), 100)))
    bench = Bench(dut, config, cocotb.RANDOM_SEED)
    await bench.start()
    for start in (0xFFFC, 0x00FE, 0x7FFE, random.Random(cocotb.RANDOM_SEED).randrange(0xFFFF)):
        watch = Watch(bench, config, WIRE_US)
        await bench.device.write_words(0x0500 + 3, [start])
        watch.slots.sequence[0] = start
        await bench.kick()
        watch.slots.run(bench.device.now_us, True)
        await bench.run_time()
        await bench.device.until_us(bench.device.now_us + 900)
        await bench.settle()
        assert len(watch.sent) >= 6
        await bench.jump(250_000)
        await bench.settle()
    bench.mismatches.check()


async def _fired(dut: Any, cause: str, rounds: int) -> tuple[Bench, Watch]:
    """A watchdog that has fired, and so many rounds of resigns seen, with the slots stopped."""
    hello, leave = template(flags=golden.FLAG_ACTIVE), template(lifetime=0)
    config = replace(
        bench_config(),
        slots=slots(Slot(hello, 400), Slot(leave, resign=True, sequence_slot=0)),
        lease_ms=4 if cause == "lease" else 100,
        host_link_grace_us=1500,
        watchdog_armed=True,
    )
    bench = Bench(dut, config, cocotb.RANDOM_SEED)
    await bench.start()
    watch = Watch(bench, config, WIRE_US)
    await bench.kick()
    begun = bench.device.now_us
    watch.slots.run(begun, True)
    await bench.run_time()
    fired = begun + 4000
    if cause == "link":
        await bench.device.until_us(begun + 1000)
        await bench.settle()
        fired = bench.device.now_us + config.host_link_grace_us
        await bench.link(Port.HOST, False)
        await bench.run_time()
    await bench.device.until_us(fired - 3)
    before = len(watch.sent)
    await bench.device.until_us(fired)
    watch.slots.stop()
    for round_ in range(rounds):
        watch.slots.resign(fired + round_ * golden.RESIGN_SPACING_US)
    await bench.device.until_us(fired + rounds * golden.RESIGN_SPACING_US - 500)
    await bench.settle()
    assert watch.sent[before:] == [1] * rounds
    watch.sent.clear()
    return bench, watch


@cocotb.test()
@cocotb.parametrize(cause=["lease", "link"])
async def watchdog(dut: Any, cause: str) -> None:
    """The host goes silent, or its link: slots stop, resigns leave, the fence closes; unfenced."""
    bench, watch = await _fired(dut, cause, golden.RESIGN_TIMES)
    assert bench.model.guard.fenced
    assert bench.coverage.hits["event", EventKind.FENCED] == 1
    state = await bench.device.read("guard_state")
    assert (state["fired"], state["fenced"]) == (1, 1)
    await bench.run_time()
    await bench.traffic((), islice(host_frames(4), 300))
    await bench.settle()
    assert bench.model.counters.snapshot()["fenced"] > 20
    # The host has withdrawn: HELLOs without A, then it unfences; they run while the lease lives.
    meek = replace(bench.model.config, slots=slots(Slot(template(), 400)), watchdog_armed=False)
    await bench.configure(meek)
    watch.slots.configure(meek.slots, bench.device.now_us, False)
    await _unfenced(bench, watch)
    assert set(watch.sent) == ({0} if cause == "link" else set())


@cocotb.test()
async def unfenced_early(dut: Any) -> None:
    """Unfenced before the last resign: no fence, and the slots run again as they were."""
    bench, watch = await _fired(dut, "link", golden.RESIGN_TIMES - 1)
    await _unfenced(bench, watch)
    assert not bench.model.guard.fenced
    assert bench.model.events.raised[EventKind.FENCED] == 0
    assert set(watch.sent) == {0}


async def _unfenced(bench: Bench, watch: Watch) -> None:
    """The host unfences; nothing of it is held back any more."""
    fenced = bench.model.counters.snapshot()["fenced"]
    await bench.unfence()
    watch.slots.unfence(bench.device.now_us, bench.model.guard.lease_live)
    watch.delay_us = HOST_US
    await bench.run_time()
    await bench.traffic((), islice(host_frames(5), 100))
    await bench.device.until_us(bench.device.now_us + 1500)
    await bench.settle()
    bench.mismatches.check()
    assert bench.model.counters.snapshot()["fenced"] == fenced


@cocotb.test()
async def only_the_event(dut: Any) -> None:
    """With action `event` the watchdog tells and does nothing else."""
    action = type(bench_config().watchdog_action).EVENT
    config = replace(bench_config(), watchdog_armed=True, watchdog_action=action, lease_ms=2)
    bench = Bench(dut, config, cocotb.RANDOM_SEED)
    await bench.start()
    await bench.kick()
    await bench.jump(5000)
    await bench.run_time()
    await bench.traffic((), islice(host_frames(6), 200))
    await bench.settle()
    bench.mismatches.check()
    assert bench.model.counters.snapshot()["fenced"] == 0
    assert bench.coverage.hits["event", EventKind.WATCHDOG_FIRED] == 1
