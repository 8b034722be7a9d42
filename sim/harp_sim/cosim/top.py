"""What is simulated: the core above the MACs, its link below the UART; time comes from outside.

Ref: offload.md §7 (`now_us` and link octets are ports of the core)
"""

from __future__ import annotations

from amaranth import ClockDomain, Elaboratable, Module, Signal
from amaranth.back import verilog
from amaranth.lib.wiring import connect

from harp_gateware.core import Core, Identity
from harp_gateware.layouts import TIME_US
from harp_gateware.link.octet_link import OctetLink
from harp_gateware.mac.port import GIGABIT
from harp_gateware.params import CoreParams

TOP = "device"
SIDES = ("net", "host")


class SimulatedDevice(Elaboratable):
    """Core and link with plain ports: a word a clock in, a word a clock out, octets of the link.

    `SIDE_in_*`: frames that come in from a side, with their FCS; `SIDE_out_*`: frames that leave to
    it, taken always, without FCS where `append_fcs`. `link_in_*`: at least 16 clocks apart.
    """

    def __init__(self, params: CoreParams) -> None:
        self._params = params
        self.clk = Signal()
        self.rst = Signal()
        self.now_us = Signal(TIME_US)
        self.host_enable = Signal()
        self.link_in_valid = Signal()
        self.link_in = Signal(8)
        self.link_out_valid = Signal()
        self.link_out = Signal(8)
        words = (("valid", 1), ("data", 64), ("octets", 4), ("first", 1), ("last", 1))
        self.ins = {side: {n: Signal(w, name=f"{side}_in_{n}") for n, w in words} for side in SIDES}
        outs = (*words, ("append_fcs", 1), ("error", 2))
        self.outs = {
            side: {n: Signal(w, name=f"{side}_out_{n}") for n, w in outs} for side in SIDES
        }
        self.up = {side: Signal(name=f"{side}_up") for side in SIDES}

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.domains.sync = domain = ClockDomain()
        m.submodules.core = core = Core(self._params, Identity())
        m.submodules.link = link = OctetLink()
        connect(m, link.o_request, core.i_request)
        connect(m, core.o_response, link.i_response)
        connect(m, core.o_event, link.i_event)
        m.d.comb += [
            domain.clk.eq(self.clk),
            domain.rst.eq(self.rst),
            core.now_us.eq(self.now_us),
            core.uart__bad_frames.eq(link.bad_frames),
            core.uart__repeats.eq(link.repeats),
            self.host_enable.eq(core.host_link_enable),
            link.i.valid.eq(self.link_in_valid),
            link.i.payload.eq(self.link_in),
            self.link_out_valid.eq(link.o.valid),
            self.link_out.eq(link.o.payload),
            link.o.ready.eq(1),
        ]
        for side in SIDES:
            state = getattr(core, f"{side}_state")
            m.d.comb += [state.link.eq(self.up[side]), state.full_duplex.eq(1)]
            m.d.comb += state.speed.eq(GIGABIT)
            source, sink = getattr(core, f"i_{side}"), getattr(core, f"o_{side}")
            taken = self.ins[side]
            m.d.comb += [source.valid.eq(taken["valid"]), sink.ready.eq(1)]
            m.d.comb += [source.p[n].eq(taken[n]) for n in ("data", "octets", "first", "last")]
            given = self.outs[side]
            m.d.comb += given["valid"].eq(sink.valid)
            m.d.comb += [value.eq(sink.p[n]) for n, value in given.items() if n != "valid"]
        return m

    @property
    def ports(self) -> list[Signal]:
        """Of the top: their names are those of the C++ program."""
        names = [self.clk, self.rst, self.now_us, self.host_enable, *self.up.values()]
        names += [self.link_in_valid, self.link_in, self.link_out_valid, self.link_out]
        for side in SIDES:
            names += [*self.ins[side].values(), *self.outs[side].values()]
        return names


def device_verilog(params: CoreParams) -> str:
    """The design as Verilog."""
    device = SimulatedDevice(params)
    return verilog.convert(device, name=TOP, ports=device.ports)
