"""Is the frame long enough for its IPv6 packet.

Ref: RFC 8200 §3 (Payload Length), offload.md §1 (padding), §2 (`bad_ipv6`)
"""

from amaranth import Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from harp.tables.offload import FCS_OCTETS
from harp_gateware.layouts import FRAME_META, L3_WORD, big_endian
from harp_gateware.params import WORD_OCTETS
from harp_gateware.walk import FIXED_WORDS

ETHERNET_OCTETS, TAG_OCTETS = 14, 4
LEAST = ETHERNET_OCTETS + FIXED_WORDS * WORD_OCTETS + FCS_OCTETS
"""Octets of a frame without tags around an empty packet."""


class Length(wiring.Component):
    """`cut`, 2 clocks after a frame's last word: fewer octets than 40 + Payload Length.

    `meta` goes with the words at `i`. Of a frame of a single word `cut` means nothing: that is a
    runt.
    """

    i: In(stream.Signature(L3_WORD, always_ready=True))
    meta: In(FRAME_META)
    cut: Out(1)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        word, octets = self.i.p, Signal.like(self.meta.octets)
        payload, needed = Signal(16), Signal(17)
        with m.If(self.i.valid & word.first):
            m.d.sync += payload.eq(big_endian(word.data[32:48]))
        m.d.sync += [
            needed.eq(payload + (LEAST + TAG_OCTETS * self.meta.vlan.tags)),
            octets.eq(self.meta.octets),
            self.cut.eq(octets < needed),
        ]
        return m
