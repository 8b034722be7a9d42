"""What a board can be asked by its serial port alone, for a production line.

Each check says pass, fail or skipped, and why. None of it has run on hardware.

Ref: offload.md §3 to §6
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum

from harp.offload.client import Client, DeviceFailed
from harp.offload.device import Identity, PeerKey, PeerSpec, Settings, SlotKey, SlotSpec
from harp.offload.programs import guard_words, install_peer, install_slot, silence
from harp.offload.registers import words_of
from harp.offload.templates import MH_OFFSET, hello_frame
from harp.tables.codepoints import DEFAULT_CODE_POINTS
from harp.tables.harp_types import HarpFlag, HarpType
from harp.tables.offload import Capability, EventKind, PeerMode, WatchdogAction
from harp.tables.register_schema import Access
from harp.tables.registers import BY_NAME
from harp.wire.codec import Codec
from harp.wire.messages import Harp
from harp_boards.loopback import LEAST_STEPS, STEP_PS, Loopback, LoopFailed, NoPage, Pace

WALKED = ("mh_type", "bucket", "slot_template", "peer_timing", "action", "control")
"""Registers of the walk: what they hold changes nothing while no lease is live."""
CHECKS = 200
"""Elements of the register walk, and requests of the link's check."""
CLOCK_LOW, CLOCK_HIGH = 0.95, 1.05
"""An oscillator that is off by more is another one."""
DEADLINE_US = 20_000
"""Of the peer that nobody is."""
LATENCY_US = 20_000
"""Longest way of an event to the host; an adapter may hold it for 16 ms."""
GROUP = 255
SOURCE = bytes.fromhex("fe80000000000000000000000000fffe")
MULTICAST = DEFAULT_CODE_POINTS.multicast_group.packed
MAC = b"\x02HARP\x00"
"""Locally administered."""
FRAMES = 3
"""Resigns (offload.md §4)."""


class Outcome(StrEnum):
    """Of one check."""

    PASS = "pass"
    FAIL = "fail"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class Result:
    """A line of the sheet."""

    check: str
    outcome: Outcome
    detail: str


class _Fault(Exception):
    """Why a check failed."""


class _Skip(Exception):
    """Why a check cannot be made."""


class Selftest:
    """All checks on one open client.

    `cable`: one joins the board's two ports. `phys`: bus and address of each port's PHY; none: the
    device has none. `pace` and `checks`: how long it takes; less on a simulated board."""

    def __init__(
        self,
        client: Client,
        number: int,
        seed: int = 1,
        cable: bool = False,
        phys: tuple[tuple[int, int], ...] = (),
        pace: Pace | None = None,
        checks: int = CHECKS,
    ) -> None:
        self._client = client
        self._number = number
        self._rng = random.Random(seed)
        self._cable = cable
        self._pace = pace or Pace()
        self._checks = checks
        self._loopback = Loopback(client, phys, self._pace)
        self._identity: Identity | None = None

    def run(self) -> Iterator[Result]:
        """One check after the other; behind the first that fails to reach the board, none."""
        checks: tuple[tuple[str, Callable[[], str]], ...] = (
            ("identity", self._identify),
            ("link", self._link),
            ("registers", self._walk),
            ("clock", self._clock),
            ("ports", self._ports),
            ("event latency", self._event),
            ("port loopback", self._hello),
            ("receive delay", self._delay),
            ("cable loop", self._loop),
        )
        for name, check in checks:
            try:
                yield Result(name, Outcome.PASS, check())
            except _Skip as skip:
                yield Result(name, Outcome.SKIPPED, str(skip))
            except NoPage:
                yield Result(name, Outcome.SKIPPED, "this device has no PHYs")
            except (_Fault, LoopFailed) as fault:
                yield Result(name, Outcome.FAIL, str(fault))
            except DeviceFailed as failed:
                yield Result(name, Outcome.FAIL, str(failed))
                return
        self._client.run(silence(self._known))

    @property
    def _known(self) -> Identity:
        assert self._identity is not None
        return self._identity

    def _identify(self) -> str:
        self._identity = found = self._client.identify()
        if found.board != self._number:
            raise _Fault(f"this is board {found.board}, not {self._number}")
        self._client.run(silence(found))
        return str(found)

    def _link(self) -> str:
        before = self._client.read("uart")
        for _ in range(self._checks):
            self._client.read("magic")
        after = self._client.read("uart")
        bad = after["bad_frames"] - before["bad_frames"]
        if bad:
            raise _Fault(f"{bad} bad frames of {self._checks}: check cable and ground")
        return f"round trip {self._client.round_trip_us} µs"

    def _walk(self) -> str:
        """Random words written and read back, all over."""
        for _ in range(self._checks):
            register = BY_NAME[self._rng.choice(WALKED)]
            index = self._rng.randrange(self._count(register.name))
            fields = {
                field.name: self._rng.getrandbits(field.width)
                for field in register.fields
                if field.access is Access.RW
            }
            if Capability.MONITOR_ONLY in self._known.capabilities and register.name == "action":
                fields["action"] &= 0b01  # it refuses to drop
            self._client.write(register.name, index, **fields)
            found = self._client.read(register.name, index)
            wrong = [name for name, value in fields.items() if found[name] != value]
            resets = {f.name: register.reset_of(f, index) for f in register.fields}
            self._client.write(register.name, index, **resets)
            if wrong:
                raise _Fault(f"{register.name}[{index}].{wrong[0]}: not as written")
        return f"{self._checks} elements written and read back"

    def _count(self, name: str) -> int:
        count = BY_NAME[name].count
        return min(count, self._known.peers) if name in ("peer_timing", "bucket") else count

    def _clock(self) -> str:
        """The board's microseconds against this machine's: each reading came at some time between
        question and answer."""
        asked, first, answered = self._time()
        self._client.wait(self._pace.clock_us)
        asked_again, last, answered_again = self._time()
        least_us, most_us = asked_again - answered, answered_again - asked
        if not CLOCK_LOW * least_us <= last - first <= CLOCK_HIGH * most_us:
            error = (last - first) / ((least_us + most_us) / 2) - 1
            raise _Fault(f"its clock is off by {error:+.1%}: wrong oscillator?")
        return f"{last - first} µs within {least_us} to {most_us}"

    def _time(self) -> tuple[int, int, int]:
        """When it was asked, what it said, when the answer was there."""
        asked = self._client.now_us
        return asked, self._client.read("now")["us"], self._client.now_us

    def _ports(self) -> str:
        lines = []
        for port in range(self._known.ports):
            state = self._client.read("port_state", port)
            if state["no_clock"]:
                raise _Fault(f"port {port}: its PHY gives no clock")
            if state["unsupported_speed"]:
                raise _Fault(f"port {port}: its link has a speed that is not carried")
            speed = 10 ** (1 + state["speed"])
            lines.append(f"{port}: {f'{speed} Mb/s' if state['link'] else 'no link'}")
        return ", ".join(lines)

    def _event(self) -> str:
        """A peer that nobody is falls silent: how late do we hear of it?"""
        spec = PeerSpec(PeerKey(GROUP, SOURCE), True, PeerMode.SEEN, deadline_us=DEADLINE_US)
        events, start = self._client.events, len(self._client.events)
        self._client.run(install_peer(0, spec))
        armed = self._client.now_us

        def down() -> bool:
            return any(e.kind is EventKind.PEER_DOWN for _, e in events[start:])

        if not self._client.wait(DEADLINE_US + 500_000, down):
            raise _Fault("no event came for a peer that is silent")
        at = next(at for at, e in events[start:] if e.kind is EventKind.PEER_DOWN)
        late_us = at - armed - DEADLINE_US
        self._client.write_words(BY_NAME["peer"].address(0) + 4, (0,))
        if late_us > LATENCY_US:
            raise _Fault(f"an event came {late_us} µs late: latency_timer of the adapter?")
        return f"{max(0, late_us)} µs"

    def _loop(self) -> str:
        """The watchdog's goodbye out of one port, into the other and no further: the fence."""
        if self._known.ports < 2:
            raise _Skip("one port")
        if not self._cable:
            raise _Skip("join the two ports by a cable, and say --cable")
        if not all(self._client.read("port_state", n)["link"] for n in range(2)):
            raise _Fault("a cable joins the ports, but they have no link")
        before = [self._client.read("port", n) for n in range(2)]
        fenced = self._client.read("guard_state")["fenced_frames"]
        self._resign()
        after = [self._client.read("port", n) for n in range(2)]
        grew = {name: after[1][name] - before[1][name] for name in after[1]}
        sent = after[0]["tx_frames"] - before[0]["tx_frames"]
        if sent < FRAMES:
            raise _Fault(f"{sent} frames left of {FRAMES}")
        if grew["rx_frames"] < FRAMES:
            raise _Fault(f"{grew['rx_frames']} frames came back of {sent}")
        bad = grew["rx_fcs_errors"] + grew["rx_errors"] + grew["rx_runts"]
        if bad:
            raise _Fault(f"{bad} bad frames of {grew['rx_frames']}: receive delay?")
        held = self._client.read("guard_state")["fenced_frames"] - fenced
        if not held:
            raise _Fault("the fence let HARP with A pass")
        return f"{sent} out, {grew['rx_frames']} back, {held} stopped by the fence"

    def _resign(self) -> None:
        """Armed, kicked once, then left alone; afterwards unfenced."""
        settings = Settings(lease_ms=100, watchdog=WatchdogAction.RESIGN_FENCE)
        self._client.run(install_slot(0, 0, _slot(HarpFlag.A, resign=True), ()))
        guard = BY_NAME["guard"].offset
        self._client.write_words(guard, guard_words(settings, armed=True))
        self._client.kick()
        self._client.wait(300_000)
        state = self._client.read("guard_state")
        self._client.write_words(BY_NAME["slot"].offset, (0,))
        self._client.write_words(guard, guard_words(settings, armed=False, unfence=1))
        self._client.write_words(guard, words_of("guard"))
        if not (state["fired"] and state["fenced"]):
            raise _Fault("the watchdog did not fire, or the fence did not close")

    def _hello(self) -> str:
        """A HELLO out of the network port, back through its PHY: counted, and seen as a peer's."""
        with self._loopback.looped(_slot(HarpFlag(0), period_us=self._loopback.period_us)):
            self._loopback.pass_on(False)
            spec = PeerSpec(PeerKey(GROUP, SOURCE), True, PeerMode.SEEN, deadline_us=0)
            self._client.run(install_peer(0, spec))
            before = self._client.read("peer_state")["accepted"]
            frames, bad = self._loopback.counted(0, 0)
            seen = self._client.read("peer_state")["accepted"] - before
            self._client.write_words(BY_NAME["peer"].address(0) + 4, (0,))
        if not frames:
            raise _Fault("port 0: nothing comes back through its PHY")
        if bad:
            raise _Fault(f"port 0: {bad} bad frames of {frames} through its PHY")
        if not seen:
            raise _Fault(f"{frames} HELLOs came back and none was seen as a peer's")
        return f"{frames} HELLOs came back, {seen} seen as a peer's"

    def _delay(self) -> str:
        """How much later the pins may be read until frames break: the margin of the delays."""
        lines = []
        with self._loopback.looped(_slot(HarpFlag(0), period_us=self._loopback.period_us)):
            for port in range(self._known.ports):
                last = self._loopback.window(port)
                if last < 0:
                    raise _Fault(f"port {port}: no whole frame comes back: does its PHY delay?")
                if last < LEAST_STEPS:
                    raise _Fault(
                        f"port {port}: frames break {last * STEP_PS} ps behind the delay in use"
                    )
                lines.append(f"port {port}: {last * STEP_PS} ps to spare")
        return ", ".join(lines)


def _slot(flags: HarpFlag, *, resign: bool = False, period_us: int = 1_000_000) -> SlotSpec:
    """HELLOs of a sender that nobody is."""
    message = Harp(HarpType.HELLO, GROUP, 1, flags=int(flags), lifetime_s=1, interval_ms=1)
    header = Codec(DEFAULT_CODE_POINTS).build(SOURCE, MULTICAST, message)
    frame = hello_frame(MAC, SOURCE, MULTICAST, header)
    return SlotSpec(SlotKey(GROUP, "", resign=resign), frame, MH_OFFSET, period_us=period_us)
