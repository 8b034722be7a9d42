"""What is wrong with a configuration: one line each, with the place and an example."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from harp.cli.common import Failure


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing to change."""

    place: str
    """Tables around the key, counted from 1: `group 1 (id 7), member 2 (ha2)`; empty: the file."""
    key: str
    """As it stands in the file; empty: the table itself."""
    what: str
    """What is wrong."""
    example: str = ""
    """A line that would be right."""

    def inside(self, place: str) -> bool:
        """Whether it is about a place or something in it."""
        return f"{self.place},".startswith(f"{place},")

    def __str__(self) -> str:
        """The line without the file's name."""
        start = ", ".join(filter(None, (self.place, self.key)))
        text = f"{start}: {self.what}" if start else self.what
        return printable(f"{text}; for example {self.example}" if self.example else text)


def printable(text: str) -> str:
    """One line that no terminal stumbles over, whatever stood in the file."""
    return "".join(
        each if each.isprintable() else each.encode("unicode_escape").decode("ascii")
        for each in text
    )


class BadConfig(Failure):
    """A configuration that cannot be used."""

    def __init__(self, path: Path, problems: list[Problem]) -> None:
        more = len(problems) - 1
        others = f" (and {more} more: harpd --check -c {path} lists them)" if more else ""
        super().__init__(f"{path}: {problems[0]}{others}")
        self.path = path
        self.problems = tuple(problems)
        """At least one, in the order of the file."""
