"""Serial octets out: 8 data bits, no parity, one stop bit.

Ref: offload.md §6
"""

from amaranth import Cat, Const, Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from harp.tables.link import BITS_AN_OCTET
from harp_gateware.link.bit_clock import BitClock
from harp_gateware.link.layouts import OCTET


class UartSender(wiring.Component):
    """Start bit, octet with its lowest bit first, stop bit; `i` is ready when the line is free.

    Two clocks of pause between octets; `tx` comes from a flop.
    """

    i: In(stream.Signature(OCTET))
    tx: Out(1, init=1)

    def __init__(self, clock_hz: int, baud: int) -> None:
        self._rate = clock_hz, baud
        super().__init__()

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.clock = clock = BitClock(*self._rate)
        bits, left = Signal(BITS_AN_OCTET - 1), Signal(range(BITS_AN_OCTET + 1))
        m.d.comb += [self.i.ready.eq(left == 0), clock.run.eq(left != 0)]
        with m.If(left == 0):
            with m.If(self.i.valid):
                m.d.sync += [
                    self.tx.eq(0),
                    bits.eq(Cat(self.i.payload, Const(1, 1))),
                    left.eq(BITS_AN_OCTET),
                ]
        with m.Elif(clock.tick):
            m.d.sync += [self.tx.eq(bits[0]), bits.eq(Cat(bits[1:], Const(1, 1)))]
            m.d.sync += left.eq(left - 1)
        return m
