"""Serial octets in: 8 data bits, no parity, one stop bit.

Ref: offload.md §6
"""

from amaranth import Cat, Module, Signal
from amaranth.lib import cdc, stream, wiring
from amaranth.lib.wiring import In, Out

from harp_gateware.link.bit_clock import BitClock
from harp_gateware.link.layouts import OCTET


class UartReceiver(wiring.Component):
    """Samples each bit in its middle, from the falling edge of the start bit on.

    An octet is on `o` for a clock, half a bit before its stop bit ends, so that the next start
    bit may come early. No stop bit: `error` for a clock, and nothing more until the line is high.
    A low pulse shorter than half a bit is nothing.
    """

    rx: In(1, init=1)
    """The pin; synchronised here."""
    o: Out(stream.Signature(OCTET, always_ready=True))
    error: Out(1)

    def __init__(self, clock_hz: int, baud: int) -> None:
        self._rate = clock_hz, baud
        super().__init__()

    def elaborate(self, platform: object) -> Module:
        m = Module()
        line = Signal(init=1)
        m.submodules.synchroniser = cdc.FFSynchronizer(self.rx, line, init=1)
        m.submodules.clock = clock = BitClock(*self._rate)
        octet, left = Signal(OCTET), Signal(range(OCTET + 1))
        m.d.comb += clock.half.eq(1)
        m.d.sync += [self.o.valid.eq(0), self.error.eq(0)]
        with m.FSM():
            with m.State("Idle"):
                m.d.sync += left.eq(OCTET)
                with m.If(~line):
                    m.next = "Start"
            with m.State("Start"):
                m.d.comb += clock.run.eq(1)
                with m.If(clock.tick):
                    m.next = "Data"
                    with m.If(line):
                        m.next = "Idle"
            with m.State("Data"):
                m.d.comb += clock.run.eq(1)
                with m.If(clock.tick):
                    m.d.sync += [octet.eq(Cat(octet[1:], line)), left.eq(left - 1)]
                    with m.If(left == 1):
                        m.next = "Stop"
            with m.State("Stop"):
                m.d.comb += clock.run.eq(1)
                with m.If(clock.tick):
                    m.d.sync += [self.o.valid.eq(line), self.error.eq(~line)]
                    m.next = "Break"
            with m.State("Break"):
                with m.If(line):
                    m.next = "Idle"
        m.d.comb += self.o.payload.eq(octet)
        return m
