"""The two ways across clock domains that carry more than a bit: a FIFO of words, a handshake.

Ref: offload.md §1; the third way is one bit through `amaranth.lib.cdc.FFSynchronizer`
"""

from typing import Any

from amaranth import Cat, Module, Mux, ResetSignal, Signal, Value
from amaranth.hdl import ShapeLike, ValueLike
from amaranth.lib import memory, stream, wiring
from amaranth.lib.cdc import AsyncFFSynchronizer, FFSynchronizer
from amaranth.lib.wiring import In, Out

from harp_gateware.layouts import WORD

DEPTH = 16
"""Words: one distributed RAM deep."""
IN_FLIGHT = 4
"""Words that may still come when room is seen for the last time."""
SHELF = 2
"""Words in registers behind the RAM."""
POINTER = DEPTH.bit_length()
FIRST = DEPTH - 1
"""Where in the RAM word 0 is. Its address goes to 19 RAMs, hence it comes from a register that
nothing else reads, and is inverted: of two registers that are the same synthesis makes one."""


class WordFifo(wiring.Component):
    """Words of frames from one clock domain to another, in order; 7 to 8 clocks, 5 of `r_domain`.

    `level`: words that wait, in `r_domain`, as it was up to 3 clocks ago. Emptied by a reset of
    `w_domain`; one of `r_domain` loses nothing.

    Three LUTs at most from register to register, as 125 MHz on a full FPGA wants it: what
    `amaranth.lib.fifo.AsyncFIFO` decides in one clock (there is a word, so it is read, so the next
    one is there, so its number in Gray code) is decided in two here.
    Ref: Cummings, "Simulation and Synthesis Techniques for Asynchronous FIFO Design", SNUG 2002
    """

    def __init__(self, w_domain: str, r_domain: str) -> None:
        self._w_domain, self._r_domain = w_domain, r_domain
        super().__init__(
            {
                "i": In(stream.Signature(WORD)),
                "o": Out(stream.Signature(WORD)),
                "level": Out(range(DEPTH + SHELF + 1)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.words = self._words = memory.Memory(shape=WORD, depth=DEPTH, init=[])
        # Numbers of the next word on either side, in Gray code: a bit changes at a time.
        written, read = Signal(POINTER), Signal(POINTER, reset_less=True)
        written_there, read_there = Signal(POINTER), Signal(POINTER)
        m.submodules.written = FFSynchronizer(written, written_there, o_domain=self._r_domain)
        m.submodules.read = FFSynchronizer(read, read_there, o_domain=self._w_domain)
        self._write(m, written, read_there)
        self._read(m, read, written_there)
        return m

    def _write(self, m: Module, written: Signal, read: Signal) -> None:
        """`ready` knows of the words that were let in four clocks ago."""
        port = self._words.write_port(domain=self._w_domain)
        word = Signal(WORD, reset_less=True)
        head, after = Signal(POINTER), Signal(POINTER)
        place = Signal(range(DEPTH), init=FIRST)
        tail, level, room = Signal(POINTER), Signal(POINTER), Signal()
        m.d.comb += [
            port.data.eq(word),
            port.addr.eq(place),
            after.eq(head + port.en),
            self.i.ready.eq(room),
        ]
        m.d[self._w_domain] += [
            word.eq(self.i.payload),
            port.en.eq(self.i.valid & room),
            head.eq(after),
            place.eq(~after),
            written.eq(_to_gray(after)),
            tail.eq(_from_gray(read)),
            level.eq(head - tail),
            room.eq(level <= DEPTH - IN_FLIGHT),
        ]

    def _read(self, m: Module, read: Signal, written: Signal) -> None:
        """Words go from the RAM to the shelf; a reset of the writer takes away both."""
        emptied = Signal()
        writer_reset = ResetSignal(self._w_domain, allow_reset_less=True)
        m.submodules.emptied = AsyncFFSynchronizer(writer_reset, emptied, o_domain=self._r_domain)
        port = self._words.read_port(domain="comb")
        tail, head = Signal(POINTER, reset_less=True), Signal(POINTER)
        after, waits, put = Signal(POINTER), Signal(), Signal()
        next_read = Signal(POINTER, init=_to_gray(1), reset_less=True)
        place = Signal(range(DEPTH), init=FIRST, reset_less=True)
        m.d.comb += [port.addr.eq(place), after.eq(tail + put)]
        sync = m.d[self._r_domain]
        sync += [
            head.eq(_from_gray(written)),
            waits.eq((written != Mux(put, next_read, read)) & ~emptied),
            tail.eq(after),
            place.eq(~after),
            read.eq(Mux(put, next_read, read)),
            next_read.eq(_to_gray((after + 1)[:POINTER])),
        ]
        with m.If(emptied):
            # `place` follows a clock later, when nothing waits yet.
            sync += [
                tail.eq(head),
                read.eq(_to_gray(head)),
                next_read.eq(_to_gray((head + 1)[:POINTER])),
            ]
        count = self._offer(m, put, waits, port.data, emptied)
        kept, behind = Signal.like(count), Signal(POINTER)
        sync += [kept.eq(count), behind.eq(head - tail), self.level.eq(behind + kept)]

    def _offer(
        self, m: Module, put: Signal, waits: Signal, word: ValueLike, emptied: Signal
    ) -> Signal:
        """Two registers filled in turn: whether a word is taken decides two bits, nothing else.

        `put`: the word goes there. Gives how many are full."""
        shelf = [Signal(WORD, name=f"shelf_{n}", reset_less=True) for n in range(SHELF)]
        fills, offers = Signal(reset_less=True), Signal(reset_less=True)
        count, taken = Signal(range(SHELF + 1), reset_less=True), Signal()
        m.d.comb += [
            put.eq(waits & ~count[1]),
            self.o.valid.eq(count != 0),
            self.o.payload.eq(Mux(offers, shelf[1], shelf[0])),
            taken.eq(self.o.valid & self.o.ready),
        ]
        sync = m.d[self._r_domain]
        sync += [
            count.eq(count + put - taken),
            fills.eq(fills ^ put),
            offers.eq(offers ^ taken),
        ]
        for n, register in enumerate(shelf):
            with m.If(~count[1] & (fills == n)):
                sync += register.eq(word)
        with m.If(emptied):
            sync += [count.eq(0), offers.eq(fills)]
        return count


def _to_gray(number: Value | int) -> Any:
    return number ^ number >> 1


def _from_gray(code: Value) -> Value:
    return Cat(code[n:].xor() for n in range(len(code)))


class Handshake(wiring.Component):
    """Copies `i` of one domain to `o` of another, again and again, each time whole.

    A value that stays for about 3 clocks of both domains arrives; while one clock stands still `o`
    keeps its last value. Every bit comes from the same sample.
    """

    def __init__(self, shape: ShapeLike, i_domain: str, o_domain: str) -> None:
        self._i_domain, self._o_domain = i_domain, o_domain
        super().__init__({"i": In(shape), "o": Out(shape)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        # What crosses stands still from the clock before `asked` turns until `taken` has come back.
        sample = Signal.like(self.i)
        asked, taken = Signal(), Signal()
        asked_there, taken_here = Signal(), Signal()
        m.submodules.asked = FFSynchronizer(asked, asked_there, o_domain=self._o_domain)
        m.submodules.taken = FFSynchronizer(taken, taken_here, o_domain=self._i_domain)
        prepared = Signal()
        with m.If(asked == taken_here):
            m.d[self._i_domain] += prepared.eq(~prepared)
            with m.If(prepared):
                m.d[self._i_domain] += asked.eq(~asked)
            with m.Else():
                m.d[self._i_domain] += sample.eq(self.i)
        with m.If(asked_there != taken):
            m.d[self._o_domain] += [self.o.eq(sample), taken.eq(asked_there)]
        return m


class ClockWatch(wiring.Component):
    """Whether another domain's clock runs: `o_lost` in `sync`.

    A divided copy of the clock is looked at; `clocks` of `sync` without a change of it mean that
    there is none. At least 4 × 16 × f(sync) / f(slowest clock that counts as one).
    """

    def __init__(self, domain: str, clocks: int) -> None:
        self._domain, self._clocks = domain, clocks
        super().__init__({"o_lost": Out(1, init=1)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        divider = Signal(4, reset_less=True)
        m.d[self._domain] += divider.eq(divider + 1)
        here, before = Signal(), Signal()
        m.submodules.edge = FFSynchronizer(divider[-1], here)
        left = Signal(range(self._clocks + 1))
        m.d.sync += before.eq(here)
        with m.If(here != before):
            m.d.sync += [left.eq(self._clocks), self.o_lost.eq(0)]
        with m.Elif(left != 0):
            m.d.sync += left.eq(left - 1)
        with m.Else():
            m.d.sync += self.o_lost.eq(1)
        return m
