"""The kernel backend in a virtual machine with Debian's kernel (`make verify`)."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tests.daemon.dataplane import on_full_kernel

KERNELS = sorted(Path("/boot").glob("vmlinuz-*"))
VNG = shutil.which("vng", path=f"{Path(sys.executable).parent}:{os.environ.get('PATH', '')}")
ROOT = Path(__file__).parents[3]
COUNTS = ("10", "1000", "10000")

pytestmark = [
    pytest.mark.skipif(not os.environ.get("HARP_VERIFY"), reason="minutes: make verify"),
    pytest.mark.skipif(not (KERNELS and VNG), reason="needs virtme-ng and a kernel in /boot"),
]


@pytest.mark.parametrize("limit", ["none", "4"])
def test_tunnels_of_the_kernel(limit: str, tmp_path: Path) -> None:
    """`limit`: of the mobile node's encapsulation, an extension header (RFC 2473 §4.1.1)."""
    script = tmp_path / "script"
    script.write_text(
        "mount -t tmpfs none /run && mkdir -p /run/netns && modprobe ip6_tunnel && "
        f"cd {ROOT} && PYTHONPATH=host:. PYTHONDONTWRITEBYTECODE=1 "
        f"{sys.executable} {on_full_kernel.__file__} {limit} {' '.join(COUNTS)}\n"
    )
    machine = ("--disable-microvm", "--disable-kvm", "--user", "root", "--memory", "1G")
    done = subprocess.run(
        (str(VNG), "-r", str(KERNELS[-1]), *machine, "--", f"sh {script}"),
        capture_output=True,
        text=True,
        check=False,
        timeout=1800,
    )
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
    assert lines, done.stdout + done.stderr
    figures = json.loads(lines[-1])
    wanted = {"tunnels": True, "to_mobile": True, "from_mobile": True, "large": True}
    refused = ("standby", "stranger", "withdrawn", "unbound", "rule_left")
    wanted |= dict.fromkeys(refused, False) | {"said": []}
    assert wanted.items() <= figures.items(), figures
