"""Ethernet ports: RGMII pins, MAC, crossings to the core's clock, PHY management.

Ref: IEEE 802.3 §3 (frames), §4 (MAC), §22 (MDIO); RGMII 2.0; offload.md §1

Octets of a frame are handled in the clock domains of the PHYs; everything else is in the core's.
"""
