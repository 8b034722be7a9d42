"""Every mutant of the gateware is noticed by its case; without one the same build is right.

`harp_sim.mutants.MUTANTS` is the table: a fault, where it is planted, the case that notices it.
HARP_MUTANTS=all plants each of them, otherwise three.
"""

import os

import pytest

from harp_sim.cases import CASES
from harp_sim.mutants import MUTANTS
from harp_sim.simulator import Build, SimulationBroken, SimulationFailed, run

BUILD = Build(mutants=True)
FRAMES = {"HARP_FRAMES": "6000"}
EVERY = 1 if os.environ.get("HARP_MUTANTS") == "all" else 16

pytestmark = [pytest.mark.xdist_group("simulator"), pytest.mark.timeout(1800)]


def test_there_are_enough() -> None:
    assert len(MUTANTS) >= 30
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS)
    assert {mutant.case for mutant in MUTANTS} <= set(CASES)


@pytest.mark.parametrize("case", sorted({mutant.case for mutant in MUTANTS}))
def test_the_build_without_a_mutant_is_right(case: str) -> None:
    """Else a case that fails anyway would seem to notice its mutant."""
    name = f"mutant-none-{case.replace('/', '-')}"
    run(BUILD, case, environment={"HARP_FRAMES": "1000"}, name=name)


@pytest.mark.parametrize("number", range(1, len(MUTANTS) + 1, EVERY))
def test_mutant_is_noticed(number: int) -> None:
    mutant = MUTANTS[number - 1]
    environment = FRAMES | {"HARP_MUTANT": str(number)}
    with pytest.raises(SimulationFailed) as caught:
        run(BUILD, mutant.case, environment=environment, name=f"mutant-{number}")
    assert not isinstance(caught.value, SimulationBroken), caught.value
