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

ROOT_ONLY = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: network namespaces")
VERIFY = os.environ.get("HARP_VERIFY") == "1"
OPERATIONS = 10_000 if VERIFY else 200
OPERATION_S = 0.25
"""Longest mean, on a busy machine."""


def run(script: str, tmp_path: Path, *words: object, timeout_s: float = 150) -> dict[str, Any]:
    """A script in a network namespace of its own: what it prints."""
    place = Path(__file__).with_name(script)
    done = subprocess.run(
        ["unshare", "-n", sys.executable, str(place), str(program()), *map(str, words)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@ROOT_ONLY
def test_the_gateware_between_two_interfaces(tmp_path: Path) -> None:
    seen = run("between_wires.py", tmp_path)
    assert seen["wire"]["same"] == [True] * 8
    assert seen["wire"]["arrived"] == 1000
    assert seen["link"]["read"] == len(REGISTERS) - 1
    assert seen["link"]["port"]["rx_frames"] >= 1004
    assert seen["pulled"] == {"wire": True}
    assert seen["plugged"]["identity"] == seen["link"]["identity"]
    assert seen["after"] == {"serial": False, "status": 0}


@ROOT_ONLY
@pytest.mark.timeout(100 + OPERATIONS * OPERATION_S)
def test_its_registers_over_a_hostile_wire(tmp_path: Path) -> None:
    """offload.md §6: 1 % of the octets dropped, flipped, doubled or held up, both ways: every
    operation is done right or fails clearly, no event is lost."""
    seen = run("hostile_wire.py", tmp_path, OPERATIONS, timeout_s=90 + OPERATIONS * OPERATION_S)
    assert seen["wrong"] == []
    assert seen["done"] >= 0.99 * OPERATIONS
    assert seen["faults"] > 0.1 * OPERATIONS
    assert seen["events"] > 0.02 * OPERATIONS


def test_wrong_use_is_one_line() -> None:
    result = CliRunner().invoke(cosim, ["--network", "a"])
    assert result.exit_code == 2
    assert "--network, --host and --serial are needed" in result.output
