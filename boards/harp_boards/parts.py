"""FPGA parts that the core is measured on, and what is asked of it there.

Ref: offload.md §1 (156.25 MHz is 10 Gb/s at one word a clock)
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Part:
    """One FPGA and its speed grade."""

    name: str
    nextpnr: tuple[str, ...]
    """Options of nextpnr-ecp5 that choose it."""
    target_mhz: float | None
    """Least frequency of the core; None: reported only."""


PARTS: tuple[Part, ...] = (
    Part("LFE5U-25F-6", ("--25k", "--speed", "6", "--package", "CABGA256"), 125.0),
    Part("LFE5UM-45F-8", ("--um-45k", "--speed", "8", "--package", "CABGA381"), None),
    Part("LFE5UM5G-45F-8", ("--um5g-45k", "--speed", "8", "--package", "CABGA381"), 156.25),
)
