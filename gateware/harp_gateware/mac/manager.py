"""Brings PHYs up over the management interface and asks for their links for ever.

Ref: IEEE 802.3 §22.2.4.3.1 (identifiers); `phys` (registers of each kind)
"""

from amaranth import Array, Const, Module, Mux, Signal
from amaranth.hdl import ValueLike
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from harp_gateware.mac.mdio import MDIO_REQUEST, Mdio
from harp_gateware.mac.phys import (
    BASIC_CONTROL,
    NEGOTIATE,
    PHY_IDENTIFIER_1,
    PHY_IDENTIFIER_2,
    POWER_DOWN,
    PhyBus,
    Write,
)
from harp_gateware.mac.port import GIGABIT, MANAGED

UNREAD = 0xFFFF


class PhyManager(wiring.Component):
    """The one master of a bus.

    `managed[n]` follows PHY n: `known` once its identity was right and its setup is done, then link
    and speed at every poll; `unknown[n]`: something else answers there, or nothing does. A PHY that
    disappears (its status is read as 0xFFFF) is set up again. `enable[n]` 0 takes PHY n's power
    away, so that its partner sees no link. Requests at `i_host` are done between two rounds of
    polls, and answered at `o_host` as they are taken.
    """

    def __init__(self, bus: PhyBus, clock_hz: int) -> None:
        self._phy, self._addresses, self._clock_hz = bus.phy, bus.addresses, clock_hz
        self._reset_clocks = bus.reset_us * clock_hz // 1_000_000
        self._poll_clocks = bus.poll_us * clock_hz // 1_000_000
        super().__init__(
            {
                "phy_reset": Out(1, init=1),
                "mdc": Out(1),
                "mdio_o": Out(1, init=1),
                "mdio_oe": Out(1),
                "mdio_i": In(1, init=1),
                "managed": Out(data.ArrayLayout(MANAGED, len(bus.addresses))),
                "unknown": Out(len(bus.addresses)),
                "enable": In(len(bus.addresses), init=-1),
                "i_host": In(stream.Signature(MDIO_REQUEST)),
                "o_host": Out(stream.Signature(16, always_ready=True)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.mdio = self._mdio = mdio = Mdio(self._clock_hz)
        m.d.comb += [
            self.mdc.eq(mdio.mdc),
            self.mdio_o.eq(mdio.mdio_o),
            self.mdio_oe.eq(mdio.mdio_oe),
            mdio.mdio_i.eq(self.mdio_i),
        ]
        self._index = Signal(range(len(self._addresses)))
        self._powered = Signal(len(self._addresses))
        self._read = Signal(16)
        self._steps = Signal(range(len(self._phy.setup) + 1))
        address = Array(Const(each, 5) for each in self._addresses)[self._index]
        m.d.comb += mdio.i.p.phy.eq(address)
        with m.If(mdio.o.valid):
            m.d.sync += self._read.eq(mdio.o.payload)
        longest = max(self._reset_clocks, self._poll_clocks)
        left = Signal(range(longest), init=self._reset_clocks - 1)
        with m.If(left != 0):
            m.d.sync += left.eq(left - 1)
        with m.FSM():
            with m.State("Reset"):
                with m.If(left == 0):
                    m.d.sync += [self.phy_reset.eq(0), left.eq(self._reset_clocks - 1)]
                    m.next = "Settle"
            with m.State("Settle"):
                with m.If(left == 0):
                    m.next = "Choose"
                with m.Elif(self.i_host.valid):
                    m.next = "Host"
            with m.State("Host"):
                m.d.comb += mdio.i.p.eq(self.i_host.p)
                self._ask(m, self.i_host.p.register, "Answered", write=self.i_host.p.write)
            with m.State("Answered"):
                m.d.comb += [
                    self.i_host.ready.eq(1),
                    self.o_host.valid.eq(1),
                    self.o_host.payload.eq(self._read),
                ]
                m.next = "Settle"
            with m.State("Choose"):
                m.d.sync += self._steps.eq(0)
                with m.If(self.managed[self._index].known):
                    m.next = "Power"
                with m.Else():
                    m.next = "Identify1"
            self._identify(m)
            self._set_up(m)
            self._poll(m)
            with m.State("Next"):
                last = self._index == len(self._addresses) - 1
                m.d.sync += self._index.eq(Mux(last, 0, self._index + 1))
                with m.If(last):
                    m.d.sync += left.eq(self._poll_clocks - 1)
                    m.next = "Settle"
                with m.Else():
                    m.next = "Choose"
        return m

    def _ask(self, m: Module, register: ValueLike, then: str, *, write: ValueLike = False) -> None:
        """Reads or writes a register; `then` when the answer is in `_read`."""
        asked = Signal(name=f"asked_{then}")
        m.d.comb += [
            self._mdio.i.valid.eq(~asked),
            self._mdio.i.p.register.eq(register),
            self._mdio.i.p.write.eq(write),
        ]
        with m.If(self._mdio.i.valid & self._mdio.i.ready):
            m.d.sync += asked.eq(1)
        with m.If(self._mdio.o.valid):
            m.d.sync += asked.eq(0)
            m.next = then

    def _identify(self, m: Module) -> None:
        phy = self._phy
        with m.State("Identify1"):
            self._ask(m, PHY_IDENTIFIER_1, "Check1")
        with m.State("Check1"):
            self._check(m, phy.identity >> 16, phy.mask >> 16, "Identify2")
        with m.State("Identify2"):
            self._ask(m, PHY_IDENTIFIER_2, "Check2")
        with m.State("Check2"):
            self._check(m, phy.identity & 0xFFFF, phy.mask & 0xFFFF, "Setup")

    def _check(self, m: Module, value: int, mask: int, then: str) -> None:
        wrong = (self._read & mask) != value
        m.d.sync += self.unknown.bit_select(self._index, 1).eq(wrong)
        with m.If(wrong):
            m.next = "Next"
        with m.Else():
            m.next = then

    def _set_up(self, m: Module) -> None:
        """One step after the other from the table."""
        mdio, asked = self._mdio, Signal()
        with m.State("Setup"):
            with m.Switch(self._steps):
                for number, step in enumerate(self._phy.setup):
                    with m.Case(number):
                        m.d.comb += mdio.i.p.register.eq(step.register)
                        if isinstance(step, Write):
                            value = step.value | (self._read & step.keep)
                            m.d.comb += [mdio.i.p.write.eq(1), mdio.i.p.data.eq(value)]
            done = self._steps == len(self._phy.setup)
            m.d.comb += mdio.i.valid.eq(~asked & ~done)
            with m.If(mdio.i.valid & mdio.i.ready):
                m.d.sync += asked.eq(1)
            with m.If(mdio.o.valid):
                m.d.sync += [asked.eq(0), self._steps.eq(self._steps + 1)]
            with m.If(done):
                m.d.sync += [
                    self.managed[self._index].known.eq(1),
                    self._powered.bit_select(self._index, 1).eq(1),
                ]
                m.next = "Next"

    def _poll(self, m: Module) -> None:
        """What is not 1000 Mb/s full duplex is told as 100 Mb/s: the MAC carries neither."""
        managed, phy = self.managed[self._index], self._phy
        mask, value = phy.gigabit
        with m.State("Power"):
            enable = self.enable.bit_select(self._index, 1)
            powered = self._powered.bit_select(self._index, 1)
            with m.If(enable == powered):
                m.next = "Link"
            with m.Else():
                m.d.comb += self._mdio.i.p.data.eq(Mux(enable, NEGOTIATE, POWER_DOWN))
                self._ask(m, BASIC_CONTROL, "Powered", write=True)
        with m.State("Powered"):
            m.d.sync += powered.eq(enable)
            m.next = "Link"
        with m.State("Link"):
            self._ask(m, phy.link[0], "Linked")
        with m.State("Linked"):
            m.d.sync += [
                managed.known.eq(self._read != UNREAD),
                managed.link.eq(self._read[phy.link[1]]),
            ]
            m.next = "Status"
        with m.State("Status"):
            self._ask(m, phy.status, "Judge")
        with m.State("Judge"):
            gigabit = (self._read & mask) == value
            m.d.sync += [
                managed.speed.eq(Mux(gigabit, GIGABIT, GIGABIT - 1)),
                managed.full_duplex.eq(gigabit),
            ]
            m.next = "Next"
