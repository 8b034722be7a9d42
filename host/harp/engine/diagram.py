"""Draws the role machine from its table: `python -m harp.engine.diagram [DIRECTORY]`.

Writes `roles.dot`, and `roles.svg` if Graphviz' `dot` is installed. What the picture shows is what
`role_table.TABLE` says, nothing else: rows that change no state are left out.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from harp.engine.effects import Role
from harp.engine.role_table import TABLE

DIRECTORY = Path("docs/diagrams")
_SHAPES = {
    Role.ACTIVE: 'fillcolor="#cfe8cf"',
    Role.RESIGNING: 'fillcolor="#e6f2e6"',
    Role.DRAINING: 'fillcolor="#fbeccb"',
    Role.CLAIMING: 'fillcolor="#dbe7f6"',
}
"""States that serve are green; passing ones have their own colour."""


def roles_dot() -> str:
    """The role machine in Graphviz' language: an edge for every pair of states, labelled with the
    happenings that may lead from one to the other."""
    edges: dict[tuple[Role, Role], list[str]] = {}
    for (state, happening), row in TABLE.items():
        for target in row.targets:
            edges.setdefault((state, target), []).append(happening.value)
    lines = [
        "digraph roles {",
        '  graph [rankdir=TB, nodesep=0.9, ranksep=1.1, fontname="sans-serif"];',
        '  node [shape=box, style="rounded,filled", fillcolor="#f4f4f4", fontname="sans-serif"];',
        '  edge [fontname="sans-serif", fontsize=9, color="#555555"];',
        '  start [shape=point, fillcolor="#333333"];',
        "  start -> INIT;",
    ]
    lines += [f"  {role} [{_SHAPES[role]}];" if role in _SHAPES else f"  {role};" for role in Role]
    for (state, target), labels in edges.items():
        label = "\\l".join(labels) + "\\l"
        lines.append(f'  {state} -> {target} [label="{label}"];')
    return "\n".join([*lines, "}", ""])


def write(directory: Path) -> list[Path]:
    """Writes the pictures; which files they are."""
    directory.mkdir(parents=True, exist_ok=True)
    source = directory / "roles.dot"
    source.write_text(roles_dot(), encoding="utf-8")
    dot = shutil.which("dot")
    if dot is None:
        return [source]
    picture = directory / "roles.svg"
    subprocess.run([dot, "-Tsvg", "-o", picture, source], check=True)
    return [source, picture]


def main(arguments: Sequence[str] | None = None) -> int:
    """The command. Exit status 2 on wrong usage."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if len(given) > 1 or any(word.startswith("-") for word in given):
        print(f"usage: python -m harp.engine.diagram [DIRECTORY]   (default {DIRECTORY})")
        return 0 if given in (["-h"], ["--help"]) else 2
    for path in write(Path(given[0]) if given else DIRECTORY):
        print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
