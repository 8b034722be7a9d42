"""What one's own state includes: a greater Term says nothing about a lesser one (harp.md §5)."""

from __future__ import annotations

from harp.engine.included import START, TERMS_KEPT, Included
from harp.wire.messages import SyncPosition as At


def test_nothing_but_the_start_is_included_at_first() -> None:
    included = Included()
    assert included.covers(START)
    assert not included.covers(At(0, 1))
    assert not included.covers(At(3, 0))


def test_each_log_is_judged_by_itself() -> None:
    included = Included()
    included.note(At(4, 10))
    included.note(At(4, 7))
    assert included.covers(At(4, 10)) and not included.covers(At(4, 11))
    assert not included.covers(At(3, 1)), "a log that went on beside that one"
    assert included.before(At(4, 99)) == At(4, 10)
    assert included.before(At(3, 1)) == START


def test_a_log_can_turn_out_to_be_another() -> None:
    included = Included()
    included.note(At(1, 5))
    included.forget(1)
    included.forget(1)
    assert not included.covers(At(1, 1))


def test_the_oldest_are_forgotten_but_never_the_start() -> None:
    included = Included()
    for term in range(1, TERMS_KEPT + 3):
        included.note(At(term, 1))
    assert not included.covers(At(2, 1))
    assert included.covers(At(3, 1)) and included.covers(START)
