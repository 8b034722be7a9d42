"""Every branch of `harp.engine` is taken by its tests: `make verify` measures it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HERE = Path(__file__).parent
ELSEWHERE = ("mutants", "test_sweep.py", "test_branches.py", "test_sync_bench.py")
"""What judges other things, in processes of its own, or by time."""


@pytest.mark.skipif(not os.environ.get("HARP_VERIFY"), reason="minutes long: make verify")
@pytest.mark.timeout(3600)
def test_every_branch_is_taken(tmp_path: Path) -> None:
    environment = {**os.environ, "COVERAGE_FILE": str(tmp_path / "coverage")}
    tests = [str(HERE), *(f"--ignore={HERE / name}" for name in ELSEWHERE)]
    pytest_run = ["-m", "pytest", "-q", "-p", "no:xdist", "--timeout=900", *tests]
    for arguments in (
        ["run", "--branch", "--source=harp.engine", *pytest_run],
        ["report", "--show-missing", "--skip-covered", "--fail-under=100", "--precision=2"],
    ):
        done = subprocess.run(
            [sys.executable, "-m", "coverage", *arguments],
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]
