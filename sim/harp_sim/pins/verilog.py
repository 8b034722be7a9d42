"""Verilog of a board's top as it is synthesised, with PHYs at its pins and clocks from outside.

The top is what the Lattice platform makes of it, buffers and PLL included; `cells.v` says what
those do. Only names of pins come from the platform, so every board has the same bench.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import harp_boards
from harp_boards.board import Board, BoardTop
from harp_boards.boards import BOARDS
from harp_gateware.core import Identity

TOP = "bench"
HERE = Path(__file__).parent
SOURCES = ("cells.v", "phy.v")
PHY_WAIT_US = 60
"""Reset of the PHYs, and the time between two rounds of polls: on a board milliseconds."""
CHUNK_BITS, TAKEN_BITS = 1057, 1122
"""`phy.v` says what they are made of."""

_PHY_INPUTS = {
    "stopped": 1,
    "cut": 1,
    "loop": 1,
    "eye": 15,
    "status": 4,
    "push": 1,
    "chunk": CHUNK_BITS,
    "stamp_pop": 1,
    "pop": 1,
}
_PHY_OUTPUTS = {"stamp": 64, "taken": TAKEN_BITS, "flags": 6}


@dataclass(frozen=True, slots=True)
class Pins:
    """What the bench has: the same on both sides of the simulator."""

    inputs: dict[str, int]
    outputs: dict[str, int]


def simulated(name: str) -> Board:
    """A board whose management does not wait as long as real PHYs need."""
    board = BOARDS[name]
    buses = tuple(replace(b, reset_us=PHY_WAIT_US, poll_us=PHY_WAIT_US) for b in board.buses)
    return replace(board, buses=buses)


def sources() -> Iterator[Path]:
    """What the Verilog depends on, but for the gateware."""
    yield from sorted(Path(harp_boards.__path__[0]).glob("*.py"))
    yield from (HERE / name for name in (*SOURCES, "verilog.py"))


def pins(board: Board) -> Pins:
    """Names and widths of the bench's ports."""
    inputs = {"clk_core": 1, "clk_line": 1, "lock": 1, "uart_rx": 1}
    outputs = {"uart_tx": 1}
    for n in range(board.ports):
        inputs |= {f"clk_phy_{n}": 1} | {f"{k}_{n}": w for k, w in _PHY_INPUTS.items()}
        # A port whose pins Python drives itself.
        inputs |= {f"by_hand_{n}": 1, f"hand_clk_{n}": 1, f"hand_data_{n}": 4, f"hand_ctl_{n}": 1}
        outputs |= {f"{k}_{n}": w for k, w in _PHY_OUTPUTS.items()}
        outputs |= {f"tx_clk_{n}": 1, f"tx_data_{n}": 4, f"tx_ctl_{n}": 1}
    for n in range(len(board.buses)):
        inputs |= {f"mdio_drive_{n}": 1, f"mdio_value_{n}": 1}
        outputs |= {f"mdc_{n}": 1, f"mdio_{n}": 1, f"phy_reset_{n}": 1}
    if board.leds:
        outputs |= {"leds": board.leds}
    return Pins(inputs, outputs)


def verilog(name: str, baud: int) -> tuple[str, str]:
    """The bench around a board's top, and Verilator's control file for its ports."""
    board = simulated(name)
    platform = board.platform()
    plan = platform.prepare(
        BoardTop(board, Identity(board=board.number), baud=baud), "top", debug_verilog=True
    )
    text = plan.files["top.debug.v"]
    top = text if isinstance(text, str) else text.decode()
    own = [(HERE / source).read_text(encoding="utf-8") for source in SOURCES]
    return "\n".join((top, *own, _bench(board, top))), _control(pins(board))


def _bench(board: Board, top: str) -> str:
    """The outermost module."""
    found = pins(board)
    ports = [f"input {_range(w)}{n}" for n, w in found.inputs.items()]
    ports += [f"output {_range(w)}{n}" for n, w in found.outputs.items()]
    body = list(_connected(board, top))
    return "\n".join((f"module {TOP} (", ",\n".join(ports), ");", *body, "endmodule", ""))


def _connected(board: Board, top: str) -> Iterator[str]:
    clock = f"{board.platform().default_clk}_0__"
    wires = {f"{clock}io": "clk_core", f"{clock}p": "clk_core", f"{clock}n": "~clk_core"}
    wires |= {"uart_0__rx__io": "uart_rx", "uart_0__tx__io": "uart_tx"}
    wires |= {f"led_{n}__io": f"leds[{n}]" for n in range(board.leds)}
    for n in range(board.ports):
        yield f"wire rx_clk_{n}, rx_ctl_{n}; wire [3:0] rx_data_{n};"
        for part in ("clk", "data", "ctl"):
            hand = f"by_hand_{n} ? hand_{part}_{n} : rx_{part}_{n}"
            wires |= {
                f"rgmii_{n}__rx_{part}__io": hand,
                f"rgmii_{n}__tx_{part}__io": f"tx_{part}_{n}",
            }
        names = (*_PHY_INPUTS, *_PHY_OUTPUTS)
        links = [f".{k}({k}_{n})" for k in names]
        links += [f".clk(clk_phy_{n})", ".clk_line(clk_line)"]
        links.append(f".delay(board.rx_{n}_data_0_delay.steps)")
        links += [f".{d}_{p}({d}_{p}_{n})" for d in ("rx", "tx") for p in ("clk", "data", "ctl")]
        yield f"phy phy_{n} ({', '.join(links)});"
    for n in range(len(board.buses)):
        yield f"tri1 line_{n}; assign line_{n} = mdio_drive_{n} ? mdio_value_{n} : 1'bz;"
        yield f"assign mdio_{n} = line_{n}; wire reset_{n}; assign phy_reset_{n} = ~reset_{n};"
        wires |= {f"phy_bus_{n}__mdio__io": f"line_{n}", f"phy_bus_{n}__mdc__io": f"mdc_{n}"}
        wires[f"phy_bus_{n}__rst__io"] = f"reset_{n}"
    listed = re.search(r"^module top\((.*?)\);", top, re.MULTILINE)
    assert listed
    links = [f".{name}({wires[name]})" for name in listed[1].split(", ") if name in wires]
    yield f"top board ({', '.join(links)});"


def _range(width: int) -> str:
    return f"[{width - 1}:0] " if width > 1 else ""


def _control(found: Pins) -> str:
    """As `harp_sim.bench.verilog`: no more is public than Python uses."""
    rights = {"rw": found.inputs, "rd": found.outputs}
    lines = [
        f'public_flat_{right} -module "{TOP}" -var "{name}"'
        for right, names in rights.items()
        for name in names
    ]
    return "\n".join(("`verilator_config", *lines, ""))
