"""A capture through the core, frame by frame, beside the model."""

import json
import os
from pathlib import Path
from typing import Any

import cocotb

from harp.tables.reasons import OFFLOAD_REASONS, OUTCOMES
from harp_sim.bench.bench import Bench, write
from harp_sim.bench.device import Judged
from harp_sim.capture import configuration
from harp_sim.frames import Stimulus


def task() -> dict[str, Any]:
    """Settings and frames, as `python -m harp_sim --pcap` wrote them."""
    document: dict[str, Any] = json.loads(Path(os.environ["HARP_CAPTURE"]).read_text("utf-8"))
    return document


@cocotb.test()
async def replay(dut: Any) -> None:
    """Every frame at its time; a live lease is renewed before each. Leaves verdicts.json."""
    document = task()
    config, lease = configuration({"filter_enable": True, **document["settings"]})
    bench = Bench(dut, config, 1)
    await bench.start()
    verdicts: list[Judged] = []
    rows = []
    bench.device.verdicts = verdicts.append
    begun = bench.device.now_us
    for number, (at_us, octets) in enumerate(document["frames"], start=1):
        await bench.jump(max(0, begun + at_us - bench.device.now_us))
        if lease:
            await bench.kick()
        await bench.run_time()
        await bench.traffic([Stimulus(f"frame {number}", bytes.fromhex(octets))])
        await bench.device.played()
        await bench.stop_time()
        found, judgement = verdicts.pop(), bench.latest
        assert judgement is not None
        rows.append(
            {
                "frame": number,
                "reason": OFFLOAD_REASONS[found.reason],
                "outcome": OUTCOMES[found.outcome],
                "model": {"reason": judgement.reason, "outcome": judgement.outcome},
            }
        )
    write("verdicts.json", rows)
