"""Lattice Versa ECP5: LFE5UM-45F, speed 8, two 88E1512 PHYs on buses of their own: the NIC.

Ref: amaranth-boards `versa_ecp5`; ECP5 Versa Development Board user guide
"""

from __future__ import annotations

from amaranth_boards.versa_ecp5 import VersaECP5Platform

from harp_boards.board import Board, GoldenPlace, Pll, phy_bus, rgmii
from harp_gateware.mac.phys import MARVELL_88E1512, PhyBus

_ETHERNET = [r for r in VersaECP5Platform.resources if r.name == "eth_rgmii"]


class VersaPlatform(VersaECP5Platform):
    """Port 0 (J2) is the network, port 1 (J3) the host."""

    default_rst = None  # configuration and the PLL's lock reset the design
    resources = (
        [r for r in VersaECP5Platform.resources if not r.name.startswith(("eth_", "ddr3"))]
        + [rgmii(n, each) for n, each in enumerate(_ETHERNET)]
        + [phy_bus(n, each) for n, each in enumerate(_ETHERNET)]
    )


VERSA_ECP5 = Board(
    name="versa_ecp5",
    number=1,
    title="Lattice Versa ECP5 (LFE5UM-45F-8, two RGMII ports)",
    platform=VersaPlatform,
    buses=(PhyBus(MARVELL_88E1512, (0,)), PhyBus(MARVELL_88E1512, (0,))),
    pll=Pll(100_000_000, input_divider=4, feedback_divider=5, tx_divider=6, core_divider=10),
    flash=("--cable", "ft2232"),
    golden=GoldenPlace(flash_mbit=128, address=0x400000),
    leds=4,
    notes=(
        "The serial link is the second channel of the on-board FT2232.",
        "Its JTAG chain holds the ispCLOCK device too: bypass that as the user guide shows.",
    ),
)
