"""Boards' tops at their pins: a part of the cases in `make test`, all with HARP_VERIFY=1."""

import os

import pytest

from harp_sim.cases import PINS
from harp_sim.simulator import Build, run

VERIFY = os.environ.get("HARP_VERIFY") == "1"
SHORT = ("pins.flood/pace=net_fast", "pins.reset_in_frame/number=1", "pins.judged")
LONG = pytest.mark.skipif(not VERIFY, reason="runs in `make verify`")
FLOOD = {} if VERIFY else {"HARP_FLOOD_FRAMES": "300"}
OTHER_BOARD = "versa_ecp5"
"""Two management buses, LEDs, a differential clock."""

pytestmark = [pytest.mark.xdist_group("pins"), pytest.mark.timeout(1800)]


@pytest.mark.parametrize(
    "case", [pytest.param(case, marks=[] if case in SHORT else LONG) for case in PINS]
)
def test_case(case: str) -> None:
    run(Build(board=PINS[case]), case, environment=FLOOD)


@LONG
@pytest.mark.parametrize("case", SHORT)
def test_another_board(case: str) -> None:
    environment = {"HARP_FLOOD_FRAMES": "300"}
    run(Build(board=OTHER_BOARD), case, environment=environment, name=f"{OTHER_BOARD}-{case[5:9]}")
