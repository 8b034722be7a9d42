"""What every proof is made of: free inputs, ghosts, and the stream rules.

Ref: https://amaranth-lang.org/docs (streams), yosys `write_smt2`

All assumptions and claims are combinational over registers of the clock before. `clk` and `rst` are
ports, for without them yosys finds no clock and no claim is ever looked at.
"""

from __future__ import annotations

import importlib
from typing import Any

from amaranth import ClockDomain, ClockSignal, Module, ResetSignal, Signal, Value
from amaranth.hdl import Assert, Assume, Cover, ShapeLike, ValueLike
from amaranth.lib import stream, wiring

TOP = "top"


class Harness:
    """A module with free inputs, in which a component and the claims about it are put."""

    def __init__(self, dut: wiring.Component[Any], resets: bool = False) -> None:
        """`resets`: reset comes in any clock, and takes the claims' own registers with it."""
        self.m = Module()
        self.m.domains += ClockDomain("sync")
        self.m.submodules.dut = dut
        clk, rst = Signal(name="clk"), Signal(name="rst")
        self.m.d.comb += [ClockSignal().eq(clk), ResetSignal().eq(rst)]
        self._ports: list[Value] = [clk, rst]
        if not resets:
            self.assume(~rst)
        self.started = Signal()
        """0 in the first clock only."""
        self.m.d.sync += self.started.eq(1)

    def free(self, shape: ShapeLike, name: str) -> Signal:
        """An input: any value in every clock."""
        signal = Signal(shape, name=name)
        self._ports.append(Value.cast(signal))
        return signal

    def chosen(self, shape: ShapeLike, name: str) -> Signal:
        """Any value, the same in every clock."""
        signal = self.free(shape, name)
        self.assume(~self.started | (self.past(signal) == signal))
        return signal

    def past(self, value: ValueLike) -> Signal:
        """The value a clock ago; 0 in the first clock."""
        value = Value.cast(value)
        register = Signal(value.shape(), name="past")
        self.m.d.sync += register.eq(value)
        return register

    def follow(self, source: ValueLike, name: str) -> Signal:
        """A signal that is `source`."""
        value = Value.cast(source)
        signal = Signal(value.shape(), name=name)
        self.m.d.comb += signal.eq(value)
        return signal

    def sticky(self, event: ValueLike, name: str) -> Signal:
        """1 from the clock after the first `event` on."""
        register = Signal(name=name)
        with self.m.If(event):
            self.m.d.sync += register.eq(1)
        return register

    def assume(self, condition: ValueLike) -> None:
        """What the environment keeps to."""
        self.m.d.comb += Assume(condition, "assumed", src_loc_at=1)

    def claim(self, condition: ValueLike) -> None:
        """What is proved."""
        self.m.d.comb += Assert(condition, "claimed", src_loc_at=1)

    def cover(self, condition: ValueLike) -> None:
        """What must be reachable, or the claims would say nothing."""
        self.m.d.comb += Cover(condition, "covered", src_loc_at=1)

    def held(self, source: stream.Interface) -> Value:
        """Whether `source` keeps the stream rule: nothing offered is withdrawn or changed."""
        payload = Value.cast(source.payload)
        waits = self.past(source.valid & ~source.ready)
        return ~waits | (source.valid & (payload == self.past(payload)))

    def rtlil(self) -> str:
        """The whole for yosys."""
        # The published types do not know this module.
        rtlil = importlib.import_module("amaranth.back.rtlil")
        return str(rtlil.convert(self.m, ports=self._ports, name=TOP))


def implies(condition: ValueLike, then: ValueLike) -> Value:
    """`then` holds wherever `condition` does; both are one bit."""
    return ~Value.cast(condition) | Value.cast(then)
