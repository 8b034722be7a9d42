"""A failing scenario made short: fewer steps, shorter ones, plainer settings, same violation."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from harp.lab.virtual.faults import BadScenario
from harp.lab.virtual.world import run

if TYPE_CHECKING:
    from harp.lab.virtual.scenario import Scenario
    from harp.lab.virtual.world import Outcome

MOST_RUNS = 300
"""Trials until the shortest found so far is taken."""


def shrink(
    scenario: Scenario,
    execute: Callable[[Scenario], Outcome] = run,
    most_runs: int = MOST_RUNS,
) -> Scenario:
    """The smallest scenario found that violates the same invariant; the same if it does not fail.

    Greedy: each simplification that still fails is kept, until none does any more.
    """
    first = execute(scenario).violations
    if not first:
        return scenario
    wanted = first[0].invariant
    runs = 0
    shorter = True
    while shorter and runs < most_runs:
        shorter = False
        for candidate in _simpler(scenario):
            runs += 1
            if _violates(candidate, wanted, execute):
                scenario, shorter = candidate, True
                break
            if runs >= most_runs:
                break
    return scenario


def _violates(scenario: Scenario, wanted: str, execute: Callable[[Scenario], Outcome]) -> bool:
    """Whether the first violation is the wanted one; a step may name a link that is gone now."""
    try:
        found = execute(scenario).violations
    except BadScenario:
        return False
    return bool(found) and found[0].invariant == wanted


def _simpler(scenario: Scenario) -> Iterator[Scenario]:
    """Simplifications, the boldest first."""
    steps = scenario.steps
    half = len(steps) // 2
    if half > 1:
        yield scenario.without_steps(set(range(half)))
        yield scenario.without_steps(set(range(half, len(steps))))
    for index in range(len(steps)):
        yield scenario.without_steps({index})
    if scenario.mobiles:
        yield replace(scenario, mobiles=0)
        yield replace(scenario, mobiles=scenario.mobiles // 2)
        yield replace(scenario, mobiles=scenario.mobiles - 1)
    for name, _ in scenario.settings:
        kept = tuple(entry for entry in scenario.settings if entry[0] != name)
        yield replace(scenario, settings=kept)
    named = {word for step in steps for word in step.words}
    if scenario.members > 2 and scenario.names[-1] not in named:
        yield replace(scenario, members=scenario.members - 1)
    if scenario.links > 1:
        yield replace(scenario, links=1)
    for index, step in enumerate(steps):
        if step.for_us > 200_000:
            shorter = replace(step, for_us=step.for_us // 2_000 * 1_000)
            yield replace(scenario, steps=(*steps[:index], shorter, *steps[index + 1 :]))
    if scenario.seconds > 1:
        yield replace(scenario, seconds=scenario.seconds - 1)
