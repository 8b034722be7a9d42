"""The local table: whose Mobility Headers are judged here.

Ref: offload.md §2 (16 addresses, empty = all are local; multicast always is)
"""

from amaranth import Cat, Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from harp.tables.registers import BY_NAME
from harp_gateware.key_cam import DIGIT, KeyCam
from harp_gateware.layouts import ADDRESS, RAM_REQUEST, RAM_RESPONSE

LOCAL = BY_NAME["local"]
HALF = 64
DIGITS_A_PART = 4
"""Digits between which there is no register."""
MULTICAST = 0xFF


class LocalTable(wiring.Component):
    """Compares destinations, 64 bits a clock; an entry of `::` is unused.

    `low` is 1 in the clock of an address's first half on `word`, `high` in that of its second.
    3 clocks behind the second `local` says whether it is local or multicast, `multicast` whether it
    is that; both hold until the next. A write of the host is answered within 100 clocks.
    """

    word: In(64)
    low: In(1)
    high: In(1)
    local: Out(1)
    multicast: Out(1)
    i_ram_local: In(stream.Signature(RAM_REQUEST, always_ready=True))
    o_ram_local: Out(stream.Signature(RAM_RESPONSE, always_ready=True))

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.keys = keys = KeyCam(LOCAL, ADDRESS)
        connect(m, flipped(self.i_ram_local), keys.i)
        connect(m, flipped(self.o_ram_local), keys.o)
        probe = Signal(HALF)
        low, high = Signal(2), Signal(2)
        m.d.comb += keys.probe.eq(probe.replicate(2))
        m.d.sync += [
            probe.eq(self.word),
            low.eq(Cat(self.low, low)),
            high.eq(Cat(self.high, high)),
        ]
        with m.If(self.low):
            m.d.sync += self.multicast.eq(self.word[:8] == MULTICAST)
        hit, used = Signal(LOCAL.count), Signal(LOCAL.count)
        for n in range(LOCAL.count):
            parts = Signal(ADDRESS // DIGIT // DIGITS_A_PART, name=f"parts_{n}")
            digits = Cat(same[n] for same in keys.equal)
            first = Signal(name=f"first_{n}")
            m.d.sync += parts.eq(
                Cat(digits.word_select(p, DIGITS_A_PART).all() for p in range(len(parts)))
            )
            with m.If(low[1]):
                m.d.sync += first.eq(parts[: len(parts) // 2].all())
            with m.If(high[1]):
                m.d.sync += hit[n].eq(first & parts[len(parts) // 2 :].all())
            with m.If(keys.o_written & (keys.o_index == n)):
                m.d.sync += used[n].eq(keys.o_data.any())
        m.d.comb += self.local.eq((hit & used).any() | ~used.any() | self.multicast)
        return m
