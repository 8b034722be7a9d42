"""Colorlight 5A-75B R7.0: LFE5U-25F, speed 6, two B50612D PHYs that share reset and MDIO.

Ref: amaranth-boards `colorlight_5a75b_r7_0`
"""

from __future__ import annotations

from amaranth_boards.colorlight_5a75b_r7_0 import Colorlight_5A75B_R70Platform

from harp_boards.board import Board, GoldenPlace, Pll, phy_bus, rgmii
from harp_gateware.mac.phys import BROADCOM_B50612D, PhyBus

_ETHERNET = [r for r in Colorlight_5A75B_R70Platform.resources if r.name == "eth_rgmii"]


class ColorlightPlatform(Colorlight_5A75B_R70Platform):
    """Port 0 is the network, port 1 the host; LED and button are the serial link's pins."""

    resources = (
        [
            r
            for r in Colorlight_5A75B_R70Platform.resources
            if r.name not in ("eth_rgmii", "led", "button", "sdram")
        ]
        + [rgmii(n, each) for n, each in enumerate(_ETHERNET)]
        + [phy_bus(0, _ETHERNET[0])]
    )


COLORLIGHT_5A75B_R7 = Board(
    name="colorlight_5a75b_r7",
    number=2,
    title="Colorlight 5A-75B R7.0 (LFE5U-25F-6, two RGMII ports)",
    platform=ColorlightPlatform,
    buses=(PhyBus(BROADCOM_B50612D, (0, 1)),),
    pll=Pll(25_000_000, input_divider=1, feedback_divider=5, tx_divider=6, core_divider=10),
    flash=("--board", "colorlight"),
    golden=GoldenPlace(flash_mbit=32, address=0x200000),
    notes=(
        "The serial link is on J19: LED (P11) sends, button (M13) receives, 3.3 V.",
        "Both PHYs share one reset: a reset of one port is one of both.",
    ),
)
