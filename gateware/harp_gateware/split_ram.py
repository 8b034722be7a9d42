"""A block RAM whose depth is no power of two: two of them, and one selection."""

from amaranth import Const, Module, Mux, ShapeLike, Signal
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out


class SplitRam(wiring.Component):
    """`depth` rows of `shape`: the highest power of two in it, and another RAM for the rest.

    A word written shows in a read that begins a clock later; what is read in the clock in which it
    is written means nothing. `read_data` is a clock behind `read_address` and holds while
    `read_enable` is 0.
    """

    def __init__(self, shape: ShapeLike, depth: int) -> None:
        self._shape, self._depth = shape, depth
        super().__init__(
            {
                "write_address": In(range(depth)),
                "write_data": In(shape),
                "write_enable": In(1),
                "read_address": In(range(depth)),
                "read_enable": In(1),
                "read_data": Out(shape),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        low = 1 << self._depth.bit_length() - 1
        depths = [low, self._depth - low] if self._depth > low else [low]
        bits = low.bit_length() - 1
        upper = Signal()
        reads = []
        for n, depth in enumerate(depths):
            ram = memory.Memory(shape=self._shape, depth=depth, init=[], attrs={"no_rw_check": 1})
            m.submodules[f"ram_{n}"] = ram
            write, read = ram.write_port(), ram.read_port()
            here = self.write_address[bits] == n if len(depths) > 1 else Const(1)
            m.d.comb += [
                write.addr.eq(self.write_address),
                write.data.eq(self.write_data),
                write.en.eq(self.write_enable & here),
                read.addr.eq(self.read_address),
                read.en.eq(self.read_enable),
            ]
            reads.append(read.data)
        m.d.comb += self.read_data.eq(reads[0])
        if len(depths) > 1:
            with m.If(self.read_enable):
                m.d.sync += upper.eq(self.read_address[bits])
            m.d.comb += self.read_data.eq(Mux(upper, reads[1], reads[0]))
        return m
