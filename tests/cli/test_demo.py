"""`make demo` tells its story: the takeover, the return, the planned switch, the capture."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
DEMO = (sys.executable, "-m", "harp.lab.demo")
ENVIRONMENT = os.environ | {"PYTHONPATH": str(ROOT / "host")}


def test_demo(tmp_path: Path) -> None:
    result = subprocess.run(
        DEMO, capture_output=True, text=True, check=False, env=ENVIRONMENT, cwd=tmp_path
    )
    assert (result.returncode, result.stderr) == (0, "")
    lines = result.stdout.splitlines()
    for said in ("a is gone", "b STANDBY -> ACTIVE (takeover)", "c CLAIMING -> ACTIVE"):
        assert any(said in line for line in lines)
    assert any(line.startswith("frame 13") and "authenticated True" in line for line in lines)
    assert any("not valid: auth" in line for line in lines)


def test_reader_that_goes_away_is_no_broken_invariant(tmp_path: Path) -> None:
    process = subprocess.Popen(
        DEMO, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=ENVIRONMENT, cwd=tmp_path
    )
    assert process.stdout and process.stderr
    process.stdout.readline()
    process.stdout.close()
    assert process.stderr.read() == b""
    process.stderr.close()
    assert process.wait() == 1
