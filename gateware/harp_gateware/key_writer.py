"""The host's access to keys that lie in `DigitTables`: reads, and rows brought up to date.

Ref: `harp.tables.register_schema` (arrays, units)
"""

from amaranth import Cat, Const, Module, Mux, Signal
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out

from harp.tables.register_schema import WORD_BITS, Register
from harp_gateware.digit_tables import (
    DIGIT,
    DIGITS,
    KEYS,
    LAST_TABLE,
    RAMS,
    ROW,
    arranged,
    restored,
    row,
)
from harp_gateware.layouts import RAM_REQUEST, RAM_RESPONSE


class KeyWriter(wiring.Component):
    """Words of `register`: an address of 4 words and a word behind it, `stride` a key.

    A request's payload holds until its answer. A read is answered in 5 clocks. A write of a unit
    takes about 60 clocks a word, longer while rows are looked up for frames: of each digit the old
    value's row loses the key's bit, then, when the word is stored, the new one's gets it. So a
    row never has a bit that its key's stored word does not ask for, whenever a reset comes; one
    that is missing after it comes with the next write. Until it is answered the key matches
    nothing, or parts of old and new. `o_written` is 1 for a clock in which `o_word` of `o_index`
    becomes `o_data`. Bits without a field are 0.
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
                "o_data": Out(WORD_BITS),
                "update": Out(ROW),
                "free": In(1),
                "idle": In(1),
                "raw": In(data.ArrayLayout(KEYS, RAMS)),
                "chosen": Out(RAMS),
                "put": Out(1),
                "value": Out(KEYS),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        register = self._register
        bits = register.stride.bit_length() - 1
        self._word = Signal(bits)
        self._second = Signal()  # the word is the one behind the address
        self._step = Signal(DIGITS, init=1)
        self._left = Signal(WORD_BITS)  # digits of the word, the next one lowest
        self._sets = Signal()
        # What is read while a word is written is not looked at.
        m.submodules.words = words = memory.Memory(
            shape=WORD_BITS, depth=register.count << bits, init=[], attrs={"no_rw_check": 1}
        )
        self._write, read = words.write_port(), words.read_port()
        index = self.i.p.address[bits:]
        mask = sum((1 << f.width) - 1 << f.at for f in register.fields) >> WORD_BITS * RAMS
        picked = [Signal(WORD_BITS, name=f"picked_{n}") for n in range(RAMS)]
        for n, word in enumerate(picked):
            # A flop with a reset of its own each, so that one OR joins them.
            given = self.i.p.data.word_select(n, WORD_BITS)
            m.d.sync += word.eq(Mux(self._word[:2] == n, given, 0))
        word = picked[0] | picked[1] | picked[2] | picked[3]
        m.d.comb += [
            self._second.eq(self._word[2]),
            self.o_index.eq(index),
            self.o_word.eq(self._word),
            self.o_data.eq(word & Mux(self._second, mask, (1 << WORD_BITS) - 1)),
            self.o_written.eq(self._write.en),
            self._write.addr.eq(Cat(self._word, self.o_index)),
            self._write.data.eq(self.o_data),
            read.addr.eq(self._write.addr),
            self.o.p.data.eq(restored(self._left)),
        ]
        self._rows(m)
        self._fetched = Signal(WORD_BITS)
        m.d.sync += self._fetched.eq(read.data)
        self._control(m)
        return m

    def _rows(self, m: Module) -> None:
        """The row of the next digit, as it was and as it shall be."""
        ram = Mux(self._second, self._step[:RAMS], 1 << self._word[:2])
        digit, sevenths = self._left[:DIGIT], self._left[-2:]
        places = [row(n, digit, sevenths[0]) for n in range(DIGITS)]
        m.d.comb += self.update.eq(row(LAST_TABLE, digit, Const(0)))
        with m.If(~self._second):
            for n, place in enumerate(places):
                with m.If(self._step[n]):
                    m.d.comb += self.update.eq(place)
        low, high = Signal(8), Signal(KEYS // 8)  # of the key's bit
        m.d.sync += [low.eq(1 << self.o_index[:3]), high.eq(1 << self.o_index[3:])]
        here = Cat(low & bit.replicate(8) for bit in high)
        old = self.raw[0] | self.raw[1] | self.raw[2] | self.raw[3]
        m.d.comb += self.chosen.eq(ram)
        self._changed = Mux(self._sets, old | here, old & ~here)

    def _control(self, m: Module) -> None:
        """Of each word: the digits of the old one cleared, stored, those of the new one set."""
        last = Mux(self._second, self._step[RAMS - 1], self._step[DIGITS - 1])
        m.d.sync += self.o.valid.eq(0)
        with m.FSM():
            with m.State("Idle"):
                m.d.sync += [self._word.eq(self.i.p.address), self._sets.eq(0)]
                with m.If(self.i.valid):
                    m.next = "Fetch"
            with m.State("Fetch"):
                m.next = "Register"
            with m.State("Register"):
                m.next = "Take"
            with m.State("Take"):
                m.d.sync += self._left.eq(arranged(self._fetched))
                m.next = "Ask"
                with m.If(~self.i.p.write):
                    m.d.sync += self.o.valid.eq(1)
                    m.next = "Idle"
            with m.State("Ask"):
                with m.If(self.free):
                    m.next = "Read"
            with m.State("Read"):
                m.next = "Wait"
            with m.State("Wait"):
                m.next = "Change"
            with m.State("Change"):
                m.d.sync += self.value.eq(self._changed)
                m.next = "Put"
            with m.State("Put"):
                with m.If(self.idle):
                    m.d.comb += self.put.eq(1)
                    m.d.sync += [
                        self._left.eq(Cat(self._left[DIGIT:-2], Const(0, DIGIT), self._left[-1:])),
                        self._step.eq(self._step.rotate_left(1)),
                    ]
                    m.next = "Ask"
                    with m.If(last):
                        m.d.sync += self._step.eq(1)
                        m.next = "Store"
                        with m.If(self._sets):
                            m.next = "Next"
            with m.State("Store"):
                m.d.comb += self._write.en.eq(1)
                m.d.sync += self._sets.eq(1)
                m.next = "Fetch"
            with m.State("Next"):
                m.d.sync += [self._word.eq(self._word + 1), self._sets.eq(0)]
                m.next = "Fetch"
                with m.If(self._second | self._word[:2].all()):
                    m.d.sync += self.o.valid.eq(1)
                    m.next = "Idle"
