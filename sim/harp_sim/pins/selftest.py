"""The vendor's self-test on a simulated top, in less time than on a bench."""

from __future__ import annotations

from harp.offload.client import Client
from harp_boards.board import Board
from harp_boards.loopback import Pace
from harp_boards.selftest import Outcome, Result, Selftest

__all__ = ["Outcome", "sheet"]

PACE = Pace(clock_us=1_000, dwell_us=400, stride=12, settle_us=300)
CHECKS = 30
"""Elements of the register walk, and requests of the link's check."""


def sheet(board: Board, client: Client) -> dict[str, Result]:
    """Every result by its check; in a `host` thread."""
    test = Selftest(client, board.number, phys=board.phys, pace=PACE, checks=CHECKS)
    return {result.check: result for result in test.run()}
