"""Requests out of the octets that come from the host.

Ref: offload.md §6; `harp.tables.link`
"""

from amaranth import Cat, Module, Signal, Value
from amaranth.lib import memory, stream, wiring
from amaranth.lib.wiring import In, Out

from harp.tables.link import (
    ANSWER,
    CRC_OCTETS,
    MAX_MESSAGE_OCTETS,
    REQUEST_HEAD,
    WORD_OCTETS,
    LinkOp,
    octets_of,
)
from harp_gateware.link.cobs_decoder import CobsDecoder
from harp_gateware.link.crc32 import Crc32
from harp_gateware.link.layouts import CRC, HEAD, LENGTH, OCTET

HEAD_OCTETS = octets_of(REQUEST_HEAD)
SHORTEST = HEAD_OCTETS + CRC_OCTETS
DEPTH = 1 << (MAX_MESSAGE_OCTETS - 1).bit_length()


class RequestReceiver(wiring.Component):
    """Holds one whole request with a right CRC: `valid`, until `done`.

    `head`, `length` (octets, CRC included) and `crc` hold while `valid`; the words lie in a RAM:
    octet `address` of the message is on `data` a clock later. A frame that begins while a request
    is held is ignored as a whole. `bad` for a clock: a frame that is no request (COBS, CRC,
    length, an op of the other direction). Octets come at least 16 clocks apart.
    """

    i: In(stream.Signature(OCTET, always_ready=True))
    spoil: In(1)
    """An octet was lost: the frame that it belongs to is bad."""
    valid: Out(1)
    done: In(1)
    head: Out(HEAD)
    length: Out(LENGTH)
    crc: Out(CRC)
    address: In(range(DEPTH))
    data: Out(OCTET)
    bad: Out(1)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.decoder = decoder = CobsDecoder()
        m.submodules.check = check = Crc32()
        m.submodules.ram = ram = memory.Memory(shape=OCTET, depth=DEPTH, init=[])
        write, read = ram.write_port(), ram.read_port()
        deaf, long = Signal(), Signal()
        octet, head = decoder.o, Value.cast(self.head)
        opens = octet.valid & decoder.first
        hears = Signal()
        at = Signal(LENGTH)  # of this octet
        m.d.comb += [
            decoder.i.valid.eq(self.i.valid),
            decoder.i.payload.eq(self.i.payload),
            decoder.spoil.eq(self.spoil),
            hears.eq(octet.valid & ~(opens & self.valid) & ~(deaf & ~opens)),
            at.eq(self.length),
            check.clear.eq(decoder.end),
            check.i.valid.eq(octet.valid),
            check.i.payload.eq(octet.payload),
            write.addr.eq(at),
            write.data.eq(octet.payload),
            write.en.eq(hears & ~long),
            read.addr.eq(self.address),
            self.data.eq(read.data),
        ]
        with m.If(opens):
            m.d.sync += deaf.eq(self.valid)
        with m.If(hears):
            m.d.sync += self.crc.eq(Cat(self.crc[OCTET:], octet.payload))
            with m.If(at < HEAD_OCTETS):
                m.d.sync += head.eq(Cat(head[OCTET:], octet.payload))
            with m.If(at == MAX_MESSAGE_OCTETS):
                m.d.sync += long.eq(1)
            with m.Else():
                m.d.sync += self.length.eq(at + 1)
        self._judge(m, decoder, check, deaf, long)
        with m.If(self.done):
            m.d.sync += [self.valid.eq(0), self.length.eq(0)]
        return m

    def _judge(
        self, m: Module, decoder: CobsDecoder, check: Crc32, deaf: Value, long: Value
    ) -> None:
        """A frame has ended: the CRC is complete, as its octets are far apart."""
        whole = (self.length >= SHORTEST) & ~long
        whole &= (self.length - SHORTEST)[: WORD_OCTETS.bit_length() - 1] == 0
        answers = (self.head.op & ANSWER).any() | (self.head.op == LinkOp.EVENT)
        good = decoder.good & check.good & whole & ~answers
        m.d.sync += self.bad.eq(0)
        with m.If(decoder.end & ~deaf):
            with m.If(good):
                m.d.sync += self.valid.eq(1)
            with m.Elif(~self.valid):
                m.d.sync += [self.bad.eq(1), self.length.eq(0)]
            m.d.sync += long.eq(0)
        with m.If(decoder.end):
            m.d.sync += deaf.eq(0)
