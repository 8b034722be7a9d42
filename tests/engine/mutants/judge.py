"""Runs scenarios, or one test, on a mutant of the engine until it is caught, in an own process.

    python tests/engine/mutants/judge.py NAME SCENARIO [LAST]

SCENARIO is the name of a script, a seed, or FILE::TEST of tests/engine; with LAST all scripts, then
the seeds up to LAST. The last line is one JSON object: `scenario` and `invariant` that caught it,
or nulls. Status 0 or 1.
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path[:0] = [str(Path(__file__).parents[3] / "host"), str(Path(__file__).parent)]
TESTS = Path(__file__).parents[1]
SCRIPTS = TESTS / "virtual/scripts"

NOBODY = {"scenario": None, "invariant": None}


def names(first: str, last: str) -> Iterator[str]:
    """The scenarios to try."""
    if last:
        yield from sorted(path.stem for path in SCRIPTS.glob("*.txt"))
        yield from map(str, range(int(first), int(last) + 1))
    else:
        yield first


def fails(test: str) -> bool:
    """Whether one test, which passes on the engine as it is, fails on the mutant."""
    return pytest.main(["-q", str(TESTS / test)]) is pytest.ExitCode.TESTS_FAILED


def main(mutant: str, first: str, last: str = "") -> int:
    """Judges one mutant."""
    from mutants import MUTANTS, TEST
    from patch import install

    install(next(each for each in MUTANTS if each.name == mutant))
    if "::" in first:
        found = fails(first)
        print(json.dumps({"scenario": first, "invariant": TEST} if found else NOBODY))
        return 0 if found else 1
    from harp.lab.virtual.generate import generate
    from harp.lab.virtual.scenario import Scenario
    from harp.lab.virtual.world import run

    for name in names(first, last):
        by_seed = name.isdecimal()
        scenario = (
            generate(int(name))
            if by_seed
            else Scenario.parse((SCRIPTS / f"{name}.txt").read_text("utf-8"))
        )
        found = run(scenario).violations
        if found:
            which = int(name) if by_seed else name
            print(json.dumps({"scenario": which, "invariant": found[0].invariant}))
            return 0
    print(json.dumps(NOBODY))
    return 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
