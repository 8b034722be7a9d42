"""The boards that are known."""

from harp_boards.board import Board
from harp_boards.colorlight_5a75b_r7 import COLORLIGHT_5A75B_R7
from harp_boards.ecpix5 import ECPIX_5
from harp_boards.versa_ecp5 import VERSA_ECP5

BOARDS: dict[str, Board] = {
    board.name: board for board in (VERSA_ECP5, COLORLIGHT_5A75B_R7, ECPIX_5)
}
"""By name."""
