"""Scenarios as text, at random, shrunk, and many of them."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from harp.lab.virtual.faults import FAULTS, BadScenario
from harp.lab.virtual.generate import LONGEST_S, generate
from harp.lab.virtual.observed import Bounds
from harp.lab.virtual.scenario import US_PER_S, Scenario, Step, microseconds, seconds
from harp.lab.virtual.settings import Settings
from harp.lab.virtual.shrink import shrink
from harp.lab.virtual.sweep import Tally, run_chunk
from harp.lab.virtual.world import run

from .fake import fake_maker

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize("us", [0, 1, 999, 1_000, 1_500_000, 20_000_001])
def test_time_round_trip(us: int) -> None:
    assert microseconds(seconds(us)) == us


@pytest.mark.parametrize("seed", range(50))
def test_generated_scenario_reads_back_and_keeps_its_limits(seed: int) -> None:
    scenario = generate(seed)
    assert Scenario.parse(str(scenario)) == scenario == generate(seed)
    assert scenario.seconds <= LONGEST_S
    quiet = Bounds(Settings(scenario)).quiet
    last = max(step.at_us + step.for_us for step in scenario.steps)
    assert last + quiet <= (scenario.seconds + 1) * US_PER_S
    assert all(step.verb in FAULTS for step in scenario.steps)


def test_every_kind_of_fault_is_drawn() -> None:
    drawn = {step.verb for seed in range(400) for step in generate(seed).steps}
    assert drawn == {verb for verb, fault in FAULTS.items() if fault.draw is not None}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("members 3\n", "seed"),
        ("seed 1\n\nsoon crash a\n", "line 3: 'soon'"),
        ("seed 1\n1.0\n", "line 2"),
        ("seed 1\n1.0000001 crash a\n", "line 2"),
    ],
)
def test_what_cannot_be_read_is_said_with_its_line(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Scenario.parse(text)


def test_unknown_setting_and_value_are_named() -> None:
    with pytest.raises(ValueError, match="unknown setting colour"):
        run(Scenario.parse("seed 1\nset colour red\n"), fake_maker())
    with pytest.raises(ValueError, match="setting mode: 'soft'"):
        run(Scenario.parse("seed 1\nset mode soft\n"), fake_maker())


@pytest.mark.parametrize("line", ["2 explode a", "2 crash z memory"])
def test_unknown_step_or_member_is_named(line: str) -> None:
    with pytest.raises(BadScenario, match=line.split()[1]):
        run(Scenario.parse(f"seed 1\n{line}\n"), fake_maker())


def test_shrink_keeps_the_violation_and_only_what_it_needs() -> None:
    text = (
        "seed 3\nseconds 14\nmembers 4\nmobiles 5\nset hello_interval_ms 100\nset preempt 1\n"
        "1.7 resync c\n1.9 hold b\n2 stop a memory\n3 loss all 5 for 1\n4 move 1\n"
    )
    maker = fake_maker("ignores_hold")
    small = shrink(Scenario.parse(text), lambda scenario: run(scenario, maker))
    assert [found.invariant for found in run(small, maker).violations] == ["none_held_active"]
    assert [step.verb for step in small.steps] in (["hold", "stop"], ["hold"])
    assert (small.mobiles, small.settings) == (0, ())
    assert len(str(small).splitlines()) <= 8


def test_shrink_keeps_the_links_that_steps_name() -> None:
    text = "seed 3\nseconds 6\nmembers 2\nlinks 2\n2 loss side1 5 for 1\n3 hold a\n"
    maker = fake_maker("ignores_hold")
    small = shrink(Scenario.parse(text), lambda scenario: run(scenario, maker))
    assert [found.invariant for found in run(small, maker).violations] == ["none_held_active"]


def test_shrink_leaves_alone_what_does_not_fail() -> None:
    scenario = Scenario(1, 5)
    assert shrink(scenario, lambda s: run(s, fake_maker())) is scenario


def test_chunks_add_up_to_the_whole() -> None:
    whole, parts = run_chunk(10, 12, fake_maker()), Tally()
    for first in (10, 14, 18):
        parts.merge(run_chunk(first, 4, fake_maker()))
    assert parts == whole
    assert whole.summary()["scenarios"] == 12
    assert json.loads(json.dumps(whole.summary()))["faults"] == whole.summary()["faults"]


def test_percentiles_are_nearest_rank() -> None:
    tally = Tally(takeovers_us=[*range(1_000, 101_000, 1_000)])
    assert tally.takeover_ms() == {"p50": 50.0, "p90": 90.0, "p99": 99.0, "max": 100.0}
    assert Tally().takeover_ms() == {}


def test_step_without_verb_is_refused() -> None:
    with pytest.raises(ValueError, match="a step is"):
        Step.parse("1.0")


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["--help"], 0, "Example"),
        (["--words"], 0, "crash MEMBER memory|blank"),
        (["--scenarios", "none"], 2, "none"),
        (["--replay", "{bad}"], 2, "line 1"),
    ],
)
def test_command_line(arguments: list[str], status: int, said: str, tmp_path: Path) -> None:
    bad = tmp_path / "bad.txt"
    bad.write_text("nonsense\n", "utf-8")
    words = [word.format(bad=bad) for word in arguments]
    done = subprocess.run(
        [sys.executable, "-m", "harp.lab.cli", "sweep", *words],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"PYTHONPATH": str(ROOT / "host")},
    )
    assert done.returncode == status, done.stderr
    assert said in done.stdout + done.stderr
