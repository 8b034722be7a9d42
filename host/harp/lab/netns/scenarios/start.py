"""Beginnings: a group that starts cold, and one whose members all die and come back.

Ref: harp.md §5 (INIT), §6 (journal)
"""

from __future__ import annotations

import time

from harp.lab.netns import plan
from harp.lab.netns.audit import lost_bindings
from harp.lab.netns.lab import home_of
from harp.lab.netns.pause import pause
from harp.lab.netns.run import Run
from harp.lab.netns.timeline import NS_PER_MS, NS_PER_S

REGISTERED_S = 5.0
FILL_RATE = 3000
FILL_S = 120.0


def cold_start(run: Run) -> None:
    """Three home agents start together; a mobile node registers, a correspondent reaches it."""
    with run.lab() as lab:
        begin_ns = time.time_ns()
        lab.start()
        active = lab.settle()
        first = lab.observer.first("A+", begin_ns)
        elected = {one.member for one in lab.observer.all("A+", begin_ns)}
        assert first is not None
        run.figures["start_to_active_ms"] = round((first.at_ns - begin_ns) / NS_PER_MS, 1)
        run.figures["active"] = active
        run.check(elected == {active}, f"more than one was active in the meantime: {elected}")
        walker_ns = time.time_ns()
        walker = lab.walk()
        pinger = lab.ping(home_of(), rate=100)
        answered = lab.observer.wait(lambda: None, 0.0)
        until = time.monotonic() + REGISTERED_S
        while answered is None and time.monotonic() < until:
            pause(0.02)
            answered = pinger.first_answer(walker_ns)
        run.check(walker.node.bound is not None, "the mobile node was not registered")
        run.check(answered is not None, "no ping reached the home address through the tunnel")
        if answered is not None:
            reached_ms = (answered - walker_ns) / NS_PER_MS
            run.figures["registration_to_reachable_ms"] = round(reached_ms, 1)
            lab.timeline.add("cn", "reaches the home address through the tunnel", "traffic")


def restart_all(run: Run) -> None:
    """Every daemon is killed at once and started again: the journals hold what was promised."""
    with run.lab(journal_sync=True) as lab:
        lab.start()
        lab.settle()
        load = lab.load(run.options.nodes)
        run.figures["registered_s"] = round(lab.fill(load, FILL_RATE, FILL_S), 1)
        load.start(FILL_RATE // 3)
        pause(1.0)
        for name in plan.MEMBERS:
            lab.kill(name)
        for name in plan.MEMBERS:
            lab.members[name].ended()
        load.stop()
        pause(0.2)
        promised = load.acknowledged()
        begin_ns = time.time_ns()
        lab.start()
        active = lab.settle()
        serving = lab.observer.first("na", begin_ns)
        if serving is not None:
            run.figures["restart_to_serving_ms"] = round((serving.at_ns - begin_ns) / NS_PER_MS, 1)
        lost = lost_bindings(lab, active, promised)
        run.figures["acknowledged"] = sum(one >= 0 for one in promised)
        run.figures["lost"] = len(lost)
        run.check(not lost, f"{len(lost)} acknowledged bindings are lost, such as {lost[:3]}")
        run.check(
            lab.observer.actives(NS_PER_S) == [active], f"more than one is active: {lab.shown()}"
        )
