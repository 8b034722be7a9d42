"""Every case of the bench on Verilator; the smoke cases on Icarus too with HARP_VERIFY=1.

HARP_FRAMES is the length of the random mix, HARP_LINE_FRAMES that of each line rate case.
"""

import os
import shutil

import pytest

from harp_sim.cases import CASES
from harp_sim.simulator import Build, run

SMOKE = ("registers.identity", "registers.sticky_bits", "events.acknowledged_by_count")

# One worker runs them all: the build is the dear part.
pytestmark = [pytest.mark.xdist_group("simulator"), pytest.mark.timeout(1800)]


@pytest.mark.parametrize("case", CASES)
def test_case(case: str) -> None:
    run(Build(), case)


@pytest.mark.skipif(os.environ.get("HARP_VERIFY") != "1", reason="slow: runs in `make verify`")
@pytest.mark.skipif(shutil.which("iverilog") is None, reason="no Icarus")
@pytest.mark.parametrize("case", SMOKE)
def test_smoke_on_icarus(case: str) -> None:
    run(Build(simulator="icarus"), case, name=f"icarus-{case}")
