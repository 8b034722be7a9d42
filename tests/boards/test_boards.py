"""Boards: what they say of themselves, wrong values refused, what a person reads when it fails."""

from __future__ import annotations

import json
import re
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from harp_boards.board import Board, Pll
from harp_boards.boards import BOARDS
from harp_boards.build import _SOURCE, _figures, place_and_pack, with_margin
from harp_boards.cli import harp_board
from harp_boards.flash import explain
from harp_boards.synthesis import Patience, ToolFailed, TooSlow, run_tool, synthesise
from harp_gateware.device import TX_HZ, DeviceParams

COLORLIGHT = BOARDS["colorlight_5a75b_r7"]


@pytest.mark.parametrize("board", BOARDS.values(), ids=BOARDS)
def test_every_board_can_be_built(board: Board) -> None:
    params = board.device()
    assert params.core.clock_hz == board.pll.core_hz
    assert params.core.ports == board.ports
    assert params.identity.board == board.number


def test_two_port_boards_and_a_monitor_are_there() -> None:
    assert {board.name: board.ports for board in BOARDS.values()} == {
        "versa_ecp5": 2,
        "colorlight_5a75b_r7": 2,
        "ecpix5": 1,
    }
    assert len({board.number for board in BOARDS.values()}) == len(BOARDS)


@pytest.mark.parametrize("board", BOARDS.values(), ids=BOARDS)
def test_every_pin_is_used_once(board: Board) -> None:
    platform = board.platform()
    wanted = ["rgmii"] * board.ports + ["phy_bus"] * len(board.buses) + ["uart"]
    pins = list[str]()
    for name in dict.fromkeys(wanted):
        for number in range(wanted.count(name)):
            for part in platform.lookup(name, number).ios:
                pins += part.ios[0].names
    assert len(pins) == len(set(pins))
    assert len(pins) >= 12 * board.ports


@pytest.mark.parametrize(
    ("pll", "why"),
    [
        (dict(input_hz=25_000_000, input_divider=4), "6.25 MHz in"),
        (dict(tx_divider=8), "1000 MHz VCO"),
        (dict(feedback_divider=4, tx_divider=5), "100 MHz is not the line's clock"),
        (dict(core_divider=7), "no whole number of MHz"),
    ],
)
def test_a_pll_that_cannot_lock_is_refused(pll: dict[str, int], why: str) -> None:
    good = dict(
        input_hz=25_000_000, input_divider=1, feedback_divider=5, tx_divider=4, core_divider=5
    )
    assert Pll(**good).core_hz * 5 == TX_HZ * 4
    with pytest.raises(ValueError, match=why):
        Pll(**good | pll)


def test_wrong_boards_are_refused() -> None:
    with pytest.raises(ValueError, match="rx_delay_steps = 128"):
        replace(COLORLIGHT, rx_delay_steps=(0, 128))
    with pytest.raises(ValueError, match="1 PHYs for 2 ports"):
        DeviceParams(COLORLIGHT.device().core, BOARDS["ecpix5"].buses)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["build", "versa"], "'versa' is no board; there are versa_ecp5, colorlight_5a75b_r7"),
        (["flash", "ecpix5"], "is not there: run `harp-board build ecpix5` first"),
        (["report", "ecpix5"], "is not there: run `harp-board build ecpix5` first"),
        (["flash", "ecpix5", "--bit", "text.bit"], "text.bit is no ECP5 bitstream"),
        (["flash", "ecpix5", "--bit", "nothing.bit"], "'nothing.bit' does not exist"),
    ],
)
def test_wrong_input_is_one_line(
    words: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("text.bit").write_text("no bitstream")
    result = CliRunner().invoke(harp_board, words)
    assert result.exit_code in (1, 2)
    assert said in result.output
    assert "Traceback" not in result.output


def test_the_list_for_programs() -> None:
    result = CliRunner().invoke(harp_board, ["list", "--json"])
    listed = json.loads(result.output)
    assert listed["schema"] == 1
    assert [each["name"] for each in listed["boards"]] == list(BOARDS)


@pytest.mark.parametrize(
    ("output", "advice"),
    [
        ("empty\nunable to open ftdi device: -3", "is it plugged in"),
        ("error while loading shared libraries: x: cannot open shared object file", "apt-get"),
        ("writing\nVerify: FAIL at 0x100\n", "write protection"),
        ("libusb: permission denied", "udev rules"),
        ("Something new", "Something new; `openFPGALoader --detect`"),
        ("", "without a word"),
    ],
)
def test_what_the_programmer_says_is_explained(output: str, advice: str) -> None:
    line = explain(output)
    assert advice in line
    assert "\n" not in line


def test_figures_of_a_report(tmp_path: Path) -> None:
    bit = tmp_path / "top.bit"
    bit.write_bytes(b"bits")
    used = {name: {"used": 1, "available": 2} for name in ("TRELLIS_COMB", "TRELLIS_FF", "DP16KD")}
    fmax = {"$glbnet$clk_core": {"achieved": 104.0, "constraint": 105.0}}
    built = _figures(COLORLIGHT, 3, {"utilization": used, "fmax": fmax}, bit)
    clock = built.clocks["clk_core"]
    assert (clock.needed_mhz, clock.fmax_mhz, clock.slack_ns) == (100.0, 104.0, 0.385)
    assert not built.timing_met
    assert re.fullmatch("[0-9a-f]{64}", built.bit_sha256)


PRODUCT = """module top(input clk, input i, output o);
  reg [19:0] a; reg x; assign o = x;
  always @(posedge clk) begin a <= a * 5 + i; x <= ^a; end
endmodule
"""


def test_a_build_that_cannot_be_fast_enough_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harp_boards.synthesis.MAX_ROUNDS", 30)
    synthesise(PRODUCT, tmp_path)
    places = {"clk": "P6", "i": "P11", "o": "M13"}
    pins = "".join(f'LOCATE COMP "{name}" SITE "{pin}";\n' for name, pin in places.items())
    (tmp_path / "top.lpf").write_text(f'{pins}FREQUENCY PORT "clk" 2000000000.0 HZ;\n')
    for made in ("top.bit", "built.json"):
        (tmp_path / made).write_text("of an older build")

    def build(board: Board, folder: Path, *, seed: int, **_: object) -> object:
        return place_and_pack(board, folder, seed, lambda text: None)

    monkeypatch.setattr("harp_boards.build.build", build)
    words = ["build", COLORLIGHT.name, "--folder", str(tmp_path), "--seed", "2", "--json"]
    result = CliRunner().invoke(harp_board, words)
    assert result.exit_code == 1
    said = json.loads(result.stdout)
    assert not said["timing_met"] and (said["board"], said["seed"]) == (COLORLIGHT.name, 2)
    (line,) = result.stderr.splitlines()
    assert re.search(
        r"after 30 rounds of routing \d+ connections are too slow and \d+ wires shared; "
        r"estimated before: clk [\d.]+ of 2000 MHz; try another --seed\Z",
        line,
    )
    assert not (tmp_path / "top.bit").exists() and not (tmp_path / "built.json").exists()


def test_what_is_nearest_to_its_aim_is_told_where_all_was_estimated_to_be_met() -> None:
    hears = Patience()
    for name, mhz in (("$glbnet$clk", 80), ("$glbnet$tx_clk", 140)):
        hears(f"Info: Max frequency for clock '{name}': {mhz}.50 MHz (PASS at 78.75 MHz)")
    hears("Info:     iter=399 wires=9 overused=0 overuse=0 tmgfail=7 archfail=NA")
    hears("Info:     iter=400 wires=9 overused=0 overuse=0 tmgfail=0 archfail=0")
    with pytest.raises(TooSlow, match=r"7 connections .* before: clk 80.5 of 78.75 MHz\Z"):
        hears("Info:     iter=400 wires=9 overused=0 overuse=0 tmgfail=7 archfail=NA")


def test_clocks_that_come_in_have_their_margin() -> None:
    lpf = 'FREQUENCY NET "clk_rx_0" 131250000.0 HZ;\nFREQUENCY PORT "clk25_0__io" 25000000.0 HZ;\n'
    assert with_margin(lpf) == lpf.replace("25000000.0 HZ", "26250000.0 HZ")


def test_places_in_the_source_are_not_built_in() -> None:
    assert _SOURCE.sub("", '(* src = "/home/me/top.py:3" *) wire a;') == " wire a;"


def test_tools_are_found_beside_this_python_or_said_to_be_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    with pytest.raises(ToolFailed, match=r"^a-tool: not found beside .*\Z"):
        run_tool(["a-tool"], tmp_path)
    (tmp_path / "a-tool").write_text("#!/bin/sh\ntouch here-$1\n", encoding="utf-8")
    (tmp_path / "a-tool").chmod(0o755)
    run_tool(["a-tool", "1"], tmp_path)
    assert (tmp_path / "here-1").exists()
