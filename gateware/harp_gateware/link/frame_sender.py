"""Messages in a RAM out as COBS frames.

Ref: offload.md §6; Cheshire and Baker, "Consistent Overhead Byte Stuffing", 1999
"""

from amaranth import Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from harp.tables.link import COBS_BLOCK, DELIMITER
from harp_gateware.link.layouts import LENGTH, OCTET


class FrameSender(wiring.Component):
    """On `start` the `length` octets of a message leave as a frame, delimiters on both sides.

    Octet `address` of the message is on `data` two clocks later; a block is looked through, 3
    clocks an octet, before its code leaves. `busy` from the clock after `start` until the last
    octet is taken. `length` holds meanwhile and is at least 1.
    """

    start: In(1)
    length: In(LENGTH)
    busy: Out(1)
    address: Out(LENGTH)
    data: In(OCTET)
    o: Out(stream.Signature(OCTET))

    def elaborate(self, platform: object) -> Module:
        m = Module()
        begin, here = Signal(LENGTH), Signal(LENGTH)  # of the block; what is looked at
        size = Signal(OCTET)  # of the block, without code
        left = Signal(OCTET)
        last = here == self.length
        m.d.comb += self.address.eq(here)
        with m.FSM() as fsm:
            with m.State("Idle"):
                m.d.sync += [begin.eq(0), here.eq(0), size.eq(0)]
                with m.If(self.start):
                    m.next = "Open"
            with m.State("Open"):
                m.d.comb += [self.o.valid.eq(1), self.o.payload.eq(DELIMITER)]
                with m.If(self.o.ready):
                    m.next = "Look"
            with m.State("Look"):
                m.next = "Fetch"
                with m.If(last | (size == COBS_BLOCK)):
                    m.next = "Code"
            with m.State("Fetch"):
                m.next = "Judge"
            with m.State("Judge"):
                with m.If(self.data == 0):
                    m.next = "Code"
                with m.Else():
                    m.d.sync += [here.eq(here + 1), size.eq(size + 1)]
                    m.next = "Look"
            with m.State("Code"):
                m.d.comb += [self.o.valid.eq(1), self.o.payload.eq(size + 1)]
                m.d.sync += [here.eq(begin), left.eq(size)]
                with m.If(self.o.ready):
                    m.next = "Point"
                    with m.If(size == 0):
                        m.next = "Behind"
            with m.State("Point"):
                m.next = "Hold"
            with m.State("Hold"):
                m.next = "Octet"
            with m.State("Octet"):
                m.d.comb += [self.o.valid.eq(1), self.o.payload.eq(self.data)]
                with m.If(self.o.ready):
                    m.d.sync += [here.eq(here + 1), left.eq(left - 1)]
                    m.next = "Point"
                    with m.If(left == 1):
                        m.next = "Behind"
            with m.State("Behind"):
                m.next = "Look"
                m.d.sync += [begin.eq(here + 1), here.eq(here + 1), size.eq(0)]
                with m.If(size == COBS_BLOCK):
                    # The longest block stands for no zero.
                    m.d.sync += [begin.eq(here), here.eq(here)]
                with m.If(last):
                    m.next = "Close"
            with m.State("Close"):
                m.d.comb += [self.o.valid.eq(1), self.o.payload.eq(DELIMITER)]
                with m.If(self.o.ready):
                    m.next = "Idle"
        m.d.comb += self.busy.eq(~fsm.ongoing("Idle"))
        return m
