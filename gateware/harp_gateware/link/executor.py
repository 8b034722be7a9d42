"""Does requests on the register bank, each number once.

Ref: offload.md §6; `harp.tables.link`
"""

from amaranth import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from harp.tables.link import (
    ANSWER,
    CRC_OCTETS,
    MAX_WORDS,
    REQUEST_HEAD,
    WORD_OCTETS,
    LinkOp,
    LinkStatus,
    octets_of,
)
from harp.tables.register_schema import WORD_BITS
from harp.tables.registers import BY_NAME
from harp_gateware.layouts import REGISTER_REQUEST, REGISTER_RESPONSE
from harp_gateware.link.layouts import CRC, HEAD, LENGTH, OCTET, PIECE
from harp_gateware.link.request_receiver import DEPTH

HEAD_OCTETS = octets_of(REQUEST_HEAD)
GUARD = BY_NAME["guard"].offset
KICK_BIT = 1 << BY_NAME["guard"].field("kick").at


class Executor(wiring.Component):
    """A request in, its accesses and its answer out.

    Takes the request of a `RequestReceiver`. A WRITE or the lease of a KICK is done before the
    answer begins; what is read is read as the answer's pieces are taken. `request_done` comes with
    the last piece, so the next request may arrive while the answer is sent; it is looked at after
    `answered`.

    A request whose number and CRC are those of the last one that was done touches no register:
    `repeat` is 1 until `answered`, and the last answer is to be sent again.
    """

    request_valid: In(1)
    request_done: Out(1)
    head: In(HEAD)
    length: In(LENGTH)
    crc: In(CRC)
    address: Out(range(DEPTH))
    data: In(OCTET)

    o_request: Out(stream.Signature(REGISTER_REQUEST))
    i_response: In(stream.Signature(REGISTER_RESPONSE))

    o: Out(stream.Signature(PIECE))
    repeat: Out(1)
    answered: In(1)
    """The answer is on the line."""

    def elaborate(self, platform: object) -> Module:
        m = Module()
        head = self._head = self.head
        self._word = Signal(range(MAX_WORDS + 1))  # of the request
        self._value = Signal(WORD_BITS)  # written or read
        self._refused, self._malformed = Signal(), Signal()
        self._repeated = Signal()
        known, number, crc = Signal(), Signal(16), Signal(CRC)
        write, kick = head.op == LinkOp.WRITE, head.op == LinkOp.KICK
        with m.FSM():
            with m.State("Idle"):
                m.d.sync += [
                    self._word.eq(0),
                    self._refused.eq(0),
                    self._malformed.eq(~self._well_formed()),
                    self._repeated.eq(known & (number == head.number) & (crc == self.crc)),
                ]
                with m.If(self.request_valid):
                    m.next = "Judge"
            with m.State("Judge"):
                m.d.sync += [known.eq(1), number.eq(head.number), crc.eq(self.crc)]
                with m.If(self._repeated):
                    m.d.comb += self.request_done.eq(1)
                    m.next = "Repeat"
                with m.Elif(self._malformed):
                    m.next = "Head"
                with m.Elif(write):
                    m.next = "Fetch"
                with m.Elif(kick):
                    m.next = "Guard"
                with m.Else():
                    m.next = "Head"
            self._kick(m)
            self._write(m)
            self._answer(m, write)
            with m.State("Repeat"):
                m.d.comb += self.repeat.eq(1)
                with m.If(self.answered):
                    m.next = "Idle"
        return m

    def _well_formed(self) -> Value:
        head = self._head
        reads = (head.op == LinkOp.READ) | (head.op == LinkOp.KICK)
        words = Mux(head.op == LinkOp.WRITE, head.count, 0)
        whole = self.length == (words << 2) + HEAD_OCTETS + CRC_OCTETS
        counted = (head.count != 0) & (head.count <= MAX_WORDS)
        return (reads | (head.op == LinkOp.WRITE)) & whole & counted

    def _access(self, m: Module, address: Value, write: int, back: str, first: Value) -> None:
        """States of one access: `{back}` follows `{state}Wait`."""
        m.d.comb += [
            self.o_request.valid.eq(1),
            self.o_request.p.address.eq(address),
            self.o_request.p.write.eq(write),
            self.o_request.p.data.eq(self._value),
            self.o_request.p.first.eq(first),
        ]
        with m.If(self.o_request.ready):
            m.next = back

    def _response(self, m: Module) -> Value:
        """1 when it is there."""
        m.d.comb += self.i_response.ready.eq(1)
        return self.i_response.valid

    def _kick(self, m: Module) -> None:
        """The guard's word as it is, and in it the kick."""
        first = Const(1, 1)
        with m.State("Guard"):
            self._access(m, Const(GUARD), 0, "GuardRead", first)
        with m.State("GuardRead"):
            with m.If(self._response(m)):
                m.d.sync += self._value.eq(self.i_response.p.data | KICK_BIT)
                m.next = "Kick"
        with m.State("Kick"):
            self._access(m, Const(GUARD), 1, "Kicked", first)
        with m.State("Kicked"):
            with m.If(self._response(m)):
                m.d.sync += self._refused.eq(self.i_response.p.error)
                m.next = "Head"

    def _write(self, m: Module) -> None:
        """Word by word: four octets from the request's RAM, then the access."""
        octet = Signal(range(WORD_OCTETS + 1))
        place = Signal(range(DEPTH))
        m.d.comb += self.address.eq(place)
        with m.State("Fetch"):
            m.d.sync += [
                place.eq(HEAD_OCTETS + (self._word << 2)),
                octet.eq(WORD_OCTETS),
            ]
            m.next = "Point"
        with m.State("Point"):
            m.next = "Take"
        with m.State("Take"):
            m.d.sync += [
                self._value.eq(Cat(self._value[OCTET:], self.data)),
                place.eq(place + 1),
                octet.eq(octet - 1),
            ]
            m.next = "Point"
            with m.If(octet == 1):
                m.next = "Write"
        with m.State("Write"):
            self._access(m, self._head.address + self._word, 1, "Written", self._word == 0)
        with m.State("Written"):
            with m.If(self._response(m)):
                m.d.sync += [
                    self._word.eq(self._word + 1),
                    self._refused.eq(self._refused | self.i_response.p.error),
                ]
                m.next = "Fetch"
                with m.If(self._word + 1 == self._head.count):
                    m.next = "Head"

    def _answer(self, m: Module, write: Value) -> None:
        """Head, words, status."""
        head = self._head
        with m.State("Head"):
            m.d.comb += [
                self.o.valid.eq(1),
                self.o.p.data.eq(Cat(head.op | ANSWER, head.number)),
                self.o.p.octets.eq(3),
            ]
            with m.If(self.o.ready):
                m.next = "Read"
                with m.If(write | self._malformed):
                    m.next = "Status"
        with m.State("Read"):
            self._access(m, head.address + self._word, 0, "Found", self._word == 0)
        with m.State("Found"):
            with m.If(self._response(m)):
                m.d.sync += [
                    self._value.eq(self.i_response.p.data),
                    self._word.eq(self._word + 1),
                    self._refused.eq(self._refused | self.i_response.p.error),
                ]
                m.next = "Give"
        with m.State("Give"):
            m.d.comb += [
                self.o.valid.eq(1),
                self.o.p.data.eq(self._value),
                self.o.p.octets.eq(WORD_OCTETS),
            ]
            with m.If(self.o.ready):
                m.next = "Read"
                with m.If(self._word == head.count):
                    m.next = "Status"
        with m.State("Status"):
            status = Mux(self._refused, LinkStatus.REFUSED.value, LinkStatus.OK.value)
            m.d.comb += [
                self.o.valid.eq(1),
                self.o.p.data.eq(Mux(self._malformed, LinkStatus.MALFORMED.value, status)),
                self.o.p.octets.eq(1),
                self.o.p.last.eq(1),
                self.request_done.eq(self.o.ready),
            ]
            with m.If(self.o.ready):
                m.next = "Sent"
        with m.State("Sent"):
            with m.If(self.answered):
                m.next = "Idle"
