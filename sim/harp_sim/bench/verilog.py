"""Verilog of the harness."""

from amaranth.back import verilog as back

from harp_gateware.params import CoreParams
from harp_sim.bench.harness import Harness
from harp_sim.mutants import planted


def verilog(params: CoreParams, mutants: bool = False) -> str:
    """The harness around a core, its top `harness`; with the input `mutant` if asked for."""
    harness = Harness(params, planted if mutants else None)
    text: str = back.convert(
        harness,
        name="harness",
        ports=list(harness.ports),
        emit_src=False,
        strip_internal_attrs=True,
    )
    return text
