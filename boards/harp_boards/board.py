"""What a board is, and the part of the design that its pins need: clocks, resets, RGMII, UART.

Ref: RGMII 2.0 §3; Lattice ECP5 family data sheet (EHXPLLL, DELAYF, IDDRX1F, ODDRX1F)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from amaranth import Cat, ClockDomain, ClockSignal, Const, Elaboratable, Instance, Module, Signal
from amaranth.build import Attrs, Resource, Subsignal
from amaranth.lib import io
from amaranth.lib.cdc import ResetSynchronizer
from amaranth.vendor import LatticeECP5Platform

from harp.tables.link import BAUD
from harp_gateware.core import Identity
from harp_gateware.device import TX_DOMAIN, TX_HZ, Device, DeviceParams, rx_domain
from harp_gateware.mac.phys import PhyBus
from harp_gateware.params import CoreParams

MARGIN = 1.05
"""Clocks are constrained this much above what they run at."""
PHASE_DETECTOR_MIN_HZ, VCO_MIN_HZ, VCO_MAX_HZ = 10_000_000, 400_000_000, 800_000_000
MAX_PIN_DELAY_STEPS = 127
"""Of DELAYF, 25 ps each."""


@dataclass(frozen=True, slots=True)
class Pll:
    """Dividers of the one EHXPLLL: the line's 125 MHz and the core's clock."""

    input_hz: int
    input_divider: int
    feedback_divider: int
    tx_divider: int
    core_divider: int

    def __post_init__(self) -> None:
        detector_hz = self.input_hz / self.input_divider
        vco_hz = detector_hz * self.feedback_divider * self.tx_divider
        if detector_hz < PHASE_DETECTOR_MIN_HZ or not VCO_MIN_HZ <= vco_hz <= VCO_MAX_HZ:
            raise ValueError(f"PLL: {detector_hz / 1e6:g} MHz in, {vco_hz / 1e6:g} MHz VCO")
        if vco_hz / self.tx_divider != TX_HZ:
            raise ValueError(f"PLL: {vco_hz / self.tx_divider / 1e6:g} MHz is not the line's clock")
        if vco_hz % (1_000_000 * self.core_divider):
            raise ValueError("PLL: the core's clock is no whole number of MHz")

    @property
    def core_hz(self) -> int:
        """Clock of the core."""
        return TX_HZ * self.tx_divider // self.core_divider


@dataclass(frozen=True, slots=True)
class GoldenPlace:
    """Where a flash keeps a second image for the case that the first is damaged."""

    flash_mbit: int
    """Size of the flash, Mbit."""
    address: int
    """Offset of the golden image, octets; behind the working one."""


@dataclass(frozen=True, slots=True)
class Board:
    """One kind of board. A new one is a file with one of these, listed in `boards.BOARDS`."""

    name: str
    """What `harp-board` calls it."""
    number: int
    """Register `board`; never given twice."""
    title: str
    """One line for people: maker, FPGA, ports."""
    platform: Callable[[], LatticeECP5Platform]
    """Its pins, with the resources `rgmii` (one a port: network, host) and `phy_bus`."""
    buses: tuple[PhyBus, ...]
    """Management of the PHYs, as the resources `phy_bus` are numbered."""
    pll: Pll
    """Its clocks, from the platform's default clock."""
    flash: tuple[str, ...]
    """Arguments of openFPGALoader that choose board and cable."""
    golden: GoldenPlace | None = None
    """Place of a golden image; None: the flash has none."""
    leds: int = 0
    """LEDs it has for `device.LEDS`."""
    rx_delay_steps: tuple[int, ...] = (0, 0)
    """Delay of a port's inputs, 25 ps each; 0: the PHY's delay is right as it is."""
    core: dict[str, int] = field(default_factory=dict)
    """Parameters of the core that are not the default."""
    notes: tuple[str, ...] = ()
    """What a user must know: jumpers, pins shared, what is not there."""

    def __post_init__(self) -> None:
        for steps in self.rx_delay_steps:
            if not 0 <= steps <= MAX_PIN_DELAY_STEPS:
                raise ValueError(f"rx_delay_steps = {steps}: not in 0 to {MAX_PIN_DELAY_STEPS}")

    @property
    def ports(self) -> int:
        """Ethernet ports: 2, or 1 for a monitor."""
        return sum(len(bus.addresses) for bus in self.buses)

    @property
    def phys(self) -> tuple[tuple[int, int], ...]:
        """Management bus and address of each port's PHY."""
        return tuple((n, phy) for n, bus in enumerate(self.buses) for phy in bus.addresses)

    def device(self, identity: Identity | None = None, baud: int = BAUD) -> DeviceParams:
        """What is built for it. Raises ValueError, naming what is wrong."""
        core = CoreParams(ports=self.ports, clock_hz=self.pll.core_hz, **self.core)
        return DeviceParams(core, self.buses, baud, identity or Identity(board=self.number))


def rgmii(number: int, source: Resource) -> Resource:
    """The data pins of a board's Ethernet resource under names that are the same everywhere."""
    wanted = {"tx_ctrl": "tx_ctl", "rx_ctrl": "rx_ctl"}
    kept = ("tx_clk", "tx_ctl", "tx_data", "rx_clk", "rx_ctl", "rx_data")
    named = [(wanted.get(part.name, part.name), part) for part in source.ios]
    parts = [Subsignal(name, *part.ios) for name, part in named if name in kept]
    return Resource("rgmii", number, *parts, Attrs(**source.attrs))


def phy_bus(number: int, source: Resource) -> Resource:
    """Its management pins."""
    kept = ("rst", "mdc", "mdio")
    parts = [Subsignal(part.name, *part.ios) for part in source.ios if part.name in kept]
    return Resource("phy_bus", number, *parts, Attrs(**source.attrs))


class BoardTop(Elaboratable):
    """A device on a board's pins."""

    def __init__(self, board: Board, identity: Identity | None = None, baud: int = BAUD) -> None:
        self._board = board
        self._device = Device(board.device(identity, baud))

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        m.submodules.device = self._device
        self._clocks(m, platform)
        for n in range(self._board.ports):
            self._port(m, platform, n)
        for n in range(len(self._board.buses)):
            self._bus(m, platform, n)
        uart = platform.request("uart", 0, dir={"rx": "-", "tx": "-"})
        m.d.comb += self._device.uart_rx.eq(_input(m, "uart_rx", uart.rx))
        _output(m, "uart_tx", uart.tx, self._device.uart_tx)
        for n in range(self._board.leds):
            led = platform.request("led", n, dir="-")
            _output(m, f"led_{n}", led, self._device.leds[n])
        return m

    def _clocks(self, m: Module, platform: Any) -> None:
        """PLL, and a reset of each domain: at once when the lock is lost, released with a clock."""
        pll = self._board.pll
        pins = platform.request(platform.default_clk, dir="-")
        source = _input(m, "clock", pins)
        tx, core, locked = Signal(name="clk_tx"), Signal(name="clk_core"), Signal()
        m.submodules.pll = Instance(
            "EHXPLLL",
            a_FREQUENCY_PIN_CLKI=str(pll.input_hz / 1e6),
            a_FREQUENCY_PIN_CLKOP=str(TX_HZ / 1e6),
            a_FREQUENCY_PIN_CLKOS=str(pll.core_hz / 1e6),
            p_CLKI_DIV=pll.input_divider,
            p_CLKFB_DIV=pll.feedback_divider,
            p_CLKOP_DIV=pll.tx_divider,
            p_CLKOP_ENABLE="ENABLED",
            p_CLKOP_CPHASE=pll.tx_divider - 1,
            p_CLKOP_FPHASE=0,
            p_CLKOS_DIV=pll.core_divider,
            p_CLKOS_ENABLE="ENABLED",
            p_CLKOS_CPHASE=pll.core_divider - 1,
            p_CLKOS_FPHASE=0,
            p_FEEDBK_PATH="CLKOP",
            i_CLKI=source,
            i_CLKFB=tx,
            i_RST=Const(0),
            i_STDBY=Const(0),
            i_PHASESEL0=Const(0),
            i_PHASESEL1=Const(0),
            i_PHASEDIR=Const(1),
            i_PHASESTEP=Const(1),
            i_PHASELOADREG=Const(1),
            i_PLLWAKESYNC=Const(0),
            i_ENCLKOP=Const(0),
            i_ENCLKOS=Const(0),
            o_CLKOP=tx,
            o_CLKOS=core,
            o_LOCK=locked,
        )
        # Their constraints are derived from that of the input (`build.with_margin`).
        for name, clock in ((TX_DOMAIN, tx), ("sync", core)):
            m.domains += ClockDomain(name, async_reset=name == TX_DOMAIN)
            m.d.comb += ClockSignal(name).eq(clock)
            m.submodules[f"reset_{name}"] = ResetSynchronizer(~locked, domain=name)

    def _port(self, m: Module, platform: Any, n: int) -> None:
        """One PHY: its clock is a domain; control carries DV, then DV ⊕ ER (RGMII 2.0 §3.4)."""
        pins = platform.request("rgmii", n, dir=dict.fromkeys(_RGMII, "-"))
        device, domain = self._device, rx_domain(n)
        clock = Signal(name=f"clk_{domain}")
        m.domains += ClockDomain(domain, async_reset=True)
        m.d.comb += [
            clock.eq(_input(m, f"{domain}_clock", pins.rx_clk)),
            ClockSignal(domain).eq(clock),
        ]
        platform.add_clock_constraint(clock, TX_HZ * MARGIN)
        lost = getattr(device, f"rx_reset_{n}")
        m.submodules[f"reset_{domain}"] = ResetSynchronizer(lost, domain=domain)
        steps = self._board.rx_delay_steps[n]
        moved = getattr(device, f"rx_load_n_{n}"), getattr(device, f"rx_move_{n}")
        data = _delayed_input(m, f"{domain}_data", pins.rx_data, domain, steps, moved)
        control = _delayed_input(m, f"{domain}_control", pins.rx_ctl, domain, steps, moved)
        # A register behind the DDR cells: they are far from each other on the die.
        m.d[domain] += [
            getattr(device, f"rx_data_{n}").eq(Cat(data[0], data[1])),
            getattr(device, f"rx_dv_{n}").eq(control[0]),
            getattr(device, f"rx_er_{n}").eq(control[0] ^ control[1]),
        ]
        # And one before those that send.
        octet, rising, falling = Signal(8), Signal(), Signal()
        enable, error = getattr(device, f"tx_en_{n}"), getattr(device, f"tx_er_{n}")
        m.d[TX_DOMAIN] += [
            octet.eq(getattr(device, f"tx_data_{n}")),
            rising.eq(enable),
            falling.eq(enable ^ error),
        ]
        _ddr_output(m, f"tx_data_{n}", pins.tx_data, octet[:4], octet[4:])
        _ddr_output(m, f"tx_control_{n}", pins.tx_ctl, rising, falling)
        _ddr_output(m, f"tx_clock_{n}", pins.tx_clk, Const(1, 1), Const(0, 1))

    def _bus(self, m: Module, platform: Any, n: int) -> None:
        pins = platform.request("phy_bus", n, dir={"rst": "-", "mdc": "-", "mdio": "-"})
        device = self._device
        _output(m, f"phy_reset_{n}", pins.rst, getattr(device, f"phy_reset_{n}"))
        _output(m, f"mdc_{n}", pins.mdc, getattr(device, f"mdc_{n}"))
        m.submodules[f"mdio_{n}"] = line = io.Buffer("io", pins.mdio)
        m.d.comb += [
            line.o.eq(getattr(device, f"mdio_o_{n}")),
            line.oe.eq(getattr(device, f"mdio_oe_{n}")),
            getattr(device, f"mdio_i_{n}").eq(line.i),
        ]


_RGMII = ("tx_clk", "tx_ctl", "tx_data", "rx_clk", "rx_ctl", "rx_data")


def _input(m: Module, name: str, port: Any) -> Signal:
    m.submodules[name] = buffer = io.Buffer("i", port)
    return buffer.i


def _output(m: Module, name: str, port: Any, value: Any) -> None:
    m.submodules[name] = buffer = io.Buffer("o", port)
    m.d.comb += buffer.o.eq(value)


def _delayed_input(
    m: Module, name: str, port: Any, domain: str, steps: int, control: tuple[Signal, Signal]
) -> tuple[Signal, Signal]:
    """What the pins had at the rising and at the falling edge, behind delay cells.

    `control`: LOADN and MOVE of the cells, which then have `steps` and what was counted up."""
    rising, falling = Signal(len(port), name=f"{name}_r"), Signal(len(port), name=f"{name}_f")
    m.submodules[name] = pins = io.Buffer("i", port)
    load_n, move = control
    for bit in range(len(port)):
        late = Signal(name=f"{name}_{bit}_late")
        m.submodules[f"{name}_{bit}_delay"] = Instance(
            "DELAYF",
            p_DEL_MODE="USER_DEFINED",
            p_DEL_VALUE=steps,
            i_A=pins.i[bit],
            i_LOADN=load_n,
            i_MOVE=move,
            i_DIRECTION=Const(0),
            o_Z=late,
        )
        m.submodules[f"{name}_{bit}_ddr"] = Instance(
            "IDDRX1F",
            i_D=late,
            i_SCLK=ClockSignal(domain),
            i_RST=Const(0),
            o_Q0=rising[bit],
            o_Q1=falling[bit],
        )
    return rising, falling


def _ddr_output(m: Module, name: str, port: Any, rising: Any, falling: Any) -> None:
    m.submodules[name] = buffer = io.DDRBuffer("o", port, o_domain=TX_DOMAIN)
    m.d.comb += [buffer.o[0].eq(rising), buffer.o[1].eq(falling)]
