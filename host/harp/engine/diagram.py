"""Draws the state machines from their tables: `python -m harp.engine.diagram [DIRECTORY]`.

Writes a `.dot` for each, and an `.svg` if Graphviz' `dot` is installed. What a picture shows is
what the machine's table says, nothing else: rows that change no state are left out. `--check`
writes nothing and fails if a picture is not that of its table.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

from harp.engine import fullsync_table, liveness_table, role_table, stream_table
from harp.engine.effects import Role
from harp.engine.fullsync_table import Phase
from harp.engine.machine import Event, Row, State
from harp.engine.peers import LinkState

DIRECTORY = Path("docs/diagrams")
_GREEN, _PALE, _YELLOW = 'fillcolor="#cfe8cf"', 'fillcolor="#e6f2e6"', 'fillcolor="#fbeccb"'
_RED, _BLUE, _END = 'fillcolor="#f6d5d0"', 'fillcolor="#dbe7f6"', "peripheries=2"
_GREY = 'fillcolor="#f4f4f4"'
_TEXT = "{http://www.w3.org/2000/svg}text"


class Picture(NamedTuple):
    """One machine as it is drawn."""

    name: str
    """Of its files."""
    states: dict[str, str]
    """All states, the first of which it starts in, with their look."""
    edges: dict[tuple[str, str], list[str]]
    """From and to: the happenings that may lead there."""

    def dot(self) -> str:
        """In Graphviz' language."""
        lines = [
            f"digraph {self.name} {{",
            '  graph [rankdir=TB, nodesep=0.9, ranksep=1.1, fontname="sans-serif"];',
            f'  node [shape=box, style="rounded,filled", {_GREY}, fontname="sans-serif"];',
            '  edge [fontname="sans-serif", fontsize=9, color="#555555"];',
            '  start [shape=point, fillcolor="#333333"];',
            f"  start -> {next(iter(self.states))};",
        ]
        looks = self.states.items()
        lines += [f"  {state} [{look}];" if look else f"  {state};" for state, look in looks]
        for (state, target), labels in self.edges.items():
            label = "\\l".join(labels) + "\\l"
            lines.append(f'  {state} -> {target} [label="{label}"];')
        return "\n".join([*lines, "}", ""])

    def texts(self) -> Counter[str]:
        """Every text in the picture."""
        labels = (label for labels in self.edges.values() for label in labels)
        return Counter([*self.states, *labels])


def _picture(
    name: str, table: Mapping[tuple[State, Event], Row[State]], looks: Mapping[State, str]
) -> Picture:
    """A machine of which each state has a look; the first is the one that it starts in."""
    edges: dict[tuple[str, str], list[str]] = {}
    for (state, happening), row in table.items():
        for target in row.targets:
            edges.setdefault((state.value, target.value), []).append(happening.value)
    return Picture(name, {state.value: look for state, look in looks.items()}, edges)


PICTURES = (
    _picture(
        "roles",
        role_table.TABLE,
        {
            Role.INIT: "",
            Role.STANDBY: "",
            Role.CLAIMING: _BLUE,
            Role.ACTIVE: _GREEN,
            Role.RESIGNING: _PALE,
            Role.DRAINING: _YELLOW,
        },
    ),
    _picture(
        "liveness",
        liveness_table.TABLE,
        {
            LinkState.UNKNOWN: "",
            LinkState.UP: _GREEN,
            LinkState.DOWN: _RED,
            LinkState.LEFT: _YELLOW,
        },
    ),
    _picture(
        "full_sync",
        fullsync_table.TABLE,
        {
            Phase.ASKED: "",
            Phase.STREAMING: _BLUE,
            Phase.COMPLETE: f"{_GREEN}, {_END}",
            Phase.REFUSED: f"{_YELLOW}, {_END}",
            Phase.FAILED: f"{_RED}, {_END}",
        },
    ),
    _picture(
        "answer",
        stream_table.TABLE,
        {
            stream_table.Phase.OPENING: "",
            stream_table.Phase.FLOWING: _BLUE,
            stream_table.Phase.CLOSING: _PALE,
            stream_table.Phase.COMPLETE: f"{_GREEN}, {_END}",
            stream_table.Phase.BROKEN: f"{_RED}, {_END}",
        },
    ),
)
"""Every machine. What serves or succeeds is green; a double frame is an end."""


def write(directory: Path) -> list[Path]:
    """Writes the pictures; which files they are."""
    directory.mkdir(parents=True, exist_ok=True)
    dot = shutil.which("dot")
    written: list[Path] = []
    for picture in PICTURES:
        source = directory / f"{picture.name}.dot"
        source.write_text(picture.dot(), encoding="utf-8")
        written.append(source)
        if dot is not None:
            drawn = source.with_suffix(".svg")
            subprocess.run([dot, "-Tsvg", "-o", drawn, source], check=True)
            written.append(drawn)
    return written


def stale(directory: Path) -> list[Path]:
    """Files that are missing or do not show what the tables say. Of an `.svg` the texts count:
    where `dot` puts them differs from release to release."""
    found: list[Path] = []
    for picture in PICTURES:
        source, drawn = directory / f"{picture.name}.dot", directory / f"{picture.name}.svg"
        if not source.is_file() or source.read_text(encoding="utf-8") != picture.dot():
            found.append(source)
        if not drawn.is_file() or _texts(drawn) != picture.texts():
            found.append(drawn)
    return found


def _texts(drawn: Path) -> Counter[str]:
    return Counter(text.text or "" for text in ElementTree.parse(drawn).iter(_TEXT))


def main(arguments: Sequence[str] | None = None) -> int:
    """The command. Exit status 1 if `--check` finds a stale file, 2 on wrong usage."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    check = given[:1] == ["--check"]
    places = given[check:]
    if len(places) > 1 or any(word.startswith("-") for word in places):
        print(f"usage: python -m harp.engine.diagram [--check] [DIRECTORY]   (default {DIRECTORY})")
        return 0 if given in (["-h"], ["--help"]) else 2
    directory = Path(places[0]) if places else DIRECTORY
    files = stale(directory) if check else write(directory)
    for path in files:
        print(f"{path}: stale, run `make generated`" if check else path)
    return 1 if check and files else 0


if __name__ == "__main__":
    sys.exit(main())
