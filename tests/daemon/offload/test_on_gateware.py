"""The daemon's offload on the gateware itself, simulated in real time (`make verify`)."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("on_gateware.py")
ROOT = SCRIPT.parents[3]


@pytest.mark.skipif("HARP_VERIFY" not in os.environ, reason="make verify: needs a free processor")
@pytest.mark.skipif(os.geteuid() != 0, reason="makes a network namespace: root")
def test_watched_silent_pulled_and_fenced(tmp_path: Path) -> None:
    from harp_sim.cosim.build import program

    rooms = (str(ROOT / room) for room in ("host", "gateware", "sim", "boards"))
    done = subprocess.run(
        ["unshare", "--net", sys.executable, str(SCRIPT), str(program())],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": ":".join(rooms)},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout)
    assert "failed" not in seen, seen
    assert seen["false_reports"] == 0
    assert seen["passed"] < seen["heartbeats"] / 2, "absorbed"
    assert seen["slot_in_order"] and seen["slot_frames"] > 20 and seen["sequences_told"]
    assert seen["silence_s"] < 0.15 + 0.1
    assert seen["lost_s"] < 0.5 and seen["fenced_as_standby"] == 0
    assert seen["resigned_s"] < 0.2 + 0.25, "within watchdog + 250 ms"
    assert seen["fenced"] == 1
