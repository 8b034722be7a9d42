"""Liveness of a peer on one link as a table (harp.md §4).

`detection.Detector` does what its rows say, link by link; a peer is up while one of its links is.
What moves only Sequence #s (`SequenceSeen`) says nothing about life, and has no row.
"""

from __future__ import annotations

from enum import StrEnum

from harp.engine.machine import Rule, expand
from harp.engine.peers import LinkState


class Happening(StrEnum):
    """What is heard of a peer on a link, or not."""

    HELLO = "HELLO"
    """A valid HELLO."""
    RETIMED = "HELLO, other timing"
    """... with another interval, multiplier or lifetime than the last."""
    RESTARTED = "HELLO, restarted"
    """... with a newer Restart Counter."""
    WRONG_CLOCK = "HELLO, wrong clock"
    """Its MAC is right and it is newer than the last, but its timestamp is off (harp.md §7)."""
    GOODBYE = "goodbye"
    """HA Lifetime 0, or another source says that the peer left."""
    REPLAY = "replay"
    """A HELLO that is old by Restart Counter or Sequence #."""
    UNJUDGED = "not to be judged"
    """A message that cannot be judged without the peer's answer (harp.md §7)."""
    LATE = "HELLO late"
    """Nothing came for (multiplier - 1) x interval."""
    SILENT = "silent"
    """Nothing came for multiplier x interval, or for HA Lifetime if that is shorter."""
    REPORTED_UP = "reported up"
    """By another source (offload, BFD, VRRP); none says otherwise, a valid HELLO of it is known."""
    REPORTED_DOWN = "reported down"
    """By another source."""
    ATTACHED = "source attached"
    """Another source begins to watch the link."""
    LOST = "source lost"
    """Another source watches it no more."""
    PAUSED = "paused"
    """This process stood still for more than an interval."""


U, P, D, L = LinkState.UNKNOWN, LinkState.UP, LinkState.DOWN, LinkState.LEFT
_H = Happening
_ALL = tuple(LinkState)
_NOT_UP = (U, D, L)
_IDLE = "its deadline does not run in this state"

_RULES: tuple[Rule[Happening, LinkState], ...] = (
    (_H.HELLO, (P,), "keep", (), "deadline anew, unless another source watches"),
    (_H.HELLO, _NOT_UP, "rise", (P,), "up, unless another source says it is down"),
    (_H.RETIMED, (P,), "watch_again", (), "new deadline, or who watches is told of it"),
    (_H.RETIMED, _NOT_UP, "rise", (P,), "up, unless another source says it is down"),
    (_H.RESTARTED, (P,), "watch_again", (), "as above; the roles hear of a lost active"),
    (_H.RESTARTED, _NOT_UP, "rise", (P,), "up, unless another source says it is down"),
    (_H.WRONG_CLOCK, (P,), "keep", (), "a sign of life; only its A and goodbye count"),
    (_H.WRONG_CLOCK, _NOT_UP, "rise", (P,), "a sign of life; only its A and goodbye count"),
    (_H.GOODBYE, (U, P, D), "goodbye", (L,), "left at once, on all links"),
    (_H.GOODBYE, (L,), "ignore", (), "said before"),
    (_H.REPLAY, (P,), "ignore", (), "dropped and counted"),
    (_H.REPLAY, _NOT_UP, "question", (), "restarted unheard? asked once an interval"),
    (_H.UNJUDGED, _ALL, "question", (), "asked once an interval"),
    (_H.LATE, (P,), "question_late", (), "asked by unicast before it counts as silent"),
    (_H.LATE, _NOT_UP, "ignore", (), _IDLE),
    (_H.SILENT, (P,), "lose", (D,), "down; the peer is, if it was its last link"),
    (_H.SILENT, _NOT_UP, "ignore", (), _IDLE),
    (_H.REPORTED_UP, (P,), "keep", (), "known"),
    (_H.REPORTED_UP, _NOT_UP, "rise", (P,), "up"),
    (_H.REPORTED_DOWN, (P,), "lose", (D,), "down until the source says up, or is lost"),
    (_H.REPORTED_DOWN, _NOT_UP, "ignore", (), "noted: no HELLO brings it up meanwhile"),
    (_H.ATTACHED, _ALL, "hand_over", (), "own deadline rests; the source is told the timing"),
    (_H.LOST, (P,), "keep", (), "deadline anew after the grace, if no source is left"),
    (_H.LOST, _NOT_UP, "ignore", (), "the next HELLO counts again"),
    (_H.PAUSED, (P,), "keep", (), "what was not heard says nothing: deadline anew"),
    (_H.PAUSED, _NOT_UP, "ignore", (), _IDLE),
)

TABLE = expand(LinkState, Happening, _RULES)
"""(state, happening) to row: total."""
