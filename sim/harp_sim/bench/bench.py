"""Device, model and scoreboard in step.

**Times.** A frame's time is `now_us` in the clock of its last word; since every frame is played at
a clock that is fixed beforehand, the model judges it as soon as it is scheduled. Where the model
says that a deadline is within `slack_us`, the frame is played a little later: there the core may
be on either side (`Model.near_edge`).

**Checkpoints.** `settle` waits until nothing is under way, stops the time, reads every counter and
every pending event and compares; settings, kicks and links change only while time stands still.

Ref: offload.md §2 (every frame counts once), §7
"""

from __future__ import annotations

import gc
import json
import random
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import cocotb
from cocotb.triggers import Event

from harp.tables.offload import EVENT_KINDS, EVENT_STRIDE
from harp.tables.reasons import OFFLOAD_REASONS, OUTCOMES, Outcome
from harp_gateware.layouts import FrameError
from harp_sim.bench.device import RESTLESS, Device, Frame, Push
from harp_sim.bench.scoreboard import OTHER, EventBoard, FrameBoard, Mismatches, Owed, VerdictBoard
from harp_sim.bench.settings import Settings
from harp_sim.coverage import Coverage
from harp_sim.frames import MIN_GAP_OCTETS, PREAMBLE_OCTETS, Stimulus
from harp_sim.model import golden
from harp_sim.model.config import Config, Port
from harp_sim.model.model import Judgement, Model

RATE = 16
"""Clocks a microsecond: a word a clock is then about the 1 Gb/s that the stimuli are made for."""
SLACK_US = (4 * golden.PEERS + 32) // RATE
"""How late the core may act on a deadline at that rate: 32 peers, 4 clocks a peer, and its way."""
LEAD_CLOCKS = 300
"""From scheduling a frame to its first word at least, for the pushes."""
AHEAD_CHUNKS = 4000
"""Chunks that wait in Python at most."""


def write(name: str, report: Any) -> None:
    """Leave a report as JSON in the directory of the run."""
    Path(name).write_text(json.dumps(report), encoding="utf-8")


class Bench:
    """One core under test with its model, from reset on."""

    def __init__(
        self, dut: Any, config: Config | None = None, seed: int = 1, late_us: int = SLACK_US
    ) -> None:
        self.device = Device(dut)
        self.rng = random.Random(seed)
        self.mismatches = Mismatches()
        self.frames = FrameBoard(self.mismatches)
        self.events = EventBoard(self.mismatches, late_us)
        self.verdicts = VerdictBoard(self.mismatches)
        self.coverage = Coverage()
        self.settings = Settings(self.device)
        self.model = Model()
        self.sent: Callable[[Frame], None] = self._unexpected_slot
        """Takes the frames that the core made."""
        self.latest: Judgement | None = None
        """What the model said of the frame scheduled last."""
        self.ports = 2
        """1: the build is a monitor, and everything is compared but what it has not."""
        self._config = config
        self._cursor = dict.fromkeys(Port, 0)
        self._acks: list[Push] = []
        self._to_ack = Event()
        self._made = Counter({"frames": 0, "octets": 0})

    async def start(self, rate: int = RATE) -> None:
        """Reset the core, bring it to the configuration; time stands still afterwards.

        Raises ValueError if a monitor is to have a fence.
        """
        self._watch_events()
        self.device.frames = self._left
        self.device.events = self._event
        self.device.verdicts = self.verdicts.judged
        await self.device.start(rate)
        cocotb.start_soon(self._acknowledge())
        await self.device.clocks(32)
        await self.stop_time()
        self.ports = (await self.device.read("capabilities"))["ports"]
        config = self._config or Config()
        await self.configure(replace(config, ports=self.ports))
        gc.freeze()  # a tenth of a long run was spent on looking through what stays

    def _watch_events(self) -> None:
        self.model.events.observer = self.events.occurred
        for event in self.model.pending():  # reset, raised before anybody watched
            self.events.occurred(event.kind, event.index, event.first_us)

    # -- time ------------------------------------------------------------------------------------

    async def stop_time(self) -> int:
        """Stop `now_us` where no deadline is near; returns it."""
        while True:
            await self.device.run_time(0)
            now_us = self.device.now_us
            self.model.advance(now_us)
            if not self.model.near_edge(now_us, SLACK_US):
                return now_us
            await self.device.run_time(RATE)
            await self.device.clocks(SLACK_US * RATE)

    async def run_time(self, rate: int = RATE) -> None:
        """Let it run."""
        await self.device.run_time(rate)

    async def jump(self, us: int) -> None:
        """Let that much time pass at once, but for a little around each time that comes due."""
        target = self.device.now_us + us
        while (left := target - await self.stop_time()) > 0:
            due = self.model.next_us()
            step = left if due is None else min(left, due - self.device.now_us - 1)
            await self.device.run_time(RATE, max(0, step))
            await self.device.clocks(2 * SLACK_US * RATE)

    async def configure(self, config: Config) -> None:
        """Write a configuration; time stands still."""
        now_us, old = self.device.now_us, self.model.config
        await self.settings.write(config)
        changes = {name: getattr(config, name) for name in Config.__dataclass_fields__}
        self.model.write(now_us, **changes)
        for index, (before, after) in enumerate(zip(old.peers, config.peers, strict=True)):
            if before != after:
                await self.device.pulse("peer_command", index, forget=1)
                self.model.forget(index, now_us)

    async def kick(self) -> None:
        """Renew the lease; time stands still."""
        await self.device.pulse("guard", kick=1, **self._guard())
        self.model.kick(self.device.now_us)

    async def unfence(self) -> None:
        """End the fence; time stands still."""
        await self.device.pulse("guard", unfence=1, **self._guard())
        self.model.unfence(self.device.now_us)

    def _guard(self) -> dict[str, int]:
        config = self.model.config
        return {
            "armed": config.watchdog_armed,
            "action": config.watchdog_action.value == "event",
            "lease_ms": config.lease_ms,
        }

    async def link(self, port: Port, up: bool) -> None:
        """A port's link comes or goes; time stands still, but moves on by a few µs after it."""
        self.device.link(port, up)
        self.model.link(port, up, self.device.now_us)
        await self.device.clocks(16)
        await self.jump(2)

    # -- frames ----------------------------------------------------------------------------------

    async def traffic(
        self, network: Iterable[Stimulus], host: Iterable[Stimulus] = (), gaps: bool = True
    ) -> int:
        """Play both streams, judged by the model in the order of their ends; time must run.

        `gaps`: idle clocks inside of some frames. Returns when all are scheduled, with their
        number.
        """
        streams = {Port.NETWORK: iter(network), Port.HOST: iter(host)}
        heads = {port: self._scheduled(port, streams[port], gaps) for port in Port}
        count = 0
        while any(heads.values()):
            port = min((p for p in Port if heads[p]), key=lambda p: heads[p][2])
            stimulus, start, end, mask = heads[port]
            at_us = self.device.time.at(end)
            if self._near(at_us):
                later = self.device.time.rate
                heads[port] = (stimulus, start + later, end + later, mask)
                continue
            self._judge(stimulus, start, end, at_us, mask)
            self._cursor[port] = end + 1
            count += 1
            heads[port] = self._scheduled(port, streams[port], gaps)
            while self.device.waiting > AHEAD_CHUNKS:
                await self.device.clocks(1000)
        return count

    def _scheduled(self, port: Port, stream: Iterator[Stimulus], gaps: bool) -> Any:
        """The next frame of a stream with its first and last clock and its idle clocks."""
        stimulus = next(stream, None)
        if stimulus is None:
            return None
        words = -(-len(stimulus.octets) // 8)
        idle = -(-(max(stimulus.gap, MIN_GAP_OCTETS) + PREAMBLE_OCTETS) // 8)
        start = max(self._cursor[port] + idle, self.device.clock + LEAD_CLOCKS)
        mask = 0
        if gaps and self.rng.random() < 0.2:
            mask = self.rng.getrandbits(words) & self.rng.getrandbits(words) & ~1
        return stimulus, start, start + words - 1 + mask.bit_count(), mask

    def _near(self, at_us: int) -> bool:
        self.model.advance(max(self.model.now_us, at_us - SLACK_US))
        return self.model.near_edge(at_us, SLACK_US)

    def _judge(self, stimulus: Stimulus, start: int, end: int, at_us: int, mask: int) -> None:
        """Let the model judge a frame, owe it, and play it."""
        octets, fcs_ok = stimulus.octets, stimulus.fcs_ok
        judgement = self.latest = self.model.frame(
            stimulus.port, octets, at_us, fcs_ok, stimulus.rx_er
        )
        self.coverage.judged(judgement, len(octets))
        owed = Owed(stimulus.label, octets, judgement.egress, start, judgement)
        self.frames.owe(OTHER[stimulus.port], owed)
        if stimulus.port is Port.NETWORK:
            self.verdicts.owe(owed, end)
        error = FrameError.GOOD if fcs_ok else FrameError.FCS
        if stimulus.rx_er:
            error = FrameError.RX_ER
        self.device.play(stimulus.port, octets, start, error, mask)

    def _left(self, frame: Frame) -> None:
        if frame.append_fcs:
            # The MAC pads to 60 octets and appends the FCS.
            self._made.update(frames=1, octets=max(60, len(frame.octets)) + 4)
            self.sent(frame)
        else:
            self.frames.left(frame)

    def _unexpected_slot(self, frame: Frame) -> None:
        self.mismatches.note(f"a slot's frame that nobody owes: {frame.octets.hex()}")

    # -- events ----------------------------------------------------------------------------------

    def _event(self, push: Push) -> None:
        self.events.pushed(push)
        self._acks.append(push)
        self._to_ack.set()

    async def _acknowledge(self) -> None:
        """Acknowledge every event as the host would, one after the other."""
        while True:
            await self._to_ack.wait()
            self._to_ack.clear()
            while self._acks:
                await self._ack(self._acks.pop(0))

    async def _ack(self, push: Push) -> None:
        identity = push.kind * EVENT_STRIDE + push.index
        await self.device.pulse("event_ack", id=identity, count=push.count)

    async def _rest_of_events(self) -> None:
        """Read what is pending, and acknowledge it."""
        for _ in range(RESTLESS):
            if not self._acks:
                break
            await self.device.clocks(32)
        else:
            raise AssertionError("events without end")
        for kind, name in enumerate(EVENT_KINDS):
            pending = (await self.device.read("event_pending", kind))["indexes"]
            for index in (n for n in range(EVENT_STRIDE) if pending >> n & 1):
                shown = await self.device.read("event", kind * EVENT_STRIDE + index)
                push = Push(kind, index, shown["first_us"], shown["count"])
                self.events.pushed(push)
                await self._ack(push)
            if pending:
                left = (await self.device.read("event_pending", kind))["indexes"]
                if left:
                    self.mismatches.note(f"event {name}: {left:#x} stays after its ack")

    # -- checkpoints -----------------------------------------------------------------------------

    async def settle(self) -> None:
        """Wait for everything under way, stop the time, compare everything."""
        await self.device.played()
        await self.stop_time()
        await self.device.clocks(64)
        await self._rest_of_events()
        self.frames.settle()
        self.verdicts.settle()
        self.events.settle()
        for name, wanted, found in await self._counters():
            if wanted != found:
                self.mismatches.note(f"counter {name}: {found} for {wanted}")
        for kind, times in self.events.seen.items():
            self.coverage.event(kind, times)
        self.events.seen.clear()

    async def _counters(self) -> list[tuple[str, int, int]]:
        """Every counter: name, value of the model, value of the core."""
        wanted = self.model.counters.snapshot()
        rows = []
        for index, reason in enumerate(OFFLOAD_REASONS):
            found = (await self.device.read("reason_frames", index))["frames"]
            rows.append((f"reason.{reason}", wanted[f"reason.{reason}"], found))
        outcomes: dict[str, int] = {}
        for index, outcome in enumerate(OUTCOMES):
            found = (await self.device.read("outcome_frames", index))["frames"]
            outcomes[outcome] = found
            rows.append((f"outcome.{outcome}", wanted[f"outcome.{outcome}"], found))
        for index, port in enumerate((Port.NETWORK, Port.HOST)[: self.ports]):
            rows += self._port_rows(port, await self.device.read("port", index), wanted)
        sticky = await self.device.read("sticky")
        flags = ("buffer_full", "host_overrun", "verdict_late")
        rows += [(f"sticky.{flag}", 0, sticky[flag]) for flag in flags]
        guard = await self.device.read("guard_state")
        rows.append(("fenced", wanted["fenced"], guard["fenced_frames"]))
        passed = outcomes[Outcome.PASS] + outcomes[Outcome.LIMITED_PASS]
        if self.ports == 1:
            passed = 0
        rows.append(("whole frames to host", self.frames.out[Port.HOST]["whole"], passed))
        rows.append(
            ("in = out + dropped + absorbed", wanted["port.network.frames"], sum(outcomes.values()))
        )
        return rows

    def _port_rows(
        self, port: Port, found: dict[str, int], wanted: dict[str, int]
    ) -> list[tuple[str, int, int]]:
        names = {
            "frames": "rx_frames",
            "octets": "rx_octets",
            "fcs_errors": "rx_fcs_errors",
            "errors": "rx_errors",
            "runts": "rx_runts",
            "oversize": "rx_oversize",
        }
        rows = [
            (f"port.{port}.{name}", wanted[f"port.{port}.{name}"], found[field])
            for name, field in names.items()
        ]
        out, made = self.frames.out[port], self._made if port is Port.NETWORK else Counter()
        rows.append((f"{port} tx_frames", out["frames"] + made["frames"], found["tx_frames"]))
        rows.append((f"{port} tx_octets", out["octets"] + made["octets"], found["tx_octets"]))
        rows.append((f"{port} tx_errors", out["errors"], found["tx_errors"]))
        rows.append((f"{port} rx_overruns", 0, found["rx_overruns"]))
        return rows
