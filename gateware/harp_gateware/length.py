"""Is the frame long enough for its IPv6 packet.

Ref: RFC 8200 §3 (Payload Length), offload.md §1 (padding), §2 (`bad_ipv6`)
"""

from amaranth import Cat, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from harp_gateware.align import COUNT
from harp_gateware.layouts import L3_WORD, big_endian
from harp_gateware.params import WORD_OCTETS
from harp_gateware.walk import FIXED_WORDS


class Length(wiring.Component):
    """`cut`, 2 clocks after a frame's last word: fewer octets than 40 + Payload Length.

    Of a frame of a single word it means nothing: that is a runt.
    """

    i: In(stream.Signature(L3_WORD, always_ready=True))
    cut: Out(1)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        word = self.i.p
        coming, number = Signal(COUNT), Signal(COUNT)
        payload, needed = Signal(16), Signal(17)
        octets = Signal(COUNT + 4)
        m.d.comb += number.eq(Mux(word.first, 0, coming))
        with m.If(self.i.valid):
            m.d.sync += coming.eq(number + ~number.all())
            with m.If(word.first):
                m.d.sync += payload.eq(big_endian(word.data[32:48]))
        m.d.sync += [
            needed.eq(payload + FIXED_WORDS * WORD_OCTETS),
            octets.eq(Cat(word.octets[:3], number + word.octets[3])),
            self.cut.eq(octets < needed),
        ]
        return m
