"""Every case of the bench on Verilator; with HARP_VERIFY=1 a monitor's and those on Icarus.

HARP_FRAMES is the length of the random mix, HARP_LINE_FRAMES that of each line rate case.
"""

import os
import shutil

import pytest

from harp_gateware.params import CoreParams
from harp_sim.cases import CASES, MONITOR
from harp_sim.simulator import Build, design, run

SMOKE = ("registers.sticky_bits",)
SMALL = CoreParams(peers=1, slots=1, local_addresses=1, fence_addresses=1)
"""Icarus is slow: the smoke case shows that the bench runs on it."""

VERIFY = os.environ.get("HARP_VERIFY") == "1"
LONG = pytest.mark.skipif(not VERIFY, reason="runs in `make verify`")
BUILD = Build(mutants=not VERIFY)
"""`make test` has time for one build, and plants some mutants in it (test_bench_mutants)."""

# One worker runs them all: the build is the dear part.
pytestmark = [pytest.mark.xdist_group("simulator"), pytest.mark.timeout(1800)]


@pytest.mark.parametrize("case", CASES)
def test_case(case: str) -> None:
    run(BUILD, case)


@LONG
@pytest.mark.parametrize("case", MONITOR)
def test_case_of_a_monitor(case: str) -> None:
    run(Build(design(case)), case)


@LONG
@pytest.mark.skipif(shutil.which("iverilog") is None, reason="no Icarus")
@pytest.mark.parametrize("case", SMOKE)
def test_smoke_on_icarus(case: str) -> None:
    run(Build(SMALL, simulator="icarus"), case, name=f"icarus-{case}")
