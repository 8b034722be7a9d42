"""A build with one port: it judges, counts and tells as any other, and forwards nothing.

Ref: offload.md (a board with one Ethernet port); docs/gateware.md (rules, Ports)
"""

from dataclasses import replace
from itertools import islice
from typing import Any

import cocotb

from harp.tables.offload import WatchdogAction
from harp.tables.reasons import ACTIONS, OFFLOAD_REASONS, Action, Reason
from harp_sim.bench.bench import Bench
from harp_sim.bench.device import RegisterError
from harp_sim.cases.slots import WIRE_US, Watch, slots, template
from harp_sim.frames import Frames, bench_config
from harp_sim.model.config import Slot

FRAMES = 3000


@cocotb.test()
async def judges(dut: Any) -> None:
    """The random mix, first without a lease: verdicts, counters and events are the model's."""
    bench = Bench(dut, replace(bench_config(), fence=()), cocotb.RANDOM_SEED)
    await bench.start()
    assert bench.ports == 1
    frames = iter(Frames(cocotb.RANDOM_SEED))
    for episode in range(3):
        if episode:
            await bench.kick()
        await bench.run_time()
        await bench.traffic(islice(frames, FRAMES // 3))
        await bench.settle()
    bench.mismatches.check()
    outcomes = {outcome for kind, *_, outcome in bench.coverage.hits if kind == "outcome"}
    assert outcomes == {"pass", "limited_pass", "limited_drop", "drop", "absorb"}


@cocotb.test()
async def sends(dut: Any) -> None:
    """A slot is sent as by any other board."""
    config = replace(bench_config(), fence=(), slots=slots(Slot(template(), 300)))
    bench = Bench(dut, config, cocotb.RANDOM_SEED)
    await bench.start()
    watch = Watch(bench, config, WIRE_US)
    await bench.kick()
    begun = bench.device.now_us
    watch.slots.run(begun, True)
    await bench.run_time()
    await bench.device.until_us(begun + 3000)
    await bench.settle()
    bench.mismatches.check()
    assert 10 <= len(watch.sent) <= 11


@cocotb.test()
async def refuses(dut: Any) -> None:
    """Drop actions, an armed fence, the fence's addresses: refused, and nothing is changed."""
    bench = Bench(dut, None, cocotb.RANDOM_SEED)
    await bench.start()
    device = bench.device
    reason = OFFLOAD_REASONS.index(Reason.NOT_MOBILITY)
    before = await device.read("action", reason)
    drop = ACTIONS.index(Action.DROP)
    for name, index, fields in (
        ("action", reason, {"action": drop}),
        ("guard", 0, {"armed": 1, "action": WatchdogAction.RESIGN_FENCE, "lease_ms": 200}),
        ("fence", 0, {}),
    ):
        try:
            await device.pulse(name, index, **fields)
        except RegisterError:
            continue
        raise AssertionError(f"{name} was written: {fields}")
    assert await device.read("action", reason) == before
    await device.pulse("action", reason, action=ACTIONS.index(Action.LIMIT))
    await device.pulse("guard", armed=1, action=WatchdogAction.EVENT, lease_ms=200)
    assert (await device.read("guard"))["armed"] == 1
