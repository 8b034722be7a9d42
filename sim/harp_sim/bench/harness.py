"""What stands around the core in simulation: queues of frames, registers and events; the time.

Python pushes and pops whole chunks of a frame (up to 128 octets), so it acts once a frame and not
once a clock; every frame has the clock at which its first word is to be on the core's input, so
its times are known before it is played.

Ref: docs/gateware.md (ports of the core)

**Handshakes with Python.** Every `*_push` and `*_pop` is a level that Python flips for one push or
pop, at a falling edge of the clock; `request` likewise.

**Speed.** The simulator works out again at both edges of the clock whatever depends on an input
without a register between. So reset and what reaches far into the core (`LATCHED`) come through
registers: that is half of the simulator's code and of its time.
"""

from collections.abc import Callable, Iterable, Iterator
from functools import cache

from amaranth import (
    Cat,
    ClockDomain,
    ClockSignal,
    Elaboratable,
    Fragment,
    Module,
    ResetSignal,
    Signal,
    Value,
)
from amaranth.lib import data, fifo, stream, wiring
from amaranth.lib.wiring import In, Out

from harp_gateware.core import Core
from harp_gateware.layouts import (
    EVENT_PUSH,
    PORT_STATE,
    TIME_US,
    WORD,
    FrameError,
    OutcomeCode,
    ReasonCode,
)
from harp_gateware.params import CoreParams

CHUNK_WORDS = 16
CHUNK_OCTETS = 8 * CHUNK_WORDS
DEPTH = 128
"""Chunks that a player or a recorder holds."""
CLOCK_BITS = 48
LATCHED = frozenset(
    {
        "to_host_pause",
        "to_host_stall",
        "to_net_pause",
        "to_net_stall",
        "request",
        "request_data",
        "net_state",
        "host_state",
        "mutant",
    }
)
"""Inputs that act a clock later than the others."""

PLAYED = data.StructLayout(
    {
        "data": 64 * CHUNK_WORDS,
        "gaps": CHUNK_WORDS,  # bit n: an idle clock before word n
        "start": CLOCK_BITS,  # clock of the first word, if `first`
        "words": 5,  # 1 to 16
        "octets": 4,  # of the last word
        "error": FrameError,  # in the last word, if `last`
        "first": 1,
        "last": 1,
    }
)
"""Part of a frame to play."""

RECORDED = data.StructLayout(
    {
        "data": 64 * CHUNK_WORDS,
        "begin": CLOCK_BITS,  # clock in which the frame's first word was taken
        "end": CLOCK_BITS,  # clock in which the chunk's last word was taken
        "words": 5,
        "octets": 4,
        "error": FrameError,
        "append_fcs": 1,
        "first": 1,
        "last": 1,
    }
)
"""Part of a frame that came out."""


WORK = data.StructLayout(
    {
        "net_free": 1,  # room for a chunk to play
        "host_free": 1,
        "to_net": 1,  # something waits in `to_net`
        "to_host": 1,
        "event": 1,
        "verdict": 1,
    }
)
"""What there may be to do for Python: one look instead of six."""

JUDGED = data.StructLayout({"reason": ReasonCode, "outcome": OutcomeCode, "clock": CLOCK_BITS})
"""A verdict as it passes from the receive path to the frame buffer, and when."""


class Player(wiring.Component):
    """Plays chunks word by word; a frame's first word in the clock `start`, or later: `late`."""

    def __init__(self) -> None:
        super().__init__(
            {
                "clock": In(CLOCK_BITS),
                "push": In(1),
                "i": In(PLAYED),
                "o": Out(stream.Signature(WORD, always_ready=True)),
                "free": Out(1),
                "empty": Out(1),
                "late": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.queue = queue = fifo.SyncFIFOBuffered(width=PLAYED.size, depth=DEPTH)
        pushed, idled = Signal(), Signal()
        number = Signal(range(CHUNK_WORDS))
        head = data.View(PLAYED, queue.r_data)
        begins = head.first & (number == 0)
        due = queue.r_rdy & (~begins | (self.clock >= head.start))
        gap = head.gaps.bit_select(number, 1) & ~idled
        final = number == head.words - 1
        ends = Signal()  # read instead of word.last, which shares a vector with word.error
        word = self.o.p
        m.d.comb += [
            queue.w_data.eq(self.i.as_value()),
            queue.w_en.eq(self.push ^ pushed),
            self.free.eq(queue.level < DEPTH - 1),
            self.empty.eq(~queue.r_rdy),
            self.o.valid.eq(due & ~gap),
            word.data.eq(head.data.word_select(number, 64)),
            word.octets.eq(8),
            word.first.eq(begins),
            ends.eq(head.last & final),
            word.last.eq(ends),
            queue.r_en.eq(self.o.valid & final),
        ]
        with m.If(final):
            m.d.comb += word.octets.eq(head.octets)
        with m.If(ends):
            m.d.comb += word.error.eq(head.error)
        m.d.sync += [pushed.eq(self.push), idled.eq(due & gap)]
        with m.If(self.o.valid):
            m.d.sync += number.eq(number + 1)
            with m.If(final):
                m.d.sync += number.eq(0)
            with m.If(begins & (self.clock != head.start)):
                m.d.sync += self.late.eq(1)
        return m


class Recorder(wiring.Component):
    """Collects the words of a frame into chunks.

    Not ready for `pause` clocks after a frame (preamble and gap of a line), in about `stall` of 256
    clocks, and when its queue is full. `broken`, once a word that waited changed or a frame began
    without `first`.
    """

    def __init__(self) -> None:
        super().__init__(
            {
                "clock": In(CLOCK_BITS),
                "i": In(stream.Signature(WORD)),
                "pause": In(8),
                "stall": In(8),
                "pop": In(1),
                "o": Out(RECORDED),
                "o_valid": Out(1),
                "broken": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.queue = queue = fifo.SyncFIFOBuffered(width=RECORDED.size, depth=DEPTH)
        popped, resting = Signal(), Signal(8)
        random = Signal(16, init=1)
        number, begin = Signal(range(CHUNK_WORDS)), Signal(CLOCK_BITS)
        buffer = Signal(64 * (CHUNK_WORDS - 1))
        starts = Signal(init=1)
        chunk = Signal(RECORDED)
        word, taken = self.i.p, Signal()
        stalled = random[:8] < self.stall
        m.d.comb += [
            self.i.ready.eq((resting == 0) & ~stalled & queue.w_rdy),
            taken.eq(self.i.valid & self.i.ready),
            chunk.data.eq(buffer),
            chunk.data.word_select(number, 64).eq(word.data),
            chunk.begin.eq(begin),
            chunk.end.eq(self.clock),
            chunk.words.eq(number + 1),
            chunk.octets.eq(word.octets),
            chunk.error.eq(word.error),
            chunk.append_fcs.eq(word.append_fcs),
            chunk.first.eq(starts),
            chunk.last.eq(word.last),
            queue.w_data.eq(chunk.as_value()),
            queue.w_en.eq(taken & (word.last | (number == CHUNK_WORDS - 1))),
            queue.r_en.eq(self.pop ^ popped),
            self.o.eq(queue.r_data),
            self.o_valid.eq(queue.r_rdy),
        ]
        with m.If(word.first):
            m.d.comb += chunk.begin.eq(self.clock)
        m.d.sync += [
            popped.eq(self.pop),
            random.eq(Cat(random[0] ^ random[2] ^ random[3] ^ random[5], random)),
        ]
        with m.If(resting != 0):
            m.d.sync += resting.eq(resting - 1)
        with m.If(taken):
            m.d.sync += [
                buffer.word_select(number, 64).eq(word.data),
                number.eq(number + 1),
                begin.eq(chunk.begin),
            ]
            with m.If(word.last):
                m.d.sync += [number.eq(0), resting.eq(self.pause)]
            with m.If((number == 0) & starts & ~word.first):
                m.d.sync += self.broken.eq(1)
        with m.If(queue.w_en):
            m.d.sync += starts.eq(word.last)
        self._hold(m)
        return m

    def _hold(self, m: Module) -> None:
        """A word that waits stays as it is (Amaranth RFC 61)."""
        waits, before = Signal(), Signal(WORD.size)
        now = Value.cast(self.i.payload)
        m.d.sync += [waits.eq(self.i.valid & ~self.i.ready), before.eq(now)]
        with m.If(waits & (~self.i.valid | (now != before))):
            m.d.sync += self.broken.eq(1)


class Harness(Elaboratable):
    """The core between its queues. `ports` are the top's; their names are Python's.

    `now_us` counts one up every `rate` clocks (0: stands still), and `jump_us` on at each flip of
    `jump`. `clock` counts clocks since reset. `plant` changes the core's fragment by the input
    `mutant` (harp_sim.mutants).
    """

    def __init__(
        self, params: CoreParams, plant: Callable[[Fragment, Signal], None] | None = None
    ) -> None:
        self._core = Core(params)
        self._monitor = params.monitor
        self._plant = plant
        inputs = {
            "rate": 16,
            "jump": 1,
            "jump_us": 40,
            "net_push": 1,
            "net_chunk": PLAYED.size,
            "host_push": 1,
            "host_chunk": PLAYED.size,
            "to_host_pop": 1,
            "to_host_pause": 8,
            "to_host_stall": 8,
            "to_net_pop": 1,
            "to_net_pause": 8,
            "to_net_stall": 8,
            "request": 1,
            "request_data": 50,
            "event_pop": 1,
            "verdict_pop": 1,
            "net_state": PORT_STATE.size,
            "host_state": PORT_STATE.size,
            **({"mutant": 8} if plant else {}),
        }
        outputs = {
            "clock": CLOCK_BITS,
            "now_us": TIME_US,
            "phase": 16,
            "work": WORK.size,
            "net_idle": 1,
            "net_late": 1,
            "host_idle": 1,
            "host_late": 1,
            "to_host": RECORDED.size,
            "to_host_broken": 1,
            "to_net": RECORDED.size,
            "to_net_broken": 1,
            "answered": 1,
            "answer": 33,
            "event": EVENT_PUSH.size,
            "verdict": JUDGED.size,
            "host_link": 1,
        }
        inputs = {"clk": 1, "rst": 1, **inputs}
        self.pins = {name: Signal(width, name=name) for name, width in inputs.items()}
        """Inputs as Python drives them."""
        latched = {name: Signal.like(self.pins[name]) for name in LATCHED & inputs.keys()}
        self.inputs = {**self.pins, **latched}
        """Inputs as the harness takes them."""
        self.outputs = {name: Signal(width, name=name) for name, width in outputs.items()}
        self._work = data.View(WORK, self.outputs["work"])

    @property
    def ports(self) -> Iterable[Signal]:
        """Every port."""
        return (*self.pins.values(), *self.outputs.values())

    def elaborate(self, platform: object) -> Module:
        m = Module()
        self._latches(m)
        # Elaborated now, so that its receive path is there to be watched.
        m.submodules.core = core = Fragment.get(self._core, platform)
        if self._plant:
            self._plant(core, self.inputs["mutant"])
        self._time(m)
        sides = ("net",) if self._monitor else ("net", "host")
        for side in sides:
            self._player(m, side)
        for side, out in (("net", "to_net"), ("host", "to_host"))[: len(sides)]:
            self._recorder(m, out, getattr(self._core, f"o_{side}"))
        self._registers(m)
        self._events(m)
        self._verdicts(m)
        i, o = self.inputs, self.outputs
        m.d.comb += Value.cast(self._core.net_state).eq(i["net_state"])
        if self._monitor:
            m.d.comb += [self._work.host_free.eq(1), o["host_idle"].eq(1)]
        else:
            m.d.comb += Value.cast(self._core.host_state).eq(i["host_state"])
            m.d.comb += o["host_link"].eq(self._core.host_link_enable)
        return m

    def _latches(self, m: Module) -> None:
        """Clock domains, and the registers of reset and of the inputs that reach far."""
        m.domains += [ClockDomain("sync"), ClockDomain("pins", reset_less=True)]
        reset = Signal(init=1)
        m.d.comb += [
            ClockSignal("sync").eq(self.pins["clk"]),
            ClockSignal("pins").eq(self.pins["clk"]),
            ResetSignal("sync").eq(reset),
        ]
        m.d.pins += reset.eq(self.pins["rst"])
        m.d.pins += [self.inputs[n].eq(self.pins[n]) for n in sorted(LATCHED & self.inputs.keys())]

    def _time(self, m: Module) -> None:
        i, o = self.inputs, self.outputs
        jumped, step = Signal(), Signal()
        m.d.comb += [
            self._core.now_us.eq(o["now_us"]),
            step.eq((i["rate"] != 0) & (o["phase"] + 1 >= i["rate"])),
        ]
        m.d.sync += [
            jumped.eq(i["jump"]),
            o["clock"].eq(o["clock"] + 1),
            o["phase"].eq(o["phase"] + 1),
        ]
        with m.If(i["jump"] ^ jumped):
            m.d.sync += [o["now_us"].eq(o["now_us"] + i["jump_us"]), o["phase"].eq(0)]
        with m.Elif(step):
            m.d.sync += [o["now_us"].eq(o["now_us"] + 1), o["phase"].eq(0)]

    def _player(self, m: Module, side: str) -> None:
        i, o = self.inputs, self.outputs
        player = Player()
        m.submodules[f"{side}_player"] = player
        source = getattr(self._core, f"i_{side}")
        m.d.comb += [
            player.clock.eq(o["clock"]),
            player.push.eq(i[f"{side}_push"]),
            player.i.eq(i[f"{side}_chunk"]),
            source.valid.eq(player.o.valid),
            source.payload.eq(player.o.payload),
            self._work[f"{side}_free"].eq(player.free),
            o[f"{side}_idle"].eq(player.empty),
            o[f"{side}_late"].eq(player.late),
        ]

    def _recorder(self, m: Module, out: str, sink: stream.Interface) -> None:
        i, o = self.inputs, self.outputs
        recorder = Recorder()
        m.submodules[f"{out}_recorder"] = recorder
        m.d.comb += [
            recorder.clock.eq(o["clock"]),
            recorder.i.valid.eq(sink.valid),
            recorder.i.payload.eq(sink.payload),
            sink.ready.eq(recorder.i.ready),
            recorder.pop.eq(i[f"{out}_pop"]),
            recorder.pause.eq(i[f"{out}_pause"]),
            recorder.stall.eq(i[f"{out}_stall"]),
            o[out].eq(recorder.o),
            self._work[out].eq(recorder.o_valid),
            o[f"{out}_broken"].eq(recorder.broken),
        ]

    def _registers(self, m: Module) -> None:
        """One access at a time; `answered` flips with each answer."""
        i, o = self.inputs, self.outputs
        asked = Signal()
        request, response = self._core.i_request, self._core.o_response
        m.d.comb += [
            request.valid.eq(i["request"] ^ asked),
            Value.cast(request.payload).eq(i["request_data"]),
            response.ready.eq(1),
        ]
        with m.If(request.valid & request.ready):
            m.d.sync += asked.eq(~asked)
        with m.If(response.valid):
            m.d.sync += [
                o["answered"].eq(~o["answered"]),
                o["answer"].eq(Value.cast(response.payload)),
            ]

    def _verdicts(self, m: Module) -> None:
        """The one signal of the inside that the bench reads: what was decided of each frame."""
        i, o = self.inputs, self.outputs
        popped = Signal()
        m.submodules.verdicts = queue = fifo.SyncFIFOBuffered(width=JUDGED.size, depth=256)
        source, entry = self._core._rx.o_verdict, Signal(JUDGED)
        m.d.comb += [
            entry.reason.eq(source.p.reason),
            entry.outcome.eq(source.p.outcome),
            entry.clock.eq(o["clock"]),
            queue.w_data.eq(entry.as_value()),
            queue.w_en.eq(source.valid),
            queue.r_en.eq(i["verdict_pop"] ^ popped),
            o["verdict"].eq(queue.r_data),
            self._work.verdict.eq(queue.r_rdy),
        ]
        m.d.sync += popped.eq(i["verdict_pop"])

    def _events(self, m: Module) -> None:
        i, o = self.inputs, self.outputs
        popped = Signal()
        m.submodules.events = queue = fifo.SyncFIFOBuffered(width=EVENT_PUSH.size, depth=64)
        pushed = self._core.o_event
        m.d.comb += [
            queue.w_data.eq(Value.cast(pushed.payload)),
            queue.w_en.eq(pushed.valid),
            pushed.ready.eq(queue.w_rdy),
            queue.r_en.eq(i["event_pop"] ^ popped),
            o["event"].eq(queue.r_data),
            self._work.event.eq(queue.r_rdy),
        ]
        m.d.sync += popped.eq(i["event_pop"])


def chunks(octets: bytes, start: int, error: FrameError, gaps: int = 0) -> Iterator[int]:
    """The `PLAYED` values of a frame; bit n of `gaps`: an idle clock before its word n."""
    for at in range(0, len(octets), CHUNK_OCTETS):
        part = octets[at : at + CHUNK_OCTETS]
        words = -(-len(part) // 8)
        yield packed(
            PLAYED,
            data=int.from_bytes(part, "little"),
            gaps=gaps >> at // 8 & ((1 << words) - 1),
            start=start,
            words=words,
            octets=(len(part) - 1) % 8 + 1,
            error=error.value,
            first=at == 0,
            last=at + CHUNK_OCTETS >= len(octets),
        )


def packed(layout: data.StructLayout, **fields: int) -> int:
    """The fields at their places; ten times as fast as `layout.const`."""
    places = _places(layout)
    return sum(value << places[name][0] for name, value in fields.items())


def unpacked(layout: data.StructLayout, value: int) -> dict[str, int]:
    """Every field of `layout`, flat, by name."""
    return {name: value >> at & mask for name, (at, mask) in _places(layout).items()}


@cache
def _places(layout: data.StructLayout) -> dict[str, tuple[int, int]]:
    """Lowest bit and mask of each field; Amaranth works both out anew each time."""
    return {name: (field.offset, (1 << field.width) - 1) for name, field in layout}
