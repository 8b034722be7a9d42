"""Detection inputs against real daemons: FRR's bfdd and keepalived, at 50 ms."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("real_peers.py")
NEEDS = {"bfd": "/usr/lib/frr/bfdd", "vrrp": "keepalived"}
PACKAGES = {"bfd": "frr", "vrrp": "keepalived"}
SLOW_MS = 1000
"""150 ms are the detection time; the rest is room for a busy machine."""

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: network namespaces")


@pytest.mark.parametrize("kind", ["bfd", "vrrp"])
def test_the_daemon_tells_of_a_peer(kind: str, tmp_path: Path) -> None:
    if not shutil.which(NEEDS[kind]):
        pytest.skip(f"needs {NEEDS[kind]}: Debian package {PACKAGES[kind]}")
    for folder in (tmp_path, *tmp_path.parents):
        if folder == Path(tempfile.gettempdir()):
            break
        folder.chmod(0o755)  # bfdd gives its rights up and must still reach its files
    done = subprocess.run(
        ["unshare", "-n", "-m", sys.executable, str(SCRIPT), kind],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    told = [json.loads(line) for line in done.stdout.splitlines()]
    events = [each["event"] for each in told if "event" in each]
    assert events[-3:] == ["up", "down", "DetectorLost"], told
    down = next(each for each in told if each.get("event") == "down" and each["after_ms"])
    assert down["after_ms"] < SLOW_MS, told
