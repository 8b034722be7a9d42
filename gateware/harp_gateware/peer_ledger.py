"""When each peer was heard last, and how many of its HELLOs were accepted and absorbed.

Ref: offload.md §3; register area `peer_state`
"""

from amaranth import Cat, Module, Mux, Signal
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out

from harp.tables.offload import PEERS
from harp.tables.register_schema import WORD_BITS
from harp.tables.registers import BY_NAME
from harp_gateware.layouts import PEER_INDEX, TIME_US

SNAPSHOT = BY_NAME["peer_state"]
ROW = SNAPSHOT.stride.bit_length() - 1
HIGH = SNAPSHOT.field("accepted").width - WORD_BITS
"""Bits of a counter's second word."""
COUNTERS = 4
"""First word of the counters: `accepted`, then `absorbed`; `heard_us` is words 0 and 1."""


class PeerLedger(wiring.Component):
    """The words of `peer_state` that nobody asks for but the host, in one block RAM.

    `add`, at least 10 clocks apart, stores `heard_us` of `peer` and adds 1 to `accepted` and
    `absorb` to `absorbed`, which wrap. `clear`, never within 10 clocks of an `add`, makes
    `heard_us` 0. `ask` reads two words from `address` on: at most 12 clocks later `answered` is 1
    for a clock, with `answer`; the next `ask` comes after it.
    """

    add: In(1)
    clear: In(1)
    peer: In(PEER_INDEX)
    heard_us: In(TIME_US)
    absorb: In(1)
    ask: In(1)
    address: In(range(PEERS << ROW))
    answered: Out(1)
    answer: Out(2 * WORD_BITS)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        # A word is read clocks before or after it is written, never in the same.
        m.submodules.ram = ram = memory.Memory(
            shape=WORD_BITS, depth=PEERS << ROW, init=[], attrs={"no_rw_check": 1}
        )
        read, write = ram.read_port(), ram.write_port()
        peer, heard, absorb = Signal(PEER_INDEX), Signal(TIME_US), Signal()
        waits, counts, asked = Signal(), Signal(), Signal()
        step = Signal(3)
        value = Signal(WORD_BITS, reset_less=True)
        total, carry = Signal(WORD_BITS + 1), Signal()
        storing = step < 2  # `heard_us`; then a counter's low word, its high word, the other's
        one = Mux(step[0], carry, Mux(step[2], absorb, 1))
        m.d.comb += [
            total.eq(value + one),
            write.addr.eq(Cat(Mux(storing, step, (step + 2)[: len(step)]), peer)),
            write.data.eq(Mux(storing, heard.word_select(step[0], WORD_BITS), total)),
            read.addr.eq(Cat(step[:2], 1, peer)),
        ]
        with m.If(~storing & step[0]):
            m.d.comb += write.data[HIGH:].eq(0)
        m.d.sync += [value.eq(read.data), carry.eq(total[WORD_BITS]), self.answered.eq(0)]
        with m.FSM():
            with m.State("Idle"):
                m.d.sync += step.eq(0)
                with m.If(waits):
                    m.next = "Write"
                with m.Elif(asked):
                    m.next = "Read"
            with m.State("Write"):
                m.d.comb += write.en.eq(1)
                m.d.sync += [step.eq(step + 1), waits.eq(0)]
                with m.If(step == Mux(counts, 5, 1)):
                    m.next = "Idle"
            with m.State("Read"):
                m.d.comb += read.addr.eq(self.address | step[0])
                m.d.sync += [step.eq(step + 1), self.answer.eq(Cat(self.answer[WORD_BITS:], value))]
                with m.If(step == 3):
                    m.d.sync += [asked.eq(0), self.answered.eq(1)]
                    m.next = "Idle"
        with m.If(self.add | self.clear):
            m.d.sync += [
                peer.eq(self.peer),
                heard.eq(self.heard_us),
                absorb.eq(self.absorb),
                counts.eq(self.add),
                waits.eq(1),
            ]
        with m.If(self.clear):
            m.d.sync += heard.eq(0)
        with m.If(self.ask):
            m.d.sync += asked.eq(1)
        return m


assert [SNAPSHOT.field(name).at // WORD_BITS for name in ("heard_us", "accepted", "absorbed")] == [
    0,
    COUNTERS,
    COUNTERS + 2,
]
