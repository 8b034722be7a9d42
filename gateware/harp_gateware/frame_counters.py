"""Frames of each reason and of each outcome: 48 bits, in RAM.

Ref: offload.md §2 (wrap, never cleared); register areas `reason_frames`, `outcome_frames`
"""

from amaranth import Cat, Module, Mux, Signal
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out

from harp.tables.registers import BY_NAME
from harp_gateware.layouts import RAM_REQUEST, RAM_RESPONSE, OutcomeCode, ReasonCode

REASONS, OUTCOMES = BY_NAME["reason_frames"], BY_NAME["outcome_frames"]
COUNTER = REASONS.field("frames").width
ROWS = 32
FIRST_OUTCOME = 24
"""Row of outcome 0, behind the reasons."""
PENDING = 5
"""Bits of the bad frames that wait: a few jobs of 4 clocks let fewer than 31 come."""

COUNTED = data.StructLayout({"reason": ReasonCode, "outcome": OutcomeCode, "bad": 1})


class FrameCounters(wiring.Component):
    """Adds each frame to the counters of its reason and of its outcome.

    Bad frames (one reason, one outcome) may come one a clock: they wait together and are added at
    once. Others come at least 7 clocks apart, as 64 octets take. The host reads between two jobs,
    at most 16 clocks after it asks; it writes nothing.
    """

    i: In(stream.Signature(COUNTED, always_ready=True))
    i_ram_reason_frames: In(stream.Signature(RAM_REQUEST, always_ready=True))
    o_ram_reason_frames: Out(stream.Signature(RAM_RESPONSE, always_ready=True))
    i_ram_outcome_frames: In(stream.Signature(RAM_REQUEST, always_ready=True))
    o_ram_outcome_frames: Out(stream.Signature(RAM_RESPONSE, always_ready=True))

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.ram = ram = memory.Memory(shape=COUNTER, depth=ROWS, init=[])
        read, write = ram.read_port(domain="comb"), ram.write_port()
        self._row, self._then = Signal(range(ROWS)), Signal(range(ROWS))
        self._value, self._amount = Signal(COUNTER), Signal(PENDING)
        total = Signal(COUNTER)
        rows = Signal(2 * len(self._row))  # the last two that were read
        m.d.comb += [
            read.addr.eq(self._row),
            write.addr.eq(rows[len(self._row) :]),
            write.data.eq(total),
        ]
        m.d.sync += [
            self._value.eq(read.data),
            total.eq(self._value + self._amount),
            rows.eq(Cat(self._row, rows)),
        ]
        self._asked = Signal(2)  # a reason; an outcome
        self._asked_row = Signal(range(ROWS))
        self._collect(m)
        again = Signal()  # the outcome is written while the next job is chosen
        m.d.comb += write.en.eq(again)
        m.d.sync += again.eq(0)
        with m.FSM():
            with m.State("Idle"):
                self._choose(m)
            with m.State("Reason"):
                m.d.sync += self._row.eq(self._then)
                m.next = "Outcome"
            with m.State("Outcome"):
                m.next = "Write"
            with m.State("Write"):
                m.d.comb += write.en.eq(1)
                m.d.sync += again.eq(1)
                m.next = "Idle"
            with m.State("Fetch"):
                m.next = "Answer"
            with m.State("Answer"):
                self._answer(m)
                m.next = "Idle"
        self._ask(m)
        return m

    def _collect(self, m: Module) -> None:
        """One frame that is good, any number of bad ones."""
        self._frame, self._waits = Signal(COUNTED), Signal()
        self._bad = Signal(PENDING)
        self._some_bad = Signal()  # known a clock late: no job is as short
        self._begin_frame, self._begin_bad = Signal(), Signal()
        bad = self.i.valid & self.i.p.bad
        with m.If(self.i.valid & ~self.i.p.bad):
            m.d.sync += [self._frame.eq(self.i.p), self._waits.eq(1)]
        with m.Elif(self._begin_frame):
            m.d.sync += self._waits.eq(0)
        m.d.sync += [
            self._bad.eq(Mux(self._begin_bad, 0, self._bad) + bad),
            self._some_bad.eq(self._bad != 0),
        ]

    def _ask(self, m: Module) -> None:
        """What the host wants to read; may come with the answer before."""
        low = REASONS.stride.bit_length() - 1
        for n, (request, base) in enumerate(
            ((self.i_ram_reason_frames, 0), (self.i_ram_outcome_frames, FIRST_OUTCOME))
        ):
            with m.If(request.valid):
                m.d.sync += [
                    self._asked[n].eq(1),
                    self._asked_row.eq(request.p.address[low : low + 5] | base),
                ]

    def _choose(self, m: Module) -> None:
        """The next job: a good frame, which cannot wait for two, the host, the bad ones."""
        m.d.sync += self._row.eq(self._asked_row)
        with m.If(self._waits):
            m.d.comb += self._begin_frame.eq(1)
            m.d.sync += [
                self._row.eq(self._frame.reason),
                self._then.eq(FIRST_OUTCOME | self._frame.outcome.as_value()),
                self._amount.eq(1),
            ]
            m.next = "Reason"
        with m.Elif(self._asked.any()):
            m.next = "Fetch"
        with m.Elif(self._some_bad):
            m.d.comb += self._begin_bad.eq(1)
            m.d.sync += [
                self._row.eq(ReasonCode["BAD_FRAME"]),
                self._then.eq(FIRST_OUTCOME | OutcomeCode["DROP"].value),
                self._amount.eq(self._bad),
            ]
            m.next = "Reason"

    def _answer(self, m: Module) -> None:
        """The value read goes to the area that was asked."""
        m.d.sync += self._asked.eq(0)
        for n, answer in enumerate((self.o_ram_reason_frames, self.o_ram_outcome_frames)):
            m.d.comb += [answer.valid.eq(self._asked[n]), answer.p.data.eq(self._value)]


assert REASONS.stride == OUTCOMES.stride
assert REASONS.count <= FIRST_OUTCOME and OUTCOMES.count <= ROWS - FIRST_OUTCOME
