"""Latency in clocks, first word in to first word out: words back to back, buffer empty.

Ref: docs/gateware.md (table and limits)
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import cocotb

from harp_sim.bench.bench import Bench, write
from harp_sim.build import Draft, authentication, mobility, padding_header
from harp_sim.faults import STRANGER
from harp_sim.frames import HOME, OWN, Stimulus, bench_config

LIMIT = 16
CHAIN_LIMIT = 48
CHAIN_OVER = 1
"""Clocks by which chains of few words behind two tags are over their aim of 16 + their words."""
TAGS = ((), (5,), (9, 5))


@dataclass(frozen=True, slots=True)
class Row:
    """One frame of the table."""

    name: str
    draft: Draft
    limit: int


def rows() -> Iterator[Row]:
    """Not IPv6, no extension header, chains, held: each untagged and with one and two tags."""
    plain = Draft(STRANGER, OWN, bytes(40), last=17, size=128)
    held = Draft(HOME, OWN, mobility(5, bytes(6)), hop_limit=64)
    for tags in TAGS:
        names = f"{len(tags)} tags"
        tagged = replace(plain, tags=tags)
        yield Row(f"not IPv6, {names}", replace(tagged, ethertype=0x0800), LIMIT)
        yield Row(f"no extension header, {names}", tagged, LIMIT)
        for headers in ((padding_header(8),), (padding_header(8),) * 8, (padding_header(32),) * 8):
            words = sum(len(header.octets) for header in headers) // 8
            name = f"{len(headers)} headers of {words} words, {names}"
            chained = replace(tagged, chain=headers, size=512)
            yield Row(name, chained, min(CHAIN_LIMIT, LIMIT + words))
        ah = replace(tagged, chain=(authentication(0), padding_header(16)), size=512)
        yield Row(f"AH and 2 words, {names}", ah, LIMIT + 4)
        for size in (64, 128, 1518):
            octets = max(size, len(replace(held, tags=tags).octets()))
            draft = replace(held, tags=tags, size=octets)
            yield Row(f"held, {octets} octets, {names}", draft, -(-octets // 8) + LIMIT)


@cocotb.test()
async def latency(dut: Any) -> None:
    """Each frame alone; the table goes to latency.json."""
    bench = Bench(dut, bench_config(), cocotb.RANDOM_SEED)
    await bench.start()
    await bench.kick()
    await bench.run_time()
    measured: list[tuple[Row, int]] = []
    for row in rows():
        bench.frames.latency.clear()
        await bench.traffic([Stimulus(row.name, row.draft.octets())], gaps=False)
        await bench.device.played()
        ((_, clocks),) = bench.frames.latency
        measured.append((row, clocks))
    await bench.settle()
    table = [{"frame": row.name, "clocks": got, "limit": row.limit} for row, got in measured]
    write("latency.json", table)
    bench.mismatches.check()
    late = {row.name: clocks - row.limit for row, clocks in measured}
    assert max(late.values()) <= CHAIN_OVER
    assert {name for name, over in late.items() if over > 0} <= {
        name for name in late if "headers" in name and "2 tags" in name
    }
