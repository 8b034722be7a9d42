"""Switches that are asked for: in virtual mode nobody notices, in hard mode mobile nodes move.

Ref: harp.md §5 (SwitchOver), §9 (hard switch); RFC 5142
"""

from __future__ import annotations

import time
from collections.abc import Callable

from harp.cli.common import Failure
from harp.daemon.control.protocol import Question
from harp.lab.netns import plan
from harp.lab.netns.lab import Lab, home_of
from harp.lab.netns.measure import spread, takeover
from harp.lab.netns.node import MobileNode
from harp.lab.netns.pause import pause
from harp.lab.netns.pings import LATE_S
from harp.lab.netns.run import Run
from harp.lab.netns.scenarios.faults import QUICK_MS
from harp.lab.netns.timeline import NS_PER_MS

BOUND_S = 10.0
SWITCHED_S = 30.0
"""Longest hard switch: a Home Agent Switch is repeated after 5 s (RFC 5142 §8)."""


def planned_switch(run: Run) -> None:
    """The operator moves the role to and fro under 1,000 pings/s through the tunnel: none lost."""
    with run.lab() as lab:
        lab.start()
        lab.settle()
        virtual, home = lab.ping(plan.VIRTUAL), home_of()
        walker = lab.walk()
        wait_bound(lab, walker.node)
        tunnel = lab.ping(home)
        pause(0.5)
        begin_ns = time.time_ns()
        takeovers = []
        for _ in range(run.options.runs):
            old = lab.settle()
            new = lab.rng.choice([name for name in plan.MEMBERS if name != old])
            asked_ns = _switch(lab, old, new)
            found = takeover(lab, old, asked_ns, virtual)
            run.check(found is not None, f"{new} did not take over from {old}")
            if found is not None:
                takeovers.append(found)
                run.check(found.new == new, f"{found.new} took over instead of {new}")
        end_ns = time.time_ns()
        pause(LATE_S)
        lost_in_tunnel = tunnel.lost(begin_ns, end_ns)
        lost = virtual.lost(begin_ns, end_ns)
        asked = [one.na_ms for one in takeovers]
        run.figures.update(
            runs=len(takeovers),
            asked_to_na_ms=spread(asked),
            pings_through_tunnel=len(tunnel.sent_ns),
            lost_through_tunnel=lost_in_tunnel,
            pings_of_virtual_address=len(virtual.sent_ns),
            lost_of_virtual_address=lost,
        )
        run.records["takeovers_ms"] = {"planned switch": asked}
        median = spread(asked).get("median")
        run.at_most("asked → first NA (median)", median, QUICK_MS, "ms")
        run.check(lost_in_tunnel == 0, f"{lost_in_tunnel} pings through the tunnel were lost")
        run.check(lost == 0, f"{lost} pings of the virtual address were lost")


def hard_switch(run: Run) -> None:
    """Every home agent has its own address: mobile nodes are told to move, and all do."""
    with run.lab(mode="hard") as lab:
        lab.start()
        old = lab.settle()
        agents = [plan.HOME_PORTS[name].address for name in plan.MEMBERS]
        walker = lab.walk(*agents)
        wait_bound(lab, walker.node)
        tunnel = lab.ping(home_of())
        pause(0.5)
        new = next(name for name in plan.MEMBERS if name != old)
        asked_ns = _switch(lab, old, new)
        wanted = plan.HOME_PORTS[new].address.packed
        _wait(lambda: walker.node.bound == wanted, SWITCHED_S)
        moved_ns = time.time_ns()
        run.check(walker.node.bound == wanted, f"the mobile node did not move to {new}")
        _wait(lambda: not lab.observer.heard[old].draining, SWITCHED_S)
        pause(LATE_S)
        until_ns = time.time_ns()
        pause(LATE_S)
        outages = tunnel.outages(asked_ns, until_ns)
        run.figures.update(
            moved_ms=round((moved_ns - asked_ns) / NS_PER_MS, 1),
            home_agent_switches=walker.node.switches,
            pings_lost=sum(outage.lost for outage in outages),
            outage_ms=round(max((outage.ms for outage in outages), default=0.0), 1),
        )
        run.check(walker.node.switches > 0, "no Home Agent Switch reached the mobile node")
        run.check(lab.settle() == new, f"{new} is not active after the switch: {lab.shown()}")


def _switch(lab: Lab, old: str, new: str) -> int:
    """Asks the new active to take over; returns when, in ns."""
    with lab.control(new) as control:
        at_ns = time.time_ns()
        lab.timeline.add("lab", f"asks {new} to take over from {old}", "action", at_ns)
        control.order(Question.SWITCHOVER)
    return at_ns


def wait_bound(lab: Lab, node: MobileNode) -> None:
    """Until a mobile node is registered."""
    _wait(lambda: node.bound is not None, BOUND_S)
    if node.bound is None:
        raise Failure(f"the mobile node was not registered in {BOUND_S:.0f} s: {lab.shown()}")


def _wait(found: Callable[[], bool], timeout_s: float) -> None:
    until = time.monotonic() + timeout_s
    while not found() and time.monotonic() < until:
        pause(0.002)
