"""`make demo`: a new user's first minute."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
DEMO = (sys.executable, "-m", "harp.lab.demo")
ENVIRONMENT = os.environ | {"PYTHONPATH": str(ROOT / "host")}


def test_story_and_capture(tmp_path: Path) -> None:
    done = subprocess.run(
        DEMO, capture_output=True, text=True, check=False, env=ENVIRONMENT, cwd=tmp_path
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "All invariants held" in done.stdout
    assert "b STANDBY -> ACTIVE (takeover)" in done.stdout
    assert "authenticated True" in done.stdout
    assert (tmp_path / "build/demo.pcap").stat().st_size > 1000


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
