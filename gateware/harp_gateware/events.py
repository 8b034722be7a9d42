"""Events: pending until acknowledged, counted, with the time of the first, by priority.

Ref: offload.md §5
"""

from amaranth import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out

from harp.tables.constants import US_PER_S
from harp.tables.offload import (
    EVENT_KINDS,
    EVENT_REPEAT_US,
    EVENT_STRIDE,
    MAX_FLOOD_EVENTS_PER_SECOND,
)
from harp.tables.register_schema import WORD_BITS
from harp.tables.registers import BY_NAME
from harp_gateware.layouts import (
    EVENT,
    EVENT_PUSH,
    RAM_REQUEST,
    RAM_RESPONSE,
    TIME_US,
    EventCode,
)

IDS = len(EVENT_KINDS) * EVENT_STRIDE
ID = (IDS - 1).bit_length()
STAMP = 16
"""Low bits of the time that wait beside an event: it is entered within 2^16 µs."""
COUNT = 16
QUEUE = 128
"""Events that may wait to be entered, a power of two: all peers' deadlines in the same µs, and what
HELLOs and floods raise meanwhile."""
SPACING_US = US_PER_S // MAX_FLOOD_EVENTS_PER_SECOND
RARE = (EventCode.REPLAY, EventCode.FLOOD)
"""Kinds that are pushed at most once in SPACING_US each."""
TICK = 5
"""Pushes are spaced in units of 2^5 µs: numbers of so many bits less."""
TOLD = 19
"""Bits of the time of the last push, 16 s: repeats are due after 20 ms, and asked for more often.
With count and flag it fills a block RAM's width."""
AREAS = ("event", "event_pending")
EVENT_AREA = BY_NAME["event"]

ROW = data.StructLayout({"first": TIME_US, "count": COUNT, "told_at": TOLD, "told": 1})
QUEUED = data.StructLayout({"id": ID, "stamp": STAMP})


class Events(wiring.Component):
    """Enters events of several sources, pushes what is pending, clears what is acknowledged.

    An event waits at its source's place for the queue of all, 6 clocks at most if the sources
    before it raise one in 4 clocks each. Another one of the source meanwhile, or a full queue, sets
    `lost` (a defect) for a clock. An entry takes 5 clocks. The scan for the next push begins at the
    highest priority after each push and looks at an id in 5 clocks if nothing is entered meanwhile.

    A push is repeated EVENT_REPEAT_US after the last one, or up to 32 µs sooner, until `ack` with
    the count that the event then has; another count only makes it due at once. Flags and counts are
    exact; pushes of `replay` and `flood` are 100 ms apart in each kind, or up to 64 µs more. Counts
    stay at 65,535. An `ack` while one is under way (5 clocks, behind what waits to be entered) is
    ignored: its event is pushed again.
    """

    def __init__(self, sources: int) -> None:
        self._sources = sources
        event = stream.Signature(EVENT, always_ready=True)
        request = stream.Signature(RAM_REQUEST, always_ready=True)
        response = stream.Signature(RAM_RESPONSE, always_ready=True)
        super().__init__(
            {
                **{f"i_{n}": In(event) for n in range(sources)},
                "now_us": In(TIME_US),
                "ack": In(1),
                "ack_id": In(ID),
                "ack_count": In(COUNT),
                "o": Out(stream.Signature(EVENT_PUSH)),
                "lost": Out(1),
                **{f"i_ram_{area}": In(request) for area in AREAS},
                **{f"o_ram_{area}": Out(response) for area in AREAS},
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        # A row is written when it is not read, or when what is read is not looked at.
        rams = [
            memory.Memory(shape=shape, depth=depth, init=[], attrs={"no_rw_check": 1})
            for shape, depth in ((TIME_US, IDS + QUEUE), (ROW.size - TIME_US, IDS))
        ]
        m.submodules.first, m.submodules.rest = rams
        reads, writes = [ram.read_port() for ram in rams], [ram.write_port() for ram in rams]
        fetched = Cat(read.data for read in reads)
        self._write = data.View(ROW, Signal(ROW.size, name="written"))
        self._write_first, self._write_rest = (write.en for write in writes)
        self._id = Signal(ID)
        self._row = Signal(ROW, reset_less=True)
        m.submodules.pending = pending = memory.Memory(
            shape=EVENT_STRIDE, depth=len(EVENT_KINDS), init=[]
        )
        flags, self._set_flags = pending.read_port(domain="comb"), pending.write_port()
        self._flags = Signal(EVENT_STRIDE)  # what is pending of this kind
        self._flag = Signal()  # `self._id` is pending
        self._here = Signal(EVENT_STRIDE)  # a bit for it
        self._kind, index = self._id[-4:], self._id[:5]
        self._queue_read, self._queue_write = reads[0], writes[0]
        m.d.comb += [
            *(port.addr.eq(self._id) for port in (*reads, *writes)),
            Cat(write.data for write in writes).eq(self._write.as_value()),
            flags.addr.eq(self._kind),
            self._set_flags.addr.eq(self._kind),
        ]
        m.d.sync += [
            self._row.eq(fetched),
            self._flags.eq(flags.data),
            self._here.eq(1 << index),
            self._flag.eq((self._flags & self._here).any()),
        ]
        self._gather(m)
        self._line_up(m)
        self._wait(m)
        self._hold_back(m)
        self._work(m)
        return m

    def _gather(self, m: Module) -> None:
        """What each source raised; the lowest that waits goes to the queue, `self._goes`."""
        self._goes, self._event, chosen = Signal(), Signal(ID), Signal(ID)
        self._room = Signal(init=1)  # the queue's RAM will not be written otherwise
        self._overrun = Signal()
        before: Value = Const(0, 1)
        lost: list[Value] = []
        for n in range(self._sources):
            source = getattr(self, f"i_{n}")
            waits, ident = Signal(name=f"waits_{n}"), Signal(ID, name=f"ident_{n}")
            stays = waits & (before | ~self._room)
            m.d.sync += waits.eq(source.valid | stays)
            with m.If(source.valid):
                m.d.sync += ident.eq(Cat(source.p.index, source.p.kind))
            with m.If(waits & ~before):
                m.d.comb += chosen.eq(ident)
            lost.append(source.valid & stays)
            before = before | waits
        m.d.sync += [
            self._goes.eq(before & self._room),
            self._event.eq(chosen),
            self._overrun.eq(Cat(*lost).any()),
        ]

    def _line_up(self, m: Module) -> None:
        """The queue, behind the rows of first times; if `self._some`, `self._next` is its head.

        Written in clocks that write no row, read in those that read none; what is read passes the
        same register as the rows.
        """
        bits = QUEUE.bit_length()  # one more than the place's, to tell full from empty
        head, tail, filled = Signal(bits), Signal(bits), Signal()
        self._some, self._taken, self._fetch = Signal(), Signal(), Signal()
        self._next = data.View(QUEUED, self._row.first[: QUEUED.size])
        read, write = self._queue_read, self._queue_write
        m.d.sync += [
            filled.eq(head != tail),
            tail.eq(tail + self._goes),
            self.lost.eq(self._overrun | (self._goes & ((tail ^ head) == QUEUE))),
        ]
        with m.If(self._goes):
            m.d.comb += [
                write.addr.eq(IDS + tail[:-1]),
                write.data.eq(Cat(self._event, self.now_us[:STAMP])),
                write.en.eq(1),
            ]
        with m.If(self._fetch):
            m.d.comb += read.addr.eq(IDS + head[:-1])
            m.d.sync += [head.eq(head + filled), self._some.eq(filled)]
        with m.Elif(self._taken):
            m.d.sync += self._some.eq(0)

    def _wait(self, m: Module) -> None:
        """One acknowledgement and one access of the host, until they are done."""
        self._acked, self._asked = Signal(), Signal()
        self._ack_id, self._ack_count = Signal(ID), Signal(COUNT)
        self._access, self._all = Signal(RAM_REQUEST), Signal()
        self._ack_done, self._served = Signal(), Signal()
        with m.If(self._ack_done):
            m.d.sync += self._acked.eq(0)
        with m.If(self.ack & ~self._acked):
            m.d.sync += [
                self._acked.eq(1),
                self._ack_id.eq(self.ack_id),
                self._ack_count.eq(self.ack_count),
            ]
        with m.If(self._served):
            m.d.sync += self._asked.eq(0)
        with m.If(self.i_ram_event.valid):
            m.d.sync += [self._asked.eq(1), self._access.eq(self.i_ram_event.p)]
        with m.If(self.i_ram_event_pending.valid):
            m.d.sync += [self._asked.eq(1), self._access.eq(self.i_ram_event_pending.p)]
        with m.If(self.i_ram_event.valid | self.i_ram_event_pending.valid):
            m.d.sync += self._all.eq(self.i_ram_event_pending.valid)
        low = EVENT_AREA.stride.bit_length() - 1
        # `event_pending` asks for a kind, `event` for an id.
        address = self._access.address
        self._asked_id = Mux(self._all, address[:4] << 5, address[low : low + ID])
        second = EVENT_AREA.field("count").at // WORD_BITS
        counts = Signal()
        pick = Mux(counts, self._row.count, self._row.first)
        answer = Signal(TIME_US)
        m.d.comb += [self.o_ram_event.p.data.eq(answer), self.o_ram_event_pending.p.data.eq(answer)]
        m.d.sync += [
            self.o_ram_event.valid.eq(self._served & ~self._all),
            self.o_ram_event_pending.valid.eq(self._served & self._all),
            counts.eq(self._access.address[:low] == second),
            answer.eq(Mux(self._all, self._flags, pick)),
        ]
        # Last, so that they are the flops' own resets.
        with m.If(self._all | counts | ~self._flag):
            m.d.sync += answer[WORD_BITS:].eq(0)
        with m.If(~self._all & ~self._flag):
            m.d.sync += answer.eq(0)

    def _hold_back(self, m: Module) -> None:
        """Whether a rare kind may be pushed again."""
        since_bits = (SPACING_US >> TICK).bit_length() + 1
        now = self.now_us[TICK:][:since_bits]
        self._held, self._pushed = Signal(), Signal()
        holds: list[Value] = []
        for kind in RARE:
            since, open_ = Signal(since_bits), Signal(init=1)
            past = Signal()
            m.d.sync += past.eq((now - since)[:since_bits] > -(-SPACING_US >> TICK))
            with m.If(past):
                m.d.sync += open_.eq(1)
            with m.If(self._pushed & (self._kind == kind.value)):
                m.d.sync += [since.eq(now), open_.eq(0), past.eq(0)]
            holds.append((self._kind == kind.value) & ~open_)
        m.d.sync += self._held.eq(Cat(*holds).any())

    def _work(self, m: Module) -> None:
        """One row at a time: read, a clock, look at it, then (if not entering) act, and write."""
        scan = Signal(ID)
        stamp = Signal(STAMP)
        now = self.now_us
        past, agrees = Signal(), Signal()
        ticks = now[TICK:][:TOLD]
        waited = (ticks - self._row.told_at)[:TOLD]
        m.d.sync += [
            past.eq(~self._row.told | (waited >= EVENT_REPEAT_US >> TICK)),
            agrees.eq(self._row.count == self._ack_count),
        ]
        # When the event that is entered came: in two clocks, long before it is written.
        back, was_now, first = Signal(STAMP), Signal(TIME_US), Signal(TIME_US)
        m.d.sync += [
            back.eq(now[:STAMP] - stamp),
            was_now.eq(now),
            first.eq(was_now - back),
        ]
        set_, clear = Signal(), Signal()
        m.d.comb += [
            self._write.eq(self._row),
            self._write.first.eq(first),
            self._set_flags.data.eq(Mux(set_, self._flags | self._here, self._flags & ~self._here)),
            self._set_flags.en.eq(set_ | clear),
        ]
        work = Signal(4)  # enter, acknowledge, serve, scan
        m.d.sync += self._room.eq(1)
        with m.FSM():
            with m.State("Reset"):
                # The RAM outlives a reset, what was pending does not.
                m.d.comb += [self._set_flags.data.eq(0), self._set_flags.en.eq(1)]
                m.d.sync += self._id.eq(self._id + EVENT_STRIDE)
                with m.If(self._kind == len(EVENT_KINDS) - 1):
                    m.next = "Choose"
            with m.State("Choose"):
                with m.If(self._some):
                    m.d.comb += self._taken.eq(1)
                    m.d.sync += [
                        self._id.eq(self._next.id),
                        stamp.eq(self._next.stamp),
                        work.eq(0b0001),
                    ]
                with m.Elif(self._acked):
                    m.d.sync += [self._id.eq(self._ack_id), work.eq(0b0010)]
                with m.Elif(self._asked):
                    m.d.sync += [self._id.eq(self._asked_id), work.eq(0b0100)]
                with m.Else():
                    m.d.sync += [self._id.eq(scan), work.eq(0b1000)]
                m.next = "Read"
            with m.State("Read"):
                m.d.sync += self._room.eq(0)
                m.next = "Take"
            with m.State("Take"):
                m.next = "Look"
            with m.State("Look"):
                m.d.comb += self._fetch.eq(1)
                m.next = "Act"
                with m.If(work[0]):
                    m.d.comb += [
                        set_.eq(1),
                        self._write_rest.eq(1),
                        self._write_first.eq(~self._flag),
                    ]
                    self._enter(m)
            with m.State("Act"):
                m.next = "Choose"
                with m.If(work[1]):
                    m.d.comb += [
                        self._ack_done.eq(1),
                        clear.eq(agrees),
                        self._write_rest.eq(self._flag),
                        self._write.told.eq(0),
                    ]
                with m.If(work[2]):
                    m.d.comb += self._served.eq(1)
                with m.If(work[3]):
                    # What is found while a push waits would be old, and not the first.
                    m.d.sync += scan.eq(Mux((scan == IDS - 1) | self.o.valid, 0, scan + 1))
                    with m.If(self._flag & past & ~self._held & ~self.o.valid):
                        m.d.comb += [
                            self._pushed.eq(1),
                            self._write_rest.eq(1),
                            self._write.told.eq(1),
                            self._write.told_at.eq(ticks),
                        ]
                        m.d.sync += scan.eq(0)
                        self._push(m)
        with m.If(self.o.valid & self.o.ready):
            m.d.sync += self.o.valid.eq(0)

    def _enter(self, m: Module) -> None:
        count = self._row.count
        m.d.comb += self._write.count.eq(Mux(self._flag, Mux(count.all(), count, count + 1), 1))
        with m.If(~self._flag):
            m.d.comb += self._write.told.eq(0)

    def _push(self, m: Module) -> None:
        m.d.sync += [
            self.o.valid.eq(1),
            self.o.p.kind.eq(self._kind),
            self.o.p.index.eq(self._id[:5]),
            self.o.p.first_us.eq(self._row.first),
            self.o.p.count.eq(self._row.count),
        ]
