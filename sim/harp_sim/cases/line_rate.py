"""Line rate: frames back to back, a word a clock, 8 octets of gap and no preamble to spare.

A gap of 8 octets and the preamble are two idle words behind every frame, whatever the frames are:
nothing is lost, no verdict is late, no deadline is missed.

Ref: offload.md §1 (no loss network → host, 10 clocks a frame)
"""

import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import chain, cycle, islice
from typing import Any

import cocotb

from harp.tables.reasons import Reason
from harp_sim.bench.bench import Bench
from harp_sim.build import Draft, authentication, harp, mobility, padding_header
from harp_sim.cases import LINE_RATE
from harp_sim.faults import FAULTS, STRANGER, plant
from harp_sim.frames import (
    ALL_HOME_AGENTS,
    GROUP,
    HOME,
    OWN,
    Frames,
    Stimulus,
    bench_config,
    peer_address,
)
from harp_sim.model import golden
from harp_sim.model.config import Config

FRAMES = int(os.environ.get("HARP_LINE_FRAMES", "1000"))
RATE = 125
"""Clocks a microsecond: the core's 125 MHz, 8 Gb/s of frames."""
DEADLINE_US = 400
"""Of every peer: 30 times as long as a round of heartbeats takes."""
DOWN_US = 300
OF_HARP = frozenset(
    {
        Reason.BAD_LENGTH,
        Reason.UNKNOWN_HARP_TYPE,
        Reason.BAD_SEQUENCE,
        Reason.BAD_HOP_LIMIT,
        Reason.NOT_A_PEER,
    }
)
"""Reasons of which a fault needs a HARP message."""


def line_config() -> Config:
    """Every peer verified and watched, nothing signed."""
    config = bench_config()
    peers = tuple(
        peer
        and replace(
            peer,
            source=peer_address(index),
            group=GROUP + index % 3,
            authenticated=False,
            vlan=None,
            deadline_us=DEADLINE_US,
            late_us=DOWN_US,
        )
        for index, peer in enumerate(config.peers)
    )
    return replace(config, peers=peers)


def _stimuli(label: str, drafts: Iterator[Draft]) -> Iterator[Stimulus]:
    for draft in drafts:
        yield Stimulus(label, draft.octets(), draft.fcs_ok, draft.rx_er, gap=8)


def plain() -> Iterator[Stimulus]:
    """IPv6 of 64 octets that is not MH."""
    draft = Draft(STRANGER, OWN, b"", last=golden.NEXT_NONE)
    return _stimuli("plain", cycle((draft,)))


def valid() -> Iterator[Stimulus]:
    """The shortest MH that is right: Binding Refresh Requests and Binding Updates."""
    drafts = (
        Draft(HOME, OWN, mobility(0, bytes(2)), hop_limit=64),
        Draft(HOME, OWN, mobility(5, bytes(6)), hop_limit=64),
    )
    return _stimuli("valid MH", cycle(drafts))


def heartbeats() -> Iterator[Stimulus]:
    """HELLOs of 32 peers in turn, each in its own sequence."""
    config, sequence = line_config(), 0
    while True:
        sequence = sequence % 0xFFFF + 1
        for index, peer in enumerate(config.peers):
            assert peer is not None
            mh = harp(golden.HARP_HELLO, peer.group, sequence)
            draft = Draft(peer_address(index), ALL_HOME_AGENTS, mh)
            yield from _stimuli("heartbeat", iter((draft,)))


def malformed() -> Iterator[Stimulus]:
    """Every fault of an MH, one after the other, as short as it can be."""
    return _stimuli("malformed", cycle(_broken()))


def fault_runs() -> Iterator[Stimulus]:
    """Each fault many times in a row."""
    broken = _broken()
    times = -(-FRAMES // len(broken))
    return _stimuli("malformed", (draft for draft in broken for _ in range(times)))


def _broken() -> list[Draft]:
    """One frame of each fault: the shortest MH there is, a HELLO where HARP is what is wrong."""
    hello = Draft(peer_address(0), OWN, harp(golden.HARP_HELLO, 7, 1), size=64)
    least = replace(hello, payload=mobility(0, bytes(2)))
    faults = [fault for fault in FAULTS if fault.name not in ("oversize", "esp")]
    return [plant(hello if fault.reason in OF_HARP else least, fault) for fault in faults]


def chains() -> Iterator[Stimulus]:
    """The worst chains: eight headers of 8 octets, of 32, and AH last, before an MH."""
    base = Draft(HOME, OWN, mobility(5, bytes(6)), hop_limit=64)
    worst = (
        (padding_header(8),) * 8,
        (padding_header(32),) * 8,
        (*(padding_header(8),) * 7, authentication(0)),
    )
    return _stimuli("chain", cycle(replace(base, chain=headers) for headers in worst))


def mixed() -> Iterator[Stimulus]:
    """The random mix, every gap the least."""
    for stimulus in chain(Frames(cocotb.RANDOM_SEED, line_config())):
        yield replace(stimulus, gap=8)


KINDS: dict[str, Callable[[], Iterator[Stimulus]]] = {
    "plain": plain,
    "valid": valid,
    "heartbeats": heartbeats,
    "malformed": malformed,
    "fault_runs": fault_runs,
    "chains": chains,
    "mixed": mixed,
}


@cocotb.test()
@cocotb.parametrize(kind=LINE_RATE)
async def line_rate(dut: Any, kind: str) -> None:
    """HARP_LINE_FRAMES of one kind; the MAC takes what it gets at the same pace."""
    bench = Bench(dut, line_config(), cocotb.RANDOM_SEED)
    await bench.start(RATE)
    await bench.kick()
    await bench.run_time(RATE)
    await bench.traffic(islice(KINDS[kind](), FRAMES), gaps=False)
    await bench.settle()
    bench.mismatches.check()
    assert bench.verdicts.latest_clocks <= 16
    counters = bench.model.counters.snapshot()
    assert counters["port.network.frames"] == FRAMES
    if kind == "heartbeats":
        news = counters[f"reason.{Reason.HEARTBEAT_NEWS}"]
        assert (news, counters[f"reason.{Reason.HEARTBEAT}"]) == (32, FRAMES - 32)
