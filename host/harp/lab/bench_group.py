"""How many seconds of a quiet group of three one core simulates in a second.

Every HELLO is built, carried as octets, parsed and judged; the link delivers at once after 500 µs.
"""

from __future__ import annotations

import heapq
import time
from random import Random
from typing import Any

from harp.engine.config import (
    EngineConfig,
    GroupConfig,
    LinkConfig,
    MemberConfig,
    Protection,
    Security,
)
from harp.engine.effects import Effect, Role, SendPacket
from harp.engine.engine import Engine
from harp.engine.events import PacketReceived
from harp.tables.constants import US_PER_S

GROUP = 1
MEMBERS = 3
SIMULATED_S = 600
WAY_US = 500
UNIX_US = 1_800_000_000 * US_PER_S
_PREFIX = bytes.fromhex("20010db8") + bytes(11)


class QuietGroup:
    """Engines on one link without loss."""

    def __init__(self) -> None:
        members = tuple(MemberConfig(f"m{n}", (_PREFIX + bytes((n,)),)) for n in range(1, 4))
        self.now = 0
        self._heap: list[tuple[int, int, int, PacketReceived]] = []
        self._sent = 0
        self.engines = [
            Engine(EngineConfig((_config(members, n),)), Random(n), UNIX_US) for n in range(MEMBERS)
        ]
        self._numbers = {member.identity: n for n, member in enumerate(members)}
        for number, engine in enumerate(self.engines):
            self._carry(number, engine.start(0))

    def run(self, until: int) -> None:
        """All that happens up to a time, µs."""
        while True:
            first, number = min(
                (until + 1 if engine.deadline is None else engine.deadline, n)
                for n, engine in enumerate(self.engines)
            )
            if self._heap and self._heap[0][0] <= min(first, until):
                self.now, _, to, event = heapq.heappop(self._heap)
                self._carry(to, self.engines[to].receive(event, self.now))
            elif first <= until:
                self.now = max(self.now, first)
                self._carry(number, self.engines[number].expire(self.now))
            else:
                return

    def _carry(self, number: int, effects: list[Effect]) -> None:
        for effect in effects:
            if not isinstance(effect, SendPacket):
                continue
            one = self._numbers.get(effect.destination)
            for to in range(MEMBERS) if one is None else (one,):
                if to != number:
                    event = PacketReceived(
                        effect.source, effect.destination, effect.payload, link="eth0"
                    )
                    self._sent += 1
                    heapq.heappush(self._heap, (self.now + WAY_US, self._sent, to, event))


def _config(members: tuple[MemberConfig, ...], number: int) -> GroupConfig:
    return GroupConfig(
        GROUP,
        (LinkConfig("eth0"),),
        members,
        number,
        virtual_address=_PREFIX + b"\xff",
        protection=Protection(Security.NONE, insecure=True),
    )


def bench_group(simulated_s: int = SIMULATED_S) -> dict[str, Any]:
    """Seconds of the scenario for each second of processor time. RuntimeError if the group did
    not settle on one active, for then the figure would mean nothing."""
    group = QuietGroup()
    begin = time.process_time()
    group.run(simulated_s * US_PER_S)
    spent_s = time.process_time() - begin
    roles = [engine.groups[GROUP].role for engine in group.engines]
    if roles.count(Role.ACTIVE) != 1:
        raise RuntimeError(f"one active wanted, roles are {roles}")
    return {
        "members": MEMBERS,
        "simulated_s": simulated_s,
        "simulated_s_per_s": simulated_s / spent_s,
    }
