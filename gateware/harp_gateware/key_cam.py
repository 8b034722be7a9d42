"""Keys that are all compared at once: a content-addressed memory made of distributed RAM.

Ref: `harp.tables.register_schema` (arrays, units)
"""

from amaranth import Cat, Module, Signal
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from harp.tables.register_schema import WORD_BITS, Register
from harp_gateware.layouts import RAM_REQUEST, RAM_RESPONSE
from harp_gateware.unit_ram import UnitRam

DIGIT = 4
"""Bits of a digit: the address of a distributed RAM of 16 rows."""
VALUES = 1 << DIGIT
GROUP = 4
"""Keys in one distributed RAM: its width."""
DIGITS_A_WORD = WORD_BITS // DIGIT


class KeyCam(wiring.Component):
    """Of each digit of `probe`, which keys have the same: `equal`, in the same clock.

    A key is the first `bits` of an element of `register`. For each digit there is a RAM: row v has
    a bit for every key, 1 if the key's digit is v. A write of the host is answered when the RAMs
    are up to date, at most 21 clocks a word after it; until then the key it changes may match
    parts of old and new; all others stay as they are. Reads: as `UnitRam`. `o_written` and what
    belongs to it as there. Until a key
    is written it equals nothing or 0.
    """

    def __init__(self, register: Register, bits: int) -> None:
        self._register = register
        self._digits = bits // DIGIT
        count = register.count
        super().__init__(
            {
                "i": In(stream.Signature(RAM_REQUEST, always_ready=True)),
                "o": Out(stream.Signature(RAM_RESPONSE, always_ready=True)),
                "o_written": Out(1),
                "o_index": Out(range(count)),
                "o_word": Out(range(register.stride)),
                "o_data": Out(RAM_REQUEST["data"].shape),
                "probe": In(bits),
                "equal": Out(data.ArrayLayout(count, self._digits)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.table = table = self._table = UnitRam(self._register)
        connect(m, flipped(self.i), table.i)
        m.d.comb += [
            self.o_written.eq(table.o_written),
            self.o_index.eq(table.o_index),
            self.o_word.eq(table.o_word),
            self.o_data.eq(table.o_data),
            self.o.payload.eq(table.o.payload),
        ]
        self._word = Signal(range(self._register.stride))
        self._value = Signal(DIGIT)
        self._write = Signal()
        self._keys = [Signal(WORD_BITS, name=f"key_{n}") for n in range(GROUP)]
        self._rams(m)
        self._update(m)
        return m

    def _rams(self, m: Module) -> None:
        """A RAM a digit, `GROUP` keys a write enable."""
        groups = self._register.count // GROUP
        chosen = 1 << (self.o_index // GROUP)
        rows = []
        for digit in range(DIGITS_A_WORD):
            row = Signal(GROUP, name=f"row_{digit}")
            m.d.comb += row.eq(
                Cat(key.word_select(digit, DIGIT) == self._value for key in self._keys)
            )
            rows.append(row)
        for word in range(-(-self._digits // DIGITS_A_WORD)):
            enable = Signal(groups, name=f"enable_{word}")
            with m.If(self._write & (self._word == word)):
                m.d.comb += enable.eq(chosen)
            first = word * DIGITS_A_WORD
            for digit in range(first, min(first + DIGITS_A_WORD, self._digits)):
                ram = memory.Memory(shape=self._register.count, depth=VALUES, init=[])
                m.submodules[f"digit_{digit}"] = ram
                write = ram.write_port(granularity=GROUP)
                read = ram.read_port(domain="comb")
                m.d.comb += [
                    write.addr.eq(self._value),
                    write.data.eq(rows[digit - first].replicate(groups)),
                    write.en.eq(enable),
                    read.addr.eq(self.probe.word_select(digit, DIGIT)),
                    self.equal[digit].eq(read.data),
                ]

    def _update(self, m: Module) -> None:
        """Of each word written: the group's four keys, then every value of a digit."""
        table = self._table
        low = GROUP.bit_length() - 1
        fetched = Signal(range(GROUP + 1))
        last = Signal.like(self._word)
        m.d.comb += table.peek.eq(Cat(self._word, fetched[:low], table.o_index[low:]))
        with m.FSM():
            with m.State("Idle"):
                m.d.comb += self.o.valid.eq(table.o.valid)
                m.d.sync += [
                    self._word.eq(table.o_word),
                    last.eq(table.o_word + table.o_last),
                ]
                with m.If(table.o_written):
                    m.next = "Fetch"
            with m.State("Fetch"):
                m.d.sync += fetched.eq(fetched + 1)
                for n, key in enumerate(self._keys):
                    with m.If(fetched == n + 1):
                        m.d.sync += key.eq(table.o_row)
                with m.If(fetched == GROUP):
                    m.next = "Write"
            with m.State("Write"):
                m.d.comb += self._write.eq(1)
                m.d.sync += [self._value.eq(self._value + 1), fetched.eq(0)]
                with m.If(self._value == VALUES - 1):
                    m.d.sync += self._word.eq(self._word + 1)
                    m.next = "Fetch"
                    with m.If(self._word == last):
                        m.d.comb += self.o.valid.eq(1)
                        m.next = "Idle"
