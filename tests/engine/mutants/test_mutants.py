"""Mutants of the engine: each is one wrong line, and a stored scenario catches it.

`HARP_MUTANTS=all` judges every mutant; else every third, and all of them are checked to fit.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from .mutants import MUTANTS, Mutant
from .patch import ENGINE, mutated

HERE = Path(__file__).parent
ALL = os.environ.get("HARP_MUTANTS") == "all"


def test_there_are_enough_and_each_has_its_name() -> None:
    assert len(MUTANTS) >= 20
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS)


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_mutant_fits_the_engine(mutant: Mutant) -> None:
    source = (ENGINE / f"{mutant.module}.py").read_text("utf-8")
    compile(mutated(mutant, source), mutant.module, "exec")


@pytest.mark.parametrize("mutant", MUTANTS if ALL else MUTANTS[::3], ids=lambda mutant: mutant.name)
def test_mutant_is_caught(mutant: Mutant) -> None:
    judged = subprocess.run(
        [sys.executable, str(HERE / "judge.py"), mutant.name, str(mutant.scenario)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert judged.returncode == 0, judged.stderr or f"{mutant.name} lives"
    caught = json.loads(judged.stdout.splitlines()[-1])
    assert caught == {"scenario": mutant.scenario, "invariant": mutant.invariant}
