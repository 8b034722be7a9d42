"""Every mutant of the gateware is noticed; without one the same build is right.

HARP_MUTANTS=all plants each of them, otherwise every sixth.
"""

import os

import pytest

from harp_sim.mutants import MUTANTS
from harp_sim.simulator import Build, SimulationFailed, run

BUILD = Build(mutants=True)
FRAMES = {"HARP_FRAMES": "6000"}
EVERY = 1 if os.environ.get("HARP_MUTANTS") == "all" else 6

pytestmark = [
    pytest.mark.xdist_group("simulator"),
    pytest.mark.timeout(1800),
    pytest.mark.skipif(
        os.environ.get("HARP_VERIFY") != "1", reason="long: runs in `make verify` (HARP_VERIFY=1)"
    ),
]


def test_there_are_enough() -> None:
    assert len(MUTANTS) >= 30
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS)


def test_the_build_without_a_mutant_is_right() -> None:
    run(BUILD, "mix.mix", environment={"HARP_FRAMES": "1000"}, name="mutant-none")


@pytest.mark.parametrize("number", range(1, len(MUTANTS) + 1, EVERY))
def test_mutant_is_noticed(number: int) -> None:
    mutant = MUTANTS[number - 1]
    environment = FRAMES | {"HARP_MUTANT": str(number)}
    with pytest.raises(SimulationFailed):
        run(BUILD, mutant.case, environment=environment, name=f"mutant-{number}")
