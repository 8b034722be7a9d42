"""The main job in one run: what `make demo` shows.

Ref: harp.md §4 to §6, §9
"""

from __future__ import annotations

import time
from collections.abc import Callable

from harp.daemon.control.protocol import Question
from harp.lab.netns import plan
from harp.lab.netns.flood import FloodProcess
from harp.lab.netns.lab import Lab, home_of
from harp.lab.netns.measure import Takeover, takeover
from harp.lab.netns.pause import pause
from harp.lab.netns.pings import LATE_S, Pinger
from harp.lab.netns.run import Run
from harp.lab.netns.scenarios.faults import QUICK_MS
from harp.lab.netns.scenarios.planned import wait_bound

PING_RATE = 500
FLOOD_RATE, FLOOD_S = 50_000, 3.0
Fault = Callable[[Lab, str], int]
"""Breaks a member; returns when, in ns."""
BOUND_MS = 100.0
"""A takeover in a demonstration, on whatever machine: ten HELLO intervals."""


def story(run: Run) -> None:
    """Cold start, registration, two failures and their repair, a planned switch, a flood."""
    with run.lab() as lab:
        pinger = _begin(lab)
        walker = lab.walk()
        wait_bound(lab, walker.node)
        tunnel = lab.ping(home_of(), PING_RATE)
        lab.timeline.add("cn", f"pings the mobile node, {PING_RATE} times a second", "traffic")
        pause(1.0)
        _failure(run, lab, pinger, "daemon killed", _kill)
        _failure(run, lab, pinger, "cable pulled", _pull)
        _planned(run, lab, pinger, tunnel)
        _flood(run, lab)
        pause(LATE_S)
        until_ns = time.time_ns() - int(LATE_S * 1e9)
        run.figures["pings through the tunnel"] = len(tunnel.sent_ns)
        run.figures["lost in all of it"] = tunnel.lost(0, until_ns)


def _begin(lab: Lab) -> Pinger:
    lab.start()
    active = lab.settle()
    lab.timeline.add("lab", f"one active, {active}; two synchronised standbys", "note")
    return lab.ping(plan.VIRTUAL)


def _kill(lab: Lab, name: str) -> int:
    return lab.kill(name)


def _pull(lab: Lab, name: str) -> int:
    return lab.cut(name)


def _repair(lab: Lab, name: str) -> None:
    """Whatever was wrong with it."""
    if lab.members[name].running:
        lab.mend(name)
    else:
        lab.members[name].ended()
        lab.start(name)
    active = lab.settle()
    lab.timeline.add("lab", f"{name} is back; {active} is active, nobody is behind", "note")


def _failure(run: Run, lab: Lab, pinger: Pinger, what: str, fault: Fault) -> None:
    old = lab.settle()
    found = takeover(lab, old, fault(lab, old), pinger)
    _judge(run, what, found)
    _repair(lab, old)


def _planned(run: Run, lab: Lab, pinger: Pinger, tunnel: Pinger) -> None:
    old = lab.settle()
    new = next(name for name in plan.MEMBERS if name != old)
    with lab.control(new) as control:
        asked_ns = time.time_ns()
        lab.timeline.add("lab", f"asks {new} to take over from {old}", "action", asked_ns)
        control.order(Question.SWITCHOVER)
    found = takeover(lab, old, asked_ns, pinger)
    until_ns = time.time_ns() - int(LATE_S * 1e9)
    _judge(run, "planned switch", found)
    lost = tunnel.lost(asked_ns, until_ns) + pinger.lost(asked_ns, until_ns)
    run.figures["pings lost in the planned switch"] = lost
    if found is not None:
        outage_ms = round(found.outage_ms, 1)
        run.at_most("planned switch: without an answer", outage_ms, QUICK_MS, "ms")


def _flood(run: Run, lab: Lab) -> None:
    active = lab.settle()
    begin_ns = time.time_ns()
    lab.timeline.add(active, f"is flooded with {FLOOD_RATE:,} malformed packets/s", "action")
    sent = FloodProcess(lab.world, active, FLOOD_RATE, FLOOD_S, run.options.seed).result()
    lab.timeline.add(active, "the flood is over", "note")
    pause(0.3)
    changes = [one for one in lab.observer.since(begin_ns) if one.what in ("A+", "A-", "left")]
    run.figures["flood"] = f"{sent['sent']:,.0f} packets, {sent['rate']:,.0f}/s"
    run.check(not changes, f"the flood changed roles: {lab.shown()}")
    run.check(lab.settle() == active, "the flood moved the role")


def _judge(run: Run, what: str, found: Takeover | None) -> None:
    run.check(found is not None, f"{what}: nobody took over")
    if found is None:
        return
    run.timeline.add("lab", f"{what}: {found.new} serves after {found.na_ms:.1f} ms", "note")
    run.figures[f"{what} → {found.new} serves, ms"] = round(found.na_ms, 1)
    run.figures[f"{what}: without an answer, ms"] = round(found.outage_ms, 1)
    run.records.setdefault("takeovers_ms", {})[what] = [found.na_ms]
    limit = BOUND_MS * run.options.hello_ms / 10
    run.at_most(f"{what} → {found.new} serves", round(found.na_ms, 1), limit, "ms")
