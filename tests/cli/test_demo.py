"""`make demo` tells its story: on a virtual network, and on real namespaces where it may."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from harp.lab.netns import board, privilege

ROOT = Path(__file__).parents[2]
DEMO = (sys.executable, "-m", "harp.lab.demo")
VIRTUAL = (*DEMO, "--virtual")
ENVIRONMENT = os.environ | {"PYTHONPATH": str(ROOT / "host")}
BOARD = ("absorbs all but", "its board let", "its board said goodbye", "its board said peer_down")
if board.why_not():
    BOARD = (f"No simulated board: {board.why_not()}",)


def test_virtual_network(tmp_path: Path) -> None:
    result = subprocess.run(
        VIRTUAL, capture_output=True, text=True, check=False, env=ENVIRONMENT, cwd=tmp_path
    )
    assert (result.returncode, result.stderr) == (0, "")
    lines = result.stdout.splitlines()
    for said in ("a is gone", "b STANDBY -> ACTIVE (takeover)", "c CLAIMING -> ACTIVE"):
        assert any(said in line for line in lines)
    assert any(line.startswith("frame 13") and "authenticated True" in line for line in lines)
    assert any("not valid: auth" in line for line in lines)


def test_reader_that_goes_away_is_no_broken_invariant(tmp_path: Path) -> None:
    process = subprocess.Popen(
        VIRTUAL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=ENVIRONMENT, cwd=tmp_path
    )
    assert process.stdout and process.stderr
    process.stdout.readline()
    process.stdout.close()
    assert process.stderr.read() == b""
    process.stderr.close()
    assert process.wait() == 1


@pytest.mark.xdist_group("netns")
@pytest.mark.skipif(
    not privilege.may_make_namespaces(), reason="no network namespaces here: run as root"
)
@pytest.mark.skipif(os.environ.get("HARP_VERIFY") != "1", reason="long: runs in `make verify`")
def test_the_main_job() -> None:
    """From the working tree: what is built for it stays there."""
    result = subprocess.run(
        DEMO, capture_output=True, text=True, check=False, env=ENVIRONMENT, cwd=ROOT
    )
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.splitlines()[-1].startswith("PASS after")
    for said in ("daemon is killed", "cable is pulled", "asks ha", "is flooded", *BOARD):
        assert said in result.stdout
    assert "<svg" in (ROOT / "build/demo.html").read_text("utf-8")
