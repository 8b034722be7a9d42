"""A laboratory's life as rows for plots: roles of each member over time, pings lost.

Times are seconds since the timeline's start.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

from harp.lab.netns.capture import Heard, Seen
from harp.lab.netns.pings import LATE_S, Pinger
from harp.lab.netns.timeline import NS_PER_S, Timeline

Span: TypeAlias = tuple[int, int, str]
"""From, until (ns), role: `active`, `standby`, `behind` (not synchronised), `silent`."""


def spans(name: str, heard: Heard, seen: Sequence[Seen], begin_ns: int, end_ns: int) -> list[Span]:
    """Roles of one member as the wire showed them, in ns, without gaps."""
    points: list[tuple[int, str]] = [(begin_ns, "quiet")]
    points += [(one.at_ns, one.what) for one in seen if one.member == name]
    for from_ns, until_ns in (*heard.silences, *heard.silence_now(end_ns)):
        points += [(from_ns, "quiet"), (until_ns, "back")]
    active = synchronised = False
    quiet = True
    found: list[Span] = []
    points.sort()
    for (at_ns, what), (next_ns, _) in zip(points, [*points[1:], (end_ns, "")], strict=True):
        active = (active or what == "A+") and what not in ("A-", "left")
        synchronised = (synchronised or what == "S+") and what not in ("S-", "left")
        quiet = (quiet or what in ("quiet", "left")) and what in ("quiet", "left", "na", "answer")
        role = _role(active, synchronised, quiet)
        if found and found[-1][2] == role:
            found[-1] = (found[-1][0], next_ns, role)
        elif next_ns > at_ns:
            found.append((at_ns, next_ns, role))
    return found


def _role(active: bool, synchronised: bool, quiet: bool) -> str:
    if quiet:
        return "silent"
    if active:
        return "active"
    return "standby" if synchronised else "behind"


def as_rows(
    timeline: Timeline,
    heard: dict[str, Heard],
    seen: Sequence[Seen],
    pingers: Sequence[Pinger],
    begin_ns: int,
    end_ns: int,
) -> dict[str, Any]:
    """What the report's plots of one laboratory are drawn from."""
    return {
        "begin_s": timeline.seconds(begin_ns),
        "end_s": timeline.seconds(end_ns),
        "roles": {
            name: [
                (timeline.seconds(from_ns), timeline.seconds(until_ns), role)
                for from_ns, until_ns, role in spans(name, heard[name], seen, begin_ns, end_ns)
            ]
            for name in heard
        },
        "pings": {
            pinger.name: {
                "sent": len(pinger.sent_ns),
                "outages": [
                    (timeline.seconds(o.from_ns), timeline.seconds(o.until_ns), o.lost)
                    for o in pinger.outages(begin_ns, end_ns - int(LATE_S * NS_PER_S))
                ],
            }
            for pinger in pingers
        },
    }
