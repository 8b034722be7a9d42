"""The random mix: every kind of frame and fault against the model, in episodes.

First a plain wire, then filtering under a lease; every episode ends with a checkpoint. In the end
the host falls silent and the fence closes.
"""

import os
from dataclasses import replace
from itertools import islice
from typing import Any

import cocotb

from harp_sim.bench.bench import Bench, write
from harp_sim.bench.device import MUTANT
from harp_sim.frames import Frames, bench_config, host_frames
from harp_sim.model.config import Port

FRAMES = int(os.environ.get("HARP_FRAMES", "20000"))
EPISODE = 300 if MUTANT else 1000
ENOUGH = 200
"""Mismatches after which going on says nothing new."""
PLAIN = 1500
"""Frames before the first kick."""


@cocotb.test()
async def mix(dut: Any) -> None:
    """As many frames as HARP_FRAMES says, from the seed of the run."""
    seed = cocotb.RANDOM_SEED
    bench = Bench(dut, bench_config(), seed)
    await bench.start()
    network, host = iter(Frames(seed)), host_frames(seed)
    left = FRAMES
    while left:
        episode = min(EPISODE, left)
        if FRAMES - left >= min(PLAIN, FRAMES // 4):
            await bench.kick()
        await bench.run_time()
        await bench.traffic(islice(network, episode), islice(host, episode // 8))
        await bench.settle()
        left -= episode
        if bench.mismatches.count > (0 if MUTANT else ENOUGH):
            break
    report(bench)
    await silence(bench)
    report(bench)
    bench.mismatches.check()
    if FRAMES >= 20_000:
        assert bench.coverage.missing() == []


async def silence(bench: Bench) -> None:
    """The network's link goes, then the host: the watchdog fires and the fence closes."""
    await bench.link(Port.NETWORK, False)
    await bench.link(Port.NETWORK, True)
    await bench.configure(replace(bench.model.config, watchdog_armed=True))
    await bench.kick()
    await bench.jump(300_000)
    await bench.run_time()
    await bench.traffic((), islice(host_frames(2), 200))
    await bench.settle()


def report(bench: Bench) -> None:
    """One JSON object for `python -m harp_sim`."""
    latency: dict[str, dict[str, int]] = {}
    for (reason, clocks), times in sorted(bench.frames.latency.items()):
        row = latency.setdefault(reason, {"frames": 0, "least": clocks, "most": clocks})
        row["frames"] += times
        row["most"] = clocks
    result = {
        "frames": FRAMES,
        "mismatches": bench.mismatches.count,
        "first_mismatches": bench.mismatches.texts,
        "coverage": {**bench.coverage.summary(), "open": bench.coverage.missing()},
        "latency": latency,
    }
    write("report.json", result)
