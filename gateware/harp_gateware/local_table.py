"""The local table: whose Mobility Headers are judged here.

Ref: offload.md §2 (16 addresses, empty = all are local; multicast always is)
"""

from amaranth import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import memory, stream, wiring
from amaranth.lib.wiring import In, Out

from harp.tables.registers import BY_NAME
from harp_gateware.digit_tables import (
    AWAY,
    DIGIT,
    DIGITS,
    KEY_WORD,
    RAMS,
    ROW,
    WORD_BITS,
    arranged,
    key_rows,
    row,
)
from harp_gateware.layouts import L3_WORD

LOCAL = BY_NAME["local"]
KEYS = LOCAL.count
MULTICAST = 0xFF
FIRST = 3
"""Number of the L3 word that begins the destination; the next one ends it."""
LAST_WORD = RAMS - 1


class LocalTable(wiring.Component):
    """Compares the destination of every frame with all addresses; an entry of `::` is unused.

    `i` are the frames' L3 words, `coming` the data of the word that `i` shows a clock later. 6
    clocks behind word 4 `local` says whether it is local or multicast; it holds until 2 clocks
    behind the next frame's word 3, `multicast` until a clock behind it.

    Digits as in `DigitTables`: two block RAMs, each with two ports, which are two tables of 512
    rows: port n of each serves words n and n + 2 of the address. A word's first three digits lie in
    the RAM of its half (0 or 1), the others in the other one. So four digits are read a clock:

        word 3  a clock later  2     3        4        5
        RAM 0   0              1     2        (3)      (4)      in brackets: of word 4, if it comes
        RAM 1   3              4     (0)      (1)      (2)      right behind word 3

    Keys are written by `KeyWriter` in clocks that no frame needs; `used` flags are flops.
    """

    i: In(stream.Signature(L3_WORD, always_ready=True))
    coming: In(64)
    local: Out(1)
    multicast: Out(1)
    rows: In(key_rows(KEYS))
    word: In(KEY_WORD)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        self._follow(m)
        self._rams(m)
        self._match(m, self._used(m))
        return m

    def _follow(self, m: Module) -> None:
        """Which half of the destination a word is, and the steps behind each."""
        at = Signal(FIRST + 2)  # one-hot: number of the coming word; 0 if that is not known
        valid, rows = self.i.valid, self.rows
        self._low, self._high, self._free = Signal(), Signal(), Signal()
        self._lows, self._highs = Signal(2), Signal(3)  # clocks behind them
        m.d.comb += [
            self._low.eq(valid & at[FIRST]),
            self._high.eq(valid & at[FIRST + 1]),
            # Behind word 1 nothing else is read.
            self._free.eq(~(at[FIRST - 1 :].any() | self._lows[0] | self._highs[:2].any())),
        ]
        m.d.sync += [
            rows.idle.eq(self._free),
            self._lows.eq(Cat(self._low, self._lows)),
            self._highs.eq(Cat(self._high, self._highs)),
        ]
        with m.If(valid):
            m.d.sync += at.eq(Mux(self.i.p.last, 0, Mux(self.i.p.first, 1 << 1, at << 1)))
        with m.If(self._low):
            m.d.sync += self.multicast.eq(self.i.p.data[:8] == MULTICAST)

    def _rams(self, m: Module) -> None:
        """What each port reads: its address now, the digits that follow it in `rest`."""
        low = self._low
        read0, read1, updated = Signal(), Signal(), Signal()  # a place is that of a look-up
        shown = [Signal(), Signal()]
        m.d.comb += [
            read0.eq(low | self._lows.any() | self._highs[1:].any()),
            read1.eq(low | self._lows[0] | self._highs.any()),
        ]
        m.d.sync += [updated.eq(self.rows.idle), shown[0].eq(read0), shown[1].eq(read1)]
        self._shown = shown[0] | shown[1]
        self._digits: list[Signal] = []
        for n in range(2):
            ram = memory.Memory(shape=KEYS, depth=2 << ROW, init=[], attrs={"no_rw_check": 1})
            m.submodules[f"ram_{n}"] = ram
            write = ram.write_port()
            for port in range(2):
                place = self._place(m, n, port)
                read = ram.read_port()
                m.d.comb += read.addr.eq(place)
                digit = Signal(KEYS, name=f"digit_{n}{port}", init=(1 << KEYS) - 1)
                # Constants from a flop's own set: no logic behind the RAM.
                m.d.sync += digit.eq(Mux(shown[n] | updated, read.data, (1 << KEYS) - 1))
                self._digits.append(digit)
                if port == 0:
                    m.d.comb += write.addr.eq(place)
            m.d.comb += [
                write.data.eq(self.rows.value),
                write.en.eq(self.rows.put & self.rows.chosen[2 * n : 2 * n + 2].any()),
            ]
        m.d.comb += self.rows.raw.eq(
            Mux(self.rows.chosen[2:].any(), self._digits[2], self._digits[0])
        )

    def _place(self, m: Module, n: int, port: int) -> Signal:
        """Address of a port of RAM `n`: an update's rows of both tables are at port 0."""
        place = Signal(ROW + 1, name=f"place_{n}{port}")
        soon, now = (
            arranged(data.word_select(port, WORD_BITS)) for data in (self.coming, self.i.p.data)
        )
        rest = Signal(2 * DIGIT + 1, name=f"rest_{n}{port}")
        low, high, lows, highs = self._low, self._high, self._lows, self._highs

        def at(table: Value | int, bits: Value, seventh: Value | int = 0) -> Value:
            return Cat(row(int(table), bits, Value.cast(seventh)), Const(port, 1))

        update = Cat(self.rows.update, self.rows.chosen[1] | self.rows.chosen[3])
        if n == 0:
            first = at(0, soon[:DIGIT], soon[-2])
            steps = [
                (low, at(1, _digit(now, 1), now[-1])),
                (lows[0], at(2, rest[:DIGIT])),
                (highs[0], at(AWAY, rest[:DIGIT])),
                (highs[1], at(AWAY + 1, rest[DIGIT : 2 * DIGIT])),
            ]
            with m.If(low):
                m.d.sync += rest.eq(_digit(now, 2))
            with m.If(high):
                m.d.sync += rest.eq(Cat(_digit(now, AWAY), _digit(now, AWAY + 1)))
        else:
            first = at(AWAY, _digit(soon, AWAY))
            steps = [
                (low, at(AWAY + 1, _digit(now, AWAY + 1))),
                (high, at(0, now[:DIGIT], now[-2])),
                (highs[0], at(1, rest[:DIGIT], rest[-1])),
                (highs[1], at(2, rest[DIGIT : 2 * DIGIT])),
            ]
            with m.If(high):
                m.d.sync += rest.eq(Cat(_digit(now, 1), _digit(now, 2), now[-1]))
        # One step at most is now: no choice waits for another.
        chosen: Value = Const(0, len(place))
        for step, row_now in steps:
            chosen = chosen | (row_now & step.replicate(len(place)))
        other = Mux(self._free, update, first) if port == 0 else first
        m.d.sync += place.eq(Mux(Cat(step for step, _ in steps).any(), chosen, other))
        return place

    def _used(self, m: Module) -> Signal:
        """Which entries are not `::`: known when the last word of an address is written."""
        word, used = self.word, Signal(KEYS)
        some, before = Signal(), Signal()  # of this address is not 0: until now; before this word
        m.d.comb += some.eq(word.data.any() | (before & (word.number != 0)))
        with m.If(word.written):
            m.d.sync += before.eq(some)
            for n in range(KEYS):
                with m.If((word.index == n) & (word.number == LAST_WORD)):
                    m.d.sync += used[n].eq(some)
        return used

    def _match(self, m: Module, used: Signal) -> None:
        """The AND of all rows, of entries in use."""
        hit, all_local, counts = Signal(KEYS), Signal(init=1), Signal()
        m.d.sync += [all_local.eq(~used.any()), counts.eq(self._shown)]
        with m.If(self._lows[0]):
            m.d.sync += hit.eq(used)
        with m.Elif(counts):
            d = self._digits
            m.d.sync += hit.eq(hit & d[0] & d[1] & d[2] & d[3])
        m.d.comb += self.local.eq(hit.any() | all_local | self.multicast)


def _digit(bits: Value, n: int) -> Value:
    """The lowest six bits of a digit of an arranged word."""
    return bits[DIGIT * n : DIGIT * (n + 1)]


assert KEYS == 16 and DIGITS == AWAY + 2
