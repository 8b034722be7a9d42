"""The kernel's own handling of the Home Address option: on a full kernel, in a virtual machine."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from harp.daemon.sockets.mip6 import HomeAddressOption
from harp.daemon.sockets.mobility import swapped_care_of

ROOT = Path(__file__).parents[3]
KERNELS = sorted(Path("/boot").glob("vmlinuz-*"))


@pytest.mark.skipif(not os.environ.get("HARP_VERIFY"), reason="HARP_VERIFY=1: takes a minute")
@pytest.mark.skipif(not KERNELS, reason="no kernel in /boot")
@pytest.mark.timeout(1000)
def test_a_kernel_with_mip6(tmp_path: Path) -> None:
    scene, said = tmp_path / "scene", tmp_path / "said"
    scene.write_text(
        f"#!/bin/sh\ncd {ROOT} && PYTHONDONTWRITEBYTECODE=1 PYTHONPATH=host "
        f"{sys.executable} -m tests.daemon.sockets.through_mip6\n"
    )
    scene.chmod(0o755)
    vng = shutil.which("vng") or str(Path(sys.executable).with_name("vng"))
    machine = f"-r {KERNELS[-1]} --disable-microvm --disable-kvm --user root"
    # virtme-ng wants a terminal: `script` (util-linux) is one.
    subprocess.run(
        ["timeout", "900", "script", "-qfec", f"{vng} {machine} -- {scene}", said],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        check=True,
    )
    lines = re.findall(r"\{.*\}", said.read_text(errors="replace"))
    assert lines, said.read_text(errors="replace")
    assert json.loads(lines[-1]) == {
        "mip6": True,
        "again": True,
        "event": True,
        "left": "",
        "left after undo": "",
        "packet": {
            "to care-of": True,
            "hop limit": 255,
            "headers": [43, 135],
            "routing": [2, 2, 1],
            "home address": True,
            "whole": True,
        },
    }


@pytest.mark.parametrize(
    ("options", "address"),
    [
        (bytes((135, 2, 1, 2, 0, 0, 201, 16)) + b"\1" * 16, b"\1" * 16),
        (bytes((135, 2, 0, 0, 0, 0, 201, 16)) + b"\1" * 16, b"\1" * 16),
        (bytes((135, 2, 0, 0, 0, 0, 201, 16)) + b"\1" * 15, b""),  # cut short
        (bytes((135, 2, 1, 2, 0, 0, 201, 15)) + b"\1" * 16, b""),  # wrong length
        (bytes((135, 0, 1, 4, 0, 0, 0, 0)), b""),
        (b"", b""),
    ],
)
def test_care_of_address_where_the_kernel_put_it(options: bytes, address: bytes) -> None:
    assert swapped_care_of(options) == address


def test_without_ip_there_is_no_mip6(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    assert HomeAddressOption().open() is False
