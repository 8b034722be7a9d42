"""Verilog of the harness."""

from amaranth import Fragment
from amaranth.back import verilog as back

from harp_gateware.params import CoreParams
from harp_sim.bench.harness import Harness


def verilog(params: CoreParams, mutants: bool = False) -> str:
    """The harness around a core, its top `harness`; with the input `mutant` if asked for."""
    harness = Harness(params)
    fragment = Fragment.get(harness, None)
    text: str = back.convert(
        fragment, name="harness", ports=list(harness.ports), emit_src=False, strip_internal_attrs=True
    )
    return text
