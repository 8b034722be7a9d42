"""A virtual machine with Debian's kernel, which has tunnels, ESP and MIP6 (`make verify`)."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import pytest

Test = TypeVar("Test", bound=Callable[..., object])
ROOT = Path(__file__).parents[1]
PATH = f"{Path(sys.executable).parent}:{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
ENVIRONMENT = os.environ | {"PATH": PATH}
KERNELS = sorted(Path("/boot").glob("vmlinuz-*"))
TIMEOUT_S = 1800
"""The processor is emulated, and others use it too: such a machine takes minutes."""
PROCESSOR = ("--cpus", "1", "--qemu-opts=-cpu qemu64")
"""Two emulated ones wait for each other in turns, and need more than twice the time of the two that
there are; what the newest ones can do is emulated, and slower."""

_MARKS = (
    pytest.mark.skipif(not os.environ.get("HARP_VERIFY"), reason="minutes: make verify"),
    pytest.mark.skipif(
        not (KERNELS and all(shutil.which(tool, path=PATH) for tool in ("vng", "mke2fs"))),
        reason="needs virtme-ng, mke2fs and a kernel in /boot",
    ),
    pytest.mark.timeout(TIMEOUT_S + 60),
    pytest.mark.xdist_group("machine"),  # one at a time: each has the time of one processor
)


def needs_machine(test: Test) -> Test:
    """Marks a test that boots one."""
    for mark in _MARKS:
        test = mark(test)
    return test


def run(tmp_path: Path, *scenes: str, modules: str = "", memory: str = "1G") -> list[Any]:
    """Boots once and runs the scenes, each `python -m ...`; what each printed as JSON."""
    image = _modules_image(tmp_path, [scene.split()[1] for scene in scenes])
    script = tmp_path / "script"
    python = f"PYTHONPATH=/mnt PYTHONDONTWRITEBYTECODE=1 {sys.executable}"
    lines = ["mount -t tmpfs none /run && mkdir -p /run/netns", f"cd {ROOT}"]
    lines += [f"modprobe {each}" for each in ("virtio_blk", "ext4", *modules.split())]
    lines += ["mount -o ro /dev/vda /mnt"]
    lines += [f"{python} {scene}" for scene in scenes]
    script.write_text("\n".join((*lines, "")))
    machine = ("--disable-microvm", "--disable-kvm", *PROCESSOR, "--user", "root")
    printed, told = tmp_path / "printed", tmp_path / "told"  # read while it runs, if it takes long
    with printed.open("a") as out, told.open("a") as err:
        process = subprocess.Popen(
            ("vng", "-r", str(KERNELS[-1]), *machine, "--memory", memory, "--disk", image, "--",
             f"sh {script}"),
            stdin=subprocess.DEVNULL, stdout=out, stderr=err, env=ENVIRONMENT,
            start_new_session=True,
        )  # fmt: skip
    try:
        with suppress(subprocess.TimeoutExpired):
            process.wait(TIMEOUT_S)
    finally:  # the emulator, too
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    lines = printed.read_text("utf-8", "replace").splitlines()
    said = [json.loads(line) for line in lines if line.startswith("{")]
    assert len(said) == len(scenes), "\n".join((*lines, told.read_text("utf-8", "replace")))
    return said


_LIST = """
import importlib, sys
for name in sys.argv[1:]:
    importlib.import_module(name)
for module in {name.partition(".")[0] for name in sys.modules} - {"__main__"}:
    found = sys.modules.get(module)
    for place in getattr(found, "__path__", [getattr(found, "__file__", None)]):
        if place:
            print(place)
"""


def _modules_image(tmp_path: Path, scenes: list[str]) -> Path:
    """A disk with the Python modules that scenes and harpd want, compiled.

    The machine has this one's files by 9P, where each of the ten thousand looks of an import costs
    an emulated processor milliseconds."""
    python = (sys.executable, "-c", _LIST, "harp.cli.harpd", "harp.daemon.main", *scenes)
    paths = ENVIRONMENT | {"PYTHONPATH": f"{ROOT}/host:{ROOT}"}
    listed = subprocess.check_output(python, text=True, env=paths)
    stage = tmp_path / "modules"
    stage.mkdir()
    for place in map(Path, sorted(set(listed.splitlines()))):
        if place.is_dir():
            shutil.copytree(place, stage / place.name)
        else:
            shutil.copy2(place, stage)
    subprocess.run((sys.executable, "-m", "compileall", "-q", stage), check=True)
    image = tmp_path / "modules.img"
    subprocess.run(("mke2fs", "-q", "-t", "ext4", "-d", stage, image, "512M"), check=True,
        env=ENVIRONMENT)  # fmt: skip
    return image
