"""The frame buffer: holds frames until their verdicts, lets some out early, drops the others.

Ref: offload.md §1 (two maximum frames, order kept, cut-through, no back-pressure into the MAC)
"""

from amaranth import Module, Mux, Signal, Value
from amaranth.lib import data, fifo, memory, stream, wiring
from amaranth.lib.wiring import In, Out

from harp.tables.offload import MAX_FRAME_OCTETS, MIN_FRAME_OCTETS
from harp_gateware.layouts import VERDICT, WORD, FrameError
from harp_gateware.params import WORD_OCTETS
from harp_gateware.split_ram import SplitRam

MAX_WORDS = MAX_FRAME_OCTETS // WORD_OCTETS
MIN_WORDS = MIN_FRAME_OCTETS // WORD_OCTETS
MARGIN = 8
"""Words kept free: room is judged four clocks late, and a cut frame needs one more for its end."""
VERDICT_CLOCKS = 16
"""A verdict later than this after the last word is a defect of what gives it."""
UNDECIDED = 16
"""Frames that have ended but have no verdict yet: one-word frames, VERDICT_CLOCKS."""
SPARE = UNDECIDED + 4
"""Entries of the queue kept free: for those, and for what comes until it is known that they are."""
AGE = 24
"""Bits of the age of a frame in clocks: 0.1 s; an older one counts less."""

STORED = data.StructLayout({"data": 64, "octets": 4, "last": 1, "error": FrameError})
"""A word in the RAM, as it leaves: behind the RAM, which is slow, one selection is enough."""


class FrameBuffer(wiring.Component):
    """A FIFO of frames; each leaves whole, leaves early, or vanishes, by its verdict.

    `i` is stored as it comes. `i_verdict` judges the oldest frame without one, at least 2 clocks
    after its last word; `i_early` lets the oldest frame without verdict go while it comes in.
    First word out: 3 clocks after `i_verdict`, 2 after `i_early` when nothing is before it; then a
    word a clock, one clock between frames. `o` has `first` of its own and `append_fcs` 0.

    A frame that leaves early and is bad (error, under 64 or over 9,216 octets) ends with an error.
    The 1,153rd word of a frame is its last, with an error; the rest is thrown away. No room: the
    frame is cut likewise, or, if it had not begun, never seen; `o_overrun` is 1 for a clock and it
    is not forwarded, whatever its verdict. A frame with `i_mark` at its verdict is not sent while
    `refuse`: `o_refused` is 1 for a clock instead. `o_late`: a verdict is late by now.
    """

    def __init__(self, *, words: int, frames: int) -> None:
        self._words = words
        self._frames = frames
        super().__init__(
            {
                "i": In(stream.Signature(WORD, always_ready=True)),
                "i_early": In(stream.Signature(data.StructLayout({}), always_ready=True)),
                "i_verdict": In(stream.Signature(VERDICT, always_ready=True)),
                "i_mark": In(1),
                "refuse": In(1),
                "o": Out(stream.Signature(WORD)),
                "o_overrun": Out(1),
                "o_refused": Out(1),
                "o_late": Out(1),
                "high_water": Out(range(words + 1)),  # most words ever buffered
                "latency_max": Out(AGE),  # longest first word in to first word out, clocks
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        pointer = range(self._words)
        self._ends = data.StructLayout(
            {"end": Signal(pointer).shape(), "lost": 1, "none": 1, "born": AGE}
        )
        self._entry = data.StructLayout(
            {
                "start": Signal(pointer).shape(),
                "end": Signal(pointer).shape(),
                "born": AGE,
                "mark": 1,
            }
        )
        self._wr, self._rd = Signal(pointer), Signal(pointer)
        self._clock = Signal(AGE)
        m.d.sync += self._clock.eq(self._clock + 1)
        # A word is read clocks after it is written; before, what is read is not looked at.
        m.submodules.ram = self._ram = SplitRam(STORED, self._words)
        m.submodules.ends = self._ended = fifo.SyncFIFO(width=self._ends.size, depth=UNDECIDED)
        self._measure(m)
        self._receive(m)
        self._store(m)
        self._judge(m)
        self._choose(m)
        self._send(m)
        return m

    def _after(self, pointer: Signal) -> Value:
        """The next word's place."""
        if self._words & (self._words - 1) == 0:
            return (pointer + 1)[: len(pointer)]
        return Mux(pointer == self._words - 1, 0, pointer + 1)

    def _follows(self, later: Signal, place: Signal) -> Value:
        """`later` is the place behind `place`; no carry runs along the bits.

        A bit of a sum flips if the bit below gave a carry: was 1 and is 0.
        """
        steps = (later ^ place)[1:] ^ (place & ~later)[:-1]
        behind = (later[0] ^ place[0]) & ~steps.any()
        if self._words & (self._words - 1) == 0:
            return behind
        return behind | ((place == self._words - 1) & (later == 0))

    def _measure(self, m: Module) -> None:
        """How full: `self._full` is late by some clocks, which MARGIN allows for."""
        used, apart, behind = Signal.like(self._wr), Signal.like(self._wr), Signal()
        self._waiting = Signal(range(self._frames))  # frames in the queue, a clock late
        self._full = Signal()
        m.d.sync += [
            apart.eq(self._wr - self._rd),
            behind.eq(self._wr < self._rd),
            # What the pointers leave out when they begin anew.
            used.eq(apart - Mux(behind, (1 << len(used)) - self._words, 0)),
            self._full.eq((used >= self._words - MARGIN) | (self._waiting >= self._frames - SPARE)),
        ]
        with m.If(used > self.high_water):
            m.d.sync += self.high_water.eq(used)

    def _receive(self, m: Module) -> None:
        """First clock: the word's number in its frame, so that its end can be judged."""
        number = Signal(range(MAX_WORDS + 2))  # of this word, from 0; means nothing if `long`
        long = Signal()  # MAX_WORDS have come
        self._in = Signal(WORD)
        self._in_valid = Signal()
        self._short, self._long = Signal(), Signal()
        first = self.i.p.first
        m.d.sync += [self._in_valid.eq(self.i.valid), self._in.eq(self.i.p)]
        with m.If(self.i.valid):
            m.d.sync += [
                self._short.eq(
                    (first & (MIN_WORDS > 1))
                    | (~long & (number < MIN_WORDS - 1))
                    | (~long & (number == MIN_WORDS - 1) & (self.i.p.octets != WORD_OCTETS))
                ),
                self._long.eq(~first & long),
                long.eq(~first & (long | (number == MAX_WORDS - 1))),
                number.eq(Mux(first, 1, number + 1)),
            ]

    def _store(self, m: Module) -> None:
        """Second clock: write the word, or the end of a frame that must be cut."""
        word, valid, self._write = self._in, self._in_valid, Signal()
        following = Signal(range(self._words), init=1)  # the place behind `_wr`
        with m.If(self._write):
            m.d.sync += following.eq(self._after(following))
        # Of the frame under way: thrown away from here; overrun; a word of it is stored.
        cut, lost, some = Signal(), Signal(), Signal()
        was_cut = ~word.first & cut
        full = self._full & ~was_cut
        nothing = full & word.first
        write = self._write
        m.d.comb += write.eq(valid & ~was_cut & ~nothing)
        cutting = full | self._long
        bad = (word.error != FrameError.GOOD) | self._short | self._long
        self._overrun_now = Signal()
        self._last_in = valid & word.last
        wr = Mux(write, following, self._wr)
        stored_some = write | (~word.first & some)
        ram, stored = self._ram, self._ram.write_data
        m.d.comb += [
            self._overrun_now.eq(valid & full),
            ram.write_address.eq(self._wr),
            ram.write_enable.eq(write),
            stored.data.eq(word.data),
            stored.octets.eq(word.octets),
            stored.last.eq(word.last | cutting),
            # Too short or too long is an error too, even if the MAC found none.
            stored.error.eq(
                Mux(
                    full,
                    FrameError.OVERRUN,
                    Mux(
                        (word.last | self._long) & bad,
                        Mux(word.error == FrameError.GOOD, FrameError.FCS, word.error),
                        FrameError.GOOD,
                    ),
                )
            ),
        ]
        self._born = Signal(AGE)
        born = Mux(word.first, self._clock, self._born)
        end = data.View(self._ends, Signal(self._ends.size))
        m.d.comb += [
            end.end.eq(wr),
            end.lost.eq(full | (~word.first & lost)),
            end.none.eq(~stored_some),
            end.born.eq(born),
            self._ended.w_data.eq(end.as_value()),
            self._ended.w_en.eq(self._last_in),
        ]
        m.d.sync += [self._wr.eq(wr), self.o_overrun.eq(self._overrun_now)]
        with m.If(valid):
            m.d.sync += [
                cut.eq(was_cut | cutting),
                lost.eq(full | (~word.first & lost)),
                some.eq(stored_some),
                self._born.eq(born),
            ]

    def _judge(self, m: Module) -> None:
        """Pairs verdicts with the frames that have ended, in order."""
        self._oldest = Signal(range(self._words))  # first word of the oldest without verdict
        self._opened = Signal()  # it may leave early
        self._live = Signal()  # it is leaving
        head = data.View(self._ends, self._ended.r_data)
        verdict = self.i_verdict
        self._pass = Signal()  # send it; it has not begun to leave
        m.d.comb += [
            self._pass.eq(verdict.valid & verdict.p.forward & ~head.lost & ~self._live),
            self._ended.r_en.eq(verdict.valid),
        ]
        with m.If(verdict.valid):
            m.d.sync += [self._oldest.eq(head.end), self._opened.eq(0)]
        with m.Elif(self.refuse):
            m.d.sync += self._opened.eq(0)
        with m.If(self.i_early.valid):
            m.d.sync += self._opened.eq(1)
        waiting = Signal(range(VERDICT_CLOCKS + 1))
        m.d.sync += self.o_late.eq(waiting == VERDICT_CLOCKS)
        with m.If(verdict.valid | ~self._ended.r_rdy):
            m.d.sync += waiting.eq(0)
        with m.Elif(waiting != VERDICT_CLOCKS):
            m.d.sync += waiting.eq(waiting + 1)
        self._head = head
        self._decided = Signal(self._entry)
        m.d.comb += [
            self._decided.start.eq(self._oldest),
            self._decided.end.eq(head.end),
            self._decided.born.eq(head.born),
            self._decided.mark.eq(self.i_mark),
        ]

    def _choose(self, m: Module) -> None:
        """Which frame leaves next: the queue's, the one just judged, the one that comes in.

        What the choice depends on is known in flops: whether `_rd` is at the end of its frame, at
        the last word that has come, and the queue's oldest entry, as its RAM is slow.
        """
        self._busy, self._closed = Signal(), Signal()
        self._end = Signal(range(self._words))
        self._at_end, self._dry = Signal(), Signal()  # `_rd` is at `_end`, at `_wr`
        self._done = Signal()
        idle = ~self._busy | self._done
        self._loads, self._takes = Signal(), Signal()
        empty, skip = Signal(init=1), Signal()
        entry, ready = self._line_up(m, empty, self._pass & ~(idle & empty))
        self._from = Signal(AGE)
        self._begun = Signal()  # its first word has been fetched
        m.d.comb += [
            skip.eq(self.refuse & Mux(empty, self.i_mark, entry.mark)),
            self._loads.eq(idle & ready),
            self._takes.eq(idle & empty & ~self._live),
        ]
        aimed, self._starts = Signal(), Signal()  # `_rd` is at the oldest frame; which leaves now
        m.d.sync += [aimed.eq(0), self.o_refused.eq(0)]
        with m.If(self._done):
            m.d.sync += self._busy.eq(0)
        with m.If(self._loads):
            m.d.sync += [
                self._rd.eq(entry.start),
                self._end.eq(entry.end),
                self._from.eq(entry.born),
                self._closed.eq(1),
                self._busy.eq(~skip),
                self.o_refused.eq(skip),
            ]
        with m.Elif(self._takes):
            # The oldest frame: judged in this clock, or what was dropped is free and it may go
            # while it comes in. If it has ended, its end counts at once.
            m.d.sync += [
                self._rd.eq(self._decided.start),
                self._end.eq(self._head.end),
                self._closed.eq(self._ended.r_rdy),
                self._from.eq(Mux(self._ended.r_rdy, self._head.born, self._born)),
            ]
            with m.If(self._pass):
                m.d.sync += [self._busy.eq(~skip), self.o_refused.eq(skip)]
            with m.Elif(~self.i_verdict.valid):
                # The RAM is reading its first word already.
                m.d.sync += aimed.eq(1)
        with m.Elif(~self._closed):
            # When its end is known first, nothing behind it is stored yet.
            m.d.sync += [
                self._end.eq(self._wr),
                self._from.eq(self._born),
                self._closed.eq(self._busy & self._ended.r_rdy),
            ]
        # Behind a clock with `_takes` there is nothing else to send, but what has started then.
        m.d.comb += self._starts.eq(
            (aimed & ~self._busy & ~self.i_verdict.valid)
            & (self.i_early.valid | (self._opened & ~self.refuse))
        )
        with m.If(self._starts):
            m.d.sync += [self._busy.eq(1), self._live.eq(1)]
        with m.If(self._loads | self._takes):
            m.d.sync += self._begun.eq(0)
        with m.If(self.i_verdict.valid):
            m.d.sync += self._live.eq(0)

    def _line_up(self, m: Module, empty: Signal, more: Value) -> tuple[data.View, Signal]:
        """The queue: the decided frame goes in if `more`; its oldest, and whether there is one.

        A ring in block RAM, and a register behind it. An entry is read once it is sure to be
        stored, one in two clocks: no frame has fewer.
        """
        m.submodules.queue = queue = memory.Memory(
            shape=self._entry, depth=self._frames, init=[], attrs={"no_rw_check": 1}
        )
        write, read = queue.write_port(), queue.read_port()
        known, ready = Signal(), Signal()  # what the RAM shows is an entry; `entry` is one
        entry = Signal(self._entry, reset_less=True)
        fetch, none = known & (~ready | self._loads), write.addr == read.addr
        m.d.comb += [write.data.eq(self._decided), write.en.eq(more)]
        m.d.sync += [
            write.addr.eq(write.addr + more),
            read.addr.eq(read.addr + fetch),
            known.eq(~none & ~fetch),
            ready.eq(fetch | (ready & ~self._loads)),
            empty.eq(~more & (empty | (self._loads & none))),
            self._waiting.eq(write.addr - read.addr),
        ]
        with m.If(fetch):
            m.d.sync += entry.eq(read.data)
        return entry, ready

    def _send(self, m: Module) -> None:
        """Address, RAM, output: two clocks, held together when the output is not ready."""
        more = (self._busy | self._starts) & ~Mux(self._closed, self._at_end, self._dry)
        fetched, first = Signal(), Signal(init=1)
        move_out = ~self.o.valid | self.o.ready
        move = ~fetched | move_out
        m.d.comb += [
            self._done.eq(self._busy & self._closed & self._at_end),
            self._ram.read_address.eq(self._rd),
            self._ram.read_enable.eq(move),
        ]
        with m.If(move):
            m.d.sync += fetched.eq(more)
            with m.If(more):
                m.d.sync += [self._rd.eq(self._after(self._rd)), self._begun.eq(1)]
        word = self._ram.read_data
        with m.If(move_out):
            m.d.sync += self.o.valid.eq(fetched)
            with m.If(fetched):
                m.d.sync += [
                    self.o.p.data.eq(word.data),
                    self.o.p.octets.eq(word.octets),
                    self.o.p.first.eq(first),
                    self.o.p.last.eq(word.last),
                    self.o.p.error.eq(word.error),
                    first.eq(word.last),
                ]
        self._compare(m, more & move)
        self._age(m, more & move & ~self._begun)

    def _compare(self, m: Module, step: Value) -> None:
        """Where `_rd` will be: at its frame's end, at the last word that has come."""
        behind_end, behind_wr = Signal(), Signal()
        m.d.comb += [
            behind_end.eq(self._follows(self._end, self._rd)),
            behind_wr.eq(self._follows(self._wr, self._rd)),
        ]
        at_wr = Mux(
            step, behind_wr, Mux(self._takes, self._oldest == self._wr, self._rd == self._wr)
        )
        m.d.sync += self._dry.eq(at_wr & ~self._write)
        with m.If(step):
            m.d.sync += self._at_end.eq(Mux(self._closed, behind_end, behind_wr))
        with m.Elif(self._loads):
            m.d.sync += self._at_end.eq(0)
        with m.Elif(self._takes):
            # A frame that found no room has no words at all.
            m.d.sync += self._at_end.eq(self._head.none)
        with m.Elif(~self._closed):
            m.d.sync += self._at_end.eq(self._rd == self._wr)

    def _age(self, m: Module, begins: Signal) -> None:
        """Latency of the frame whose first word is being fetched."""
        age, begun, known = Signal(AGE), Signal(), Signal()
        # One clock from `i` to the birth, two from here to `o`, one already gone.
        m.d.sync += [begun.eq(begins), known.eq(begun), age.eq(self._clock - self._from + 2)]
        with m.If(known & (age > self.latency_max)):
            m.d.sync += self.latency_max.eq(age)
