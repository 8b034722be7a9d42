"""A whole device behind its pins: core, serial link, Ethernet ports, PHY management.

Ref: offload.md §1, §6
"""

from dataclasses import dataclass, field

from amaranth import Cat, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out, connect

from harp.tables.link import BAUD
from harp_gateware.board_page import BoardPage
from harp_gateware.core import Core, Identity
from harp_gateware.layouts import TIME_US
from harp_gateware.link.serial_link import SerialLink
from harp_gateware.mac.manager import PhyManager
from harp_gateware.mac.phys import PhyBus
from harp_gateware.mac.port import EthernetPort
from harp_gateware.params import CoreParams

TX_DOMAIN = "tx"
TX_HZ = 125_000_000
LEDS = ("network_link", "host_link", "lease", "fenced")


def rx_domain(port: int) -> str:
    """Name of the clock domain of a PHY's receive clock."""
    return f"rx_{port}"


@dataclass(frozen=True, slots=True)
class DeviceParams:
    """What is built. Raises ValueError, naming what is wrong."""

    core: CoreParams
    """The core; its clock is that of `sync`."""
    buses: tuple[PhyBus, ...]
    """Management of the PHYs, in the order of the ports: network, host."""
    baud: int = BAUD
    """Bit/s of the serial link."""
    identity: Identity = field(default_factory=Identity)
    """What the first registers say."""

    def __post_init__(self) -> None:
        phys = sum(len(bus.addresses) for bus in self.buses)
        if phys != self.core.ports:
            raise ValueError(f"buses: {phys} PHYs for {self.core.ports} ports")


class Device(wiring.Component):
    """Octets of the PHYs, management wires and UART on the outside; all else within.

    Domains: `sync` (the core's clock), `tx` (125 MHz, octets out), `rx_n` (PHY n's receive clock,
    octets in). Numbers behind names: of the port, or of the management bus. `rx_reset_n` asks for
    the reset of domain `rx_n`: its clock is gone. `rx_load_n_n` and `rx_move_n` set the delay of
    PHY n's receive pins (`PinDelay`).
    """

    def __init__(self, params: DeviceParams) -> None:
        self._params = params
        ports: dict[str, In | Out] = {"uart_rx": In(1, init=1), "uart_tx": Out(1, init=1)}
        for n in range(params.core.ports):
            ports |= {f"rx_data_{n}": In(8), f"rx_dv_{n}": In(1), f"rx_er_{n}": In(1)}
            ports |= {f"tx_data_{n}": Out(8), f"tx_en_{n}": Out(1), f"tx_er_{n}": Out(1)}
            ports |= {f"rx_reset_{n}": Out(1, init=1)}
            ports |= {f"rx_load_n_{n}": Out(1, init=1), f"rx_move_{n}": Out(1)}
        for n in range(len(params.buses)):
            ports |= {f"phy_reset_{n}": Out(1, init=1), f"mdc_{n}": Out(1)}
            ports |= {f"mdio_o_{n}": Out(1), f"mdio_oe_{n}": Out(1), f"mdio_i_{n}": In(1, init=1)}
        super().__init__(ports | {"leds": Out(len(LEDS))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        params = self._params
        m.submodules.core = self._core = core = Core(params.core, params.identity)
        m.submodules.link = link = SerialLink(params.core.clock_hz, params.baud)
        m.submodules.page = self._page = page = BoardPage(params.core)
        connect(m, link.o_request, page.i_request)
        connect(m, page.o_response, link.i_response)
        connect(m, page.o_core, core.i_request)
        connect(m, core.o_response, page.i_core)
        connect(m, core.o_event, link.i_event)
        m.d.comb += [link.rx.eq(self.uart_rx), self.uart_tx.eq(link.tx)]
        for name in link.signature.members:
            if name.startswith("uart__"):
                m.d.comb += getattr(core, name).eq(getattr(link, name))
        self._count_time(m)
        self._ports = [self._port(m, n) for n in range(params.core.ports)]
        self._manage(m)
        return m

    def _count_time(self, m: Module) -> None:
        """`now_us` of the core."""
        clocks = self._params.core.clock_hz // 1_000_000
        now, left = Signal(TIME_US), Signal(range(clocks))
        m.d.sync += left.eq(Mux(left == 0, clocks - 1, left - 1))
        with m.If(left == 0):
            m.d.sync += now.eq(now + 1)
        m.d.comb += self._core.now_us.eq(now)

    def _port(self, m: Module, n: int) -> EthernetPort:
        """A port and its side of the core: 0 network, 1 host."""
        port = EthernetPort(rx_domain(n), TX_DOMAIN, self._params.core.clock_hz)
        m.submodules[f"port_{n}"] = port
        core, side = self._core, ("net", "host")[n]
        m.d.comb += [
            port.rx_data.eq(getattr(self, f"rx_data_{n}")),
            port.rx_dv.eq(getattr(self, f"rx_dv_{n}")),
            port.rx_er.eq(getattr(self, f"rx_er_{n}")),
            getattr(self, f"tx_data_{n}").eq(port.tx_data),
            getattr(self, f"tx_en_{n}").eq(port.tx_en),
            getattr(self, f"tx_er_{n}").eq(port.tx_er),
            getattr(self, f"rx_reset_{n}").eq(port.state.no_clock),
            getattr(core, f"{side}_state").eq(port.state),
            port.enable.eq(core.host_link_enable if n else 1),
            port.mute.eq(self._page.mute[n]),
            port.force.eq(self._page.force[n]),
            getattr(self, f"rx_load_n_{n}").eq(self._page.load_n[n]),
            getattr(self, f"rx_move_{n}").eq(self._page.move[n]),
        ]
        connect(m, port.o, getattr(core, f"i_{side}"))
        connect(m, getattr(core, f"o_{side}"), port.i)
        return port

    def _manage(self, m: Module) -> None:
        """One master a bus; the host port's PHY has no power while a lost link is mirrored."""
        ports, page = iter(self._ports), self._page
        answers = []
        for n, bus in enumerate(self._params.buses):
            manager = PhyManager(bus, self._params.core.clock_hz)
            m.submodules[f"manager_{n}"] = manager
            m.d.comb += [
                getattr(self, f"phy_reset_{n}").eq(manager.phy_reset),
                getattr(self, f"mdc_{n}").eq(manager.mdc),
                getattr(self, f"mdio_o_{n}").eq(manager.mdio_o),
                getattr(self, f"mdio_oe_{n}").eq(manager.mdio_oe),
                manager.mdio_i.eq(getattr(self, f"mdio_i_{n}")),
                manager.i_host.payload.eq(page.o_mdio),
                manager.i_host.valid.eq(page.o_asked & (page.o_bus == n)),
            ]
            answers.append((manager.o_host.valid, manager.o_host.payload))
            for index in range(len(bus.addresses)):
                port = next(ports)
                m.d.comb += [
                    port.managed.eq(manager.managed[index]),
                    port.unknown_phy.eq(manager.unknown[index]),
                    manager.enable[index].eq(port.enable),
                ]
        for valid, data in answers:
            with m.If(valid):
                m.d.sync += page.answer.eq(data)
        m.d.comb += page.answered.eq(Cat(*(valid for valid, _ in answers)).any())
        links = [port.state.link for port in self._ports] + [0] * (2 - len(self._ports))
        m.d.comb += self.leds.eq(Cat(*links, self._core.lease, self._core.fenced))
