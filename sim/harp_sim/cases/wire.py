"""A plain wire: after reset, without a host, and when the lease ends.

Ref: offload.md (the lease is the one safety rule)
"""

from dataclasses import replace
from itertools import islice
from typing import Any

import cocotb

from harp.tables.reasons import Outcome
from harp_sim.bench.bench import Bench
from harp_sim.frames import Frames, bench_config, host_frames
from harp_sim.model.config import Port


@cocotb.test()
async def after_reset(dut: Any) -> None:
    """Nobody has ever spoken to it: every good frame passes, both ways, and is counted."""
    bench = Bench(dut, None, cocotb.RANDOM_SEED)
    await bench.start()
    await bench.run_time()
    await bench.traffic(Frames(cocotb.RANDOM_SEED).take(600), islice(host_frames(1), 150))
    await bench.settle()
    bench.mismatches.check()
    counters = bench.model.counters.snapshot()
    assert counters[f"outcome.{Outcome.PASS}"] + counters[f"outcome.{Outcome.DROP}"] == 600
    assert counters[f"outcome.{Outcome.DROP}"] == counters["reason.bad_frame"]


@cocotb.test()
async def lease_ends(dut: Any) -> None:
    """It filters until the last microsecond of the lease, then everything passes."""
    bench = Bench(dut, replace(bench_config(), lease_ms=50), cocotb.RANDOM_SEED)
    await bench.start()
    frames = Frames(cocotb.RANDOM_SEED)
    await bench.kick()
    await bench.run_time()
    await bench.traffic(frames.take(300))
    await bench.settle()
    left = (await bench.device.read("guard_state"))["lease_left_us"]
    await bench.jump(left - 100)
    assert (await bench.device.read("guard_state"))["lease"] == 1
    await bench.jump(200)
    state = await bench.device.read("guard_state")
    assert (state["lease"], state["lease_left_us"]) == (0, 0)
    await bench.run_time()
    await bench.traffic(frames.take(300), islice(host_frames(1), 50))
    await bench.settle()
    bench.mismatches.check()
    assert (await bench.device.read("sticky"))["lease_lost"] == 1


@cocotb.test()
async def mirrored_link(dut: Any) -> None:
    """The host's port shows the network's link, unless it must not (offload.md §4)."""
    bench = Bench(dut, None, cocotb.RANDOM_SEED)
    await bench.start()
    for mirror in (True, False):
        await bench.configure(replace(bench.model.config, link_mirror=mirror))
        for up in (False, True):
            await bench.link(Port.NETWORK, up)
            assert int(dut.host_link.value) == (up or not mirror)
    await bench.settle()
    bench.mismatches.check()
