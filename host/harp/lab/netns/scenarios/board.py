"""One of three home agents behind a simulated board: its daemon killed, its serial cable pulled.

Ref: offload.md §4 (watchdog, resign, fence), §6 (a device lost); harp.md §5

The board is the gateware in real time (`harp.lab.netns.board`), its limits are those of
`harp.tables.simulated`. What the others knew, and when, they say themselves (`harpctl events`);
whether two were ever active is judged from every HELLO on the wire, as its receivers judge it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from harp.cli.common import Failure
from harp.daemon.control.protocol import Question
from harp.lab.netns import plan
from harp.lab.netns.lab import Lab
from harp.lab.netns.measure import Takeover, spread, summary, takeover
from harp.lab.netns.pause import pause
from harp.lab.netns.pings import Pinger
from harp.lab.netns.run import Run
from harp.lab.netns.timeline import NS_PER_MS, NS_PER_S
from harp.tables.simulated import MIN_LEASE_MS

BOARDED = plan.MEMBERS[0]
"""The member with the board, the most preferred."""
PING_RATE = 200
"""Of the virtual address: through the board it costs two frames each way."""
KNOWN_MS = MIN_LEASE_MS + 250
"""From the end of a daemon until its peers know: watchdog, and what a simulation takes."""
PULLED_S = (0.05, 0.6)
"""For how long a cable is out."""
ATTACHED_S = 10.0
SOFTWARE_MARGIN_MS = 250
_GONE = ("left", "down")


def board_kill(run: Run) -> None:
    """The active's daemon behind a simulated board is killed: the board says goodbye for it."""
    with board_lab(run) as (lab, pinger):
        takeovers, known_ms = list[Takeover](), list[float]()
        for _ in range(run.options.runs):
            make_active(lab, BOARDED)
            _at_random(lab)
            others = Others(lab)
            at_ns = lab.kill(BOARDED)
            found = takeover(lab, BOARDED, at_ns, pinger)
            if found is None:
                run.check(False, f"nobody took over: {lab.shown()}")
            else:
                takeovers.append(found)
            for name, events in others.since().items():
                said = [e for e in events if _about(e, BOARDED) and e["change"] in _GONE]
                run.check(bool(said), f"{name} never knew that {BOARDED} was gone")
                known_ms += [(_ns(e) - at_ns) / NS_PER_MS for e in said[:1]]
            _one_takeover(run, others, at_ns)
            lab.members[BOARDED].ended()
            lab.start(BOARDED)
            wait_usable(lab)
        _judge(run, lab, takeovers)
        run.figures["known_by_peers_ms"] = spread(known_ms)
        run.at_most("kill → known by its peers (worst)", max(known_ms), KNOWN_MS, "ms")


def board_pull_standby(run: Run) -> None:
    """A standby's board loses its serial cable: no role changes, and software detects meanwhile."""
    with board_lab(run) as (lab, pinger):
        active = plan.MEMBERS[1]
        make_active(lab, active)
        attached_ms = list[float]()
        for _ in range(run.options.runs):
            everybody = Others(lab, but=())
            at_ns = lab.pull(BOARDED)
            pause(lab.rng.uniform(*PULLED_S))
            lab.plug(BOARDED)
            plugged_ns = time.time_ns()
            wait_usable(lab)
            attached_ms.append((time.time_ns() - plugged_ns) / NS_PER_MS)
            pause(lab.rng.uniform(*PULLED_S))
            for name, events in everybody.since().items():
                changes = [e for e in events if e["kind"] == "role" or e.get("change") in _GONE]
                run.check(not changes, f"{name} at a pulled cable: {_told(changes)}")
            seen = [s for s in lab.observer.since(at_ns) if s.what in ("A+", "A-", "left")]
            run.check(not seen, f"roles moved at a pulled cable: {seen}")
        run.figures["pulled"] = run.options.runs
        run.figures["plugged_to_attached_ms"] = spread(attached_ms, 0)
        _detected_in_software(run, lab, pinger, active)
        _never_two(run, lab)


def board_pull_active(run: Run) -> None:
    """The active's board loses its serial cable: one takeover, never two actives."""
    with board_lab(run) as (lab, pinger):
        takeovers = list[Takeover]()
        for _ in range(run.options.runs):
            make_active(lab, BOARDED)
            _at_random(lab)
            others = Others(lab)
            at_ns = lab.pull(BOARDED)
            found = takeover(lab, BOARDED, at_ns, pinger)
            if found is None:
                run.check(False, f"nobody took over: {lab.shown()}")
            else:
                takeovers.append(found)
            pause(lab.rng.uniform(*PULLED_S))
            _one_takeover(run, others, at_ns)
            lab.plug(BOARDED)
            wait_usable(lab)
        _judge(run, lab, takeovers)


@dataclass(frozen=True, slots=True)
class _Mark:
    """A daemon, and its newest event at a time."""

    name: str
    last: int


class Others:
    """What the daemons but one say happened since now."""

    def __init__(self, lab: Lab, but: tuple[str, ...] = (BOARDED,)) -> None:
        self._lab = lab
        names = [name for name in plan.MEMBERS if name not in but]
        self._marks = [_Mark(name, self._events(name, 0)[1]) for name in names]

    def since(self) -> dict[str, list[dict[str, Any]]]:
        """Events by member."""
        return {mark.name: self._events(mark.name, mark.last)[0] for mark in self._marks}

    def _events(self, name: str, since: int) -> tuple[list[dict[str, Any]], int]:
        with self._lab.control(name) as control:
            return control.events(since)


@contextmanager
def board_lab(run: Run) -> Iterator[tuple[Lab, Pinger]]:
    """Three members, the first behind its board, and pings of the virtual address."""
    with run.lab(boards=(BOARDED,)) as lab:
        lab.start()
        pinger = lab.ping(plan.VIRTUAL, PING_RATE)
        lab.settle()
        wait_usable(lab)
        lab.observer.forget_claims()
        try:
            yield lab, pinger
        finally:
            _tell_late(run, lab.boards[BOARDED].late())


def _tell_late(run: Run, late: list[str]) -> None:
    """Beside what failed, why it may have."""
    run.figures["late_rounds_of_the_board"] = len(late)
    if late and run.failures:
        what = f"the simulated board fell behind {len(late)} times, as in {late[-1]!r}"
        run.check(False, f"{what}: is this machine too busy for it?")


def make_active(lab: Lab, name: str) -> None:
    """By a planned switch, if it is not yet."""
    if lab.settle() == name:
        return
    with lab.control(name) as control:
        lab.timeline.add("lab", f"asks {name} to take over", "action")
        control.order(Question.SWITCHOVER)
    _until(lambda: lab.observer.heard[name].active, f"{name} did not take over when asked")
    found = lab.settle()
    if found != name:
        raise Failure(f"{name} was asked to take over, and {found} is active")


def wait_usable(lab: Lab) -> None:
    """Its board is attached, and fences nobody."""
    with lab.control(BOARDED) as control:
        _until(
            lambda: control.offload()["attached"] and not control.status()["fenced"],
            f"the board of {BOARDED} is not in use again",
        )


def _until(true: Callable[[], object], otherwise: str) -> None:
    until = time.monotonic() + ATTACHED_S
    while not true():
        if time.monotonic() > until:
            raise Failure(f"{otherwise} in {ATTACHED_S:.0f} s")
        pause(0.01)


def _at_random(lab: Lab) -> None:
    pause(lab.rng.uniform(0, 3) * lab.interval_ns / NS_PER_S)


def _one_takeover(run: Run, others: Others, at_ns: int) -> None:
    """One of the others became active, once, and none of them stepped back."""
    roles = [e for events in others.since().values() for e in events if e["kind"] == "role"]
    became = [e for e in roles if e["new"] == "ACTIVE"]
    run.check(len(became) == 1, f"{len(became)} takeovers: {_told(roles)}")
    back = [e for e in roles if e["old"] == "ACTIVE"]
    run.check(not back, f"a new active stepped back: {_told(back)}")


def _detected_in_software(run: Run, lab: Lab, pinger: Pinger, active: str) -> None:
    """The board is away, and the active dies."""
    lab.pull(BOARDED)
    pause(1.0)
    found = takeover(lab, active, lab.cut(active), pinger)
    limit_ms = run.options.multiplier * run.options.hello_ms + SOFTWARE_MARGIN_MS
    run.at_most(
        "node death → first NA, detected in software",
        None if found is None else round(found.na_ms, 1),
        limit_ms,
        "ms",
    )
    if found is not None:
        run.figures["without_board_fault_to_na_ms"] = round(found.na_ms, 1)
        run.check(found.new == BOARDED, f"{found.new} took over, {BOARDED} is preferred")


def _judge(run: Run, lab: Lab, takeovers: list[Takeover]) -> None:
    run.figures.update(summary(takeovers))
    run.records.setdefault("takeovers_ms", {})["behind a board"] = [t.na_ms for t in takeovers]
    run.check(
        len(takeovers) == run.options.runs, f"{len(takeovers)} of {run.options.runs} taken over"
    )
    old = sum(one.old_answers for one in takeovers)
    run.check(not old, f"the old active answered {old} times after the new one")
    worst = max((one.na_ms for one in takeovers), default=None)
    run.at_most("fault → first NA (worst)", worst, KNOWN_MS, "ms")
    _never_two(run, lab)


def _never_two(run: Run, lab: Lab) -> None:
    run.figures["replays_on_the_wire"] = lab.observer.heard[BOARDED].replays
    never_two(run, lab)


def never_two(run: Run, lab: Lab) -> None:
    """So far, to whoever hears every HELLO."""
    two = lab.observer.two_actives()
    run.figures["seen_with_two_actives"] = len(two)
    told = [f"{run.timeline.seconds(at):.3f} s {one} beside {other}" for at, one, other in two]
    run.check(not two, f"two said that they are active: {', '.join(told[:5])}")


def _about(event: dict[str, Any], peer: str) -> bool:
    return bool(event["kind"] == "peer" and event["peer"] == peer)


def _told(events: list[dict[str, Any]]) -> str:
    keys = ("old", "new", "reason", "peer", "change")
    return "; ".join(" ".join(str(e[key]) for key in keys if key in e) for e in events) or "none"


def _ns(event: dict[str, Any]) -> int:
    return int(datetime.fromisoformat(event["time"]).timestamp() * 1000) * NS_PER_MS
