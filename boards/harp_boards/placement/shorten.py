"""A placed netlist in a file: its longest paths shortened, what it is routed for."""

from __future__ import annotations

import json
from pathlib import Path

from harp_boards.placement.delays import ROUTED, CellDelays
from harp_boards.placement.netlist import PlacedNetlist
from harp_boards.placement.refine import Refined, Refiner
from harp_boards.placement.timing import Timing


def shorten(file: Path, grade: str, seed: int, expected_mhz: float) -> Refined:
    """Changes places in `file`, which nextpnr wrote and expects to reach `expected_mhz`.

    One clock. nextpnr's own figure tells what a step of wire takes on this part; what is gained is
    counted by wires as they come out when they are routed.
    """
    netlist = PlacedNetlist(json.loads(file.read_text(encoding="utf-8")))
    timing = Timing(netlist, CellDelays(grade))
    timing.set_step(timing.fit(1e6 / expected_mhz), ROUTED)
    refined = Refiner(netlist, timing, seed).run()
    netlist.write_places()
    file.write_text(json.dumps(netlist.document), encoding="utf-8")
    return refined


def aim_at(file: Path, mhz: float, router: str = "router2") -> None:
    """What nextpnr is to route for, and with what.

    It goes by what a placed netlist says, not by `--freq` or `--router`, nor by a lack of
    `--tmg-ripup` if it was written by one that had it.
    """
    document = json.loads(file.read_text(encoding="utf-8"))
    (module,) = document["modules"].values()
    module["settings"] |= {"target_freq": f"{mhz * 1e6:f}", "router": router}
    module["settings"].pop("router/tmg_ripup", None)
    file.write_text(json.dumps(document), encoding="utf-8")
