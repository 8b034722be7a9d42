"""Flops right behind a block RAM become the register that it has at its output.

A word is valid 5.8 ns after the clock at the RAM itself (speed 6), 0.6 ns at that register, which
yosys' synth_ecp5 leaves unused.

Ref: Lattice FPGA-TN-02204 (ECP5 memory usage guide): DP16KD, REGMODE; a RAM of 36 bits is one port
on the pins of both, so both registers are used.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import Any, TypeAlias

Cells: TypeAlias = dict[str, dict[str, Any]]
"""Of a module in yosys' JSON."""
Loads: TypeAlias = dict[Any, list[tuple[str, str]]]
"""Cell and pin of each input on a net."""

PORT_BITS = 18
"""Outputs of one port."""
NEVER = ("0", "x")
"""What is on the reset of a flop that has none."""


@dataclass(frozen=True, slots=True)
class _Flop:
    """The flop on one output of a RAM."""

    pin: str
    name: str
    enable: Any


def pack(cells: Cells) -> int:
    """Changes `cells`, those of a flat netlist, in place; returns how many ports it packed.

    A port is packed if each output in use goes to one flop and nothing else, and all these flops
    have the port's clock, begin with 0, have no reset, and the same enable or none.
    """
    loads: Loads = defaultdict(list)
    for name, cell in cells.items():
        for pin, bits in cell["connections"].items():
            if cell["port_directions"][pin] == "input":
                for bit in bits:
                    loads[bit].append((name, pin))
    packed = 0
    for ram in [cell for cell in cells.values() if cell["type"] == "DP16KD"]:
        whole = int(ram["parameters"]["DATA_WIDTH_B"], 2) == 2 * PORT_BITS
        for sides in ("AB",) if whole else ("A", "B"):
            packed += _pack(cells, ram, sides, loads)
    return packed


def _pack(cells: Cells, ram: dict[str, Any], sides: str, loads: Loads) -> bool:
    clock = ram["connections"][f"CLK{sides[-1]}"]
    inverted = _setting(ram, f"CLK{sides[-1]}MUX", "") == "INV"
    flops = []
    for pin in (f"DO{side}{n}" for side in sides for n in range(PORT_BITS)):
        for bit in ram["connections"].get(pin, []):
            if not loads[bit]:
                continue
            flop = _flop(cells, pin, loads[bit], clock)
            if flop is None:
                return False
            flops.append(flop)
    enables = {flop.enable for flop in flops}
    if inverted or len(enables) != 1:
        return False
    for flop in flops:
        ram["connections"][flop.pin] = cells.pop(flop.name)["connections"]["Q"]
    for side in sides:
        ram["parameters"][f"REGMODE_{side}"] = "OUTREG"
        ram["connections"][f"OCE{side}"] = list(enables)
        ram["port_directions"][f"OCE{side}"] = "input"
    return True


def _flop(cells: Cells, pin: str, loads: list[tuple[str, str]], clock: list[Any]) -> _Flop | None:
    """The only load of an output, if the RAM's own register can do what it does."""
    name, load = loads[0]
    flop = cells[name]
    if len(loads) != 1 or flop["type"] != "TRELLIS_FF" or load != "DI":
        return None
    links = flop["connections"]
    same_clock = links["CLK"] == clock and _setting(flop, "CLKMUX", "CLK") == "CLK"
    resets = any(bit not in NEVER for bit in links.get("LSR", []))
    enable = _setting(flop, "CEMUX", "CE")
    if not same_clock or resets or _setting(flop, "REGSET", "RESET") != "RESET":
        return None
    if enable not in ("1", "CE"):
        return None
    return _Flop(pin, name, "1" if enable == "1" else links["CE"][0])


def _setting(cell: dict[str, Any], name: str, default: str) -> str:
    """A parameter's text; yosys ends with a space what could be read as a number."""
    return str(cell["parameters"].get(name, default)).strip()
