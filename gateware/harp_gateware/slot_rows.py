"""What is kept of each slot: settings, next due time, counters; a row a slot.

Ref: `harp.tables.registers` (`slot`, `slot_state`, `kick_answer`)
"""

from collections.abc import Sequence

from amaranth import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out

from harp.tables.offload import SLOTS, SlotFlag
from harp.tables.register_schema import WORD_BITS, Field
from harp.tables.registers import BY_NAME
from harp_gateware.layouts import RAM_REQUEST, RAM_RESPONSE

SPAN = 34
"""Bits of due times: a period is at most 2^32 µs, and the sign tells what is past."""
SEQUENCE = 16
SLOT_AREAS = ("slot", "slot_state", "kick_answer")
SLOT = BY_NAME["slot"]
STATE = BY_NAME["slot_state"]
INDEX = range(SLOTS)
HEAD_WORD, PERIOD_WORD, JITTER_WORD, SEQUENCE_WORD = range(4)
"""Words of a slot."""
MISSED = 1
"""Word of `slot_state`; `sent` is the other."""
PAIR = 2 * SLOTS
"""Rows of a RAM that keeps two words a slot: of the first all slots', then of the second."""


def _fields(word: int) -> list[Field]:
    return [f for f in SLOT.fields if f.at // WORD_BITS == word]


def _places(word: int) -> dict[str, slice]:
    """Where the fields lie in a word of `slot`."""
    return {f.name: slice(f.at % WORD_BITS, f.at % WORD_BITS + f.width) for f in _fields(word)}


def _mask(word: int) -> int:
    """The bits of a word of `slot` that have a field."""
    return sum((1 << place.stop) - (1 << place.start) for place in _places(word).values())


HEAD = data.StructLayout({f.name: f.width for f in _fields(HEAD_WORD)})
JITTER = data.StructLayout({f.name: f.width for f in _fields(JITTER_WORD)})
SCHEDULE = data.StructLayout(
    {"period_us": WORD_BITS, "jitter": JITTER["jitter"].shape, "due": SPAN}
)


def flag(flags: Value, which: SlotFlag) -> Value:
    """Whether `which` is set."""
    return flags[int(which).bit_length() - 1]


class SlotRows(wiring.Component):
    """Rows in distributed RAM, read in the clock in which they are asked for.

    `schedule` is the row of `index`, but while `look` (not its `due`), when `slot` is the head of
    `who`. `sequence` is that of `counter`. `set_due` writes `due` to the row of `index`,
    `set_sequence` `following` to that of `counter`; `miss` adds one to `missed` of `index`, `sent`
    to `sent` of `who`: one of them at a time, and neither while `counting`. The host's access waits
    for a clock that is `quiet`; in the next one, which is `serving`, the rows are the host's and
    none of all this may be used. `periodic` and `resigns` say what each slot's flags make it,
    neither after reset.
    """

    quiet: In(1)
    serving: Out(1)
    index: In(INDEX)
    schedule: Out(SCHEDULE)
    set_due: In(1)
    due: In(SPAN)
    miss: In(1)
    who: In(INDEX)
    look: In(1)
    slot: Out(HEAD)
    sent: In(1)
    counting: Out(1)
    counter: In(INDEX)
    sequence: Out(SEQUENCE)
    set_sequence: In(1)
    following: In(SEQUENCE)
    periodic: Out(SLOTS)
    resigns: Out(SLOTS)
    i_ram_slot: In(stream.Signature(RAM_REQUEST, always_ready=True))
    o_ram_slot: Out(stream.Signature(RAM_RESPONSE, always_ready=True))
    i_ram_slot_state: In(stream.Signature(RAM_REQUEST, always_ready=True))
    o_ram_slot_state: Out(stream.Signature(RAM_RESPONSE, always_ready=True))
    i_ram_kick_answer: In(stream.Signature(RAM_REQUEST, always_ready=True))
    o_ram_kick_answer: Out(stream.Signature(RAM_RESPONSE, always_ready=True))

    def elaborate(self, platform: object) -> Module:
        m = Module()
        self._access, self._area = Signal(RAM_REQUEST), Signal(len(SLOT_AREAS))
        self._half = Signal()  # second half of a word of `kick_answer`
        self._at = Signal(INDEX)
        self._word = Signal(range(SLOT.stride))
        self._writes = Signal(SLOT.stride)  # a bit a word that is to be written
        self._write = Signal(SLOT.stride)
        self._ask(m)
        self._settings(m)
        self._counters(m)
        self._answer(m)
        return m

    def _ask(self, m: Module) -> None:
        """One access of the host, until a clock that serves it."""
        access, address = self._access, self._access.address
        for n, area in enumerate(SLOT_AREAS):
            port = getattr(self, f"i_ram_{area}")
            with m.If(port.valid):
                m.d.sync += [access.eq(port.p), self._area[n].eq(1), self._half.eq(0)]
        slot, _, kick = self._area
        low = len(self._word)
        armed = Signal()  # where the access goes is known
        at = Mux(slot, address[low:], address[1:])
        m.d.sync += [
            armed.eq(self._area.any() & ~self.serving),
            self.serving.eq(self.quiet & armed & ~self.serving),
            self._at.eq(Mux(kick, Cat(self._half, address[:2]), at)),
            self._word.eq(Mux(slot, address[:low], address[0])),
            self._writes.eq(Mux(slot & access.write, 1 << address[:low], 0)),
        ]
        m.d.comb += self._write.eq(Mux(self.serving, self._writes, 0))
        with m.If(self.serving):
            m.d.sync += [self._half.eq(1), self._area.eq(Mux(kick & ~self._half, self._area, 0))]

    def _ram(
        self,
        m: Module,
        name: str,
        width: int,
        reader: Value,
        host: Value,
        init: Sequence[int] = (0,) * SLOTS,
    ) -> tuple[Value, memory.WritePort]:
        """A RAM: what `reader` reads and writes, and in its clock the host."""
        m.submodules[name] = ram = memory.Memory(shape=width, depth=len(init), init=init)
        read, write = ram.read_port(domain="comb"), ram.write_port()
        m.d.comb += [
            read.addr.eq(Mux(self.serving, host, reader)),
            write.addr.eq(read.addr),
        ]
        return read.data, write

    def _settings(self, m: Module) -> None:
        """What the host alone writes, but for the Sequence #; bits without a field read 0."""
        written = self._access.data[:WORD_BITS]
        period = SLOT.reset_of(SLOT.field("period_us"))
        reader = Cat(Mux(self.look, self.who, self.index), ~self.look)
        pair, set_pair = self._ram(
            m,
            "settings",
            WORD_BITS,
            reader,
            Cat(self._at, self._word[0]),
            (0,) * SLOTS + (period,) * SLOTS,
        )
        jitter, set_jitter = self._ram(m, "jitter", JITTER.size, self.index, self._at)
        due, set_due = self._ram(m, "due", SPAN, self.index, self._at)
        sequence, set_sequence = self._ram(m, "sequence", SEQUENCE, self.counter, self._at)
        hosts = self._write[SEQUENCE_WORD]
        self._pair, self._jitter, self._sequence = pair, Signal(WORD_BITS), sequence
        m.d.comb += [
            self.schedule.period_us.eq(pair),
            self.schedule.due.eq(due),
            self.sequence.eq(sequence),
            set_pair.data.eq(Mux(self._word[0], written, written & _mask(HEAD_WORD))),
            set_pair.en.eq(self._write[HEAD_WORD] | self._write[PERIOD_WORD]),
            set_jitter.data.eq(Cat(written[place] for place in _places(JITTER_WORD).values())),
            set_jitter.en.eq(self._write[JITTER_WORD]),
            Cat(self._jitter[place] for place in _places(JITTER_WORD).values()).eq(jitter),
            self.schedule.jitter.eq(self._jitter[_places(JITTER_WORD)["jitter"]]),
            *(self.slot[name].eq(pair[place]) for name, place in _places(HEAD_WORD).items()),
            set_due.data.eq(self.due),
            set_due.en.eq(self.set_due),
            set_sequence.data.eq(Mux(hosts, written, self.following)),
            set_sequence.en.eq(self.set_sequence | hosts),
        ]
        flags = written[_places(HEAD_WORD)["flags"]]
        able = flag(flags, SlotFlag.ENABLE) & ~flag(flags, SlotFlag.AUTHENTICATE)  # no HMAC
        resigns = flag(flags, SlotFlag.RESIGN)
        for n in range(SLOTS):
            with m.If(self._write[HEAD_WORD] & (self._at == n)):
                m.d.sync += [
                    self.periodic[n].eq(able & ~resigns),
                    self.resigns[n].eq(able & resigns),
                ]

    def _counters(self, m: Module) -> None:
        """`sent` of all slots, then `missed`: read, one more, written."""
        at, busy, more = Signal(range(PAIR)), Signal(2), Signal(WORD_BITS)
        count, set_count = self._ram(
            m, "counts", WORD_BITS, at, Cat(self._at, self._word[0]), (0,) * PAIR
        )
        self._count = count
        m.d.comb += [
            self.counting.eq(busy.any()),
            set_count.data.eq(more),
            set_count.en.eq(busy[1]),
        ]
        m.d.sync += [busy.eq(Cat(self.miss | self.sent, busy)), more.eq(count + 1)]
        with m.If(self.miss):
            m.d.sync += at.eq(Cat(self.index, Const(MISSED, 1)))
        with m.Elif(self.sent):
            m.d.sync += at.eq(self.who)

    def _answer(self, m: Module) -> None:
        """Two clocks behind the one that serves; of `kick_answer` behind the second."""
        slot, state, kick = self._area
        answer, served, late_word = Signal(WORD_BITS), Signal(), Signal.like(self._word)
        ready, late_state = Signal(len(SLOT_AREAS)), Signal()
        pair, count, jitter, sequence = (
            Signal(len(value), name=f"row_{n}")
            for n, value in enumerate((self._pair, self._count, self._jitter, self._sequence))
        )
        m.d.sync += [
            pair.eq(self._pair),
            count.eq(self._count),
            jitter.eq(self._jitter),
            sequence.eq(self._sequence),
            served.eq(self.serving),
            late_word.eq(self._word),
            late_state.eq(state),
            ready.eq(Mux(self.serving, Cat(slot, state, kick & self._half), 0)),
        ]
        settings = Mux(late_word[1], Mux(late_word[0], sequence, jitter), pair)
        with m.If(served):
            m.d.sync += answer.eq(Mux(late_state, count, settings))
            with m.If(~ready[0] & ~ready[1]):
                m.d.sync += answer.eq(Cat(answer[SEQUENCE:], sequence))
        for n, area in enumerate(SLOT_AREAS):
            port = getattr(self, f"o_ram_{area}")
            m.d.sync += port.valid.eq(ready[n])
            m.d.comb += port.p.data.eq(answer)


assert SLOT.stride == 1 << 2 and STATE.stride == 1 << 1
assert STATE.field("missed").at == MISSED * WORD_BITS
