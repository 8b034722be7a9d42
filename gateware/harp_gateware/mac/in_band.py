"""Link, speed and duplex as RGMII tells them between frames.

Ref: RGMII 2.0 §3.4.1 (optional in-band status)
"""

from amaranth import Module, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

STATUS = data.StructLayout({"link": 1, "speed": 2, "full_duplex": 1})
"""The nibble as it is sent; speed 0: 10, 1: 100, 2: 1000 Mb/s, as register `port_state` has it."""
SAME_CLOCKS = 16


class InBandStatus(wiring.Component):
    """The last status that stood for SAME_CLOCKS clocks between frames; one octet a clock.

    `known` is 0 until one told of a link: a PHY need not send it, and says 0 then.
    """

    i_data: In(8)
    i_dv: In(1)
    i_er: In(1)
    o: Out(STATUS)
    known: Out(1)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        nibble, quiet, moved = Signal(4), Signal(), Signal()
        left = Signal(range(SAME_CLOCKS), init=SAME_CLOCKS - 1)
        low, high = self.i_data[:4], self.i_data[4:]
        m.d.sync += [
            nibble.eq(low),
            moved.eq(low != nibble),
            # Both edges of the clock carry the same nibble then.
            quiet.eq(~self.i_dv & ~self.i_er & (low == high)),
        ]
        with m.If(moved | ~quiet):
            m.d.sync += left.eq(SAME_CLOCKS - 1)
        with m.Elif(left != 0):
            m.d.sync += left.eq(left - 1)
        with m.Else():
            m.d.sync += [self.o.eq(nibble), self.known.eq(self.known | nibble[0])]
        return m
