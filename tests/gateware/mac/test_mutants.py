"""Mutants of the MAC: each is one wrong line, and the MAC's own tests catch it.

Each fits in `make test`; `make verify` runs the tests on every one of them.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

import harp_gateware

GATEWARE = Path(harp_gateware.__path__[0])
ROOT = Path(__file__).parents[3]
VERIFY = os.environ.get("HARP_VERIFY") == "1"
JUDGES = ("mac", "crossing", "port")
"""The test files that run, of this folder."""
CAUGHT = 1
"""Exit status of pytest: tests ran, and one failed."""


@dataclass(frozen=True, slots=True)
class Mutant:
    """Text of a module that is there once, and what it becomes."""

    module: str
    right: str
    wrong: str


MUTANTS = (
    Mutant(
        "crossing", "waits.eq((written != Mux(put, next_read, read))", "waits.eq((written != read)"
    ),
    Mutant("crossing", "room.eq(level <= DEPTH - IN_FLIGHT)", "room.eq(level <= DEPTH)"),
    Mutant("crossing", "put.eq(waits & ~count[1])", "put.eq(waits)"),
    Mutant("crossing", "self.level.eq(behind + kept)", "self.level.eq(behind)"),
    Mutant("crossing", "sync += [count.eq(0), offers.eq(fills)]", "sync += offers.eq(fills)"),
    Mutant("crossing", "next_read, read)) & ~emptied)", "next_read, read)))"),
    Mutant("crossing", "                tail.eq(head),\n", ""),
    Mutant("receive", "Mux(good, FrameError.GOOD, FrameError.FCS)", "FrameError.GOOD"),
    Mutant("receive", "wrong.eq(bad)", "wrong.eq(0)"),
    Mutant("receive", "(place[-1] | ~self.i_dv)", "place[-1]"),
    Mutant(
        "receive",
        "            m.d.sync += first.eq(1)\n",
        "            m.d.sync += first.eq(first)\n",
    ),
    Mutant("receive", "ignored.eq(~sfd & ~preamble)", "ignored.eq(0)"),
    Mutant("receive", "opened.eq(~word.first)", "opened.eq(0)"),
    Mutant("receive", "ResetInserter(~inside)(fcs)", "fcs"),
    Mutant("transmit", "rest.eq(crc >> 8)", "rest.eq(crc)"),
    Mutant("transmit", "ResetInserter(~now.checked & ~now.fcs)(fcs)", "fcs"),
    Mutant("transmit", "            self._begins.eq(1),\n        ]", "        ]"),
    Mutant("transmit", "self._shifts.eq(self._more != 1)", "self._shifts.eq(self._more != 0)"),
    Mutant("transmit", "m.d.comb += self._next.er.eq(word.error != FrameError.GOOD)", "pass"),
    Mutant("transmit", "self._hurried.eq(self.i_level >= HURRY_WORDS)", "self._hurried.eq(0)"),
    Mutant("port", "receive.i_dv.eq(self.rx_dv & carried)", "receive.i_dv.eq(self.rx_dv)"),
    Mutant("in_band", "with m.If(moved | ~quiet)", "with m.If(~quiet)"),
    Mutant("in_band", "(low == high)", "1"),
)


def mutated(mutant: Mutant) -> str:
    """The module's source with the fault."""
    source = (GATEWARE / "mac" / f"{mutant.module}.py").read_text("utf-8")
    assert source.count(mutant.right) == 1, mutant
    return source.replace(mutant.right, mutant.wrong)


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda m: f"{m.module}: {m.wrong.strip()}")
def test_mutant_fits(mutant: Mutant) -> None:
    compile(mutated(mutant), mutant.module, "exec")


@pytest.mark.skipif(not VERIFY, reason="runs in `make verify`")
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda m: f"{m.module}: {m.wrong.strip()}")
def test_mutant_is_caught(mutant: Mutant, tmp_path: Path) -> None:
    package = tmp_path / "harp_gateware"
    shutil.copytree(GATEWARE, package)
    (package / "mac" / f"{mutant.module}.py").write_text(mutated(mutant), "utf-8")
    tests = [str(Path(__file__).with_name(f"test_{name}.py")) for name in JUDGES]
    # A mutant may hang where a test waits for it.
    options = ("-n", "0", "-x", "-q", "--timeout=120")
    options += ("-o", f"pythonpath={tmp_path} host boards sim")
    judged = subprocess.run(
        [sys.executable, "-m", "pytest", *options, *tests],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert judged.returncode == CAUGHT, judged.stdout
