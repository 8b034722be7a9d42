"""One Ethernet port: MAC, crossings and state, between a PHY's octets and the core's words.

Ref: offload.md §1, §6 (per port); IEEE 802.3 §4
"""

from amaranth import Module, Signal, Value
from amaranth.hdl import DomainRenamer
from amaranth.lib import data, stream, wiring
from amaranth.lib.cdc import FFSynchronizer
from amaranth.lib.wiring import In, Out, connect, flipped

from harp_gateware.layouts import PORT_STATE, WORD
from harp_gateware.mac.closer import FrameCloser
from harp_gateware.mac.control import ControlFilter
from harp_gateware.mac.crossing import ClockWatch, Handshake, WordFifo
from harp_gateware.mac.in_band import STATUS, InBandStatus
from harp_gateware.mac.receive import MacReceive
from harp_gateware.mac.transmit import MacTransmit

GIGABIT = 2
"""The one speed that is carried (`port_state.speed`)."""
SLOWEST_CLOCK_HZ = 2_000_000
"""A PHY at 10 Mb/s gives 2.5 MHz: below this there is no clock."""

MANAGED = data.StructLayout({"known": 1, **dict(STATUS.members)})
"""What the management interface says of the PHY. `known`: it answered, its identity is one that the
board expects, and its delays are set."""


class EthernetPort(wiring.Component):
    """Full duplex at 1000 Mb/s; any other link is `unsupported_speed` and carries nothing.

    `rx_*` are in `rx_domain`, the PHY's own clock, `tx_*` in `tx_domain`; all else is in `sync`, at
    least at 20 MHz. First octet at `rx_data` → first word at `o`: 20 clocks of 8 ns, 8 of `sync`
    (a frame's second word tells whether it is a MAC Control frame, which ends here). First word at
    `i` → first octet of the preamble: a clock of `sync`, 7 of 8 ns, then up to 24 until four words
    are there.
    While the link is down or not carried nothing comes in, and what goes out is taken and lost, so
    that nothing in the core waits for a cable; a link that comes up carries from the next frame on.
    For tests `force` carries without a link, and `mute` carries nothing.
    """

    def __init__(self, rx_domain: str, tx_domain: str, clock_hz: int) -> None:
        self._rx_domain, self._tx_domain = rx_domain, tx_domain
        self._clock_hz = clock_hz
        super().__init__(
            {
                "rx_data": In(8),
                "rx_dv": In(1),
                "rx_er": In(1),
                "tx_data": Out(8),
                "tx_en": Out(1),
                "tx_er": Out(1),
                "o": Out(stream.Signature(WORD, always_ready=True)),
                "i": In(stream.Signature(WORD)),
                "managed": In(MANAGED),
                "unknown_phy": In(1),
                "enable": In(1),
                "mute": In(1),
                "force": In(1),
                "state": Out(PORT_STATE),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        self._carry = Signal()
        self._judge_link(m)
        self._receive(m)
        self._transmit(m)
        return m

    def _judge_link(self, m: Module) -> None:
        """The link is up when management says so and the PHY's in-band status does not deny it."""
        rename = DomainRenamer(self._rx_domain)
        m.submodules.in_band = in_band = rename(InBandStatus())
        shape = data.StructLayout({"known": 1, "status": STATUS})
        m.submodules.told = told = Handshake(shape, self._rx_domain, "sync")
        clocks = 4 * 16 * self._clock_hz // SLOWEST_CLOCK_HZ
        m.submodules.watch = watch = ClockWatch(self._rx_domain, clocks)
        m.d.comb += [
            in_band.i_data.eq(self.rx_data),
            in_band.i_dv.eq(self.rx_dv),
            in_band.i_er.eq(self.rx_er),
            told.i.known.eq(in_band.known),
            told.i.status.eq(in_band.o),
        ]
        state, managed = self.state, self.managed
        denied = told.o.known & ~told.o.status.link
        up = managed.known & managed.link & ~denied & ~watch.o_lost
        carried = managed.full_duplex & (managed.speed == GIGABIT)
        m.d.sync += [
            state.no_clock.eq(watch.o_lost),
            state.unknown_phy.eq(self.unknown_phy),
            state.speed.eq(managed.speed),
            state.full_duplex.eq(managed.full_duplex),
            state.unsupported_speed.eq(up & ~carried),
            state.link.eq(up & carried),
            self._carry.eq((up & carried & self.enable | self.force) & ~self.mute),
        ]

    def _receive(self, m: Module) -> None:
        m.submodules.receive = receive = DomainRenamer(self._rx_domain)(MacReceive())
        m.submodules.rx_fifo = fifo = WordFifo(self._rx_domain, "sync")
        # A word comes every 64 ns at the latest; a frame may not stand still for 16 of them.
        m.submodules.closer = closer = FrameCloser(16 * 64 * self._clock_hz // 1_000_000_000)
        m.submodules.control = control = ControlFilter()
        carried = self._carried(m, self._rx_domain, self.rx_dv)
        m.d[self._rx_domain] += [
            receive.i_data.eq(self.rx_data),
            receive.i_dv.eq(self.rx_dv & carried),
            receive.i_er.eq(self.rx_er),
        ]
        connect(m, receive.o, fifo.i)
        connect(m, fifo.o, closer.i)
        word = Signal(WORD, reset_less=True)
        m.d.sync += [control.i.valid.eq(closer.o.valid), word.eq(closer.o.payload)]
        m.d.comb += control.i.payload.eq(word)
        connect(m, control.o, flipped(self.o))

    def _transmit(self, m: Module) -> None:
        m.submodules.tx_fifo = fifo = WordFifo("sync", self._tx_domain)
        m.submodules.transmit = transmit = DomainRenamer(self._tx_domain)(MacTransmit())
        carried = self._carried(m, self._tx_domain, transmit.o_en)
        connect(m, flipped(self.i), fifo.i)
        connect(m, fifo.o, transmit.i)
        m.d.comb += [
            transmit.i_level.eq(fifo.level),
            self.tx_data.eq(transmit.o_data),
            self.tx_en.eq(transmit.o_en & carried),
            self.tx_er.eq(transmit.o_er & carried),
        ]

    def _carried(self, m: Module, domain: str, active: Value) -> Value:
        """Whether octets pass, in `domain`: from the end of a frame on, until at once not."""
        carry, whole = Signal(name=f"carry_{domain}"), Signal(name=f"whole_{domain}")
        m.submodules[f"carry_{domain}"] = FFSynchronizer(self._carry, carry, o_domain=domain)
        with m.If(~carry | ~active):
            m.d[domain] += whole.eq(carry)
        return carry & whole
