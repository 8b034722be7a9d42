"""Figures: how long a takeover took, who answered, what was lost.

All times come from the kernel's stamps at the switch of the home link and from the moment a fault
was made, of one clock.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass

from harp.lab.netns.capture import Seen
from harp.lab.netns.lab import Lab
from harp.lab.netns.pause import pause
from harp.lab.netns.pings import LATE_S, Pinger
from harp.lab.netns.timeline import NS_PER_MS, NS_PER_S

TAKEOVER_S = 5.0
"""A new active that says nothing for so long never will."""


@dataclass(frozen=True, slots=True)
class Takeover:
    """One change of the active."""

    old: str
    new: str
    na_ms: float
    """From the fault to the first Neighbor Advertisement of the virtual address by the new."""
    answer_ms: float | None
    """To the first answer of the virtual address with the new active's MAC: from there, or from
    the first ping behind it if that left later (a busy machine delays pings too)."""
    old_answers: int
    """Answers of the virtual address with the old active's MAC after that."""
    lost: int
    """Pings of the virtual address without an answer."""
    outage_ms: float
    """The longest time without an answer."""


def takeover(lab: Lab, old: str, fault_ns: int, pinger: Pinger) -> Takeover | None:
    """Waits for the takeover that a fault causes; None: there was none."""
    observer = lab.observer
    na = observer.wait(lambda: observer.first("na", fault_ns, but=old), TAKEOVER_S)
    if na is None:
        return None
    answer = observer.wait(lambda: observer.first("answer", na.at_ns, by=na.member), 1.0)
    pause(0.1)  # what the old one still says
    until_ns = time.time_ns()
    pause(LATE_S)
    outages = pinger.outages(fault_ns - NS_PER_S // 10, until_ns)
    return Takeover(
        old=old,
        new=na.member,
        na_ms=(na.at_ns - fault_ns) / NS_PER_MS,
        answer_ms=_waited_ms(pinger, na.at_ns, answer.at_ns) if answer else None,
        old_answers=len(_after(observer.all("answer", fault_ns, by=old), answer)),
        lost=sum(outage.lost for outage in outages),
        outage_ms=max((outage.ms for outage in outages), default=0.0),
    )


def _waited_ms(pinger: Pinger, na_ns: int, answer_ns: int) -> float:
    """How long somebody who asked has waited for the first answer after `na_ns`."""
    asked_ns = pinger.first_sent(na_ns)
    begin_ns = na_ns if asked_ns is None or asked_ns > answer_ns else asked_ns
    return (answer_ns - begin_ns) / NS_PER_MS


def _after(answers: Sequence[Seen], first: Seen | None) -> list[Seen]:
    return [one for one in answers if first is not None and one.at_ns > first.at_ns]


def spread(values: Sequence[float], digits: int = 2) -> dict[str, float]:
    """Median and extremes of measurements; empty: nothing was measured."""
    if not values:
        return {}
    return {
        "median": round(statistics.median(values), digits),
        "worst": round(max(values), digits),
        "best": round(min(values), digits),
    }


def summary(takeovers: Sequence[Takeover]) -> dict[str, object]:
    """Figures of a row of takeovers."""
    answered = [one.answer_ms for one in takeovers if one.answer_ms is not None]
    return {
        "runs": len(takeovers),
        "fault_to_na_ms": spread([one.na_ms for one in takeovers]),
        "na_to_answer_ms": spread(answered),
        "unanswered": len(takeovers) - len(answered),
        "answers_of_the_old": sum(one.old_answers for one in takeovers),
        "pings_lost": spread([one.lost for one in takeovers], 0),
        "outage_ms": spread([one.outage_ms for one in takeovers]),
        "each_na_ms": [round(one.na_ms, 2) for one in takeovers],
    }
