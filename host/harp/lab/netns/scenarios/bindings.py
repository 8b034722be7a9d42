"""Many mobile nodes: state to a new standby, Binding Updates by the thousand, kills at random.

Ref: harp.md §6 (log, full sync, durability), §9 (takeover in constant time)
"""

from __future__ import annotations

import time

from harp.daemon.control.protocol import Question
from harp.lab.netns import plan
from harp.lab.netns.audit import lost_bindings
from harp.lab.netns.lab import Lab
from harp.lab.netns.measure import spread
from harp.lab.netns.pause import pause
from harp.lab.netns.run import Run
from harp.lab.netns.scenarios.start import FILL_RATE, FILL_S
from harp.lab.netns.timeline import NS_PER_MS, NS_PER_S

SYNC_S = 60.0
SYNC_PER_S = 100_000
"""Bindings a second that a full sync is to carry."""
UPDATE_RATE = 5_000
SIZES = (10, 1_000, 100_000)
EQUAL = 1.2
"""Takeover times with few and with many bindings: equal within a fifth."""
SERVING_MS = 10.0
TAKEOVER_S = 5.0


def full_sync(run: Run) -> None:
    """A standby takes the whole state anew."""
    with run.lab() as lab:
        lab.start()
        lab.settle()
        load = lab.load(run.options.nodes)
        run.figures["bindings"] = run.options.nodes
        run.figures["registered_s"] = round(lab.fill(load, FILL_RATE, FILL_S), 1)
        active = lab.settle()
        standby = next(name for name in plan.MEMBERS if name != active)
        took_ms = [
            took
            for _ in range(run.options.runs)
            if (took := _resync(run, lab, standby)) is not None
        ]
        run.figures["full_sync_ms"] = spread(took_ms, 1)
        limit_ms = max(100.0, run.options.nodes * 1000 / SYNC_PER_S)
        median = spread(took_ms).get("median")
        run.at_most(f"full sync of {run.options.nodes} bindings", median, limit_ms, "ms")
        lost = lost_bindings(lab, standby, load.acknowledged())
        run.check(not lost, f"the standby lacks {len(lost)} bindings, such as {lost[:3]}")


def _resync(run: Run, lab: Lab, standby: str) -> float | None:
    """Forces one; ms from the request on the wire until the member says S again."""
    asked_ns = time.time_ns()
    lab.timeline.add("lab", f"asks {standby} for a full sync", "action")
    with lab.control(standby) as control:
        control.order(Question.RESYNC)
    first = lab.observer.wait(lambda: lab.observer.first("ss_req", asked_ns, by=standby), SYNC_S)
    done = lab.observer.wait(lambda: lab.observer.first("S+", asked_ns, by=standby), SYNC_S)
    run.check(first is not None and done is not None, f"{standby} did not become synchronised")
    lab.settle(SYNC_S)
    return (done.at_ns - first.at_ns) / NS_PER_MS if first and done else None


def update_rate(run: Run) -> None:
    """5,000 Binding Updates a second for a while, each acknowledged by a standby first."""
    with run.lab() as lab:
        lab.start()
        lab.settle()
        load = lab.load(run.options.nodes)
        lab.fill(load, FILL_RATE, FILL_S)
        active = lab.settle()
        before, begin_ns = load.report(), time.time_ns()
        used = {name: member.processor_s() for name, member in lab.members.items()}
        with lab.control(active) as control:
            unprotected = control.status()["unprotected"]
            load.start(UPDATE_RATE)
            pause(run.options.seconds)
            load.stop()
            took_s = (time.time_ns() - begin_ns) / NS_PER_S
            cores = {
                name: round((member.processor_s() - used[name]) / took_s, 2)
                for name, member in lab.members.items()
            }
            pause(1.0)
            unprotected = control.status()["unprotected"] - unprotected
        after = load.report()
        sent = after["updates"] - before["updates"]
        accepted = _accepted(after) - _accepted(before)
        run.figures.update(
            sent_per_s=round(sent / took_s),
            acknowledged_per_s=round(accepted / took_s),
            unanswered=sent - accepted,
            unprotected=unprotected,
            active=active,
            cores_used=cores,
            wait_median_ms=round((after["wait_median_us"] or 0) / 1000, 2),
            wait_p99_ms=round((after["wait_p99_us"] or 0) / 1000, 2),
        )
        changes = [s for s in lab.observer.since(begin_ns) if s.what in ("A+", "A-")]
        run.check(
            accepted >= 0.99 * UPDATE_RATE * run.options.seconds,
            f"{accepted / took_s:.0f} acknowledged a second, {UPDATE_RATE} wanted",
        )
        run.check(not changes, f"roles changed under load: {lab.shown()}")


def takeover_size(run: Run) -> None:
    """Goodbye heard → virtual address served, with 10, 1,000 and 100,000 bindings: the same."""
    medians = {}
    for size in SIZES:
        if size > run.options.nodes:
            continue
        with run.lab() as lab:
            lab.start()
            lab.settle()
            lab.fill(lab.load(size), FILL_RATE, FILL_S)
            took = [ms for _ in range(run.options.runs) if (ms := _decided(run, lab)) is not None]
            run.figures[f"goodbye_to_na_ms_{size}"] = spread(took)
            run.records.setdefault("takeovers_ms", {})[f"{size} bindings"] = took
            medians[size] = spread(took).get("median", float("inf"))
            run.at_most(f"goodbye → first NA with {size}", medians[size], SERVING_MS, "ms")
    ratio = max(medians.values()) / min(medians.values())
    run.figures["slowest_to_fastest"] = round(ratio, 2)
    run.check(ratio <= EQUAL, f"takeover depends on the number of bindings: {medians}")


def _decided(run: Run, lab: Lab) -> float | None:
    """The active stops; ms from its goodbye on the wire to the new active's advertisement."""
    old = lab.settle(SYNC_S)
    stopped_ns = lab.stop(old)
    na = lab.observer.wait(lambda: lab.observer.first("na", stopped_ns, but=old), TAKEOVER_S)
    goodbye = lab.observer.first("left", stopped_ns, by=old) or lab.observer.first(
        "A-", stopped_ns, by=old
    )
    run.check(na is not None and goodbye is not None, f"nobody took over from {old}")
    lab.members[old].ended()
    lab.start(old)
    return (na.at_ns - goodbye.at_ns) / NS_PER_MS if na and goodbye else None


def random_kills(run: Run) -> None:
    """Kills of the active at random moments under load: nothing promised is lost, one is active."""
    with run.lab() as lab:
        lab.start()
        lab.settle()
        load = lab.load(run.options.nodes)
        lab.fill(load, FILL_RATE, FILL_S)
        lost_in_all, counted = 0, 0
        for number in range(run.options.runs):
            old = lab.settle()
            load.start(FILL_RATE // 3)
            pause(lab.rng.uniform(0.05, 0.5))
            with lab.control(old) as control:
                before = control.status()["unprotected"]
                lab.kill(old)
            lab.members[old].ended()
            pause(0.5)
            load.stop()
            pause(0.2)
            promised = load.acknowledged()
            actives = lab.observer.actives(NS_PER_S // 10)
            run.check(len(actives) == 1, f"kill {number}: active are {actives}")
            lost = lost_bindings(lab, actives[0], promised) if actives else []
            lost_in_all += len(lost)
            counted += before
            run.check(
                len(lost) <= before,
                f"kill {number}: {len(lost)} lost, {before} unprotected, such as {lost[:3]}",
            )
            lab.start(old)
        run.figures.update(kills=run.options.runs, lost=lost_in_all, unprotected=counted)
        run.figures["answers"] = load.report()["answers"]


def _accepted(report: dict[str, dict[str, int]]) -> int:
    return sum(count for status, count in report["answers"].items() if int(status) < 128)
