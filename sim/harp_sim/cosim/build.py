"""Builds the program of the simulated device with Verilator, once for each state of its sources."""

from __future__ import annotations

import fcntl
import hashlib
import importlib.metadata
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import harp.tables
import harp_gateware
from harp_gateware.params import CoreParams
from harp_sim.cosim.top import TOP, device_verilog
from harp_sim.simulator import SPLIT, ZEROS, tools

HERE = Path(__file__).parent
PARAMS = CoreParams()


class BuildFailed(Exception):
    """Verilator or the compiler ended with an error; the text says where its log is."""


def program(root: Path | None = None) -> Path:
    """The executable, in `build/cosim/<hash>`; made now if there is none. Raises BuildFailed."""
    place = (root or Path.cwd() / "build" / "cosim") / _hash()
    executable = place / "obj" / "device"
    place.mkdir(parents=True, exist_ok=True)
    with (place / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not executable.exists():
            _build(place, executable)
    return executable


def _build(place: Path, executable: Path) -> None:
    if shutil.which("g++") is None:
        raise BuildFailed("there is no g++: sudo apt-get install g++")
    source = place / f"{TOP}.v"
    source.write_text(ZEROS.sub("", device_verilog(PARAMS)), encoding="utf-8")
    command = [
        *("verilator", "--cc", "--exe", "--build", "-O3", "--x-initial", "0", "-Wno-fatal"),
        *("-Wno-lint", *SPLIT, "--top-module", TOP, "--Mdir", "obj", "-o", executable.name),
        *("-LDFLAGS", "-lutil", str(source), str(HERE / "main.cpp")),
    ]
    with tools(), (place / "log").open("wb") as log:
        done = subprocess.run(
            command,
            cwd=place,
            stdout=log,
            stderr=log,
            check=False,
        )
    if done.returncode:
        raise BuildFailed(f"the simulated device cannot be built: see {place / 'log'}")


def _hash() -> str:
    digest = hashlib.sha256(repr(PARAMS).encode())
    for name in ("amaranth", "verilator"):
        try:
            digest.update(importlib.metadata.version(name).encode())
        except importlib.metadata.PackageNotFoundError:
            raise BuildFailed(f"there is no {name}: install harp-offload[gateware,sim]") from None
    for path in _sources():
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def _sources() -> Iterator[Path]:
    for package in (harp.tables, harp_gateware):
        yield from sorted(Path(package.__path__[0]).rglob("*.py"))
    yield HERE / "main.cpp"
    yield HERE / "top.py"
