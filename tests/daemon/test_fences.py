"""Two that may fence, one flag."""

from __future__ import annotations

from harp.daemon.fences import Fences
from harp.engine.events import Event, Fenced, LinkChanged


def test_fenced_from_the_first_to_the_last() -> None:
    events: list[Event] = []
    fences = Fences(events.append)
    guard, board = fences.of("guard"), fences.of("board")
    guard(Fenced(True))
    board(Fenced(True))
    guard(Fenced(True))
    guard(Fenced(False))
    assert events == [Fenced(True)]
    board(Fenced(False))
    board(Fenced(False))
    assert events == [Fenced(True), Fenced(False)]


def test_everything_else_passes() -> None:
    events: list[Event] = []
    Fences(events.append).of("board")(LinkChanged("home", False))
    assert events == [LinkChanged("home", False)]
