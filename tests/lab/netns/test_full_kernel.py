"""The laboratory in a virtual machine with Debian's kernel (`make verify`)."""

from __future__ import annotations

from pathlib import Path

from tests import machine

from harp.lab.netns import plan

SCENE = "-m tests.lab.netns.on_full_kernel"


@machine.needs_machine
def test_through_the_kernels_tunnels_with_harp_in_esp(tmp_path: Path) -> None:
    modules = "ip6_tunnel esp6 authenc mip6 tun"
    [figures] = machine.run(tmp_path, SCENE, modules=modules, memory="2G")
    print(figures)
    assert figures["refused"] == [True, True, True], "plaintext, and why, and what helps"
    assert figures["plane"] and figures["before"] and figures["another"]
    assert not figures["unbound"] and figures["faults"] == []
    assert min(figures["associations"]) >= len(plan.MEMBERS) - 1, figures["associations"]
    assert figures["unmoved"], "a goodbye in plaintext moves no role"
    for wire in (figures["wire"], figures["wire_after"]):
        assert wire["esp"] > 10 and "plaintext" not in wire, wire
