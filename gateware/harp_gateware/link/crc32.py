"""CRC-32 of octets, a bit a clock.

Ref: IEEE 802.3 §3.2.9; `harp.tables.link` (polynomial, residue)
"""

from amaranth import Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from harp.tables.link import CRC_POLYNOMIAL, CRC_RESIDUE
from harp_gateware.link.layouts import CRC, OCTET


class Crc32(wiring.Component):
    """`value` is the CRC of the octets since `clear`, 9 clocks behind each; `good`: the last four
    were the CRC of those before. `clear` wins over an octet under way."""

    clear: In(1)
    i: In(stream.Signature(OCTET))
    value: Out(CRC)
    good: Out(1)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        register, left = Signal(CRC, init=-1), Signal(range(OCTET + 1))
        m.d.comb += [
            self.i.ready.eq(left == 0),
            self.value.eq(~register),
            self.good.eq(register == CRC_RESIDUE),
        ]
        with m.If(left != 0):
            m.d.sync += [
                register.eq((register >> 1) ^ Mux(register[0], CRC_POLYNOMIAL, 0)),
                left.eq(left - 1),
            ]
        with m.Elif(self.i.valid):
            m.d.sync += [register[:OCTET].eq(register[:OCTET] ^ self.i.payload), left.eq(OCTET)]
        with m.If(self.clear):
            m.d.sync += [register.eq(-1), left.eq(0)]
        return m
