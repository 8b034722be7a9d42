"""The counters of the ports: frames, octets and faults, in and out.

Ref: offload.md §6 (per port), `harp.tables.registers` (`port`)
"""

from amaranth import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out

from harp.tables.offload import FCS_OCTETS, MAX_FRAME_OCTETS, MIN_FRAME_OCTETS
from harp.tables.registers import BY_NAME, PORTS
from harp_gateware.layouts import RAM_REQUEST, RAM_RESPONSE, WORD, FrameError
from harp_gateware.params import WORD_OCTETS

PORT = BY_NAME["port"]
NAMES = tuple(field.name for field in PORT.fields)
COUNTER = PORT.fields[0].width
ROWS_A_PORT = 16
ROWS = PORTS * ROWS_A_PORT
SWEEP = PORTS * len(NAMES)
"""Clocks: a counter each."""
MOST = WORD_OCTETS + FCS_OCTETS
"""Octets that leave in a clock at most."""
WAITING = (SWEEP * MOST).bit_length()
"""Bits of the most that waits to be added."""


LOW = MOST.bit_length()
"""Bits of what waits that are added first; what they carry is added a clock later."""


def _one_more(value: Value, bit: Value) -> Value:
    """`value` + `bit`, without a carry chain, which costs more than so few bits are worth."""
    value = Value.cast(value)
    carries = [bit & value[:n].all() for n in range(len(value))]
    return value ^ Cat(carries)


def _clock_later(m: Module, source: stream.Interface) -> tuple[data.View, Signal]:
    """What passes on `source`, from flops: it goes to many others."""
    word, valid = Signal(WORD), Signal()
    m.d.sync += [word.eq(source.payload), valid.eq(source.valid)]
    return word, valid


class PortCounters(wiring.Component):
    """Counts what passes four points, one word a clock each, whatever the frames are.

    `rx_n` and `tx_n` are words that pass now (`tx_n` valid when taken), of port n. Each event waits
    in a few bits of its own; a sweep over the RAM adds them, a counter a clock, so nothing is lost
    and a counter is at most 28 clocks old. `overrun` counts a frame lost behind a port. What
    the MAC appends (FCS) counts. A read is answered within 26 clocks.
    """

    rx_0: In(stream.Signature(WORD, always_ready=True))
    rx_1: In(stream.Signature(WORD, always_ready=True))
    tx_0: In(stream.Signature(WORD, always_ready=True))
    tx_1: In(stream.Signature(WORD, always_ready=True))
    overrun: In(PORTS)
    i_ram_port: In(stream.Signature(RAM_REQUEST, always_ready=True))
    o_ram_port: Out(stream.Signature(RAM_RESPONSE, always_ready=True))

    def elaborate(self, platform: object) -> Module:
        m = Module()
        self._index = Signal(range(ROWS))
        last = len(NAMES) - 1
        with m.If(self._index[: ROWS_A_PORT.bit_length() - 1] == last):
            m.d.sync += self._index.eq(Mux(self._index == last, ROWS_A_PORT, 0))
        with m.Else():
            m.d.sync += self._index.eq(self._index + 1)
        # What the sweep takes of the row it read two clocks ago.
        lately, taken = Signal.like(self._index), Signal.like(self._index)
        m.d.sync += [lately.eq(self._index), taken.eq(lately)]
        self._amount: Value = Const(0)
        for port, (rx, tx) in enumerate(((self.rx_0, self.tx_0), (self.rx_1, self.tx_1))):
            events = self._received(m, rx, self.overrun[port]) | self._sent(m, tx)
            for name, amount in events.items():
                row = port * ROWS_A_PORT + NAMES.index(name)
                late = Signal(len(amount), name=f"amount_{row}")
                now = Signal(name=f"now_{row}")
                most = SWEEP * min(MOST, (1 << len(amount)) - 1)
                waiting = Signal(range(most + 1), name=f"waiting_{row}")
                given = Signal.like(waiting, name=f"given_{row}")
                kept, whole = Mux(now, 0, waiting), Value.cast(waiting)
                if len(amount) == 1:
                    total = _one_more(kept, late)
                else:
                    carry = Signal(name=f"carry_{row}")
                    low = kept[:LOW] + late
                    high = _one_more(waiting[LOW:], carry)
                    m.d.sync += carry.eq(low[LOW])
                    total, whole = Cat(low[:LOW], Mux(now, 0, high)), Cat(waiting[:LOW], high)
                m.d.sync += [
                    late.eq(amount),
                    now.eq(self._index == row),
                    waiting.eq(total),
                    # A flop with a reset of its own each, so that one OR joins them all.
                    given.eq(Mux(now, whole, 0)),
                ]
                self._amount |= given
        self._sweep(m, lately, taken)
        return m

    def _received(self, m: Module, rx: stream.Interface, overrun: Value) -> dict[str, Value]:
        """Amounts by counter, of a word that came in a clock ago; of a frame's size, two."""
        limit = MAX_FRAME_OCTETS // WORD_OCTETS
        least = MIN_FRAME_OCTETS // WORD_OCTETS
        word, valid = _clock_later(m, rx)
        number, full = Signal(range(limit + 3)), Signal()
        here = Mux(word.first, 0, number)
        with m.If(valid):
            m.d.sync += full.eq(here > limit)
            with m.If(word.first | ~full):
                m.d.sync += number.eq(here + 1)
        last = valid & word.last
        ended, short, long, lost = Signal(), Signal(), Signal(), Signal()
        m.d.sync += [
            ended.eq(last),
            short.eq((here < least - 1) | ((here == least - 1) & (word.octets != WORD_OCTETS))),
            long.eq(here >= limit),
            lost.eq(last & (word.error == FrameError.OVERRUN)),
        ]
        return {
            "rx_frames": last,
            "rx_octets": Mux(valid, word.octets, 0),
            "rx_fcs_errors": last & (word.error == FrameError.FCS),
            "rx_errors": last & (word.error == FrameError.RX_ER),
            "rx_runts": ended & short,
            "rx_oversize": ended & long,
            "rx_overruns": overrun + lost,
        }

    @staticmethod
    def _sent(m: Module, tx: stream.Interface) -> dict[str, Value]:
        """Amounts by counter, of a word that went out a clock ago."""
        word, valid = _clock_later(m, tx)
        last = valid & word.last
        return {
            "tx_frames": last,
            "tx_octets": Mux(valid, word.octets, 0) + Mux(last & word.append_fcs, FCS_OCTETS, 0),
            "tx_errors": last & (word.error != FrameError.GOOD),
        }

    def _sweep(self, m: Module, asked_row: Signal, taken: Signal) -> None:
        """Read, take what waits, add, write."""
        m.submodules.ram = ram = memory.Memory(shape=COUNTER, depth=ROWS, init=[])
        read, write = ram.read_port(), ram.write_port()
        old, amount, total = Signal(COUNTER), Signal(WAITING), Signal(COUNTER)
        second, third = Signal.like(taken), Signal.like(taken)
        m.d.comb += [
            read.addr.eq(asked_row),
            write.addr.eq(third),
            write.data.eq(total),
            write.en.eq(1),
        ]
        m.d.sync += [
            old.eq(read.data),
            amount.eq(self._amount),
            second.eq(taken),
            total.eq(old + amount),
            third.eq(second),
        ]
        asked, wanted = Signal(), Signal(range(ROWS))
        m.d.sync += self.o_ram_port.valid.eq(asked & (second == wanted))
        m.d.sync += self.o_ram_port.p.data.eq(old)
        address = self.i_ram_port.p.address
        span = PORT.stride.bit_length() - 1
        with m.If(asked & (second == wanted)):
            m.d.sync += asked.eq(0)
        with m.If(self.i_ram_port.valid):
            m.d.sync += [asked.eq(1), wanted.eq(Cat(address[1:span], address[span]))]
