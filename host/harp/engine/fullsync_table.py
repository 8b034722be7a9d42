"""An exchange, SS-REQ and its answer, from the asker's side as a table (harp.md §2.1, §6).

`fullsync.Exchange` does what its rows say. Its owner closes it when it has ended, or in any phase
when it asks no more; what comes for it after that `fullsync.Asker.late` answers. So the rows of the
phases that have ended are empty.
"""

from __future__ import annotations

from enum import StrEnum

from harp.engine.machine import Rule, expand


class Phase(StrEnum):
    """Where an exchange is."""

    ASKED = "asked"
    """Nothing of the answer came yet."""
    STREAMING = "streaming"
    """Some did."""
    COMPLETE = "complete"
    """harp.md §2.1: "when every Index up to the one without M has arrived"."""
    REFUSED = "refused"
    """Status 128 or more: nothing is applied."""
    FAILED = "failed"
    """No answer, or it broke off."""


class Happening(StrEnum):
    """What comes to an exchange: an SS-REP with its number, judged by the first that fits, or the
    end of a wait."""

    REFUSAL = "SS-REP, Status 128 or more"
    OTHER_ANSWER = "SS-REP of another answer"
    """Its Sync Position is not that of the first."""
    OUTSIDE = "SS-REP outside the window"
    """Its Index is of a message that came long ago, or too far beyond the oldest missing one."""
    UNPLACED = "SS-REP before the first"
    """Without the Sync Position that the first carries, no other can be used."""
    AGAIN = "SS-REP again"
    """Came before, while one in front of it is still missing."""
    NEW = "SS-REP"
    """One that is missing."""
    LATE = "no answer yet"
    """`SS_REQ_TIMER`, doubled each time, since the last SS-REP or SS-REQ."""
    SILENT = "unanswered"
    """Nothing came for HARELIABILITY_TIMEOUT."""
    TIME_OVER = "sync_timeout"
    """... is over, whatever came."""


ASKED, STREAMING, COMPLETE = Phase.ASKED, Phase.STREAMING, Phase.COMPLETE
REFUSED, FAILED = Phase.REFUSED, Phase.FAILED
_H = Happening
_RUNNING = (ASKED, STREAMING)
_ENDED = (COMPLETE, REFUSED, FAILED)
_CLOSED = "closed: its number is remembered"
_STOPPED = "nothing is waited for"

_RULES: tuple[Rule[Happening, Phase], ...] = (
    (_H.REFUSAL, (ASKED,), "refuse", (REFUSED,), "nothing is applied"),
    (_H.REFUSAL, (STREAMING,), "refuse_late", (REFUSED,), "if it was asked again: broken off"),
    (_H.REFUSAL, _ENDED, "ignore", (), _CLOSED),
    (_H.OTHER_ANSWER, (ASKED,), "ignore", (), "there is no first to differ from"),
    (_H.OTHER_ANSWER, (STREAMING,), "break_off", (FAILED,), "the two must not be mixed"),
    (_H.OTHER_ANSWER, _ENDED, "ignore", (), _CLOSED),
    (_H.OUTSIDE, (ASKED,), "ignore", (), "no use before the first"),
    (_H.OUTSIDE, (STREAMING,), "skip", (), "came long ago: only SS-ACK"),
    (_H.OUTSIDE, _ENDED, "ignore", (), _CLOSED),
    (_H.UNPLACED, (ASKED,), "ignore", (), "not acknowledged: it comes again"),
    (_H.UNPLACED, (STREAMING,), "ignore", (), "the first is there"),
    (_H.UNPLACED, _ENDED, "ignore", (), _CLOSED),
    (_H.AGAIN, (ASKED,), "ignore", (), "nothing came before"),
    (_H.AGAIN, (STREAMING,), "again", (), "only SS-ACK; the timer runs anew"),
    (_H.AGAIN, _ENDED, "ignore", (), _CLOSED),
    (_H.NEW, (ASKED,), "take", (STREAMING, COMPLETE), "apply, SS-ACK; it may be the only one"),
    (_H.NEW, (STREAMING,), "take", (COMPLETE,), "apply, SS-ACK; complete when none is missing"),
    (_H.NEW, _ENDED, "ignore", (), _CLOSED),
    (_H.LATE, _RUNNING, "repeat", (), "the same SS-REQ again, the wait doubled"),
    (_H.LATE, _ENDED, "rest", (), _STOPPED),
    (_H.SILENT, _RUNNING, "give_up", (FAILED,), "given up: nothing is removed"),
    (_H.SILENT, _ENDED, "rest", (), _STOPPED),
    (_H.TIME_OVER, _RUNNING, "give_up", (FAILED,), "given up: nothing is removed"),
    (_H.TIME_OVER, _ENDED, "rest", (), _STOPPED),
)

TABLE = expand(Phase, Happening, _RULES)
"""(phase, happening) to row: total."""
