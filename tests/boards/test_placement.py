"""Paths of a placed netlist by estimate, what may be where in a tile, that moving cells shortens
paths and leaves a placement that nextpnr takes, and what it is routed with."""

import itertools
import struct
from pathlib import Path
from typing import Any

import pytest
from amaranth.back import verilog
from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from harp_boards import synthesis
from harp_boards.parts import PARTS, Part
from harp_boards.placement.delays import ROUTED, CellDelays, routed_steps, wire_steps
from harp_boards.placement.loads import DEAR_LOADS, LOADS, UnknownDatabase, with_loads
from harp_boards.placement.netlist import PlacedNetlist
from harp_boards.placement.refine import Refined, Refiner
from harp_boards.placement.tiles import Tiles
from harp_boards.placement.timing import Timing
from harp_boards.ring import Ring
from harp_boards.synthesis import CORE_ROUNDS, TIMING_DRIVEN, TooSlow, place_core, synthesise

GRADE = "6"
CLOCK_TO_Q, LUT, RESET_SETUP = 525, 236, 424
STEP = 80.0
OUTPUTS = {"Q", "F", "FCO", "DOB0"}

Raw = dict[str, Any]


def cell(type_: str, place: str, settings: dict[str, str] | None = None, **pins: int) -> Raw:
    return {
        "type": type_,
        "parameters": settings or {},
        "attributes": {"NEXTPNR_BEL": place},
        "port_directions": {pin: "output" if pin in OUTPUTS else "input" for pin in pins},
        "connections": {pin: [net] for pin, net in pins.items()},
    }


def flop(place: str, enable: int = 0, reset: int = 0, **pins: int) -> Raw:
    more = ({"CE": enable} if enable else {}) | ({"LSR": reset} if reset else {})
    return cell("TRELLIS_FF", place, {"CEMUX": "CE" if enable else "1 "}, CLK=1, **more, **pins)


def lut(place: str, mode: str = "LOGIC", **pins: int) -> Raw:
    return cell("TRELLIS_COMB", place, {"MODE": mode}, **pins)


def netlist(**cells: Raw) -> PlacedNetlist:
    return PlacedNetlist({"modules": {"top": {"cells": cells}}})


def timed(found: PlacedNetlist) -> Timing:
    timing = Timing(found, CellDelays(GRADE))
    timing.set_step(STEP)
    return timing


def chain() -> PlacedNetlist:
    """A flop, three tiles to the right a LUT and the flop behind it."""
    return netlist(
        a=flop("X2/Y2/SLICEA.FF0", Q=10),
        f=lut("X5/Y2/SLICEB.K1", A=10, F=11),
        b=flop("X5/Y2/SLICEB.FF1", DI=11, Q=12),
    )


def test_a_path_takes_its_cells_and_its_wire() -> None:
    assert wire_steps(3, 0) == 12 and wire_steps(7, 6) == 6 + 12 + 11
    assert timed(chain()).longest() == CLOCK_TO_Q + 12 * STEP + LUT


def test_a_step_is_found_from_the_period() -> None:
    timing = Timing(chain(), CellDelays(GRADE))
    assert timing.fit(CLOCK_TO_Q + 12 * 53 + LUT) == pytest.approx(53, abs=0.01)


def test_what_is_routed_is_shorter_far_away_and_longer_within_a_tile() -> None:
    assert routed_steps(9, 9) < wire_steps(9, 9) and routed_steps(0, 0) > wire_steps(0, 0)
    timing = timed(chain())
    timing.set_step(STEP, ROUTED)
    to_flop = round(STEP * ROUTED.to_flop)
    assert timing.longest() == CLOCK_TO_Q + routed_steps(3, 0) * STEP + LUT + to_flop


def test_a_reset_must_be_there_before_the_clock() -> None:
    found = netlist(a=flop("X2/Y2/SLICEA.FF0", Q=10), b=flop("X2/Y3/SLICEA.FF0", reset=10, Q=11))
    assert timed(found).longest() == CLOCK_TO_Q + 8 * STEP + RESET_SETUP


@pytest.mark.parametrize(("registered", "start"), [("NOREG", 5830), ("OUTREG", 956)])
def test_a_block_ram_is_slow_without_its_register(registered: str, start: int) -> None:
    settings = {"REGMODE_A": "NOREG", "REGMODE_B": registered}
    found = netlist(
        ram=cell("DP16KD", "X2/Y13/EBR0", settings, CLKB=1, DOB0=10),
        b=flop("X2/Y14/SLICEA.FF0", M=10, Q=11),
    )
    assert timed(found).longest() == start + 8 * STEP


def test_carries_have_no_wire_and_constants_no_time() -> None:
    found = netlist(
        one=lut("X60/Y40/SLICEA.K0", F=9),
        a=flop("X2/Y2/SLICEA.FF0", Q=10),
        low=lut("X2/Y3/SLICEA.K0", "CCU2", A=10, B=9, FCO=11),
        high=lut("X3/Y3/SLICEA.K1", "CCU2", FCI=11, F=12),
        b=flop("X3/Y3/SLICEA.FF1", DI=12, Q=13),
    )
    assert timed(found).longest() == CLOCK_TO_Q + 8 * STEP + 447 + 474


def test_what_a_tile_takes() -> None:
    found = netlist(
        here=flop("X2/Y2/SLICEA.FF0", reset=30, enable=40, M=9, Q=10),
        same=flop("X3/Y2/SLICEA.FF0", reset=30, enable=40, M=10, Q=11),
        enabled=flop("X4/Y2/SLICEA.FF0", reset=30, M=10, Q=12),
        other=flop("X5/Y2/SLICEA.FF0", reset=31, enable=40, M=10, Q=13),
    )
    numbers = {one.name: n for n, one in enumerate(found.cells)}
    tiles = Tiles(found)

    def fits(name: str, lane: int) -> bool:
        back, to = tiles.place(numbers[name]), (2, 2, lane)
        allowed = tiles.exchanged(numbers[name], to)
        assert allowed is not None
        tiles.exchange(back, to, allowed[1])
        fit = tiles.fits(to)
        tiles.exchange(back, to, allowed[1])
        return fit

    assert fits("same", 1) and fits("same", 2)
    assert not fits("enabled", 1) and fits("enabled", 2)
    assert not fits("other", 1) and not fits("other", 7)


def test_who_may_not_move_or_be_moved() -> None:
    found = netlist(
        f=lut("X2/Y2/SLICEA.K0", A=9, F=10),
        g=flop("X2/Y2/SLICEA.FF0", DI=10, Q=11),
        alone=lut("X2/Y2/SLICEB.K0", A=9, F=12),
        sum=lut("X3/Y2/SLICEA.K0", "CCU2", A=9, F=13),
        summed=flop("X3/Y2/SLICEA.FF0", DI=13, Q=14),
        write=cell("TRELLIS_RAMW", "X4/Y2/SLICEC.RAMW"),
    )
    numbers = {one.name: n for n, one in enumerate(found.cells)}
    tiles = Tiles(found)
    assert [name for name, n in numbers.items() if tiles.movable(n)] == ["f", "g", "alone"]
    assert tiles.exchanged(numbers["alone"], (3, 2, 0)) is None  # a carry is there
    assert tiles.exchanged(numbers["alone"], (3, 2, 1)) is None  # the carry's slice
    assert tiles.exchanged(numbers["alone"], (4, 2, 5)) is None  # the write port's
    assert tiles.exchanged(numbers["alone"], (4, 2, 3)) == ([numbers["alone"]], (0,))
    # A LUT and its flop go together, also when another comes to their place.
    moved = tiles.exchanged(numbers["alone"], (2, 2, 0))
    assert moved is not None and sorted(moved[0]) == sorted(numbers[n] for n in ("f", "g", "alone"))


def scattered() -> PlacedNetlist:
    """Registers in a row, LUTs between them, each far from the one before; a carry at each end."""
    cells = {"first": lut("X1/Y1/SLICEA.K0", "CCU2", F=100)}
    for n in range(12):
        x, y = 2 + (n * 17) % 30, 2 + (n * 11) % 30
        cells[f"f{n}"] = lut(f"X{x}/Y{y}/SLICEA.K0", A=100 + 2 * n, F=101 + 2 * n)
        x, y = 2 + (n * 7) % 30, 2 + (n * 5) % 30
        cells[f"q{n}"] = flop(f"X{x}/Y{y}/SLICEB.FF0", M=101 + 2 * n, Q=102 + 2 * n)
    for n in range(32):  # tiles that may be used
        cells[f"spare{n}"] = lut(f"X{n}/Y{n}/SLICED.K1", A=100, F=200 + n)
    return netlist(**cells)


def places(found: PlacedNetlist) -> dict[str, tuple[int, int, int]]:
    return {one.name: (one.x, one.y, one.lane) for one in found.cells}


def test_moving_cells_shortens_the_longest_path() -> None:
    found = scattered()
    begun = places(found)
    refined = Refiner(found, timed(found), seed=1).run()
    assert refined.after_ps < 0.5 * refined.before_ps
    assert refined.moved <= 24  # what is not on the path stays
    assert timed(found).longest() == refined.after_ps
    now = places(found)
    assert refined.moved == sum(now[name] != begun[name] for name in now)
    assert now["first"] == begun["first"]
    kinds = {one.name: one.kind for one in found.cells}
    assert len({(kinds[name].name == "FLOP", place) for name, place in now.items()}) == len(now)
    found.write_places()
    assert places(PlacedNetlist(found.document)) == now


def test_the_best_that_there_was_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    costs = itertools.count(0, -1)
    monkeypatch.setattr(Refiner, "_cost", lambda *_: next(costs))  # each move seems better
    found = scattered()
    timing = timed(found)
    update, periods = timing.update, list[float]()

    def record(period_ps: float) -> float:
        slack = update(period_ps)
        periods.append(period_ps - slack)
        return slack

    monkeypatch.setattr(timing, "update", record)
    refined = Refiner(found, timing, seed=1).run()
    assert refined.after_ps == min(periods) < periods[-2]


def test_the_same_seed_moves_the_same() -> None:
    first, second = scattered(), scattered()
    for found in (first, second):
        Refiner(found, timed(found), seed=3).run()
    assert places(first) == places(second)


def aims(monkeypatch: pytest.MonkeyPatch, folder: Path, part: Part, ends: int) -> list[float]:
    """What a router that ends at the `ends`-th try is asked for; 0: with no regard to time. The
    last is what it is timed for."""
    asked = list[float]()

    def route(
        *words: object, netlist: str, max_rounds: int = 0, package: Path | None = None
    ) -> Raw:
        timed = netlist.endswith(".routed.json")
        assert (package is None) == timed  # as it is, not with loads on all wires
        assert timed == ("--write" not in words)
        if TIMING_DRIVEN in words:
            assert not timed and max_rounds == CORE_ROUNDS
            if len(asked) < ends:
                raise TooSlow
        elif not timed:
            asked.append(0)
        used = {"used": 1, "available": 2}
        kinds = ("TRELLIS_COMB", "TRELLIS_FF", "DP16KD")
        return {
            "utilization": dict.fromkeys(kinds, used),
            "fmax": {"clk": {"achieved": 90 if timed else 150}},
            "critical_paths": [],
        }

    monkeypatch.setattr(synthesis, "place", lambda *_: 100.0)
    monkeypatch.setattr(synthesis, "shorten", lambda *_: Refined(10_000, 8_000, 1))
    monkeypatch.setattr(synthesis, "loaded_copy", lambda folder: folder)
    monkeypatch.setattr(synthesis, "aim_at", lambda _, mhz, *__: asked.append(round(mhz, 2)))
    monkeypatch.setattr(synthesis, "route", route)
    assert place_core(folder, part, 1).fmax_mhz == 90
    return asked


def test_the_router_is_asked_for_less_until_it_has_an_end(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    free = Part("LFE5UM-45F", "8", "BG381")
    assert aims(monkeypatch, tmp_path, free, 1) == [125, 125]
    assert aims(monkeypatch, tmp_path, free, 2) == [125, 121.25, 125]
    assert aims(monkeypatch, tmp_path, free, 9) == [125, 121.25, 112.5, 102.5, 92.5, 0, 125]
    # Not much more than the target.
    modest = Part("LFE5U-25F", "6", "BG256", 100.0)
    assert aims(monkeypatch, tmp_path, modest, 2) == [101, 97.97, 101]


def ways(*delays: tuple[int, int, int, int]) -> bytes:
    always = ((50, 50, 0, 0), (0, 0, 0, 0), (0, 0, 0, 0))
    return b"".join(struct.pack("<4i", *delay) for delay in always + delays)


def database(grades: list[bytes]) -> bytes:
    """As much of nextpnr's as says how slow ways are."""
    text = b"before" + bytes(2)
    begins = []
    for grade in grades:
        begins.append(len(text))
        text += grade + b"cell"
    for begin, grade in zip(begins, grades, strict=True):
        text += struct.pack("<4i", 4711, 12, begin - (len(text) + 8), len(grade) // 16)
    return text + bytes(7)


def test_ways_out_of_wires_are_as_slow_as_with_loads() -> None:
    plain = [ways((100, 200, 3, 7)), ways((0, 0, 5, 324)), ways(), ways((80, 90, 0, 0))]
    loaded = [
        ways((100 + 3 * LOADS, 200 + 7 * LOADS, 0, 0)),
        ways((5 * DEAR_LOADS, 324 * DEAR_LOADS, 0, 0)),
        ways(),
        ways((80, 90, 0, 0)),
    ]
    assert with_loads(database(plain)) == database(loaded)


def test_a_database_of_another_kind_is_refused() -> None:
    with pytest.raises(UnknownDatabase):
        with_loads(database([ways()] * 3))
    with pytest.raises(UnknownDatabase):
        with_loads(b"".join([ways()] * 4))


class Sums(wiring.Component):
    """Some registers, sums, enables and a RAM's worth of wire."""

    a: In(16)
    b: In(16)
    enable: In(1)
    total: Out(16)
    parity: Out(4)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        held = Signal(16)
        with m.If(self.enable):
            m.d.sync += held.eq(self.a + self.b)
        m.d.sync += [
            self.total.eq(held + self.total),
            self.parity.eq((held ^ self.b)[:4] & self.total[:4]),
        ]
        return m


def test_nextpnr_routes_what_was_moved(tmp_path: Path) -> None:
    ring = Ring(Sums())
    synthesise(verilog.convert(ring, ports=ring.ports), tmp_path)
    placed = place_core(tmp_path, PARTS[0], 1)
    assert placed.fmax_mhz > 150 and placed.ffs > 60
