"""The scenarios, with real daemons: two short ones and a simulated board always, all in `verify`.

The command line is what is tested: its exit status, and its last line as JSON.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from harp.lab.netns import board
from harp.lab.netns.scenarios import BOARDED, SCENARIOS, about

pytestmark = [pytest.mark.xdist_group("netns"), pytest.mark.usefixtures("netns")]
ROOT = Path(__file__).parents[3]
ENVIRONMENT = os.environ | {"PYTHONPATH": str(ROOT / "host")}
VERIFY = os.environ.get("HARP_VERIFY") == "1"
QUICK = ("cold-start", "mixed-versions")
ARGUMENTS = {
    "kill-active": ("--runs", "20"),
    "graceful-stop": ("--runs", "20"),
    "planned-switch": ("--runs", "20"),
    "full-sync": ("--runs", "3", "--nodes", "100000"),
    "takeover-size": ("--runs", "5", "--nodes", "100000"),
    "random-kills": ("--runs", "50"),
    "update-rate": ("--nodes", "20000", "--seconds", "30"),
    "flood": ("--seconds", "10"),
    "board-kill": ("--runs", "20"),
    "board-pull-standby": ("--runs", "20"),
    "board-pull-active": ("--runs", "20"),
    "busy": ("--seconds", os.environ.get("HARP_BUSY_S", "60")),
}
LOADED = ("kill-active", "graceful-stop", "planned-switch")
"""Measured on busy processors too."""
LIMIT_S = 900


def run(name: str, tmp_path: Path, *arguments: str) -> dict[str, object]:
    """The last line of a run; it fails with what the run says. A simulated board is built once, in
    `build` of the directory it is run in."""
    report = tmp_path / "report.html"
    done = subprocess.run(
        (sys.executable, "-m", "harp.lab.cli", "run", name, "--json", "--report", str(report),
         *arguments),
        capture_output=True, text=True, env=ENVIRONMENT, check=False, timeout=LIMIT_S,
        cwd=ROOT if name in BOARDED else tmp_path,
    )  # fmt: skip
    result: dict[str, object] = json.loads(done.stdout.splitlines()[-1])
    assert result["why"] == [], done.stderr
    assert (result["scenario"], result["verdict"], done.returncode) == (name, "pass", 0)
    assert result["timeline"]
    assert report.stat().st_size > 1000
    return result


@pytest.mark.parametrize("name", QUICK)
def test_quick(name: str, tmp_path: Path) -> None:
    assert run(name, tmp_path)["figures"]


@pytest.mark.skipif(VERIFY, reason="many runs of each are one of the long ones, test_scenario")
@pytest.mark.skipif(board.why_not() is not None, reason=str(board.why_not()))
@pytest.mark.parametrize("name", sorted(BOARDED))
def test_with_a_board(name: str, tmp_path: Path) -> None:
    assert run(name, tmp_path, "--runs", "1")["figures"]


def test_what_a_simulated_board_cannot_keep_up_with_is_refused(tmp_path: Path) -> None:
    for words in (("--hello-ms", "49"), ("--multiplier", "2")):
        done = subprocess.run(
            (sys.executable, "-m", "harp.lab.cli", "run", "board-kill", "--json",
             "--report", str(tmp_path / "report"), *words),
            capture_output=True, text=True, env=ENVIRONMENT, check=False,
        )  # fmt: skip
        result = json.loads(done.stdout.splitlines()[-1])
        (why,) = result["why"]
        assert why.endswith("it wants --hello-ms 50 and --multiplier 3 at least")
        assert (result["verdict"], done.returncode) == ("fail", 1)


@pytest.mark.skipif(not VERIFY, reason="long: runs in `make verify` (HARP_VERIFY=1)")
@pytest.mark.timeout(LIMIT_S)
@pytest.mark.parametrize("name", [name for name in SCENARIOS if name not in QUICK])
def test_scenario(name: str, tmp_path: Path) -> None:
    assert run(name, tmp_path, *ARGUMENTS.get(name, ()))["figures"]


@pytest.mark.skipif(not VERIFY, reason="long: runs in `make verify` (HARP_VERIFY=1)")
@pytest.mark.timeout(LIMIT_S)
@pytest.mark.parametrize("name", LOADED)
def test_under_load(name: str, tmp_path: Path) -> None:
    assert run(name, tmp_path, *ARGUMENTS[name], "--load")["figures"]


def test_every_scenario_says_what_it_shows() -> None:
    assert set(ARGUMENTS) <= set(SCENARIOS)
    assert all(about(name) for name in SCENARIOS)


def test_unknown_scenario_is_one_line() -> None:
    done = subprocess.run(
        (sys.executable, "-m", "harp.lab.cli", "run", "nothing"),
        capture_output=True, text=True, env=ENVIRONMENT, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
