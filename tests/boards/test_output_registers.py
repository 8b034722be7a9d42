"""Which flops become the output register of a block RAM. That the result is what it was is shown on
netlists, `tests/sim/test_netlist.py`."""

from typing import Any

import pytest

from harp_boards.output_registers import Cells, pack


def flop(**changes: Any) -> dict[str, Any]:
    pins = {"CLK": [2], "DI": [10], "LSR": ["0"], "Q": [20]} | changes
    settings = {name: pins.pop(name) for name in list(pins) if isinstance(pins[name], str)}
    return {
        "type": "TRELLIS_FF",
        "parameters": {"CEMUX": "1 ", "REGSET": "RESET"} | settings,
        "connections": pins,
        "port_directions": {pin: "output" if pin == "Q" else "input" for pin in pins},
    }


def cells(**flops: dict[str, Any]) -> Cells:
    """A RAM of 18 bits of which port B shows one bit, net 10."""
    ram = {
        "type": "DP16KD",
        "parameters": {"DATA_WIDTH_B": "10010"},
        "connections": {"CLKA": [2], "CLKB": [2], "DOB0": [10]},
        "port_directions": {"CLKA": "input", "CLKB": "input", "DOB0": "output"},
    }
    return {"ram": ram, **flops}


def test_a_flop_becomes_the_register() -> None:
    found = cells(q=flop(CE=[3], CEMUX="CE"))
    assert pack(found) == 1
    ram = found["ram"]
    assert list(found) == ["ram"]
    assert ram["connections"]["DOB0"] == [20] and ram["connections"]["OCEB"] == [3]
    assert ram["parameters"]["REGMODE_B"] == "OUTREG" and "REGMODE_A" not in ram["parameters"]


@pytest.mark.parametrize(
    "flops",
    [
        {"q": flop(LSR=[4])},
        {"q": flop(LSR=["1"])},
        {"q": flop(CLK=[5])},
        {"q": flop(CLKMUX="INV")},
        {"q": flop(REGSET="SET")},
        {"q": flop(CEMUX="INV", CE=[3])},
        {"q": flop(), "r": flop(Q=[21])},
    ],
    ids=["reset", "always reset", "clock", "edge", "begins with 1", "enable", "two loads"],
)
def test_what_the_register_cannot_do_stays_a_flop(flops: dict[str, Any]) -> None:
    found = cells(**flops)
    assert pack(found) == 0
    assert set(found) == {"ram", *flops} and found["ram"]["connections"]["DOB0"] == [10]
