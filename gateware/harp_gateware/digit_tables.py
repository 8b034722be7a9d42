"""Which keys have a word's digits: tables in block RAM, looked up while the words pass.

Ref: offload.md §1 (one match a frame), §3 (key: source address, Group ID, VLAN)
"""

from amaranth import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out

from harp.tables.register_schema import WORD_BITS
from harp_gateware.layouts import L3_WORD
from harp_gateware.walk import FIXED_WORDS, MAX_WORDS

RAMS = 4
"""One for each 32-bit word of an address."""
KEYS = 32
DIGIT = 6
DIGITS = 5
"""Of a word: the first two have a seventh bit."""
ORDER = (
    *(0, 1, 2, 3, 24, 25),
    *(4, 5, 6, 7, 26, 27),
    *(8, 9, 10, 11, 12, 13),
    *(14, 15, 16, 17, 18, 19),
    *(20, 21, 22, 23, 28, 29),
    *(30, 31),
)
"""Bits of a word, digit after digit, then the two sevenths. So the word behind an address (Group ID
8 bits, VLAN 12) has digits too: the first four, each in another RAM."""
LAST_TABLE = DIGITS
"""Table of that word's digit."""
ROW = DIGIT + 3
"""Bits of a row's place: digit, its seventh bit, table."""
ALL = (1 << KEYS) - 1
GROUP = 4
"""Bits of a digit of the Group ID."""
LAST_MH = 40
"""No Mobility Header begins behind it: so many words are a chain's at most."""

AWAY = 3
"""Of an address's word in the local table: digits from here on lie in the other block RAM."""

KEY_WORD = wiring.Signature(
    {"written": Out(1), "index": Out(range(KEYS)), "number": Out(3), "data": Out(WORD_BITS)}
)
"""`written` is 1 for a clock in which word `number` of key `index` becomes `data`."""


def key_rows(keys: int) -> wiring.Signature:
    """How the rows of a table are changed, as the one who writes sees it.

    Row `update` is read when nothing else is: if `idle` now, that of a clock ago is on `raw` 2
    clocks later, of the one that is `chosen`. `put` writes `value` there, while `idle`.
    """
    return wiring.Signature(
        {
            "update": Out(ROW),
            "chosen": Out(RAMS),
            "put": Out(1),
            "value": Out(keys),
            "idle": In(1),
            "raw": In(keys),
        }
    )


assert MAX_WORDS + FIXED_WORDS < LAST_MH


def arranged(word: Value) -> Value:
    """A word's bits in the order of `ORDER`."""
    return Cat(*(word[bit] for bit in ORDER))


def restored(bits: Value) -> Value:
    """The word that `arranged` made `bits` of."""
    return Cat(*(bits[ORDER.index(n)] for n in range(WORD_BITS)))


def row(table: int, digit: Value, seventh: Value) -> Value:
    """Place of a row: two tables of 128 rows, then four of 64."""
    if table < 2:
        return Cat(digit, seventh, Const(table, 2))
    return Cat(digit, Const(table + 2, 3))


class DigitTables(wiring.Component):
    """Looks up source address, VLAN and Group ID of the frames on `i`, digit by digit.

    RAM n holds the tables of the address's 32-bit word n, a bit a key; a row is read a clock. Of
    a source (words 1 and 2 of a frame) the digits of word 2 are the last, 1 to 5 clocks behind it.
    `rows` shows what is read of an address 2 clocks later, ones in between: from `fresh` on, until
    7 clocks behind word 2, a key of the address is 1 in all of them. `raw` is what the RAMs gave in
    any case: of 2 and 3, while `vlan_now`, those of `vlan`; of 0 and 1, 4 clocks behind any word
    that may begin a Mobility Header, those of its last octet.
    `access` is the host's.
    """

    i: In(stream.Signature(L3_WORD, always_ready=True))
    vlan: In(2 * DIGIT)
    rows: Out(data.ArrayLayout(KEYS, RAMS), init=[ALL] * RAMS)
    raw: Out(data.ArrayLayout(KEYS, RAMS))
    fresh: Out(1)
    vlan_now: Out(1)
    access: In(key_rows(KEYS))

    def elaborate(self, platform: object) -> Module:
        m = Module()
        self._place(m)
        self._updated = Signal()  # what the RAMs give is not for a frame
        group = [
            row(LAST_TABLE, Cat(self._group.word_select(n, GROUP), Const(0, 2)), Const(0))
            for n in range(2)
        ]
        vlan = [row(LAST_TABLE, self.vlan.word_select(n, DIGIT), Const(0)) for n in range(2)]
        low = self._half(m, "low", self._low, self._may, group)
        high = self._half(m, "high", self._high, self._low, vlan)
        access, free = self.access, Signal()
        m.d.comb += [
            free.eq(~(self._low | self._may | low | self._high | high)),
            access.raw.eq(self.raw[0] | self.raw[1] | self.raw[2] | self.raw[3]),
        ]
        m.d.sync += [access.idle.eq(free), self._updated.eq(access.idle)]
        return m

    def _place(self, m: Module) -> None:
        """Which half of the source a word is, and whether it may begin a Mobility Header."""
        number = Signal(range(LAST_MH + 1))  # of the coming word; saturates
        here = self.i.valid & ~self.i.p.first
        self._low, self._high = Signal(), Signal()
        self._may, self._group = Signal(), Signal(2 * GROUP)  # of the word a clock ago
        lately = Signal(2)
        m.d.comb += [
            self._low.eq(here & (number == 1)),
            self._high.eq(here & (number == 2)),
            self.fresh.eq(lately[0]),
        ]
        with m.If(self.i.valid):
            m.d.sync += number.eq(
                Mux(self.i.p.first, 1, Mux(number == LAST_MH, number, number + 1))
            )
        m.d.sync += [
            self._may.eq(here & (number >= FIXED_WORDS) & (number != LAST_MH)),
            self._group.eq(self.i.p.data[-2 * GROUP :]),
            Cat(lately, self.vlan_now).eq(Cat(self._low, lately)),
        ]

    def _half(
        self, m: Module, name: str, load: Signal, other: Signal, others: list[Value]
    ) -> Value:
        """Two RAMs: from `load` on the digits of the word that comes, else, if `other`, the rows
        `others`, else `update`. Returns whether a digit is read in the next clock."""
        steps, runs, shown = Signal(DIGITS, name=f"{name}_steps"), Signal(), Signal()
        m.d.comb += runs.eq(steps[:-1].any())
        m.d.sync += [steps.eq(Cat(load, Mux(load, 0, steps[:-1]))), shown.eq(steps.any())]
        for n in range(2):
            number = n + (2 if name == "high" else 0)
            bits = arranged(self.i.p.data.word_select(n, WORD_BITS))
            place = Signal(ROW, name=f"place_{number}")
            rest = Signal((DIGITS - 1) * DIGIT, name=f"rest_{number}")
            seventh = Signal(name=f"seventh_{number}")
            with m.If(load):
                m.d.sync += [
                    place.eq(row(0, bits[:DIGIT], bits[-2])),
                    rest.eq(bits[DIGIT:-2]),
                    seventh.eq(bits[-1]),
                ]
            with m.Elif(runs):
                m.d.sync += rest.eq(rest >> DIGIT)
                for step in range(DIGITS - 1):
                    with m.If(steps[step]):
                        m.d.sync += place.eq(row(step + 1, rest[:DIGIT], seventh))
            with m.Elif(other):
                m.d.sync += place.eq(others[n])
            with m.Else():
                m.d.sync += place.eq(self.access.update)
            # A row is not read in the clock in which it is written.
            ram = memory.Memory(shape=KEYS, depth=1 << ROW, init=[], attrs={"no_rw_check": 1})
            m.submodules[f"ram_{number}"] = ram
            read, write = ram.read_port(), ram.write_port()
            m.d.comb += [
                read.addr.eq(place),
                write.addr.eq(self.access.update),
                write.data.eq(self.access.value),
                write.en.eq(self.access.put & self.access.chosen[number]),
            ]
            # Constants from a flop's own set and reset: no logic behind the RAM.
            hidden = self._updated & ~self.access.chosen[number]
            m.d.sync += [
                self.raw[number].eq(Mux(hidden, 0, read.data)),
                self.rows[number].eq(Mux(shown, read.data, ALL)),
            ]
        return runs
