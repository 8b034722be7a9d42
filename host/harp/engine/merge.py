"""Which of two states of one binding wins when a new active takes the state of a member ahead.

Ref: harp.md §6 (Merge); RFC 6275 §9.5.1 (sequence comparison)
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING

from harp.engine.entries import UNIT_US
from harp.wire.sequence import newer16

if TYPE_CHECKING:
    from harp.engine.entries import Entry
    from harp.wire.messages import SyncPosition

LIFETIME_SLACK_US = 2 * UNIT_US
"""Ends that differ by less are the same lifetime: it was rounded up to 4 s on its way and counts
from the moment of its arrival."""


class Winner(Enum):
    """Outcome of a merge."""

    OURS = "ours"
    """Nothing changes here."""
    THEIRS = "theirs"
    """Take it as it is."""


def merge(
    ours: Entry | None, theirs: Entry | None, base: SyncPosition, *, theirs_changed: bool = True
) -> Winner:
    """The winner of two entries or tombstones of one key; None: neither.

    `base`: our Sync Position before this term; what we changed since has a later position.
    `theirs_changed`: theirs came in an answer "since base", so it changed after it. Both
    `expires_us` count from one clock. Both members come to the same winner whichever merges.
    """
    if theirs is None:
        return Winner.OURS
    if ours is None:
        return Winner.THEIRS
    ours_changed = ours.position > base
    if ours_changed != theirs_changed:
        # harp.md §6: "One changed after base beats one that was not, as it is".
        return Winner.OURS if ours_changed else Winner.THEIRS
    if not ours_changed:
        return Winner.OURS
    return _of_changed(ours, theirs)


def _of_changed(ours: Entry, theirs: Entry) -> Winner:
    """harp.md §6: "changed on both sides: the later BU Sequence # ...; equal and all the same:
    nothing changes; else delete wins, else the longer lifetime"."""
    if newer16(theirs.sequence, ours.sequence):
        return Winner.THEIRS
    if newer16(ours.sequence, theirs.sequence):
        return Winner.OURS
    if ours.live != theirs.live:
        return Winner.THEIRS if ours.live else Winner.OURS
    if not ours.live:
        return Winner.OURS
    longer_us = theirs.expires_us - ours.expires_us
    if abs(longer_us) >= LIFETIME_SLACK_US:
        return Winner.THEIRS if longer_us > 0 else Winner.OURS
    # Equal in all that the rule names: any order will do that both sides share.
    return Winner.THEIRS if _content(theirs) > _content(ours) else Winner.OURS


def _content(entry: Entry) -> tuple[bytes, int, str]:
    return entry.care_of_address, entry.flags, repr(entry.options)
