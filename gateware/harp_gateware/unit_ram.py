"""A RAM area of the register map that only the host writes: rows of one word, units put together.

Ref: `harp.tables.register_schema` (arrays, samples)
"""

from amaranth import Module, Signal
from amaranth.lib import memory, stream, wiring
from amaranth.lib.wiring import In, Out

from harp.tables.register_schema import WORD_BITS, Register
from harp_gateware.layouts import RAM_REQUEST, RAM_RESPONSE
from harp_gateware.register_bank import units


class UnitRam(wiring.Component):
    """The words of `register`, `stride` a row; the host reads words and writes units of them.

    Answers 2 clocks a word plus 2 after the request. Bits without a field are 0. A write shows on
    `o_written` for a clock: `o_index` the element, `o_word` the unit's first word, `o_last`
    its words less one, `o_data` the unit, so that others can keep a copy; these hold until the
    next request. Between requests `o_row` is the row that `peek` was a clock ago.
    """

    def __init__(self, register: Register) -> None:
        self._register = register
        super().__init__(
            {
                "i": In(stream.Signature(RAM_REQUEST, always_ready=True)),
                "o": Out(stream.Signature(RAM_RESPONSE, always_ready=True)),
                "o_written": Out(1),
                "o_index": Out(range(register.count)),
                "o_word": Out(range(register.stride)),
                "o_data": Out(RAM_REQUEST["data"].shape),
                "o_last": Out(range(4)),
                "peek": In(range(register.count * register.stride)),
                "o_row": Out(WORD_BITS),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        register = self._register
        bits = register.stride.bit_length() - 1
        rows = [
            word
            for index in range(register.count)
            for word in (*register.reset_words(index), *(0,) * register.stride)[: register.stride]
        ]
        # What is read in the clock of a write is not looked at.
        m.submodules.ram = ram = memory.Memory(
            shape=WORD_BITS, depth=len(rows), init=rows, attrs={"no_rw_check": 1}
        )
        write, read = ram.write_port(), ram.read_port()
        request = Signal(RAM_REQUEST)
        row = Signal(range(len(rows)))
        number = Signal(2)
        last, masked = Signal(2), Signal(RAM_REQUEST["data"].shape)
        with m.Switch(request.address[:bits]):
            for unit in units(register):
                with m.Case(unit.word):
                    mask = sum(
                        (1 << f.width) - 1 << f.at - WORD_BITS * unit.word for f in unit.fields
                    )
                    m.d.comb += [last.eq(unit.words - 1), masked.eq(request.data & mask)]
        m.d.comb += [
            write.addr.eq(row),
            write.data.eq(masked.word_select(number, WORD_BITS)),
            read.addr.eq(self.peek),
            self.o_row.eq(read.data),
            self.o_index.eq(request.address[bits:]),
            self.o_word.eq(request.address[:bits]),
            self.o_data.eq(masked),
            self.o_last.eq(last),
        ]
        m.d.sync += self.o.valid.eq(0)
        with m.FSM():
            with m.State("Idle"):
                m.d.sync += [
                    request.eq(self.i.p),
                    row.eq(self.i.p.address),
                    number.eq(0),
                ]
                with m.If(self.i.valid):
                    m.next = "Fetch"
            with m.State("Fetch"):
                m.d.comb += [write.en.eq(request.write), read.addr.eq(row)]
                m.next = "Take"
            with m.State("Take"):
                m.d.sync += [row.eq(row + 1), number.eq(number + 1)]
                m.d.sync += self.o.p.data.eq(read.data)
                m.next = "Fetch"
                with m.If(~request.write | (number == last)):
                    m.d.comb += self.o_written.eq(request.write)
                    m.d.sync += self.o.valid.eq(1)
                    m.next = "Idle"
        return m
