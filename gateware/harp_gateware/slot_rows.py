"""What is kept of each slot: settings, next due time, counters; a row a slot.

Ref: `harp.tables.registers` (`slot`, `slot_state`, `kick_answer`)
"""

from amaranth import Cat, Module, Mux, Signal, Value
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out

from harp.tables.offload import SLOTS
from harp.tables.register_schema import WORD_BITS
from harp.tables.registers import BY_NAME
from harp_gateware.layouts import RAM_REQUEST, RAM_RESPONSE

SPAN = 34
"""Bits of due times: a period is at most 2^32 µs, and the sign tells what is past."""
SEQUENCE = 16
SLOT_AREAS = ("slot", "slot_state", "kick_answer")
SLOT = BY_NAME["slot"]
INDEX = range(SLOTS)
SEQUENCE_WORD = SLOT.field("sequence").at // WORD_BITS


HEAD = data.StructLayout(
    {f.name: f.width for f in SLOT.fields if f.at < WORD_BITS} | {"sent": WORD_BITS}
)


class SlotRows(wiring.Component):
    """Rows in distributed RAM, for three readers; the host's access waits for a `quiet` clock.

    `schedule` is the row of `index`, `slot` that of `who`, `sequence` that of `counter`, all in the
    same clock, unless `quiet`: then nobody may look. `set_due` and `set_missed` write
    `schedule_next` to the row of `index`, `set_sent` writes `sent`, `set_sequence` `following`;
    none of them while `quiet`. `flags` are all slots', and 0 after reset.
    """

    quiet: In(1)
    index: In(INDEX)
    schedule: Out(
        data.StructLayout({"period_us": 32, "jitter": 4, "due": SPAN, "missed": WORD_BITS})
    )
    set_due: In(1)
    set_missed: In(1)
    schedule_next: In(data.StructLayout({"due": SPAN, "missed": WORD_BITS}))
    who: In(INDEX)
    slot: Out(HEAD)
    set_sent: In(1)
    sent: In(WORD_BITS)
    counter: In(INDEX)
    sequence: Out(SEQUENCE)
    set_sequence: In(1)
    following: In(SEQUENCE)
    flags: Out(data.ArrayLayout(SLOT.field("flags").width, SLOTS))
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
        self._serve = Signal()
        self._write = Signal(1 << SLOT.stride.bit_length() - 1)  # a bit a word
        self._ask(m)
        words = self._memories(m)
        self._answer(m, words)
        return m

    def _ask(self, m: Module) -> None:
        """One access of the host, until a quiet clock."""
        access, address = self._access, self._access.address
        for n, area in enumerate(SLOT_AREAS):
            port = getattr(self, f"i_ram_{area}")
            with m.If(port.valid):
                m.d.sync += [access.eq(port.p), self._area[n].eq(1), self._half.eq(0)]
        slot, _, kick = self._area
        low = SLOT.stride.bit_length() - 1
        m.d.comb += [
            self._serve.eq(self.quiet & self._area.any()),
            self._at.eq(Mux(slot, address[low:], address[1:])),
            self._write.eq(Mux(self._serve & slot & access.write, 1 << address[:low], 0)),
        ]
        with m.If(kick):
            m.d.comb += self._at.eq(Cat(self._half, address[:2]))
        with m.If(self._serve):
            m.d.sync += [self._half.eq(1), self._area.eq(Mux(kick & ~self._half, self._area, 0))]

    def _ram(
        self, m: Module, name: str, width: int, reader: Value, init: int = 0
    ) -> tuple[Value, memory.WritePort]:
        """A RAM: what `reader` reads, in a quiet clock the host, who then writes, too."""
        m.submodules[name] = ram = memory.Memory(shape=width, depth=SLOTS, init=[init] * SLOTS)
        read, write = ram.read_port(domain="comb"), ram.write_port()
        m.d.comb += [
            read.addr.eq(Mux(self.quiet, self._at, reader)),
            write.addr.eq(Mux(self.quiet, self._at, reader)),
        ]
        return read.data, write

    def _settings(self, m: Module, word: int, reader: Value) -> tuple[dict[str, Value], Value]:
        """A word of `slot` that the host alone writes: its fields, and what the host reads."""
        written, shown = self._access.data[:WORD_BITS], Signal(WORD_BITS)
        fields = [f for f in SLOT.fields if f.at // WORD_BITS == word]
        places = {f.name: slice(f.at % WORD_BITS, f.at % WORD_BITS + f.width) for f in fields}
        width = sum(f.width for f in fields)
        init = sum(SLOT.reset_of(f) << f.at % WORD_BITS for f in fields)
        assert not init or width == WORD_BITS, "reset values only of whole words"
        row, write = self._ram(m, f"word_{word}", width, reader, init)
        m.d.comb += [
            write.data.eq(Cat(written[place] for place in places.values())),
            write.en.eq(self._write[word]),
            Cat(shown[place] for place in places.values()).eq(row),
        ]
        return {name: shown[place] for name, place in places.items()}, shown

    def _memories(self, m: Module) -> list[Value]:
        """The RAMs, and what the host reads: words of `slot`, then of `slot_state`."""
        heads, head = self._settings(m, 0, self.who)
        periods, period = self._settings(m, 1, self.index)
        jitters, jitter = self._settings(m, 2, self.index)
        due, set_due = self._ram(m, "due", SPAN, self.index)
        missed, set_missed = self._ram(m, "missed", WORD_BITS, self.index)
        sent, set_sent = self._ram(m, "sent", WORD_BITS, self.who)
        sequence, set_sequence = self._ram(m, "sequence", SEQUENCE, self.counter)
        hosts = self._write[SEQUENCE_WORD]
        m.d.comb += [
            self.schedule.period_us.eq(periods["period_us"]),
            self.schedule.jitter.eq(jitters["jitter"]),
            self.schedule.due.eq(due),
            self.schedule.missed.eq(missed),
            *(self.slot[name].eq(value) for name, value in heads.items()),
            self.slot.sent.eq(sent),
            self.sequence.eq(sequence),
            set_due.data.eq(self.schedule_next.due),
            set_due.en.eq(self.set_due),
            set_missed.data.eq(self.schedule_next.missed),
            set_missed.en.eq(self.set_missed),
            set_sent.data.eq(self.sent),
            set_sent.en.eq(self.set_sent),
            set_sequence.data.eq(Mux(hosts, self._access.data[:SEQUENCE], self.following)),
            set_sequence.en.eq(self.set_sequence | hosts),
        ]
        for n in range(SLOTS):
            with m.If(self._write[0] & (self._at == n)):
                m.d.sync += self.flags[n].eq(self._access.data)
        return [head, period, jitter, sequence, sent, missed]

    def _answer(self, m: Module, words: list[Value]) -> None:
        """A clock behind the quiet one; of `kick_answer` behind the second."""
        slot, state, kick = self._area
        answer = Signal(WORD_BITS)
        word = Mux(slot, self._access.address[: SLOT.stride.bit_length() - 1], 0)
        with m.If(self._serve):
            with m.Switch(Cat(word[:2], state, self._access.address[0] & state)):
                for n, value in enumerate(words[:4]):
                    with m.Case(n):
                        m.d.sync += answer.eq(value)
                for n, value in enumerate(words[4:]):
                    with m.Case(4 + 8 * n):
                        m.d.sync += answer.eq(value)
            with m.If(kick):
                m.d.sync += answer.eq(Cat(answer[SEQUENCE:], words[SEQUENCE_WORD]))
        ready = Cat(slot, state, kick & self._half)
        for n, area in enumerate(SLOT_AREAS):
            port = getattr(self, f"o_ram_{area}")
            m.d.sync += port.valid.eq(self._serve & ready[n])
            m.d.comb += port.p.data.eq(answer)
