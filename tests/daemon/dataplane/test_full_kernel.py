"""The kernel backend in a virtual machine with Debian's kernel (`make verify`)."""

from __future__ import annotations

from pathlib import Path

from tests import machine

FEW, SOME, MANY = 10, 1000, 100_000
SCENE = "-m tests.daemon.dataplane.on_full_kernel"
WORST_MS = 10


@machine.needs_machine
def test_tunnels_of_the_kernel(tmp_path: Path) -> None:
    """With and without the extension header of an encapsulation limit (RFC 2473 §4.1.1) on what
    the mobile node sends; then few and many bindings, of which the quickest switches are compared:
    what holds up an emulated processor only adds, and its median is that of the machine's load."""
    scenes = (f"{SCENE} 4", f"{SCENE} none {FEW} {SOME} {MANY}")
    limited, plain = machine.run(tmp_path, *scenes, modules="ip6_tunnel", memory="2G")
    passed = ("tunnels", "to_mobile", "own", "from_mobile", "large", "too_big_told", "narrow")
    refused = ("standby", "stranger", "withdrawn", "unbound", "to_unbound", "rule_left")
    print(plain)
    wanted = dict.fromkeys(passed, True) | dict.fromkeys(refused, False) | {"said": []}
    for figures in (limited, plain):
        assert wanted.items() <= figures.items(), figures
    for way in ("on_best", "off_best"):
        few, some, many = (plain[f"switch_ms_{count}"][way] for count in (FEW, SOME, MANY))
        assert max(some, many) <= 1.2 * few, plain
        assert max(few, some, many) <= WORST_MS, plain
