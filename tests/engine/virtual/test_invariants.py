"""Every invariant fires on an engine that breaks its rule, and is silent on one that does not."""

import pytest

from harp.lab.virtual import invariants
from harp.lab.virtual.scenario import Scenario
from harp.lab.virtual.world import run

from .fake import fake_maker

CALM = "seed 1\nseconds 14\nmembers 3\nmobiles 3\nset refresh_ms 300\n"
CRASH = CALM + "2.5 crash a memory for 2\n"

FLAWS = [
    ("never_withdraws", CALM + "2 partition all a | b c for 2\n", "one_active"),
    ("skips_ranks", CALM + "2 stop b memory\n", "takes_its_turn"),
    ("never_takes_over", CALM, "some_active"),
    ("ignores_hold", CALM + "2 stop a memory\n1.9 hold b\n", "none_held_active"),
    ("ignores_quorum", CALM + "set quorum 2\n2 partition all a | b c for 3\n", "quorum_kept"),
    ("never_serves", CALM, "serving_is_active"),
    ("no_timer", CALM, "timer_bounded"),
    ("spins", CALM + "set late_us 0\n", "timer_bounded"),
    ("ignores_commands", CALM + "2 check a - -\n", "commands_answered"),
    ("never_answers", CALM, "updates_answered"),
    ("digest_differs", CALM + "set refresh_ms 9000\n", "digests_agree"),
    ("acknowledges_early", CALM, "acknowledged_after_standby"),
    ("loses", CALM, "acknowledged_after_standby"),
    ("never_synchronised", CALM, "converged"),
    ("undead", CALM + "2 deregister 1\n", "deletion_stays"),
    ("hello_storm", CALM, "rates_kept"),
    ("floods_neighbors", CALM, "rates_kept"),
    ("asks_for_ever", CALM, "rates_kept"),
    ("drops_good", CALM, "good_is_good"),
    ("raises", CALM, "no_exception"),
    ("leaks_parts", CALM, "parts_stay_inside"),
    ("sticks_in_claiming", CALM, "passing_states_pass"),
    ("asks_slowly_for_ever", CALM, "requests_end"),
    ("sweeps_all", CALM + "3 resync b\n", "promise_not_lost"),
    ("copies_nothing", CRASH + "set refresh_ms 9000\n5 stop b memory\n", "promise_at_active"),
]


@pytest.mark.parametrize(("flaw", "text", "invariant"), FLAWS, ids=[row[0] for row in FLAWS])
def test_flaw_is_caught(flaw: str, text: str, invariant: str) -> None:
    outcome = run(Scenario.parse(text), fake_maker(flaw))
    assert [found.invariant for found in outcome.violations] == [invariant], outcome.violations


@pytest.mark.parametrize("text", [CALM, CRASH])
def test_no_flaw_no_violation(text: str) -> None:
    outcome = run(Scenario.parse(text), fake_maker())
    assert outcome.violations == ()
    assert outcome.acknowledged > 10


def test_every_invariant_is_shown_to_fire() -> None:
    judged = {
        name
        for name, value in vars(invariants).items()
        if callable(value)
        and getattr(value, "__module__", "") == invariants.__name__
        and "facts" in getattr(value, "__annotations__", {})
    }
    named = {"rates_kept", "requests_end", "good_is_good", "no_exception", "parts_stay_inside"}
    assert judged | named == {invariant for _, _, invariant in FLAWS}


def test_same_scenario_same_outcome() -> None:
    scenario = Scenario.parse(CRASH + "set loss_percent 3\n")
    assert run(scenario, fake_maker()) == run(scenario, fake_maker())
