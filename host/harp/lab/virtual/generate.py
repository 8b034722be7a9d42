"""Scenarios at random: from a seed alone, the same one always.

A scenario begins calmly, then faults fall, and its end is quiet for as long as the bounds of its
settings need (`observed.Bounds.quiet`), so that what must have happened by then can be judged.
"""

from __future__ import annotations

from random import Random

from harp.lab.virtual.faults import FAULTS
from harp.lab.virtual.observed import Bounds
from harp.lab.virtual.scenario import US_PER_S, Scenario, Step
from harp.lab.virtual.settings import Settings

LONGEST_S = 20
"""Longest scenario."""
FIRST_FAULT_US = 1_500_000
MOST_STEPS = 9
MEMBERS = (2, 3, 3, 3, 3, 3, 4, 5)
INTERVALS_MS = ("100", "200", "200", "300", "300", "500", "500")
SHORTEST_US = 30_000


def generate(seed: int) -> Scenario:
    """The scenario of a seed."""
    rng = Random(f"scenario {seed}")
    members = rng.choice(MEMBERS)
    mobiles = rng.choice((0, 1, 2, 3, 5, 12))
    bare = Scenario(
        seed,
        members=members,
        links=rng.choice((1, 1, 1, 2)),
        mobiles=mobiles,
        settings=tuple(sorted(_settings(rng, members).items())),
    )
    quiet = Bounds(Settings(bare)).quiet
    faults_end = LONGEST_S * US_PER_S - quiet
    faults_end = min(faults_end, FIRST_FAULT_US + rng.randint(1, 5) * US_PER_S)
    steps = _steps(rng, bare, faults_end)
    length = -(-(faults_end + quiet) // US_PER_S)
    return Scenario(seed, length, members, bare.links, mobiles, bare.settings, tuple(steps))


def _settings(rng: Random, members: int) -> dict[str, str]:
    """Deviations from the defaults; each independent of the others where it can be."""
    intervals = INTERVALS_MS if members <= 3 else INTERVALS_MS[1:5]
    chosen = {"hello_interval_ms": rng.choice(intervals)}

    def sometimes(chance: float, name: str, *values: str) -> None:
        if rng.random() < chance:
            chosen[name] = rng.choice(values)

    sometimes(0.9, "early", "1")
    sometimes(0.2, "mode", "hard")
    sometimes(0.2, "security", "psk")
    sometimes(0.15, "multicast", "0")
    sometimes(0.3, "preferences", "equal")
    sometimes(0.2, "preempt", "1")
    if chosen["hello_interval_ms"] != "500":
        sometimes(0.1, "multiplier", "2", "5")
    if members >= 3 and rng.random() < 0.25:
        chosen["quorum"] = str(members // 2 + 1)
        sometimes(0.4, "witness", "1")
    sometimes(0.1, "durability", "local")
    sometimes(0.1, "journal_sync", "1")
    sometimes(0.15, "dad", "1")
    sometimes(0.2, "lifetime_s", "8", "12")
    sometimes(0.2, "refresh_ms", "300", "5000")
    sometimes(0.15, "loss_percent", "1", "3")
    sometimes(0.2, "delay_us", "50", "5000")
    sometimes(0.2, "stream_window", "1", "2")
    sometimes(0.1, "late_us", "2000")
    return chosen


def _steps(rng: Random, scenario: Scenario, end: int) -> list[Step]:
    """Up to `MOST_STEPS`, over by `end`. A member that lost its disk and whose clock went back has
    no Restart Counter above its last one: the others cannot tell it from a replay (harp.md §3), so
    clocks step only where journals are kept."""
    kinds = {verb: fault for verb, fault in FAULTS.items() if fault.draw is not None}
    psk = ("security", "psk") in scenario.settings
    if not scenario.mobiles:
        kinds = {v: f for v, f in kinds.items() if v not in ("move", "register", "deregister")}
    if not psk:
        # Without protection anybody may say anything again.
        del kinds["replay"]
    verbs = rng.choices(
        list(kinds), [fault.weight for fault in kinds.values()], k=rng.randint(1, MOST_STEPS)
    )
    steps = []
    for verb in verbs:
        fault = kinds[verb]
        assert fault.draw is not None
        at = rng.randrange(FIRST_FAULT_US, end)
        lasts = 0
        if fault.undo is not None:
            lasts = rng.randrange(SHORTEST_US, fault.longest_us)
            lasts = min(lasts, max(end - at, SHORTEST_US))
        words = fault.draw(rng, scenario)
        if psk and verb == "clock":
            words = _within_window(words)
        if verb in ("crash", "kill", "stop") and (psk or "clock" in verbs):
            words = (words[0], "memory")
        steps.append(Step(at // 1_000 * 1_000, verb, words, lasts // 1_000 * 1_000))
    return sorted(steps, key=lambda step: step.at_us)


def _within_window(words: tuple[str, ...]) -> tuple[str, ...]:
    """A signed clock that once ran far ahead is not believed again until time has passed it or a
    new key is used (harp.md §7), which no scenario is long enough for."""
    limit = 4_000
    return (words[0], str(max(-limit, min(limit, int(words[1])))))
