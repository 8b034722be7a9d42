"""LambdaConcept ECPIX-5: LFE5UM5G-45F, speed 8, one KSZ9031 PHY: a monitor.

Ref: amaranth-boards `ecpix5`; offload.md (a board with one Ethernet port runs as a monitor)
"""

from __future__ import annotations

from amaranth_boards.ecpix5 import ECPIX545Platform

from harp_boards.board import Board, GoldenPlace, Pll, phy_bus, rgmii
from harp_gateware.mac.phys import MICROCHIP_KSZ9031, PhyBus

_ETHERNET = next(r for r in ECPIX545Platform.resources if r.name == "eth_rgmii")


class EcpixPlatform(ECPIX545Platform):
    """Its one port listens to the network: on a mirror port of a switch, or as a home agent's."""

    default_rst = None  # configuration and the PLL's lock reset the design
    resources = (
        [r for r in ECPIX545Platform.resources if r.name in ("clk100", "uart", "rgb_led")]
        + [rgmii(0, _ETHERNET)]
        + [phy_bus(0, _ETHERNET)]
    )


ECPIX_5 = Board(
    name="ecpix5",
    number=3,
    title="LambdaConcept ECPIX-5 (LFE5UM5G-45F-8, one RGMII port: a monitor)",
    platform=EcpixPlatform,
    buses=(PhyBus(MICROCHIP_KSZ9031, (0,)),),
    pll=Pll(100_000_000, input_divider=4, feedback_divider=5, tx_divider=6, core_divider=10),
    flash=("--board", "ecpix5"),
    golden=GoldenPlace(flash_mbit=128, address=0x400000),
    notes=("One port: verdicts, events and slots; nothing is dropped and nothing fenced.",),
)
