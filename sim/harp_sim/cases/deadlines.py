"""`peer_down` and `peer_late` within 2 µs of their times, under the full flood too.

Ref: offload.md §3 (deadlines)
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import cycle, islice
from typing import Any

import cocotb

from harp_sim.bench.bench import Bench
from harp_sim.build import Draft, harp
from harp_sim.cases import FLOODS
from harp_sim.cases.line_rate import RATE, heartbeats, line_config, malformed, plain
from harp_sim.frames import ALL_HOME_AGENTS, Stimulus, peer_address
from harp_sim.model import golden
from harp_sim.model.config import Config
from harp_sim.model.events import EventKind

LATE_US = 2
DEADLINE_US = 100
STREAMS: dict[str, Callable[[], Iterator[Stimulus]]] = {
    "nothing": lambda: iter(()),
    "plain": plain,
    "malformed": malformed,
}
PEERS = golden.PEERS


def same_deadlines(config: Config) -> Config:
    """Every peer due at the same time after its HELLO."""
    peers = tuple(
        peer and replace(peer, deadline_us=DEADLINE_US, late_us=DEADLINE_US * 2 // 3)
        for peer in config.peers
    )
    return replace(config, peers=peers)


@cocotb.test()
@cocotb.parametrize(flood=FLOODS)
async def in_time(dut: Any, flood: str) -> None:
    """32 peers are heard within 4 µs and then no more, while the line is full of other frames."""
    bench = Bench(dut, same_deadlines(line_config()), cocotb.RANDOM_SEED, LATE_US)
    await bench.start(RATE)
    await bench.kick()
    await bench.run_time(RATE)
    await bench.traffic(islice(heartbeats(), PEERS), gaps=False)
    frames = 2 * DEADLINE_US * RATE // 10
    await bench.traffic(islice(STREAMS[flood](), frames), gaps=False)
    await bench.device.until_us(bench.device.now_us + 2 * DEADLINE_US)
    await bench.settle()
    bench.mismatches.check()
    hits = bench.coverage.hits
    assert hits["event", EventKind.PEER_LATE] == hits["event", EventKind.PEER_DOWN] == 1
    assert bench.model.events.raised[EventKind.PEER_LATE] == PEERS
    assert bench.model.events.raised[EventKind.PEER_DOWN] == PEERS


def silent_one(silent: int) -> Iterator[Stimulus]:
    """Heartbeats of every peer but one, back to back."""
    config = line_config()
    for sequence in cycle(range(2, 1 << 16)):
        for index, peer in enumerate(config.peers):
            assert peer is not None
            if index != silent:
                mh = harp(golden.HARP_HELLO, peer.group, sequence)
                draft = Draft(peer_address(index), ALL_HOME_AGENTS, mh)
                yield Stimulus(f"heartbeat of {index}", draft.octets(), gap=8)


@cocotb.test()
async def under_heartbeats(dut: Any) -> None:
    """One peer falls silent while 31 others keep the monitor busy with every frame."""
    bench = Bench(dut, same_deadlines(line_config()), cocotb.RANDOM_SEED, LATE_US)
    await bench.start(RATE)
    await bench.kick()
    await bench.run_time(RATE)
    await bench.traffic(islice(heartbeats(), PEERS), gaps=False)
    await bench.traffic(islice(silent_one(17), 2500), gaps=False)
    down = bench.model.watch(17).state
    await bench.settle()
    bench.mismatches.check()
    assert down == "down"
    assert bench.model.events.raised[EventKind.PEER_DOWN] >= 1
