"""FPGA parts: what nextpnr calls them, and those that the core is measured on.

Ref: offload.md §1 (156.25 MHz is 10 Gb/s at one word a clock)
"""

from dataclasses import dataclass

_DEVICE = {
    "LFE5U-25F": "--25k",
    "LFE5UM-45F": "--um-45k",
    "LFE5UM5G-45F": "--um5g-45k",
}
_PACKAGE = {"BG256": "CABGA256", "BG381": "CABGA381", "BG554": "CABGA554"}
_CLOCK_PIN = {"BG256": "P6", "BG381": "P3"}
"""A pin from which a clock reaches the clock network: not every one that placement may choose."""


@dataclass(frozen=True, slots=True)
class Part:
    """One FPGA, its speed grade and package, as Amaranth's platforms name them."""

    device: str
    speed: str
    package: str
    target_mhz: float | None = None
    """Least frequency of the core; None: reported only."""

    @property
    def name(self) -> str:
        """What people call it."""
        return f"{self.device}-{self.speed}"

    @property
    def nextpnr(self) -> tuple[str, ...]:
        """Options of nextpnr-ecp5 that choose it."""
        device, package = _DEVICE[self.device], _PACKAGE[self.package]
        return (device, "--speed", self.speed, "--package", package)

    @property
    def grade(self) -> str:
        """Its speed as prjtrellis calls it."""
        return f"{self.speed}_5G" if self.device.startswith("LFE5UM5G") else self.speed

    @property
    def clock_pin(self) -> str:
        """Where a design without a board has its clock."""
        return _CLOCK_PIN[self.package]


PARTS: tuple[Part, ...] = (
    Part("LFE5U-25F", "6", "BG256", 125.0),
    Part("LFE5UM-45F", "8", "BG381"),
    Part("LFE5UM5G-45F", "8", "BG381", 156.25),
)
