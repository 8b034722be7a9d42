"""The laboratory in a virtual machine with Debian's kernel (`make verify`)."""

from __future__ import annotations

from pathlib import Path

from tests import machine

SCENE = "-m tests.lab.netns.on_full_kernel"


@machine.needs_machine
def test_through_the_kernels_tunnels_with_harp_in_esp(tmp_path: Path) -> None:
    modules = "ip6_tunnel esp6 authenc mip6 tun"
    [figures] = machine.run(tmp_path, SCENE, modules=modules, memory="2G")
    print(figures)
    assert figures["refused"] == [True, True, True], "plaintext, and why, and what helps"
    assert figures["plane"] and figures["before"] and figures["another"]
    assert not figures["unbound"] and figures["faults"] == []
    wire = figures["wire"]
    assert wire["esp"] > 10 and "plaintext" not in wire, wire
