"""Scenarios written by hand: the situations that the rules of harp.md §5 to §9 are for."""

from pathlib import Path

import pytest

from harp.lab.virtual.scenario import Scenario
from harp.lab.virtual.world import run

SCRIPTS = sorted((Path(__file__).parent / "scripts").glob("*.txt"))


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_script_runs_without_violation(script: Path) -> None:
    outcome = run(Scenario.parse(script.read_text("utf-8")))
    assert outcome.violations == ()
    assert outcome.acknowledged > 0
