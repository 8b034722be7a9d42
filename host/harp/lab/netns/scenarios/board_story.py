"""What a board does for a home agent, in one run: the second half of `make demo`.

HELLOs every 50 ms × 3, not 10 ms × 3 as in the first half: the board is its gateware simulated
against the wall clock, some hundred times slower than an FPGA, and the members of a group share one
interval.

Ref: offload.md §2 to §4
"""

from __future__ import annotations

import time

from harp.lab.netns.flood import FloodProcess
from harp.lab.netns.lab import Lab, home_of
from harp.lab.netns.measure import Takeover, takeover
from harp.lab.netns.member import TERMINAL
from harp.lab.netns.pause import pause
from harp.lab.netns.pings import LATE_S, Pinger
from harp.lab.netns.received import Received
from harp.lab.netns.run import Run
from harp.lab.netns.scenarios.board import (
    BOARDED,
    KNOWN_MS,
    board_lab,
    make_active,
    never_two,
    wait_usable,
)
from harp.lab.netns.scenarios.planned import wait_bound
from harp.lab.netns.timeline import NS_PER_MS
from harp.offload.client import Client
from harp.offload.port import open_port
from harp.tables.link import BAUD
from harp.tables.offload import PASS_EVERY
from harp.tables.simulated import MAX_FRAMES_A_SECOND, MIN_LEASE_MS

TUNNEL_RATE = 100
"""Pings of the mobile node: through the board each costs four frames."""
WATCHED_S = 6.6
"""In which each of two peers says HELLO every 50 ms: one in 64 passes twice."""
FLOOD_S = 3.0
TRIES, ABSORBED_S = 3, 1.5
"""In so long all counters of a board are read once."""
ABSORBED = "outcome_frames_absorb"
HELLO_SHARE = 0.05
"""Of HELLOs, at most, what may reach the host: one in 64, and news."""
FLOOD_SHARE = 0.1
"""Of the flood: what the buckets pass to be answered, 120 packets a second and their bursts."""
TAKEN_OVER_MS = 250.0
"""Silence of 150 ms, and a machine that does other things too."""


def board_story(run: Run) -> None:
    """Heartbeats absorbed, a flood stopped, a killed daemon resigned for, a dead peer noticed."""
    with board_lab(run) as (lab, pinger):
        make_active(lab, BOARDED)
        _let_it_watch(lab)
        lab.observer.forget_claims()
        lab.timeline.add("lab", f"{BOARDED} is active, its board watches the others", "note")
        walker = lab.walk()
        wait_bound(lab, walker.node)
        tunnel = lab.ping(home_of(), TUNNEL_RATE)
        with Received(lab.world, BOARDED) as received:
            _absorbed(run, lab, received)
            _stopped(run, lab, received)
        _killed(run, lab, pinger)
        _silent(run, lab, pinger)
        pause(LATE_S)
        until_ns = time.time_ns() - int(LATE_S * 1e9)
        run.figures["pings through the tunnel"] = len(tunnel.sent_ns)
        run.figures["lost in all of it"] = tunnel.lost(0, until_ns)


def _let_it_watch(lab: Lab) -> None:
    """A simulated board that was too slow to take the peers over has another try."""
    for _ in range(TRIES):
        before = _counter(lab, ABSORBED)
        pause(ABSORBED_S)
        if _counter(lab, ABSORBED) > before:
            return
        lab.timeline.add(BOARDED, "its board was too slow to take the peers over", "note")
        lab.pull(BOARDED)
        lab.plug(BOARDED)
        wait_usable(lab)
        make_active(lab, BOARDED)


def _absorbed(run: Run, lab: Lab, received: Received) -> None:
    others = [heard for name, heard in lab.observer.heard.items() if name != BOARDED]
    sent, reached = sum(heard.hellos for heard in others), received.hellos
    pause(WATCHED_S)
    sent, reached = sum(heard.hellos for heard in others) - sent, received.hellos - reached
    text = f"{sent} HELLOs toward {BOARDED} in {WATCHED_S} s: its board absorbs all but {reached}"
    lab.timeline.add(BOARDED, text, "traffic")
    run.figures[f"HELLOs toward {BOARDED}"] = sent
    run.figures[f"… that reached its host (one in {PASS_EVERY}, and news)"] = reached
    _keep(run, "HELLOs", sent, reached)
    run.at_most("share of HELLOs that reached the host", round(reached / sent, 3), HELLO_SHARE, "")


def _stopped(run: Run, lab: Lab, received: Received) -> None:
    reached, begin_ns = received.frames, time.time_ns()
    text = f"is flooded with {MAX_FRAMES_A_SECOND:,} malformed packets/s"
    lab.timeline.add(BOARDED, text, "action")
    seed = run.options.seed
    sent = FloodProcess(lab.world, BOARDED, MAX_FRAMES_A_SECOND, FLOOD_S, seed).result()["sent"]
    pause(0.3)
    reached = received.frames - reached
    lab.timeline.add(BOARDED, f"of {sent:,} packets its board let {reached} through", "traffic")
    run.figures["flood, packets"] = int(sent)
    run.figures["… that reached the host (buckets, to be answered)"] = reached
    _keep(run, "flood", int(sent), reached)
    run.at_most(
        "share of the flood that reached the host", round(reached / sent, 3), FLOOD_SHARE, ""
    )
    changes = [one for one in lab.observer.since(begin_ns) if one.what in ("A+", "A-", "left")]
    run.check(not changes, f"the flood changed roles: {lab.shown()}")


def _killed(run: Run, lab: Lab, pinger: Pinger) -> None:
    """offload.md §4: resign, then the fence, until its daemon is back and says nothing of A."""
    make_active(lab, BOARDED)
    at_ns = lab.kill(BOARDED)
    found = takeover(lab, BOARDED, at_ns, pinger)
    resigned = lab.observer.first("left", at_ns, by=BOARDED)
    run.check(resigned is not None, "the board did not resign for its host")
    if resigned is not None:
        said_ms = (resigned.at_ns - at_ns) / NS_PER_MS
        lab.timeline.add(BOARDED, f"its board said goodbye after {said_ms:.0f} ms", "note")
        run.figures[f"daemon killed → goodbye by the board, ms (lease {MIN_LEASE_MS})"] = round(
            said_ms, 1
        )
        run.at_most("daemon killed → goodbye by the board", round(said_ms, 1), KNOWN_MS, "ms")
    _judge(run, "daemon killed", found, KNOWN_MS)
    _fenced(run, lab)
    lab.members[BOARDED].ended()
    lab.start(BOARDED)
    wait_usable(lab)
    lab.timeline.add(BOARDED, "is back; its board is attached and fences it no more", "note")
    lab.settle()


def _fenced(run: Run, lab: Lab) -> None:
    """What the board says itself, while no daemon holds its port."""
    with Client(open_port(str(lab.members[BOARDED].directory / TERMINAL), BAUD)) as client:
        state = client.read("guard_state")
    run.check(
        bool(state["fired"] and state["fenced"]), f"the board does not fence its host: {state}"
    )
    run.figures["fenced until its daemon is back"] = bool(state["fenced"])
    lab.timeline.add(BOARDED, "its board fences it: the watchdog has fired", "note")


def _silent(run: Run, lab: Lab, pinger: Pinger) -> None:
    """The active goes without a word: it is the board of a standby that notices."""
    active = lab.settle()
    before = _counter(lab, "event_peer_down")
    found = takeover(lab, active, lab.cut(active), pinger)
    _judge(run, "cable pulled", found, TAKEN_OVER_MS)
    told = _counter(lab, "event_peer_down") - before
    run.check(told > 0, f"the board of {BOARDED} did not say that {active} is down")
    run.figures[f"peer_down by the board of {BOARDED}"] = told
    lab.timeline.add(BOARDED, f"its board said peer_down of {active}", "note")
    if found is not None:
        run.check(found.new == BOARDED, f"{found.new} took over, {BOARDED} is preferred")
    # Until here: who was cut off and thought itself active is heard beside the other for a moment.
    never_two(run, lab)
    lab.mend(active)
    lab.settle()


def _counter(lab: Lab, name: str) -> int:
    with lab.control(BOARDED) as control:
        return int(control.offload()["counters"].get(name, 0))


def _judge(run: Run, what: str, found: Takeover | None, limit_ms: float) -> None:
    run.check(found is not None, f"{what}: nobody took over")
    if found is None:
        return
    run.timeline.add("lab", f"{what}: {found.new} serves after {found.na_ms:.1f} ms", "note")
    run.figures[f"{what} → {found.new} serves, ms"] = round(found.na_ms, 1)
    run.records.setdefault("takeovers_ms", {})[what] = [found.na_ms]
    run.at_most(f"{what} → {found.new} serves", round(found.na_ms, 1), limit_ms, "ms")


def _keep(run: Run, what: str, sent: int, reached: int) -> None:
    """For the plot of what a board keeps away."""
    run.records.setdefault("kept_away", {})[what] = (sent, reached)
