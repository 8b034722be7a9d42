"""What docs/lessons.md names as shown by exists: tests, scripts, scenarios, cases, commands."""

import importlib.util
import re
from pathlib import Path

import pytest

from harp.lab.netns.scenarios import SCENARIOS
from harp_boards.cli import harp_board

ROOT = Path(__file__).parent.parent
SHOWN = [
    name
    for line in (ROOT / "docs/lessons.md").read_text(encoding="utf-8").splitlines()
    if line.startswith("| ")
    for name in re.findall(r"`([^`]+)`", line.split(" | ")[-1])
]


@pytest.mark.parametrize("name", SHOWN)
def test_it_exists(name: str) -> None:
    match name.split():
        case [place]:
            file, _, test = place.partition("::")
            text = (ROOT / file).read_text(encoding="utf-8")
            assert not test or f"\ndef {test}(" in text
        case ["harp-lab", "run", scenario]:
            assert scenario in SCENARIOS
        case ["make", "sim", case]:
            assert importlib.util.find_spec(f"harp_sim.cases.{case.removeprefix('CASE=')}")
        case ["harp-board", command, *_]:
            assert command in harp_board.commands
        case _:
            pytest.fail(f"{name}: of no known kind")


def test_every_failure_has_something_that_shows_it() -> None:
    rows = (ROOT / "docs/lessons.md").read_text(encoding="utf-8").count("\n| ") - 2
    assert len(SHOWN) > rows > 10
