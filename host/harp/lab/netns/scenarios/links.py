"""The home link breaks: a partition that heals, a cable that flaps.

Ref: harp.md §5 (two actives), §6 (merge)
"""

from __future__ import annotations

import time
from functools import partial

from harp.lab.netns import plan
from harp.lab.netns.audit import lost_bindings
from harp.lab.netns.measure import spread
from harp.lab.netns.pause import pause
from harp.lab.netns.run import Run
from harp.lab.netns.scenarios.start import FILL_RATE, FILL_S
from harp.lab.netns.timeline import NS_PER_MS
from harp.lab.netns.world import CORE

HEALED_S = 5.0


def partition_heal(run: Run) -> None:
    """Two actives in two halves; the halves meet again, one stays, no binding is lost."""
    with run.lab() as lab:
        lab.start()
        first = lab.settle()
        others = [name for name in plan.MEMBERS if name != first]
        load = lab.load(run.options.nodes)
        lab.fill(load, FILL_RATE, FILL_S)
        heals_ms = []
        for _ in range(run.options.runs):
            active = lab.settle()
            others = [name for name in plan.MEMBERS if name != active]
            load.start(FILL_RATE // 10)
            begin_ns = time.time_ns()
            lab.timeline.add("lab", f"the link parts: {active} and the router | others", "action")
            lab.world.partition([active, CORE], others)
            second = lab.observer.wait(
                partial(lab.observer.first, "A+", begin_ns, but=active), HEALED_S
            )
            run.check(second is not None, "the other half has no active")
            pause(1.0)
            run.check(lab.observer.heard[active].active, f"{active} gave up with its half")
            load.stop()
            healed_ns = time.time_ns()
            lab.timeline.add("lab", "the link is whole again", "action", healed_ns)
            lab.world.heal()
            last = lab.observer.wait(partial(lab.observer.first, "A-", healed_ns), HEALED_S)
            if last is not None:
                heals_ms.append((last.at_ns - healed_ns) / NS_PER_MS)
            winner = lab.settle()
            lost = lost_bindings(lab, winner, load.acknowledged())
            run.check(not lost, f"{len(lost)} acknowledged bindings are lost, such as {lost[:3]}")
        run.figures.update(runs=len(heals_ms), heal_to_one_active_ms=spread(heals_ms))


def link_flap(run: Run) -> None:
    """The active's cable flaps: short gaps change nothing, longer ones never leave two actives."""
    with run.lab() as lab:
        lab.start()
        active = lab.settle()
        load = lab.load(run.options.nodes)
        lab.fill(load, FILL_RATE, FILL_S)
        load.start(FILL_RATE // 10)
        detection_s = lab.settings.multiplier * lab.interval_ns / 1e9
        begin_ns = time.time_ns()
        flaps = 4 * run.options.runs
        for _ in range(flaps):
            lab.cut(active)
            pause(lab.rng.uniform(0.1, 3.0) * detection_s)
            lab.mend(active)
            pause(lab.rng.uniform(0.5, 4.0) * detection_s)
        load.stop()
        last = lab.settle()
        changes = len(lab.observer.all("A+", begin_ns))
        pause(0.2)
        lost = lost_bindings(lab, last, load.acknowledged())
        run.figures.update(flaps=flaps, times_active_began=changes, active=last, lost=len(lost))
        run.figures["answers"] = load.report()["answers"]
        with lab.control(last) as control:
            unprotected = control.status()["unprotected"]
        run.figures["unprotected"] = unprotected
        run.check(
            len(lost) <= unprotected,
            f"{len(lost)} acknowledged bindings are lost, {unprotected} were unprotected",
        )
