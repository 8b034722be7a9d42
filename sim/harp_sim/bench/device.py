"""The harness as the bench's Python sees it: clock, time, frames, registers, events.

Everything is read and written at falling edges, so that nothing races with the design. One task
moves frames and events; it sleeps when there is nothing to move.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import FallingEdge, Timer, ValueChange

from harp.tables.register_schema import WORD_BITS
from harp.tables.registers import BY_NAME
from harp_gateware.layouts import (
    EVENT_PUSH,
    PORT_STATE,
    REGISTER_REQUEST,
    REGISTER_RESPONSE,
    FrameError,
)
from harp_sim.bench.harness import (
    CHUNK_OCTETS,
    JUDGED,
    RECORDED,
    WORK,
    chunks,
    packed,
    unpacked,
)
from harp_sim.model.config import Port

MUTANT = int(os.environ.get("HARP_MUTANT", "0"))
"""Fault to plant, from 1; needs a build with mutants."""
PERIOD_NS = 8
"""Of the simulated clock; the design knows only clocks."""
NAP_CLOCKS = 32
"""How long the pump sleeps when nothing moves."""
RESTLESS = 1000
"""Times 4 naps in which what is under way must have come out; two whole buffers take 50."""
INPUT = {Port.NETWORK: "net", Port.HOST: "host"}
OUTPUT = {Port.NETWORK: "to_net", Port.HOST: "to_host"}
LINK_UP = packed(PORT_STATE, link=1, full_duplex=1, speed=2)
LINK_DOWN = packed(PORT_STATE, full_duplex=1, speed=2)

ZEROS = (
    *("jump", "jump_us", "net_push", "net_chunk", "host_push", "host_chunk"),
    *("to_host_pop", "to_host_pause", "to_host_stall"),
    *("to_net_pop", "to_net_pause", "to_net_stall"),
    *("request", "request_data", "event_pop", "verdict_pop"),
)
"""Inputs that begin as 0: Icarus would begin with X."""


@dataclass(frozen=True, slots=True)
class Frame:
    """A frame that left the core by `port`."""

    port: Port
    octets: bytes
    error: FrameError
    append_fcs: bool
    begin: int
    """Clock in which its first word was taken."""
    end: int


@dataclass(frozen=True, slots=True)
class Push:
    """An event as the core pushed it."""

    kind: int
    index: int
    first_us: int
    count: int


@dataclass(frozen=True, slots=True)
class Judged:
    """A verdict as the receive path gave it: codes, and the clock."""

    reason: int
    outcome: int
    clock: int


@dataclass(frozen=True, slots=True)
class Timeline:
    """What `now_us` is in each clock from `clock` on."""

    clock: int
    us: int
    rate: int

    def at(self, clock: int) -> int:
        """`now_us` in that clock."""
        return self.us + (clock - self.clock) // self.rate if self.rate else self.us

    def clock_of(self, us: int) -> int:
        """First clock in which `now_us` is that."""
        return self.clock + (us - self.us) * self.rate


class RegisterError(Exception):
    """The core answered `error`."""


class Device:
    """Drives the harness. `frames`, `events` and `verdicts` take what comes out."""

    def __init__(self, dut: Any) -> None:
        self.dut = dut
        self.frames: Callable[[Frame], None] = lambda frame: None
        self.events: Callable[[Push], None] = lambda push: None
        self.verdicts: Callable[[Judged], None] = lambda judged: None
        self._times = [Timeline(0, 0, 0)]
        self._to_play: dict[Port, deque[int]] = {port: deque() for port in Port}
        self._parts: dict[Port, bytearray] = {port: bytearray() for port in Port}
        self._begin = dict.fromkeys(Port, 0)
        self._moves = 0
        self._asking = False
        self._level: dict[str, int] = {}
        self._pins: dict[str, Any] = {}

    async def start(self, rate: int = 16, now_us: int = 0) -> None:
        """Reset; links up, outputs ready, time runs from 0."""
        dut = self.dut
        for name in ZEROS:
            self._set(name, 0)
        self._set("net_state", LINK_UP)
        self._set("host_state", LINK_UP)
        self._set("rate", rate)
        if MUTANT:
            self._set("mutant", MUTANT)
        dut.rst.value = 1
        Clock(dut.clk, PERIOD_NS, unit="ns").start(start_high=False)
        for _ in range(4):
            await FallingEdge(dut.clk)
        dut.rst.value = 0
        await FallingEdge(dut.clk)  # the core sees it a clock later
        await self.run_time(rate, now_us)
        cocotb.start_soon(self._pump())

    def _set(self, name: str, value: int) -> None:
        self._level[name] = value
        self._pin(name).value = value

    def _flip(self, name: str) -> None:
        self._set(name, 1 - self._level[name])

    def _get(self, name: str) -> int:
        return int(self._pin(name).value)

    def _pin(self, name: str) -> Any:
        """The simulator's handle of a port of the harness: to find one takes long."""
        if name not in self._pins:
            self._pins[name] = getattr(self.dut, name)
        return self._pins[name]

    async def run_time(self, rate: int, jump_us: int = 0) -> None:
        """From now on `rate` clocks a microsecond, after a jump."""
        self._set("rate", rate)
        self._set("jump_us", jump_us)
        self._flip("jump")
        await FallingEdge(self.dut.clk)
        self._times.append(Timeline(self._get("clock"), self._get("now_us"), rate))

    @property
    def time(self) -> Timeline:
        """What `now_us` is from now on."""
        return self._times[-1]

    def was_us(self, clock: int) -> int:
        """What `now_us` was in a clock that has passed."""
        return next(time for time in reversed(self._times) if time.clock <= clock).at(clock)

    @property
    def clock(self) -> int:
        """Number of this clock."""
        return self._get("clock")

    @property
    def now_us(self) -> int:
        """The core's time."""
        return self._get("now_us")

    async def clocks(self, count: int) -> None:
        """Let that many clocks pass; ends behind a falling edge, as everything here does."""
        await Timer(count * PERIOD_NS - 1, "ns")
        await FallingEdge(self.dut.clk)

    async def until_us(self, us: int) -> None:
        """Let time pass until `now_us` is at least that."""
        left = self.time.clock_of(us) - self.clock
        if left > 0:
            await self.clocks(left)

    def link(self, port: Port, up: bool) -> None:
        """The MAC reports the port's link."""
        self._set(f"{INPUT[port]}_state", LINK_UP if up else LINK_DOWN)

    def output(self, port: Port, pause: int = 0, stall: int = 0) -> None:
        """How the MAC takes words: `pause` clocks between frames, `stall` of 256 clocks not."""
        self._set(f"{OUTPUT[port]}_pause", pause)
        self._set(f"{OUTPUT[port]}_stall", stall)

    def play(
        self,
        port: Port,
        octets: bytes,
        start: int,
        error: FrameError = FrameError.GOOD,
        gaps: int = 0,
    ) -> None:
        """Have a frame come in by `port`, its first word in clock `start`."""
        self._to_play[port].extend(chunks(octets, start, error, gaps))

    @property
    def waiting(self) -> int:
        """Chunks that are not in the harness yet."""
        return sum(len(queue) for queue in self._to_play.values())

    async def played(self) -> None:
        """Until every frame is in and nothing has come out for long enough."""
        quiet = restless = 0
        while quiet < 3:
            moves = self._moves
            await self.clocks(4 * NAP_CLOCKS)
            idle = self._get("net_idle") and self._get("host_idle") and not self.waiting
            quiet = quiet + 1 if idle and self._moves == moves else 0
            restless = restless + 1 if idle else 0
            assert restless < RESTLESS, "nothing comes in any more, and still something comes out"
        parts = {port: len(part) for port, part in self._parts.items()}
        assert not any(parts.values()), f"a frame that never ended: octets so far {parts}"
        for name in ("net_late", "host_late", "to_host_broken", "to_net_broken"):
            assert not self._get(name), name

    async def _pump(self) -> None:
        clk, nap = self.dut.clk, Timer(NAP_CLOCKS * PERIOD_NS - 1, "ns")
        acts: tuple[tuple[int, Callable[[], bool]], ...] = (
            *((packed(WORK, **{f"{INPUT[p]}_free": 1}), partial(self._push, p)) for p in Port),
            *((packed(WORK, **{OUTPUT[p]: 1}), partial(self._pop, p)) for p in Port),
            (packed(WORK, event=1), self._event),
            (packed(WORK, verdict=1), self._verdict),
        )
        while True:
            await FallingEdge(clk)
            work = self._get("work")
            moved = False
            for bit, act in acts:
                if work & bit:
                    moved |= act()
            self._moves += moved
            if not moved:
                await nap

    def _push(self, port: Port) -> bool:
        """Give a chunk to a player that has room; whether there was one."""
        queue, side = self._to_play[port], INPUT[port]
        if not queue:
            return False
        self._set(f"{side}_chunk", queue.popleft())
        self._flip(f"{side}_push")
        return True

    def _pop(self, port: Port) -> bool:
        """Take the chunk that a recorder has."""
        side = OUTPUT[port]
        chunk = unpacked(RECORDED, self._get(side))
        self._flip(f"{side}_pop")
        part, size = self._parts[port], 8 * chunk["words"] - 8 + chunk["octets"]
        part += chunk["data"].to_bytes(CHUNK_OCTETS, "little")[:size]
        if chunk["first"]:
            self._begin[port] = chunk["begin"]
        if chunk["last"]:
            self._parts[port] = bytearray()
            error = FrameError(chunk["error"])
            whole = bytes(part), error, bool(chunk["append_fcs"])
            self.frames(Frame(port, *whole, self._begin[port], chunk["end"]))
        return True

    def _event(self) -> bool:
        fields = unpacked(EVENT_PUSH, self._get("event"))
        self._flip("event_pop")
        self.events(Push(fields["kind"], fields["index"], fields["first_us"], fields["count"]))
        return True

    def _verdict(self) -> bool:
        self.verdicts(Judged(**unpacked(JUDGED, self._get("verdict"))))
        self._flip("verdict_pop")
        return True

    async def access(self, address: int, data: int | None = None, first: bool = True) -> int:
        """Write a word, or read one (`data` None); RegisterError if there is none."""
        while self._asking:
            await FallingEdge(self.dut.clk)
        self._asking = True
        await FallingEdge(self.dut.clk)
        write = {"write": 0, "data": 0} if data is None else {"write": 1, "data": data}
        request = packed(REGISTER_REQUEST, address=address, first=first, **write)
        self._set("request_data", request)
        self._flip("request")
        await ValueChange(self.dut.answered)
        await FallingEdge(self.dut.clk)
        answer = unpacked(REGISTER_RESPONSE, self._get("answer"))
        self._asking = False
        if answer["error"]:
            raise RegisterError(f"word {address:#06x}")
        return answer["data"]

    async def write_words(self, address: int, words: Iterable[int]) -> None:
        """Write words upwards from `address`, as one request."""
        for n, word in enumerate(words):
            await self.access(address + n, word, n == 0)

    async def read_words(self, address: int, count: int) -> list[int]:
        """Read words upwards from `address`, as one request."""
        return [await self.access(address + n, None, n == 0) for n in range(count)]

    async def read(self, name: str, index: int = 0) -> dict[str, int]:
        """Every field of an element of a register."""
        register = BY_NAME[name]
        words = await self.read_words(register.address(index), register.words)
        value = sum(word << n * WORD_BITS for n, word in enumerate(words))
        return {f.name: value >> f.at & ((1 << f.width) - 1) for f in register.fields}

    async def pulse(self, name: str, index: int = 0, **fields: int) -> None:
        """Write a register's first word with these fields, the others 0."""
        register = BY_NAME[name]
        word = sum(value << register.field(field).at for field, value in fields.items())
        await self.access(register.address(index), word)
