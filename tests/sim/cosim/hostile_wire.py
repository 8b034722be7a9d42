"""Runs in a network namespace of its own: the gateware's registers over a line that hurts.

`python hostile_wire.py PROGRAM OPERATIONS [SEED]`: prints one JSON object. A session of the host in
real time, 1 % of the octets dropped, flipped, doubled or held up, both ways. Deadlines of 1 ms are
armed by the way: each is a `peer_down` that must be heard, once.

Ref: offload.md §5, §6
"""

from __future__ import annotations

import json
import random
import select
import signal
import sys
import time
from collections import Counter
from pathlib import Path

from between_wires import device, make_wires

from harp.offload.port import open_port
from harp.offload.registers import words_of
from harp.offload.session import Answered, Ask, Occurred, Output, Over, Send, Session
from harp.tables.link import BAUD, LinkOp, LinkStatus
from harp.tables.offload import PEERS, EventKind
from harp.tables.registers import BY_NAME
from harp_sim.device.hostile import HostileLine

RATE = 0.01
SHORT_US = 1000
"""A deadline that is over before the next operation is."""
UNKNOWN = -1
GRAIN_S = 0.0005
"""Octets of the hurt line go on in lots: one a turn would take a processor."""


class Wire:
    """A session in real time, both directions hurt."""

    def __init__(self, port: str, rng: random.Random) -> None:
        self.rng = rng
        self.up, self.down = HostileLine(rng, RATE), HostileLine(rng, RATE)
        self.downs: dict[tuple[int, int], int] = {}
        """(peer, first time) → count, of `peer_down` heard."""
        self.retries = 0
        self._port = open_port(port, BAUD)
        self._answers: dict[int, Answered] = {}
        self._over = ""
        self.connect()

    def connect(self) -> None:
        """Another conversation over the same line."""
        self._session = Session(self.rng.randrange(1 << 16), BAUD)
        self._over = ""

    def ask(self, ask: Ask) -> Answered | None:
        """None: it failed, clearly."""
        token = self._session.ask(ask)
        self._take(self._session.pump(now_us()))
        while token not in self._answers:
            if self._over:
                self.retries += self._session.retries
                return None
            self.turn()
        return self._answers.pop(token)

    def turn(self) -> None:
        """Until something is due or comes."""
        now = now_us()
        self._port.write(self.up.arrived(now))
        self.down.send(self._port.read(), now)
        octets = self.down.arrived(now)
        if octets:
            self._take(self._session.receive(octets, now))
        self._take(self._session.expire(now))
        times = (self.up.deadline, self.down.deadline, self._session.deadline, now + 100_000)
        wait_s = (min(t for t in times if t is not None) - now_us()) / 1e6
        descriptor = self._port.fileno()
        assert descriptor is not None
        select.select([descriptor], [], [], max(GRAIN_S, wait_s))

    @property
    def idle(self) -> bool:
        return self._session.idle

    def _take(self, outputs: list[Output]) -> None:
        for output in outputs:
            match output:
                case Send(octets):
                    self.up.send(octets, now_us())
                case Answered():
                    self._answers[output.token] = output
                case Over(reason):
                    self._over = reason
                case Occurred(EventKind.PEER_DOWN, index, first_us, count):
                    key = index, first_us
                    self.downs[key] = max(count, self.downs.get(key, 0))
                case _:
                    pass


class Deeds:
    """Operations, and what must be true of them."""

    def __init__(self, wire: Wire, rng: random.Random) -> None:
        self.counts = Counter[str]()
        self.wrong: list[str] = []
        self.armed = Counter[int]()
        """Peer → deadlines that were armed for sure."""
        self.perhaps = Counter[int]()
        """Peer → those of requests that failed: done once or not at all."""
        self._wire, self._rng = wire, rng
        self._held = [UNKNOWN] * PEERS
        self._next = 0

    def prepare(self) -> None:
        """Every peer enabled, none watched. Raises AssertionError."""
        for n in range(PEERS):
            words = words_of("peer", n, enable=1, address=n + 1, group=7, any_vlan=1)
            self._insist(Ask(LinkOp.WRITE, BY_NAME["peer"].address(n), len(words), words))

    def one(self) -> None:
        """A write, a read, or a deadline of 1 ms."""
        choice = self._rng.random()
        if choice < 0.05:
            self._arm()
        elif choice < 0.5:
            self._write()
        else:
            self._read()

    def _insist(self, ask: Ask) -> None:
        while self._wire.ask(ask) is None:
            self._wire.connect()

    def _do(self, ask: Ask) -> Answered | None:
        answer = self._wire.ask(ask)
        self.counts["failed" if answer is None else "done"] += 1
        if answer is None:
            self._wire.connect()
        elif answer.status is not LinkStatus.OK:
            self.wrong.append(f"{ask}: {answer.status.name}")
        return answer

    def _write(self) -> None:
        index, value = self._rng.randrange(PEERS), self._rng.getrandbits(32)
        address = BY_NAME["peer_timing"].address(index) + _LATE
        done = self._do(Ask(LinkOp.WRITE, address, 2, (value, 0)))
        self._held[index] = UNKNOWN if done is None else value

    def _read(self) -> None:
        index = self._rng.randrange(PEERS)
        answer = self._do(Ask(LinkOp.READ, BY_NAME["peer_timing"].address(index) + _LATE, 2))
        if answer is None:
            return
        if self._held[index] not in (UNKNOWN, answer.words[0]):
            self.wrong.append(f"peer {index} holds {answer.words[0]}, not {self._held[index]}")
        self._held[index] = answer.words[0]

    def _arm(self) -> None:
        """By turns, so that one is down long before it is armed again."""
        index, self._next = self._next, (self._next + 1) % PEERS
        words = words_of("peer_timing", index, deadline_us=SHORT_US)[:_DEADLINE_WORDS]
        timing = BY_NAME["peer_timing"].address(index)
        self._insist(Ask(LinkOp.WRITE, timing, _DEADLINE_WORDS, words))
        arm = words_of("peer_command", index, arm=1)
        ask = Ask(LinkOp.WRITE, BY_NAME["peer_command"].address(index), len(arm), arm)
        answer = self._do(ask)
        (self.perhaps if answer is None else self.armed)[index] += 1

    def judge(self) -> None:
        """Every deadline that was armed was heard to be over, as often as it was."""
        heard = Counter[int]()
        for (index, _), count in self._wire.downs.items():
            heard[index] += count
        for index in range(PEERS):
            least = self.armed[index]
            if not least <= heard[index] <= least + self.perhaps[index]:
                self.wrong.append(f"peer {index}: {heard[index]} heard of {least} peer_down")
        self.counts["events"] = sum(heard.values())


_LATE = BY_NAME["peer_timing"].field("late_us").at // 32
_DEADLINE_WORDS = _LATE


def now_us() -> int:
    return time.monotonic_ns() // 1000


def main(program: str, operations: int, seed: int) -> dict[str, object]:
    make_wires()
    serial = Path("tty")
    with device(program, serial):
        rng = random.Random(seed)
        wire = Wire(str(serial), rng)
        deeds = Deeds(wire, rng)
        deeds.prepare()
        begin = time.monotonic()
        while deeds.counts["done"] + deeds.counts["failed"] < operations:
            deeds.one()
        took_s = time.monotonic() - begin
        quiet = now_us() + 2_000_000
        while now_us() < quiet or not wire.idle:
            wire.turn()
        deeds.judge()
        faults = wire.up.faults + wire.down.faults
        return {
            **deeds.counts,
            "wrong": deeds.wrong[:10],
            "faults": faults,
            "seconds": round(took_s, 1),
        }


if __name__ == "__main__":
    words = sys.argv[1:]
    signal.alarm(3000)
    print(json.dumps(main(words[0], int(words[1]), int(words[2]) if words[2:] else 1)))
