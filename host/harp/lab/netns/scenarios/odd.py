"""What is not a failure of a home agent: a flood, busy processors, new keys, a newer neighbor.

Ref: harp.md §1 (versions), §3 (reasons), §7 (sign, permissive, enforce)
"""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from harp.daemon.control.protocol import Question
from harp.daemon.filter.ruleset import DROPPED, TABLE
from harp.lab.netns import plan
from harp.lab.netns.flood import FloodProcess
from harp.lab.netns.lab import Lab
from harp.lab.netns.member import Settings
from harp.lab.netns.namespaces import entered
from harp.lab.netns.next_version import NEW_TYPE
from harp.lab.netns.pause import pause
from harp.lab.netns.pings import LATE_S
from harp.lab.netns.run import Run
from harp.lab.netns.timeline import NS_PER_MS
from harp.tables.harp_types import HarpType
from harp.tables.mh import HOP_LIMIT, NEXT_HEADER
from harp.tables.reasons import Reason
from harp.wire.checksum import checksum
from harp.wire.codec import DEFAULT_CODEC
from harp.wire.messages import Harp

FLOOD_RATE = 50_000
BUSY_HELLO_MS, BUSY_MULTIPLIER = 100, 3
PLACES = ("filter.", "received.")
"""Where a message can be dropped, as its counters begin."""
UNKNOWN_TYPE = Reason.UNKNOWN_HARP_TYPE.value
STEP_S = 0.5
"""Between two steps of an operator."""


def flood(run: Run) -> None:
    """50,000 malformed Mobility Headers a second at a standby, then at the active."""
    with run.lab() as lab:
        lab.start()
        active = lab.settle()
        standby = next(name for name in plan.MEMBERS if name != active)
        begin_ns = time.time_ns()
        for target in (standby, active):
            before = _counters(lab, target)
            lab.observer.forget_gaps()
            lab.timeline.add(target, f"is flooded, {FLOOD_RATE} malformed packets/s", "action")
            sent = FloodProcess(
                lab.world, target, FLOOD_RATE, run.options.seconds, run.options.seed
            ).result()
            pause(0.3)
            lab.timeline.add(target, "the flood is over", "note")
            role = "active" if target == active else "standby"
            gaps = {n: h.longest_gap_ns / NS_PER_MS for n, h in lab.observer.heard.items()}
            counted = _dropped(before, _counters(lab, target))
            run.figures[f"at_{role}"] = {
                "sent": int(sent["sent"]),
                "rate_per_s": round(sent["rate"]),
                "longest_hello_gap_ms": {name: round(gap, 2) for name, gap in gaps.items()},
                "dropped_by_reason": counted,
            }
            run.check(
                sent["rate"] > 0.95 * FLOOD_RATE,
                f"this machine sent {sent['rate']:.0f}/s only; {FLOOD_RATE} wanted",
            )
            detection_ms = lab.settings.multiplier * run.options.hello_ms
            run.at_most(
                f"longest HELLO gap, {role} flooded", max(gaps.values()), detection_ms, "ms"
            )
            run.check(bool(counted), f"{target} counted no drop by reason")
        changes = [s for s in lab.observer.since(begin_ns) if s.what in ("A+", "A-", "left")]
        run.figures["role_changes"] = len(changes)
        run.check(not changes, f"roles changed: {[(s.member, s.what) for s in changes]}")


def busy(run: Run) -> None:
    """Every core busy, HELLOs every 100 ms × 3: nobody takes over."""
    with run.lab(hello_ms=BUSY_HELLO_MS, multiplier=BUSY_MULTIPLIER) as lab:
        lab.start()
        lab.settle()
        if not run.options.load:
            lab.world.load()
        begin_ns = time.time_ns()
        lab.observer.forget_gaps()
        pause(run.options.seconds)
        changes = [s for s in lab.observer.since(begin_ns) if s.what in ("A+", "A-", "left")]
        gaps = {n: h.longest_gap_ns / NS_PER_MS for n, h in lab.observer.heard.items()}
        run.figures.update(
            seconds=run.options.seconds,
            load_average=round(os.getloadavg()[0], 1),
            longest_hello_gap_ms={name: round(gap, 2) for name, gap in gaps.items()},
            role_changes=len(changes),
        )
        run.check(not changes, f"roles changed: {[(s.member, s.what) for s in changes]}")
        limit = BUSY_MULTIPLIER * BUSY_HELLO_MS
        run.at_most("longest HELLO gap", max(gaps.values()), limit, "ms")


def psk_rollout(run: Run) -> None:
    """A running group gets a key: sign, permissive, enforce, a second key; nobody notices."""
    with run.lab() as lab:
        first, second = (_key_file(lab, spi) for spi in (256, 257))
        steps = (
            ("signs", replace(lab.settings, auth="sign", keys=(first,))),
            ("is permissive", replace(lab.settings, auth="permissive", keys=(first,))),
            ("enforces", replace(lab.settings, auth="enforce", keys=(first,))),
            ("knows a second key", replace(lab.settings, auth="enforce", keys=(first, second))),
            ("signs with the second", replace(lab.settings, auth="enforce", keys=(second, first))),
            ("forgets the first", replace(lab.settings, auth="enforce", keys=(second,))),
        )
        for member in lab.members.values():
            member.settings = steps[0][1]
        lab.start()
        active = lab.settle()
        pinger = lab.ping(plan.VIRTUAL)
        begin_ns = time.time_ns()
        for text, settings in steps[1:]:
            _roll_out(lab, text, settings)
            run.check(lab.settle() == active, f"the active changed when the group {text}")
        end_ns = time.time_ns()
        changes = [s for s in lab.observer.since(begin_ns) if s.what in ("A+", "A-", "left")]
        refused = {n: _counters(lab, n).get("received.auth", 0) for n in plan.MEMBERS}
        pause(LATE_S)
        lost = pinger.lost(begin_ns, end_ns)
        run.figures.update(
            steps=len(steps), role_changes=len(changes), pings_lost=lost, refused_auth=refused
        )
        run.check(not changes, f"roles changed: {[(s.member, s.what) for s in changes]}")
        run.check(lost == 0, f"{lost} pings of the virtual address were lost")
        run.check(not any(refused.values()), f"messages were refused: {refused}")


def mixed_versions(run: Run) -> None:
    """One member is of the next version: unknown flag and option in all it says, unknown Types."""
    with run.lab() as lab:
        newer = plan.MEMBERS[2]
        lab.members[newer].module = "harp.lab.netns.next_version"
        lab.start()
        active = lab.settle()
        lab.timeline.add(newer, "is of the next version", "note")
        begin_ns = time.time_ns()
        _unknown_types(lab, newer, times=20)
        changes = [s for s in lab.observer.since(begin_ns) if s.what in ("A+", "A-", "left")]
        run.check(not changes, f"an unknown Type changed roles: {changes}")
        # The role goes from one version to the other and back, whoever has it at first.
        other = next(name for name in plan.MEMBERS if name not in (newer, active))
        for new in (newer, other, newer) if active != newer else (other, newer):
            with lab.control(new) as control:
                control.order(Question.SWITCHOVER)
            run.check(lab.settle() == new, f"{new} did not take over")
        counted = {
            name: sum(_counters(lab, name).get(place + UNKNOWN_TYPE, 0) for place in PLACES)
            for name in plan.MEMBERS
            if name != newer
        }
        run.figures.update(unknown_types_counted=counted)
        run.check(all(counted.values()), f"unknown Types were not counted: {counted}")


def _roll_out(lab: Lab, text: str, settings: Settings) -> None:
    """One member after the other, as an operator does."""
    for name, member in lab.members.items():
        member.reload(settings)
        lab.timeline.add(name, text, "action")
        pause(STEP_S)


def _key_file(lab: Lab, spi: int) -> tuple[int, Path]:
    path = lab.world.namespaces.directory / f"key-{spi}"
    path.write_text(lab.rng.randbytes(32).hex() + "\n", "utf-8")
    path.chmod(0o600)
    return spi, path


def _counters(lab: Lab, name: str) -> dict[str, int]:
    """Of the group, and under `filter.` the drops of the kernel's filter in front of it."""
    with lab.control(name) as control:
        found = control.counters()
    listed = lab.world.run(name, "nft", "-j", "list", "counters", "table", "ip6", TABLE)
    for row in json.loads(listed.stdout or '{"nftables": []}')["nftables"]:
        counter = row.get("counter", {})
        kind, _, reason = counter.get("name", "").partition(DROPPED)
        if reason and not kind:
            found[f"filter.{reason}"] = counter["packets"]
    return found


def _dropped(before: Mapping[str, int], after: Mapping[str, int]) -> dict[str, int]:
    """What was dropped in the meantime, by where and why."""
    return {
        name: count - before.get(name, 0)
        for name, count in after.items()
        if name.startswith(PLACES) and count > before.get(name, 0)
    }


def _unknown_types(lab: Lab, name: str, times: int) -> None:
    """HARP messages of a Type that this version does not know, from a member's address."""
    source = plan.HOME_PORTS[name].address
    with (
        entered(lab.world.inside(name)),
        socket.socket(socket.AF_INET6, socket.SOCK_RAW, NEXT_HEADER) as link,
    ):
        link.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS, HOP_LIMIT)
        link.bind((str(source), 0))
        for number in range(times):
            for peer, port in plan.HOME_PORTS.items():
                if peer != name:
                    mh = _unknown_type(source.packed, port.address.packed, number + 1)
                    link.sendto(mh, (str(port.address), 0))
            pause(0.02)


def _unknown_type(source: bytes, destination: bytes, sequence: int) -> bytes:
    hello = Harp(HarpType.HELLO, plan.GROUP, sequence)
    mh = bytearray(DEFAULT_CODEC.build(source, destination, hello))
    mh[6], mh[4:6] = NEW_TYPE, bytes(2)
    mh[4:6] = checksum(source, destination, mh).to_bytes(2, "big")
    return bytes(mh)
