"""The PHYs that are known: identity, how they are made to delay the RGMII clocks, their state.

Ref: IEEE 802.3 §22.2.4 (registers 0 to 15); Marvell 88E1512 data sheet (Copper Specific Status
Register 1, MAC Specific Control Register 2); Broadcom B50612D data sheet (Auxiliary Control,
register 18 hexadecimal; Clock Alignment Control in 1C; Auxiliary Status Summary, 19); Microchip
KSZ9031RNX data sheet (MMD 2 registers 4, 6, 8: pad skews; PHY Control, 1F)

No hardware has confirmed any of it: identities and bits are those of the data sheets' families.
"""

from __future__ import annotations

from dataclasses import dataclass

PHY_IDENTIFIER_1, PHY_IDENTIFIER_2 = 2, 3
BASIC_CONTROL = 0
BASIC_STATUS = 1
RESET_AND_NEGOTIATE = 0x9140
"""Reset, auto-negotiation on, 1000 Mb/s, full duplex."""
NEGOTIATE = 0x1340
"""Auto-negotiation on and begun anew."""
POWER_DOWN = 0x1940
"""No link: the partner sees none."""


@dataclass(frozen=True, slots=True)
class Write:
    """Writes a register; with `keep` the bits of the value last read that it names stay."""

    register: int
    value: int
    keep: int = 0


@dataclass(frozen=True, slots=True)
class Read:
    """Reads a register, for the next `Write` with `keep`."""

    register: int


@dataclass(frozen=True, slots=True)
class Phy:
    """One kind of PHY."""

    name: str
    identity: int
    """PHY Identifier 1 and 2 as 32 bits."""
    mask: int
    """Bits of it that count: the revision does not."""
    setup: tuple[Write | Read, ...]
    """Makes the PHY delay RXC and TXC (RGMII-ID), then negotiate anew."""
    link: tuple[int, int]
    """(register, bit): 1, the link is up."""
    status: int
    """Register that tells speed and duplex."""
    gigabit: tuple[int, int]
    """(mask, value) of the status at 1000 Mb/s full duplex."""

    def __post_init__(self) -> None:
        if self.identity & ~self.mask:
            raise ValueError(f"identity = {self.identity:#010x}: has bits outside its mask")


MARVELL_88E1512 = Phy(
    name="88E1512",
    identity=0x0141_0DD0,
    mask=0xFFFF_FFF0,
    setup=(
        Write(22, 2),  # page 2
        Read(21),
        # RGMII Receive Timing Control (bit 5) and Transmit Timing Control (bit 4).
        Write(21, 0x0030, keep=0xFFFF),
        Write(22, 0),
        Write(BASIC_CONTROL, RESET_AND_NEGOTIATE),
    ),
    link=(17, 10),  # real time
    status=17,
    # Speed (15:14) is 2, full duplex (13), both resolved (11).
    gigabit=(0xE800, 0xA800),
)
BROADCOM_B50612D = Phy(
    name="B50612D",
    identity=0x0362_5E60,
    mask=0xFFFF_FFF0,
    setup=(
        Write(0x18, 0x7007),  # select Miscellaneous Control for reading
        Read(0x18),
        # Write enable (15), RGMII RXD to RXC skew (8).
        Write(0x18, 0x8107, keep=0x7FF8),
        Write(0x1C, 0x0C00),  # select Clock Alignment Control for reading
        Read(0x1C),
        # Write enable (15), GTXCLK delay (9).
        Write(0x1C, 0x8E00, keep=0x01FF),
        Write(BASIC_CONTROL, NEGOTIATE),  # its reset would undo the delays
    ),
    link=(0x19, 2),
    status=0x19,
    # Auto-negotiation HCD (10:8): 7 is 1000BASE-T full duplex.
    gigabit=(0x0700, 0x0700),
)

_MMD, _MMD_DATA = 0x0D, 0x0E


def _mmd(register: int, value: int) -> tuple[Write, ...]:
    """A register of MMD device 2 (IEEE 802.3 §22.2.4.3.11)."""
    address, data = Write(_MMD, 0x0002), Write(_MMD, 0x4002)
    return address, Write(_MMD_DATA, register), data, Write(_MMD_DATA, value)


MICROCHIP_KSZ9031 = Phy(
    name="KSZ9031",
    identity=0x0022_1620,
    mask=0xFFFF_FFF0,
    # RXC is 1.2 ns late by itself. TXC: 0.96 ns later (31), TXD and TX_CTL 0.42 ns earlier (0).
    setup=(
        *_mmd(4, 0x0070),
        *_mmd(6, 0x0000),
        *_mmd(8, 0x03EF),
        Write(BASIC_CONTROL, NEGOTIATE),
    ),
    link=(BASIC_STATUS, 2),
    status=0x1F,
    # PHY Control: 1000 Mb/s (6), full duplex (3).
    gigabit=(0x0048, 0x0048),
)
PHYS: tuple[Phy, ...] = (MARVELL_88E1512, BROADCOM_B50612D, MICROCHIP_KSZ9031)


@dataclass(frozen=True, slots=True)
class PhyBus:
    """PHYs of one kind that share MDC, MDIO and reset. Raises ValueError, naming what is wrong."""

    phy: Phy
    """Their kind."""
    addresses: tuple[int, ...]
    """Where each answers, in the order of the ports."""
    reset_us: int = 20_000
    """Reset is held so long, and so long again is waited behind it: twice what the PHYs ask for."""
    poll_us: int = 5_000
    """Between two rounds: before that the in-band status tells of a lost link."""

    def __post_init__(self) -> None:
        for address in self.addresses:
            if not 0 <= address <= 31:
                raise ValueError(f"address = {address}: not in 0 to 31 (IEEE 802.3 §22.2.4.5.5)")
        if not self.addresses or len(set(self.addresses)) != len(self.addresses):
            raise ValueError(f"addresses = {self.addresses}: at least one, each once")
