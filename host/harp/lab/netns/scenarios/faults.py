"""The active goes: killed, cut off, stopped, paused. How long until another serves.

Ref: harp.md §4 (detection), §5 (ranked takeover, pause), §9 (guard, withdraw)
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable

from harp.lab.netns import plan
from harp.lab.netns.lab import Lab
from harp.lab.netns.measure import Takeover, summary, takeover
from harp.lab.netns.pause import pause
from harp.lab.netns.pings import Pinger
from harp.lab.netns.run import Run

NA_MEDIAN_INTERVALS = 3.3
NA_WORST_INTERVALS = 4.0
"""Fault → first advertisement, in HELLO intervals with a multiplier of 3: 33 and 40 ms at 10 ms."""
ANSWER_MS = 2.0
"""From that advertisement to the first answer of the virtual address."""
QUICK_MS = 10.0
"""Median where nobody has to wait for silence: stop, guard, planned switch."""
PAUSE_S = 0.5


def kill_active(run: Run) -> None:
    """Node death (cable), process death without and with the guard; fault → first NA."""
    with run.lab(guard=False) as lab:
        pinger = _ready(lab)
        _judge(run, "node_death", _repeat(run, lab, pinger, _cut, _mended))
        _judge(run, "process_death", _repeat(run, lab, pinger, _killed, _restarted))
    with run.lab() as lab:
        pinger = _ready(lab)
        guarded = _repeat(run, lab, pinger, _killed, _restarted)
        _judge_quick(run, "process_death_with_guard", guarded)


def graceful_stop(run: Run) -> None:
    """The active is asked to stop: it says goodbye, another serves at once."""
    with run.lab() as lab:
        pinger = _ready(lab)
        _judge_quick(run, "graceful_stop", _repeat(run, lab, pinger, _stopped, _restarted))


def pause_active(run: Run) -> None:
    """The active's daemon is stopped (SIGSTOP): the guard withdraws, another takes over, and the
    one that wakes up again steps back."""
    with run.lab() as lab:
        pinger = _ready(lab)
        takeovers, overlaps = [], []
        for _ in range(run.options.runs):
            old = lab.settle()
            _at_random(lab)
            at_ns = time.time_ns()
            lab.members[old].signal(signal.SIGSTOP)
            lab.timeline.add(old, "daemon is stopped (SIGSTOP)", "action", at_ns)
            found = takeover(lab, old, at_ns, pinger)
            if found is None:
                run.check(False, f"nobody took over from {old} while it was paused")
            else:
                takeovers.append(found)
            pause(PAUSE_S)
            run.check(
                not lab.world.has_address(old, plan.VIRTUAL),
                f"{old} is paused and its kernel still has the virtual address",
            )
            lab.members[old].signal(signal.SIGCONT)
            lab.timeline.add(old, "daemon goes on (SIGCONT)", "action")
            new = lab.settle()
            overlaps.append(found is None or new == found.new)
        figures = run.figures["pause"] = summary(takeovers)
        _keep(run, "pause", takeovers)
        limit = run.options.hello_ms * NA_WORST_INTERVALS
        run.at_most(
            "pause → first NA (worst)", _of(figures, "fault_to_na_ms", "worst"), limit, "ms"
        )
        run.check(all(overlaps), "a paused active took its role back when it went on")


def _ready(lab: Lab) -> Pinger:
    lab.start()
    pinger = lab.ping(plan.VIRTUAL)
    lab.settle()
    return pinger


def _repeat(
    run: Run,
    lab: Lab,
    pinger: Pinger,
    fault: Callable[[Lab, str], int],
    repair: Callable[[Lab, str], None],
) -> list[Takeover]:
    """The fault again and again, each time at another moment between two HELLOs."""
    found: list[Takeover] = []
    for _ in range(run.options.runs):
        old = lab.settle()
        _at_random(lab)
        one = takeover(lab, old, fault(lab, old), pinger)
        if one is None:
            run.check(False, f"nobody took over from {old}: {lab.shown()}")
        else:
            found.append(one)
        repair(lab, old)
    return found


def _at_random(lab: Lab) -> None:
    pause(lab.rng.uniform(0, 3) * lab.interval_ns / 1e9)


def _cut(lab: Lab, name: str) -> int:
    return lab.cut(name)


def _mended(lab: Lab, name: str) -> None:
    lab.mend(name)


def _killed(lab: Lab, name: str) -> int:
    return lab.kill(name)


def _stopped(lab: Lab, name: str) -> int:
    return lab.stop(name)


def _restarted(lab: Lab, name: str) -> None:
    lab.members[name].ended()
    lab.start(name)


def _judge(run: Run, name: str, takeovers: list[Takeover]) -> None:
    """Where silence must be noticed first."""
    figures = _common(run, name, takeovers)
    hello_ms = run.options.hello_ms
    median, worst = (
        _of(figures, "fault_to_na_ms", "median"),
        _of(figures, "fault_to_na_ms", "worst"),
    )
    run.at_most(f"{name}: fault → first NA (median)", median, NA_MEDIAN_INTERVALS * hello_ms, "ms")
    run.at_most(f"{name}: fault → first NA (worst)", worst, NA_WORST_INTERVALS * hello_ms, "ms")


def _judge_quick(run: Run, name: str, takeovers: list[Takeover]) -> None:
    """Where nobody waits for silence."""
    figures = _common(run, name, takeovers)
    run.at_most(
        f"{name}: fault → first NA (median)",
        _of(figures, "fault_to_na_ms", "median"),
        QUICK_MS,
        "ms",
    )


def _common(run: Run, name: str, takeovers: list[Takeover]) -> dict[str, object]:
    figures = run.figures[name] = summary(takeovers)
    _keep(run, name, takeovers)
    answer = _of(figures, "na_to_answer_ms", "worst")
    run.at_most(f"{name}: first NA → first answer (worst)", answer, ANSWER_MS, "ms")
    run.check(figures["unanswered"] == 0, f"{name}: the virtual address never answered")
    old = figures["answers_of_the_old"]
    run.check(old == 0, f"{name}: the old active answered {old} times after the new one")
    return figures


def _of(figures: dict[str, object], name: str, which: str) -> float | None:
    found = figures[name]
    return found.get(which) if isinstance(found, dict) else None


def _keep(run: Run, name: str, takeovers: list[Takeover]) -> None:
    """For the plot of takeover times."""
    run.records.setdefault("takeovers_ms", {})[name] = [one.na_ms for one in takeovers]
