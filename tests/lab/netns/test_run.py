"""Runs, verdicts and the last line; no namespaces needed."""

import json

from harp.cli.common import Failure
from harp.lab.netns.measure import Takeover, spread, summary
from harp.lab.netns.run import Options, Run, execute, last_line


def test_passes_with_figures_and_timeline() -> None:
    def scenario(run: Run) -> None:
        run.figures["one"] = 1
        run.timeline.add("ha1", "is killed", "action")
        run.at_most("one", 1.0, 1, "ms")
        run.records["labs"] = []

    told: list[str] = []
    result = json.loads(last_line(execute("quick", scenario, Options(seed=3), told.append)))
    assert {"scenario": "quick", "verdict": "pass", "seed": 3}.items() <= result.items()
    assert (result["figures"], result["why"]) == ({"one": 1}, [])
    assert [(row["who"], row["what"]) for row in result["timeline"]] == [("ha1", "is killed")]
    assert "records" not in result
    assert len(told) == 1


def test_says_why_it_fails() -> None:
    def scenario(run: Run) -> None:
        run.at_most("takeover", 41.0, 40, "ms")
        run.at_most("answer", None, 2, "ms")
        raise Failure("no harpd")

    result = execute("broken", scenario, Options())
    assert result["verdict"] == "fail"
    assert result["why"] == [
        "takeover is 41 ms, at most 40 ms wanted",
        "answer was never measured, at most 2 ms wanted",
        "no harpd",
    ]


def test_summary_of_takeovers() -> None:
    rows = [
        Takeover("ha1", "ha2", na_ms=30.0, answer_ms=1.0, old_answers=0, lost=30, outage_ms=31.0),
        Takeover("ha2", "ha1", na_ms=34.0, answer_ms=None, old_answers=2, lost=40, outage_ms=41.0),
    ]
    found = summary(rows)
    assert found["fault_to_na_ms"] == {"median": 32.0, "worst": 34.0, "best": 30.0}
    assert (found["unanswered"], found["answers_of_the_old"]) == (1, 2)
    assert spread([]) == {}
