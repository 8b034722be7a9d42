"""Many scenarios: on one core, on several, or on a Dask cluster; same seeds, same result."""

from __future__ import annotations

import gc
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

from harp.lab.virtual.generate import generate
from harp.lab.virtual.observed import US_PER_S
from harp.lab.virtual.probe import Maker, make_engine
from harp.lab.virtual.world import Outcome, run

CHUNK = 20
"""Scenarios that one task runs."""
PERCENTILES = (50, 90, 99, 100)


@dataclass(slots=True)
class Failure:
    """A scenario in which an invariant did not hold."""

    seed: int
    invariant: str
    at_us: int
    text: str


@dataclass(slots=True)
class Tally:
    """The sum over many scenarios."""

    scenarios: int = 0
    simulated_us: int = 0
    packets: int = 0
    acknowledged: int = 0
    unprotected: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    takeovers_us: list[int] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)

    def add(self, outcome: Outcome) -> None:
        """Counts one scenario."""
        self.scenarios += 1
        self.simulated_us += outcome.simulated_us
        self.packets += outcome.packets
        self.acknowledged += outcome.acknowledged
        self.unprotected += outcome.unprotected
        self.faults.update(outcome.faults)
        self.takeovers_us += outcome.takeovers_us
        self.failures += [
            Failure(outcome.scenario.seed, found.invariant, found.at_us, found.text)
            for found in outcome.violations
        ]

    def merge(self, other: Tally) -> None:
        """Adds what another worker counted."""
        for name in ("scenarios", "simulated_us", "packets", "acknowledged", "unprotected"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.faults.update(other.faults)
        self.takeovers_us += other.takeovers_us
        self.failures += other.failures

    def takeover_ms(self) -> dict[str, float]:
        """Percentiles (nearest rank) of the time from the loss of an active to the next, ms."""
        times = sorted(self.takeovers_us)
        if not times:
            return {}
        ranks = {p: times[max(0, -(-p * len(times) // 100) - 1)] for p in PERCENTILES}
        return {("max" if p == 100 else f"p{p}"): us / 1_000 for p, us in ranks.items()}

    def summary(self) -> dict[str, Any]:
        """What `harp-lab sweep --json` prints."""
        return {
            "scenarios": self.scenarios,
            "violations": len(self.failures),
            "simulated_s": round(self.simulated_us / US_PER_S, 1),
            "packets": self.packets,
            "acknowledged": self.acknowledged,
            "unprotected": self.unprotected,
            "faults": dict(sorted(self.faults.items())),
            "takeovers": len(self.takeovers_us),
            "takeover_ms": self.takeover_ms(),
            "failures": [
                {"seed": f.seed, "invariant": f.invariant, "at_s": f.at_us / 1e6, "text": f.text}
                for f in self.failures
            ],
        }


def run_chunk(first: int, count: int, maker: Maker = make_engine) -> Tally:
    """Runs the scenarios of `count` seeds from `first` on."""
    tally = Tally()
    gc.disable()  # nothing of a run outlives it; collecting once in between is enough,
    gc.freeze()  # and what was there before is none of its business
    try:
        for seed in range(first, first + count):
            tally.add(run(generate(seed), maker))
        gc.collect()
    finally:
        gc.unfreeze()
        gc.enable()
    return tally


def _chunks(seed: int, scenarios: int) -> Iterator[tuple[int, int]]:
    for first in range(seed, seed + scenarios, CHUNK):
        yield first, min(CHUNK, seed + scenarios - first)


def sweep(
    scenarios: int,
    seed: int,
    jobs: int = 1,
    dask: str | None = None,
    progress: Callable[[Tally], None] = lambda tally: None,
    maker: Maker = make_engine,
) -> Tally:
    """Runs the scenarios of the seeds from `seed` on; `progress` is told after each chunk.

    Raises ModuleNotFoundError with `dask` set where the extra `[cluster]` is not installed, OSError
    where no scheduler answers at that address.
    """
    total = Tally()
    for part in _tallies(list(_chunks(seed, scenarios)), jobs, dask, maker):
        total.merge(part)
        progress(total)
    return total


def _tallies(
    chunks: list[tuple[int, int]], jobs: int, dask: str | None, maker: Maker
) -> Iterator[Tally]:
    """In the order of the chunks, whoever ran them."""
    firsts, counts = [first for first, _ in chunks], [count for _, count in chunks]
    makers = [maker] * len(chunks)
    if dask is not None:
        with import_module("distributed").Client(dask, timeout="10s") as client:
            for future in client.map(run_chunk, firsts, counts, makers, pure=False):
                yield future.result()
    elif jobs > 1:
        with ProcessPoolExecutor(jobs) as pool:
            yield from pool.map(run_chunk, firsts, counts, makers)
    else:
        yield from map(run_chunk, firsts, counts, makers)
