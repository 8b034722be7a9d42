"""Frames of every reason through the core that yosys made.

Ref: offload.md §2; harp_sim.bench.netlist
"""

from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from typing import Any

import cocotb

from harp.tables.reasons import OFFLOAD_REASONS, Reason
from harp_sim.bench.bench import Bench
from harp_sim.build import Draft, harp, mobility
from harp_sim.cases.slots import WIRE_US, Watch, slots, template
from harp_sim.faults import FAULTS, plant
from harp_sim.frames import ALL_HOME_AGENTS, HOME, OWN, Stimulus, bench_config, host_frames
from harp_sim.model import golden
from harp_sim.model.config import Bucket, Config, Slot

PEERS = 4
FRAMES = 50


def small_config() -> Config:
    """The bench's configuration as far as a build with 4 peers, 2 slots holds it."""
    whole = bench_config()
    peers = (*whole.peers[:PEERS], *(None,) * (golden.PEERS - PEERS))
    buckets = whole.buckets[: golden.BUCKETS + PEERS]
    rest = Config().buckets[golden.BUCKETS + PEERS :]
    return replace(
        whole,
        peers=peers,
        buckets=(*buckets, *rest),
        fence=whole.fence[:1],
        slots=slots(Slot(template(), 400)),
    )


def stimuli() -> Iterator[Stimulus]:
    """Every fault, a Binding Update, and HELLOs of each peer: news, heartbeats, a replay."""
    peers = [peer for peer in small_config().peers if peer is not None]
    hello = Draft(peers[0].source, OWN, harp(golden.HARP_HELLO, peers[0].group, 1))
    drafts = [plant(hello, fault) for fault in FAULTS]
    drafts.append(Draft(HOME, OWN, mobility(5, bytes(6)), hop_limit=64))
    for sequence in (1, 2, 3, 4, 5, 3):
        for peer in peers:
            mh = harp(golden.HARP_HELLO, peer.group, sequence)
            drafts.append(Draft(peer.source, ALL_HOME_AGENTS, mh, tags=(5,) * (sequence % 3)))
    for draft in drafts:
        yield Stimulus("netlist", draft.octets(), draft.fcs_ok, draft.rx_er, gap=40)


@cocotb.test()
async def every_reason(dut: Any) -> None:
    """Frames, verdicts, events, counters and a slot's frames are the model's, as ever."""
    config = small_config()
    assert Bucket() not in config.buckets[: golden.BUCKETS]
    bench = Bench(dut, config, cocotb.RANDOM_SEED)
    await bench.start()
    watch = Watch(bench, config, WIRE_US)
    await bench.kick()
    begun = bench.device.now_us
    watch.slots.run(begun, True)
    await bench.run_time()
    count = await bench.traffic(stimuli(), islice(host_frames(1), 10))
    await bench.settle()
    bench.mismatches.check()
    counted = bench.model.counters.snapshot()
    silent = {reason for reason in OFFLOAD_REASONS if not counted[f"reason.{reason}"]}
    assert silent == {Reason.AUTH}
    assert count - 10 >= FRAMES
    assert watch.sent
