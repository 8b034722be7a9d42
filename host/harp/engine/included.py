"""Whose changes one's own state includes: log by log, and how far.

Ref: harp.md §5 (New term: *ahead*)

Positions of two Terms say nothing about each other: while members do not hear each other, two logs
may go on from one place, and the one with the greater Term need not include the other.
"""

from __future__ import annotations

from harp.wire.messages import SyncPosition

TERMS_KEPT = 256
"""Logs remembered, the latest. One that is forgotten costs time alone: its members count as
ahead."""
START = SyncPosition(0, 0)
"""Before any log: every state includes it."""


class Included:
    """Up to which position of each Term's log the own state includes it."""

    def __init__(self) -> None:
        self._upto = {START.term: START.position}

    def note(self, position: SyncPosition) -> None:
        """The own state includes that log up to there."""
        term, upto = position.term, self._upto
        if term not in upto and len(upto) > TERMS_KEPT:
            del upto[min(term for term in upto if term)]
        upto[term] = max(position.position, upto.get(term, 0))

    def forget(self, term: int) -> None:
        """Another's log has this Term, or ours of before the journal was lost."""
        self._upto.pop(term, None)

    def covers(self, position: SyncPosition) -> bool:
        """Whether a state at `position` has nothing that is not included here."""
        return position.position <= self._upto.get(position.term, -1)

    def before(self, position: SyncPosition) -> SyncPosition:
        """What is included of the log of `position`: whatever changed behind it may be new."""
        reached = self._upto.get(position.term)
        return START if reached is None else SyncPosition(position.term, reached)
