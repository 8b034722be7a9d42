"""A component between registers, so that it can be placed and timed without pins.

A core alone has over a thousand ports and no part that many pins. Here shift registers feed every
input from a register, and every output goes through a register into one bit; paths from and to pins
are left out of the timing, those between registers are all there.
"""

from __future__ import annotations

from amaranth import Cat, ClockDomain, Const, Elaboratable, Module, Signal, Value
from amaranth.lib import wiring

PIECE = 256
"""Bits of a shift register: yosys goes along a chain in depth, and its stack is finite."""
GROUP = 4
"""Bits folded into one a clock: one LUT."""


class Ring(Elaboratable):
    """`component` with `serial_in`, `serial_out`, `clk` and `rst` as its only ports."""

    def __init__(self, component: wiring.Component) -> None:
        self._component = component
        self.serial_in = Signal()
        self.serial_out = Signal()
        self.clk = Signal()
        self.rst = Signal()

    @property
    def ports(self) -> list[Signal]:
        """Top-level ports for the Verilog or RTLIL backend."""
        return [self.serial_in, self.serial_out, self.clk, self.rst]

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.domains.sync = domain = ClockDomain()
        m.d.comb += [domain.clk.eq(self.clk), domain.rst.eq(self.rst)]
        m.submodules.component = self._component
        inputs, outputs = _ports(self._component)
        m.d.sync += inputs.eq(self._shifted(m, len(inputs)))
        m.d.comb += self.serial_out.eq(_fold(m, outputs))
        return m

    def _shifted(self, m: Module, width: int) -> Value:
        """`width` bits from `serial_in`: a piece after the other is shifted, a clock each."""
        pieces = [Signal(PIECE, name=f"piece_{n}") for n in range(-(-width // PIECE))]
        turn = Signal(len(pieces), init=1)
        m.d.sync += turn.eq(turn.rotate_left(1))
        for n, piece in enumerate(pieces):
            with m.If(turn[n]):
                m.d.sync += piece.eq(Cat(self.serial_in, piece))
        return Cat(*pieces)[:width]


def _ports(component: wiring.Component) -> tuple[Value, Value]:
    """All input bits and all output bits of a component."""
    inputs, outputs = [], []
    for _, member, value in component.signature.flatten(component):
        flat = Value.cast(value)
        if not isinstance(flat, Const):  # `ready` of a stream that is always ready
            (inputs if member.flow == wiring.In else outputs).append(flat)
    return Cat(*inputs), Cat(*outputs)


def _fold(m: Module, bits: Value) -> Value:
    """`bits` registered, then folded GROUP to one a clock until one is left."""
    stage = Signal(len(bits), name="outputs")
    m.d.sync += stage.eq(bits)
    while len(stage) > 1:
        groups = [stage[at : at + GROUP].xor() for at in range(0, len(stage), GROUP)]
        stage = Signal(len(groups), name="folded")
        m.d.sync += stage.eq(Cat(*groups))
    return stage
