"""Random scenarios of the real engine: no invariant is ever violated.

`HARP_SCENARIOS` (default 3000) says how many, `HARP_JOBS` (default 2) on how many cores.
"""

import os

import pytest

from harp.lab.virtual.generate import generate
from harp.lab.virtual.shrink import shrink
from harp.lab.virtual.sweep import run_chunk, sweep

SCENARIOS = int(os.environ.get("HARP_SCENARIOS", "3000"))
JOBS = int(os.environ.get("HARP_JOBS", "2"))
SECONDS_EACH = 1


@pytest.mark.timeout(600 + SECONDS_EACH * SCENARIOS)
def test_no_scenario_violates_an_invariant() -> None:
    tally = sweep(SCENARIOS, 1, JOBS)
    told = [f"seed {f.seed}: {f.invariant} at {f.at_us} µs: {f.text}" for f in tally.failures[:10]]
    if told:
        told.append(str(shrink(generate(tally.failures[0].seed), most_runs=60)))
    assert not told, "\n".join(told)
    assert tally.scenarios == SCENARIOS
    # The sweep did what it says: switches happened, bindings were promised, faults fell.
    assert len(tally.takeovers_us) > SCENARIOS // 10
    assert tally.acknowledged - tally.unprotected > SCENARIOS
    assert tally.faults["blocked"] > SCENARIOS


def test_same_seed_same_result() -> None:
    assert run_chunk(5, 6) == run_chunk(5, 6)
