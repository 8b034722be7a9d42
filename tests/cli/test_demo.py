"""`make demo` tells its story: the takeover, the return, the planned switch, the capture."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_demo(tmp_path: Path) -> None:
    environment = os.environ | {"PYTHONPATH": str(ROOT / "host")}
    result = subprocess.run(
        [sys.executable, "-m", "harp.lab.demo"],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
        cwd=tmp_path,
    )
    assert (result.returncode, result.stderr) == (0, "")
    lines = result.stdout.splitlines()
    for said in ("a is gone", "b STANDBY -> ACTIVE (takeover)", "c CLAIMING -> ACTIVE"):
        assert any(said in line for line in lines)
    assert any(line.startswith("frame 13") and "authenticated True" in line for line in lines)
    assert any("not valid: auth" in line for line in lines)
