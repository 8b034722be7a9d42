"""The rooms of the house and who may know whom: a walk over the imports.

Sans-IO means no clock, socket, task, global randomness or logger; the host never needs Amaranth.
"""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MAY_IMPORT = {
    "harp.tables": {"harp.tables"},
    "harp.wire": {"harp.tables", "harp.wire"},
    "harp.engine": {"harp.tables", "harp.wire", "harp.engine"},
    "harp.reference": {"harp.tables", "harp.reference"},
    "harp.offload": {"harp.tables", "harp.wire", "harp.offload"},
    "harp_gateware": {"harp.tables", "harp_gateware"},
    "harp_sim.model": {"harp.tables", "harp_sim.model"},
    "harp_sim": {"harp.tables", "harp.offload", "harp_gateware", "harp_sim", "harp.cli"},
    "harp_sim.bench.netlist": {"harp_boards"},
    "harp_sim.pins": {"harp.tables", "harp.offload", "harp_gateware", "harp_sim", "harp_boards"},
    "harp_boards": {
        *("harp.tables", "harp.wire", "harp.offload"),
        *("harp_gateware", "harp_boards", "harp.cli"),
    },
}
"""Room → rooms of this project that it may import; a room not named may import all of host.
`harp.cli` is what all commands share: exits, errors, captures."""
SANS_IO = ("harp.tables", "harp.wire", "harp.engine", "harp.offload")
PORTS = ("harp.offload.port", "harp.offload.client")
"""Of the offload, what opens serial ports."""
IO_MODULES = {"asyncio", "socket", "time", "random", "logging", "threading", "selectors"}
STDLIB_ONLY = ("harp.tables", "harp.wire", "harp.engine", "harp_sim.model")


def modules() -> list[tuple[str, Path]]:
    roots = [ROOT / name for name in ("host", "gateware", "sim", "boards")]
    found = []
    for root in roots:
        for path in sorted(root.rglob("*.py")):
            parts = path.relative_to(root).with_suffix("").parts
            found.append((".".join(part for part in parts if part != "__init__"), path))
    return found


def imports(path: Path) -> Iterator[str]:
    """Modules that are imported when the file runs; those under TYPE_CHECKING are types only."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    typing_only = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if id(node) in typing_only:
            continue
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            assert node.module
            yield node.module
            yield from (f"{node.module}.{name.name}" for name in node.names)


def inside(module: str, room: str) -> bool:
    return module == room or module.startswith(room + ".")


MODULES = modules()


@pytest.mark.parametrize(("module", "path"), MODULES, ids=[name for name, _ in MODULES])
def test_imports(module: str, path: Path) -> None:
    found = set(imports(path))
    if module.startswith("harp.") or module == "harp":
        assert not {name for name in found if name.split(".")[0] == "amaranth"}
    room = max((one for one in MAY_IMPORT if inside(module, one)), key=len, default=None)
    if room:
        own = {name for name in found if name.split(".")[0].startswith("harp")}
        own -= {"harp", "harp_gateware", "harp_sim", "harp_boards"}
        foreign = {
            name for name in own if not any(inside(name, allowed) for allowed in MAY_IMPORT[room])
        }
        assert not foreign
    if any(inside(module, one) for one in SANS_IO) and module not in PORTS:
        assert not {name.split(".")[0] for name in found} & IO_MODULES
    if any(inside(module, one) for one in STDLIB_ONLY):
        others = {name.split(".")[0] for name in found} - sys.stdlib_module_names
        assert {name for name in others if not name.startswith("harp")} == set()


def test_walk_finds_every_room() -> None:
    names = {name for name, _ in MODULES}
    assert {"harp.tables.reasons", "harp.wire.codec", "harp.engine.engine"} <= names


def test_top_level_is_fixed() -> None:
    allowed = {
        *("pyproject.toml", "README.md", "host", "gateware", "sim", "tests", "boards"),
        *("Makefile", "docs", ".ci", "LICENSE", "CHANGELOG.md"),
    }
    listed = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    assert {name.split("/")[0] for name in listed.splitlines()} <= allowed
