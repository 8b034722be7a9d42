"""The management interface: one master for all PHYs on the wire.

Ref: IEEE 802.3 §22.2.4.5 (frame), §22.3.4 (MDC at most 2.5 MHz)
"""

from amaranth import Cat, Const, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

MAX_MDC_HZ = 2_500_000
PREAMBLE_BITS = 32
FRAME_BITS = 32
READ_DRIVEN = 14
"""Bits of a read that the master drives: start, operation, addresses."""

MDIO_REQUEST = data.StructLayout({"phy": 5, "register": 5, "write": 1, "data": 16})


class Mdio(wiring.Component):
    """Carries requests out, one after the other, a preamble before each; 64 periods of MDC.

    Every request is answered: a write with what was written, a read with what the PHY says; one
    that does not drive the line is read as 0xFFFF (the line is pulled up). `mdio_o` changes with
    the falling edge of `mdc`.
    """

    def __init__(self, clock_hz: int) -> None:
        self._half_clocks = -(-clock_hz // (2 * MAX_MDC_HZ))
        super().__init__(
            {
                "i": In(stream.Signature(MDIO_REQUEST)),
                "o": Out(stream.Signature(16, always_ready=True)),
                "mdc": Out(1),
                "mdio_o": Out(1, init=1),
                "mdio_oe": Out(1),
                "mdio_i": In(1, init=1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        request = self.i.payload
        bits = Signal(FRAME_BITS)
        left = Signal(range(PREAMBLE_BITS + FRAME_BITS + 1))
        write, busy = Signal(), Signal()
        tick, half = Signal(), Signal(range(self._half_clocks))
        m.d.comb += tick.eq(half == 0)
        m.d.sync += half.eq(Mux(tick, self._half_clocks - 1, half - 1))
        m.d.comb += self.i.ready.eq(~busy)
        m.d.sync += self.o.valid.eq(0)
        with m.If(~busy):
            with m.If(self.i.valid):
                operation = Mux(request.write, Const(0b01, 2), Const(0b10, 2))
                # Highest bit first: start 01, operation, PHY, register, turnaround 10, data.
                head = Cat(request.register, request.phy, operation, Const(0b01, 2))
                m.d.sync += [
                    bits.eq(Cat(request.data, Const(0b10, 2), head)),
                    left.eq(PREAMBLE_BITS + FRAME_BITS),
                    write.eq(request.write),
                    busy.eq(1),
                    half.eq(self._half_clocks - 1),
                    self.mdio_o.eq(1),
                    self.mdio_oe.eq(1),
                ]
        with m.Elif(tick):
            self._turn(m, bits, left, write, busy)
        return m

    def _turn(self, m: Module, bits: Signal, left: Signal, write: Signal, busy: Signal) -> None:
        """Half a period. A PHY samples at the rising edge and changes the line after it."""
        m.d.sync += self.mdc.eq(~self.mdc)
        with m.If(~self.mdc):
            with m.If(left <= FRAME_BITS):
                m.d.sync += bits.eq(Cat(self.mdio_i, bits[:-1]))
        with m.Else():
            following = Signal.like(left)
            in_frame = following <= FRAME_BITS
            m.d.comb += following.eq(left - 1)
            m.d.sync += [
                left.eq(following),
                self.mdio_o.eq(~in_frame | bits[-1]),
                self.mdio_oe.eq(~in_frame | write | (following > FRAME_BITS - READ_DRIVEN)),
            ]
            with m.If(following == 0):
                m.d.sync += [
                    self.mdio_oe.eq(0),
                    busy.eq(0),
                    self.o.valid.eq(1),
                    self.o.payload.eq(bits[:16]),
                ]
