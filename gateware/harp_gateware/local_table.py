"""The local table: whose Mobility Headers are judged here.

Ref: offload.md §2 (16 addresses, empty = all are local; multicast always is)
"""

from amaranth import Cat, Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from harp_gateware.layouts import ADDRESS

PARTS = 4
"""Parts of half an address that are compared apart, a register between them and the rest."""
MULTICAST = 0xFF


class LocalTable(wiring.Component):
    """Compares destinations, 64 bits a clock; an entry of `::` is unused.

    `low` is 1 in the clock of an address's first half on `word`, `high` in that of its second.
    3 clocks behind the second `local` says whether it is local or multicast, `multicast` whether it
    is that; both hold until the next. Between addresses the comparators look for unused entries.
    """

    def __init__(self, entries: int) -> None:
        self._entries = entries
        super().__init__(
            {
                "word": In(64),
                "low": In(1),
                "high": In(1),
                "address": In(data.ArrayLayout(ADDRESS, entries)),
                "local": Out(1),
                "multicast": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        width = 64 // PARTS
        probe = Signal(64)
        asked = self.low | self.high
        low, high = Signal(2), Signal(2)
        idle = Signal(2)
        first_octet = Signal()
        m.d.sync += [
            probe.eq(Mux(asked, self.word, 0)),
            low.eq(Cat(self.low, low)),
            high.eq(Cat(self.high, high)),
            idle.eq(Cat(~asked, idle)),
        ]
        with m.If(self.low):
            m.d.sync += first_octet.eq(self.word[:8] == MULTICAST)
        hit, unused = Signal(self._entries), Signal(self._entries)
        for n in range(self._entries):
            half = [Signal(PARTS, name=f"half_{n}_{k}") for k in range(2)]
            first = Signal(name=f"first_{n}")
            for k in range(2):
                m.d.sync += half[k].eq(
                    Cat(
                        probe.word_select(p, width)
                        == self.address[n].word_select(PARTS * k + p, width)
                        for p in range(PARTS)
                    )
                )
            with m.If(low[1]):
                m.d.sync += first.eq(half[0].all())
            with m.If(high[1]):
                m.d.sync += hit[n].eq(first & half[1].all())
            with m.If(idle[1]):
                m.d.sync += unused[n].eq(half[0].all() & half[1].all())
        m.d.comb += [
            self.multicast.eq(first_octet),
            self.local.eq((hit & ~unused).any() | unused.all() | first_octet),
        ]
        return m
