"""A virtual machine with Debian's kernel, which has tunnels, ESP and MIP6 (`make verify`)."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import pytest

Test = TypeVar("Test", bound=Callable[..., object])
ROOT = Path(__file__).parents[1]
PATH = f"{Path(sys.executable).parent}:{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
KERNELS = sorted(Path("/boot").glob("vmlinuz-*"))
TIMEOUT_S = 1800
"""The processor is emulated, and others use it too: such a machine takes minutes."""

_MARKS = (
    pytest.mark.skipif(not os.environ.get("HARP_VERIFY"), reason="minutes: make verify"),
    pytest.mark.skipif(
        not (KERNELS and shutil.which("vng", path=PATH)),
        reason="needs virtme-ng and a kernel in /boot",
    ),
    pytest.mark.timeout(TIMEOUT_S + 60),
)


def needs_machine(test: Test) -> Test:
    """Marks a test that boots one."""
    for mark in _MARKS:
        test = mark(test)
    return test


def run(tmp_path: Path, *scenes: str, modules: str = "", memory: str = "1G") -> list[Any]:
    """Boots once and runs the scenes, each `python ...`; what each printed as JSON."""
    script = tmp_path / "script"
    python = f"PYTHONPATH=host:. PYTHONDONTWRITEBYTECODE=1 {sys.executable}"
    lines = ["mount -t tmpfs none /run && mkdir -p /run/netns", f"cd {ROOT}"]
    lines += [f"modprobe {each}" for each in modules.split()]
    lines += [f"{python} {scene}" for scene in scenes]
    script.write_text("\n".join((*lines, "")))
    machine = ("--disable-microvm", "--disable-kvm", "--user", "root", "--memory", memory)
    done = subprocess.run(
        ("vng", "-r", str(KERNELS[-1]), *machine, "--", f"sh {script}"),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
        timeout=TIMEOUT_S,
        env=os.environ | {"PATH": PATH},
    )
    said = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    assert len(said) == len(scenes), done.stdout + done.stderr
    return said
