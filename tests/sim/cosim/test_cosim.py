"""The gateware as a process: a wire both ways, its registers over a pty, the cable pulled."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from harp.tables.registers import REGISTERS
from harp_sim.cosim.__main__ import cosim
from harp_sim.cosim.build import program

SCRIPT = Path(__file__).with_name("between_wires.py")


@pytest.mark.skipif(os.environ.get("HARP_VERIFY") != "1", reason="builds for a minute: verify")
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: network namespaces")
def test_the_gateware_between_two_interfaces(tmp_path: Path) -> None:
    done = subprocess.run(
        ["unshare", "-n", sys.executable, str(SCRIPT), str(program())],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    seen: dict[str, Any] = json.loads(done.stdout)
    assert seen["wire"]["same"] == [True] * 8
    assert seen["wire"]["arrived"] == 1000
    assert seen["link"]["read"] == len(REGISTERS) - 1
    assert seen["link"]["port"]["rx_frames"] >= 1004
    assert seen["pulled"] == {"wire": True}
    assert seen["plugged"]["identity"] == seen["link"]["identity"]
    assert seen["after"] == {"serial": False, "status": 0}


def test_wrong_use_is_one_line() -> None:
    result = CliRunner().invoke(cosim, ["--network", "a"])
    assert result.exit_code == 2
    assert "--network, --host and --serial are needed" in result.output
