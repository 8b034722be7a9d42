"""Which of two states of one binding wins when a new active takes the state of a member ahead.

Ref: harp.md §6 (Merge); RFC 6275 §9.5.1 (sequence comparison)
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from harp.engine.entries import Entry
    from harp.wire.messages import SyncPosition


class Winner(Enum):
    """Outcome of a merge."""

    OURS = "ours"
    """Nothing changes here."""
    THEIRS = "theirs"
    """Take it as it is."""


def merge(
    ours: Entry | None, theirs: Entry | None, base: SyncPosition, *, theirs_changed: bool = True
) -> Winner:
    """The winner of two entries or tombstones of one key; None: no entry.

    `base`: our Sync Position before this term. `theirs_changed`: theirs came in an answer "since
    base", so it changed after it. Both `expires_us` count from one clock and moment.
    """
    raise NotImplementedError
