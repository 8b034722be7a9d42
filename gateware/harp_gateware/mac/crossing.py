"""The two ways across clock domains that carry more than a bit: a FIFO of words, a handshake.

Ref: offload.md §1; the third way is one bit through `amaranth.lib.cdc.FFSynchronizer`
"""

from amaranth import Module, Mux, Signal
from amaranth.hdl import ShapeLike
from amaranth.lib import stream, wiring
from amaranth.lib.cdc import FFSynchronizer
from amaranth.lib.fifo import AsyncFIFO
from amaranth.lib.wiring import In, Out

from harp_gateware.layouts import WORD

DEPTH = 16
"""Words: one distributed RAM deep."""
IN_FLIGHT = 5
"""Words that may still come when room is seen for the last time."""
SHELF = 2
"""Words in registers behind the RAM."""


class WordFifo(wiring.Component):
    """Words of frames from one clock domain to another, in order; 6 to 7 clocks, 4 of `r_domain`.

    Registers stand before and behind the FIFO, so that neither side's logic meets its pointers.
    `level`: words that wait, in `r_domain`. Emptied by a reset of `w_domain`; one of `r_domain`
    loses nothing.
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
        m.submodules.fifo = fifo = AsyncFIFO(
            width=WORD.size, depth=DEPTH, w_domain=self._w_domain, r_domain=self._r_domain
        )
        # `ready` is three clocks late, and so are the words that it lets in.
        room, level = Signal(), Signal.like(fifo.w_level)
        m.d[self._w_domain] += [
            level.eq(fifo.w_level),
            room.eq(level <= DEPTH - IN_FLIGHT),
            fifo.w_data.eq(self.i.payload.as_value()),
            fifo.w_en.eq(self.i.valid & room),
        ]
        m.d.comb += self.i.ready.eq(room)
        self._offer(m, fifo)
        return m

    def _offer(self, m: Module, fifo: AsyncFIFO) -> None:
        """Two registers filled in turn: whether a word is taken decides two bits, nothing else."""
        shelf = [Signal(WORD, name=f"shelf_{n}", reset_less=True) for n in range(SHELF)]
        fills, offers = Signal(reset_less=True), Signal(reset_less=True)
        count = Signal(range(SHELF + 1), reset_less=True)
        put, taken = Signal(), Signal()
        m.d.comb += [
            fifo.r_en.eq(~count[1]),
            put.eq(fifo.r_en & fifo.r_rdy),
            self.o.valid.eq(count != 0),
            self.o.payload.eq(Mux(offers, shelf[1], shelf[0])),
            taken.eq(self.o.valid & self.o.ready),
        ]
        sync = m.d[self._r_domain]
        sync += [
            count.eq(count + put - taken),
            fills.eq(fills ^ put),
            offers.eq(offers ^ taken),
            self.level.eq(fifo.r_level + count),
        ]
        for n, word in enumerate(shelf):
            with m.If(fifo.r_en & (fills == n)):
                sync += word.eq(fifo.r_data)
        with m.If(fifo.r_rst):
            sync += [count.eq(0), offers.eq(fills)]


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
