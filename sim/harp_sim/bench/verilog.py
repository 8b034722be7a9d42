"""Verilog of the harness, and what the simulator must let Python see of it."""

from amaranth.back import verilog as back

from harp_gateware.params import CoreParams
from harp_sim.bench.harness import Harness
from harp_sim.mutants import planted

TOP = "harness"


def verilog(params: CoreParams, mutants: bool = False) -> tuple[str, str]:
    """The harness around a core, with the input `mutant` if asked for; and its control file."""
    harness = Harness(params, planted if mutants else None)
    text: str = back.convert(
        harness,
        name=TOP,
        ports=list(harness.ports),
        emit_src=False,
        strip_internal_attrs=True,
    )
    return text, _control(harness)


def _control(harness: Harness) -> str:
    """Verilator's: inputs are written from outside, outputs only read.

    A signal that may be written from outside is a reason to work out everything behind it at both
    edges of the clock: making all of the top public doubled the time of a simulation.
    """
    rights = {"rw": harness.pins, "rd": harness.outputs}
    lines = [
        f'public_flat_{right} -module "{TOP}" -var "{name}"'
        for right, names in rights.items()
        for name in names
    ]
    return "\n".join(("`verilator_config", *lines, ""))
