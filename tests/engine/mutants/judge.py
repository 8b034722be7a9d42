"""Runs scenarios on a mutant of the engine until one catches it, in a process of its own.

    python tests/engine/mutants/judge.py NAME SCENARIO [LAST]

SCENARIO is the name of a script or a seed; with LAST all scripts, then the seeds up to LAST. The
last line is one JSON object: `scenario` and `invariant` that caught it, or nulls. Status 0 or 1.
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[3] / "host"), str(Path(__file__).parent)]
SCRIPTS = Path(__file__).parents[1] / "virtual/scripts"


def names(first: str, last: str) -> Iterator[str]:
    """The scenarios to try."""
    if last:
        yield from sorted(path.stem for path in SCRIPTS.glob("*.txt"))
        yield from map(str, range(int(first), int(last) + 1))
    else:
        yield first


def main(mutant: str, first: str, last: str = "") -> int:
    """Judges one mutant."""
    from mutants import MUTANTS
    from patch import install

    install(next(each for each in MUTANTS if each.name == mutant))
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
    print(json.dumps({"scenario": None, "invariant": None}))
    return 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
