"""The table of MH Types: known, allowed, limited, least Header Len.

Ref: offload.md §2 (type table); register area `mh_type`
"""

from amaranth import Cat, Module, Mux, Signal
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out

from harp.tables.register_schema import WORD_BITS
from harp.tables.registers import BY_NAME
from harp_gateware.layouts import RAM_REQUEST, RAM_RESPONSE

MH_TYPE = BY_NAME["mh_type"]
ENTRY = data.StructLayout(
    {
        "known": 1,
        "allowed": 1,
        "limited": 1,
        "_unused": 1,
        "bucket": 3,
        "_unused_2": 1,
        "min_header_len": 8,
    }
)
"""The fields of register `mh_type`, in their places."""
UNUSED = 0b1000_1000
"""Bits of a word that no field has: they read 0."""


class TypeTable(wiring.Component):
    """One look-up a clock, answered 3 clocks later; then `entry` holds until the next.

    The host reads and writes in clocks without a look-up: at most 8 of them pass by in a row.
    """

    i: In(stream.Signature(8, always_ready=True))
    entry: Out(ENTRY)
    i_ram_mh_type: In(stream.Signature(RAM_REQUEST, always_ready=True))
    o_ram_mh_type: Out(stream.Signature(RAM_RESPONSE, always_ready=True))

    def elaborate(self, platform: object) -> Module:
        m = Module()
        rows = [MH_TYPE.reset_words(n)[0] for n in range(MH_TYPE.count)]
        # What is read in the clock of a write is not looked at.
        m.submodules.ram = ram = memory.Memory(
            shape=ENTRY.size, depth=MH_TYPE.count, init=rows, attrs={"no_rw_check": 1}
        )
        read, write = ram.read_port(), ram.write_port()
        asked, fetched = Signal(2), Signal(2)
        # Nothing between the RAM, which is slow, and this register.
        word = Signal(ENTRY, reset_less=True)
        request, waits = Signal(RAM_REQUEST), Signal()
        m.d.comb += [
            read.addr.eq(Mux(self.i.valid, self.i.payload, request.address)),
            write.addr.eq(request.address),
            write.data.eq(request.data[: ENTRY.size] & ~UNUSED),
            write.en.eq(waits & request.write),
        ]
        m.d.sync += [
            word.eq(read.data),
            asked.eq(Cat(self.i.valid, asked)),
            fetched.eq(Cat(waits & ~self.i.valid, fetched)),
        ]
        with m.If(asked[1]):
            m.d.sync += self.entry.eq(word)
        with m.If(self.i_ram_mh_type.valid):
            m.d.sync += [request.eq(self.i_ram_mh_type.p), waits.eq(1)]
        with m.Elif(~self.i.valid):
            m.d.sync += waits.eq(0)
        m.d.sync += [
            self.o_ram_mh_type.valid.eq(fetched[1]),
            self.o_ram_mh_type.p.data.eq(Mux(request.write, 0, word.as_value())),
        ]
        return m


assert (
    all(
        MH_TYPE.field(name).at == field.offset and MH_TYPE.field(name).width == field.width
        for name, field in ENTRY
        if not name.startswith("_")
    )
    and MH_TYPE.words * WORD_BITS >= ENTRY.size
)
