"""The stream that answers an SS-REQ, as a table (harp.md §2.1, §6): the other side of `Exchange`.

`stream.Stream` does what its rows say. `stream.Answers` forgets a stream that has ended; what comes
for it after that fits no stream. So the rows of the phases that have ended are empty.
"""

from __future__ import annotations

from enum import StrEnum

from harp.engine.machine import Rule, expand


class Phase(StrEnum):
    """Where a stream is."""

    OPENING = "opening"
    """Only its first message is out: without the position in it the asker can use no other."""
    FLOWING = "flowing"
    """As many are out as the window allows."""
    CLOSING = "closing"
    """All are out, not all acknowledged."""
    COMPLETE = "complete"
    """All are acknowledged."""
    BROKEN = "broken"
    """Given up."""


class Happening(StrEnum):
    """What comes to a stream: an SS-ACK with its number, its own end, or the end of a wait."""

    ACKNOWLEDGED = "SS-ACK"
    """Of a message that waits for one."""
    STRAY = "SS-ACK of none that waits"
    """Of one that was acknowledged before, or never sent."""
    LAST_SENT = "last SS-REP sent"
    """The one without M: nothing more is to be sent for the first time."""
    LATE = "not acknowledged yet"
    """`SS_REP_TIMER`, adapted and doubled each time, since a message was sent."""
    SILENT = "unacknowledged"
    """Nothing was for HARELIABILITY_TIMEOUT."""
    TIME_OVER = "sync_timeout"
    """... is over, whatever came."""


_P, _H = Phase, Happening
_RUNNING = (_P.OPENING, _P.FLOWING, _P.CLOSING)
_ENDED = (_P.COMPLETE, _P.BROKEN)
_STOPPED = "nothing is waited for"
_GIVEN_UP = "given up: the asker asks again"

_RULES: tuple[Rule[Happening, Phase], ...] = (
    (_H.ACKNOWLEDGED, (_P.OPENING,), "go_on", (_P.FLOWING, _P.COMPLETE), "it may be the only one"),
    (_H.ACKNOWLEDGED, (_P.FLOWING,), "go_on", (), "room in the window for the next"),
    (_H.ACKNOWLEDGED, (_P.CLOSING,), "go_on", (_P.COMPLETE,), "complete when none is owed"),
    (_H.ACKNOWLEDGED, _ENDED, "ignore", (), _STOPPED),
    (_H.STRAY, _RUNNING, "ignore", (), "dropped and counted"),
    (_H.STRAY, _ENDED, "ignore", (), _STOPPED),
    (_H.LAST_SENT, (_P.OPENING,), "stay", (), "it is the first, too"),
    (_H.LAST_SENT, (_P.FLOWING,), "close", (_P.CLOSING,), "what is owed is awaited"),
    (_H.LAST_SENT, (_P.CLOSING, *_ENDED), "stay", (), "it was"),
    (_H.LATE, _RUNNING, "repeat", (), "each message that is late, its wait doubled"),
    (_H.LATE, _ENDED, "rest", (), _STOPPED),
    (_H.SILENT, _RUNNING, "give_up", (_P.BROKEN,), _GIVEN_UP),
    (_H.SILENT, _ENDED, "rest", (), _STOPPED),
    (_H.TIME_OVER, _RUNNING, "give_up", (_P.BROKEN,), _GIVEN_UP),
    (_H.TIME_OVER, _ENDED, "rest", (), _STOPPED),
)

TABLE = expand(Phase, Happening, _RULES)
"""(phase, happening) to row: total."""
