"""The runtime with an engine that does as told, and parts that only note."""

from __future__ import annotations

import asyncio
import itertools
import os
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, NoReturn, cast

import pytest
from tests.daemon.site import GROUP, HOME, OWN, PEER, VIRTUAL

from harp.daemon.parts import Parts
from harp.daemon.runtime import AT_ONCE, BULK_US, Runtime
from harp.engine.effects import (
    AnnounceNeighbor,
    CommandAnswered,
    Dropped,
    Effect,
    HelloKind,
    HelloTemplate,
    HelloWanted,
    Level,
    Log,
    PrepareRoute,
    PrepareRoutes,
    RemoveRoute,
    Role,
    SendPacket,
    SendParameterProblem,
    SetServing,
    StartDad,
    StateChanged,
    WatchPeer,
    WriteJournal,
)
from harp.engine.engine import Engine
from harp.engine.events import (
    Command,
    CommandGiven,
    Event,
    IcmpReceived,
    JournalWritten,
    LinkChanged,
    PacketReceived,
    PeerChanged,
    PeerDown,
    PeerLeft,
    PeerLinkChanged,
    PeerUp,
    StopRequested,
)
from harp.tables.harp_types import HarpType
from harp.tables.reasons import Reason


class Noting:
    """A part: notes what it is asked for as `part.method`."""

    def __init__(self, name: str, notes: list[Any]) -> None:
        self._name = name
        self._notes = notes
        self.deadline: int | None = None
        self.on: dict[str, Callable[..., None]] = {}
        """By method: called besides."""

    def __getattr__(self, method: str) -> Callable[..., None]:
        def note(*words: Any) -> None:
            if (self._name, method) != ("guard", "feed"):
                self._notes.append((f"{self._name}.{method}", *words))
            if method in self.on:
                self.on[method](*words)

        return note


@dataclass
class ScriptedEngine:
    """Answers each event with what the test wrote down."""

    answers: dict[type[Event], list[Effect]] = field(default_factory=dict)
    notes: list[Any] = field(default_factory=list)
    deadline: int | None = None
    expired: list[Effect] = field(default_factory=list)
    groups: dict[int, Any] = field(default_factory=dict)

    def start(self, now: int) -> list[Effect]:
        """Nothing."""
        return []

    def receive(self, event: Event, now: int) -> list[Effect]:
        """As written."""
        self.notes.append((event, now))
        return self.answers.get(type(event), [])

    def expire(self, now: int) -> list[Effect]:
        """Once."""
        self.notes.append(("expire", now))
        self.deadline = None
        return self.expired


class StepClock:
    """Every look at it is a microsecond later."""

    def __init__(self) -> None:
        self.us = 1_000

    def now_us(self) -> int:
        """Later than ever."""
        self.us += 1
        return self.us

    def offset_us(self) -> int:
        """None."""
        return 0


class PipeSource:
    """Each octet in a pipe is a packet."""

    def __init__(self, deliver: Callable[[Event], None], make: Callable[[bytes], Event]) -> None:
        self._read, self.write = os.pipe2(os.O_NONBLOCK)
        self._deliver = deliver
        self._make = make

    def fileno(self) -> int:
        """Its end to read."""
        return self._read

    def drain(self, limit: int) -> int:
        """One event an octet."""
        try:
            data = os.read(self._read, limit)
        except BlockingIOError:
            return 0
        for octet in data:
            self._deliver(self._make(bytes([octet])))
        return len(data)

    def close(self) -> None:
        """Both ends."""
        os.close(self._read)
        os.close(self.write)


def _packet(payload: bytes) -> PacketReceived:
    return PacketReceived(PEER, OWN, payload)


def _icmp(payload: bytes) -> IcmpReceived:
    return IcmpReceived(PEER, OWN, payload)


class Bench:
    """A runtime between all of them."""

    def __init__(self) -> None:
        self.notes: list[Any] = []
        self.faults: list[Exception] = []
        self.engine = ScriptedEngine(notes=self.notes)
        self.runtime = Runtime(cast(Engine, self.engine), StepClock(), self.faults.append)
        names = ("listener", "sender", "data_plane", "announcer", "journal", "guard", "offload")
        self.parts = {name: Noting(name, self.notes) for name in names}
        self.members = PipeSource(self.runtime.deliver_first, _packet)
        self.others = PipeSource(self.runtime.deliver, _icmp)

    def start(self) -> None:
        """All that is needed."""
        parts: dict[str, Any] = dict(self.parts)
        parts["observers"] = (Noting("observer", self.notes),)
        self.runtime.start(Parts(**parts), [self.members], [self.others])

    def happened(self) -> list[str]:
        """What parts were asked for, in order."""
        return [note[0] for note in self.notes if isinstance(note[0], str)]

    def events(self) -> list[Event]:
        """What the engine got, in order."""
        return [note[0] for note in self.notes if not isinstance(note[0], str)]


def _run(scene: Callable[[Bench], Coroutine[Any, Any, None]]) -> Bench:
    async def play() -> Bench:
        bench = Bench()
        bench.start()
        try:
            async with asyncio.timeout(10):
                await scene(bench)
        finally:
            bench.runtime.stop()
            assert not asyncio.get_running_loop().remove_reader(bench.members.fileno())
            bench.members.close()
            bench.others.close()
        return bench

    return asyncio.run(play())


async def _turns(count: int = 3) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


EFFECTS: list[tuple[Effect, list[str]]] = [
    (SendPacket(OWN, PEER, b""), ["sender.send"]),
    (SendPacket(OWN, PEER, b"", group=GROUP), ["sender.send", "guard.sent"]),
    (SendParameterProblem(OWN, PEER, b"", 0), ["sender.parameter_problem"]),
    (AnnounceNeighbor(GROUP, HOME, False), ["announcer.announce"]),
    (StartDad(GROUP, HOME), ["announcer.start_dad"]),
    (PrepareRoute(GROUP, HOME, 0, PEER), ["data_plane.prepare"]),
    (PrepareRoutes(GROUP, b""), ["data_plane.prepare_many"]),
    (RemoveRoute(GROUP, HOME, 0), ["data_plane.remove"]),
    (WriteJournal(GROUP, b""), ["journal.write"]),
    (WatchPeer(GROUP, PEER, "home", 1, 1, 0), ["offload.watch"]),
    (HelloTemplate(GROUP, "home", OWN, PEER, b""), ["offload.template"]),
    (StateChanged(GROUP, Role.INIT, Role.STANDBY, "start"), ["observer.role"]),
    (PeerUp(GROUP, PEER), ["observer.peer"]),
    (PeerDown(GROUP, PEER), ["observer.peer"]),
    (PeerLeft(GROUP, PEER), ["observer.peer"]),
    (PeerChanged(GROUP, PEER), ["observer.peer"]),
    (PeerLinkChanged(GROUP, PEER, "home", True), ["observer.peer"]),
    (Dropped(Reason.REPLAY, PEER), ["observer.dropped"]),
    (Log(Level.INFO, "text"), ["observer.log"]),
    (CommandAnswered(GROUP, 1, ()), ["observer.answered"]),
    (  # guarded from before the address is there until after it is gone (harp.md §9)
        SetServing(GROUP, True, VIRTUAL),
        [
            *("guard.serving", "data_plane.serve", "announcer.serving", "listener.serving"),
            "offload.active",
        ],
    ),
    (
        SetServing(GROUP, False, VIRTUAL),
        [
            *("data_plane.serve", "announcer.serving", "listener.serving", "guard.serving"),
            "offload.active",
        ],
    ),
]


@pytest.mark.parametrize(("effect", "asked"), EFFECTS)
def test_each_effect_goes_to_its_part(effect: Effect, asked: list[str]) -> None:
    async def scene(bench: Bench) -> None:
        bench.engine.answers[LinkChanged] = [effect]
        bench.runtime.deliver(LinkChanged("home", True))

    assert _run(scene).happened() == asked


def test_effects_are_done_in_the_order_given() -> None:
    wanted = [effect for effect, _ in EFFECTS]

    async def scene(bench: Bench) -> None:
        bench.engine.answers[LinkChanged] = wanted
        bench.runtime.deliver(LinkChanged("home", True))

    assert _run(scene).happened() == [part for _, asked in EFFECTS for part in asked]


def test_what_stays_between_the_parts_of_the_engine_must_not_leave_it() -> None:
    async def scene(bench: Bench) -> None:
        bench.engine.answers[LinkChanged] = [HelloWanted(HelloKind.PLAIN)]
        with pytest.raises(AssertionError, match="stays inside"):
            bench.runtime.deliver(LinkChanged("home", True))
        bench.engine.answers.clear()

    _run(scene)


def test_an_event_out_of_an_effect_waits_until_all_effects_are_done() -> None:
    async def scene(bench: Bench) -> None:
        journal = bench.parts["journal"]
        journal.on["write"] = lambda _: bench.runtime.deliver(JournalWritten(GROUP, 9))
        bench.engine.answers[LinkChanged] = [
            WriteJournal(GROUP, b"", 9),
            SendPacket(OWN, PEER, b""),
        ]
        bench.runtime.deliver(LinkChanged("home", True))

    bench = _run(scene)
    kinds = [
        note[0] if isinstance(note[0], str) else type(note[0]).__name__ for note in bench.notes
    ]
    assert kinds == [
        "LinkChanged",
        "journal.write",
        "sender.send",
        "JournalWritten",
        "StopRequested",
    ]


def test_silence_is_judged_when_all_that_members_said_is_known() -> None:
    async def scene(bench: Bench) -> None:
        os.write(bench.members.write, b"abc")
        os.write(bench.others.write, b"xy")
        bench.engine.deadline = 0  # long over: the process stood still
        bench.runtime.deliver(LinkChanged("home", True))
        bench.runtime.deliver(LinkChanged("home", False))
        await _turns()

    bench = _run(scene)
    order = [note[0] for note in bench.notes]
    at = order.index("expire")
    assert order[:at] == [LinkChanged("home", True), *map(_packet, (b"a", b"b", b"c"))]
    times = [note[1] for note in bench.notes]
    assert times == sorted(times)


def test_no_deadline_waits_behind_what_others_say() -> None:
    async def scene(bench: Bench) -> None:
        os.write(bench.others.write, bytes(range(60)))
        # Passes while the sixty are worked off: every look at the clock is 1 µs.
        bench.engine.deadline = bench.runtime.clock.now_us() + 30
        bench.runtime.deliver(LinkChanged("home", True))
        await _turns()

    bench = _run(scene)
    names = [note[0] for note in bench.notes]
    assert 10 < names.index("expire") < 50
    assert len(bench.events()) == 62


def test_members_come_before_others() -> None:
    async def scene(bench: Bench) -> None:
        def both(_: SendPacket) -> None:
            bench.runtime.deliver(_icmp(b"x"))
            bench.runtime.deliver_first(_packet(b"a"))

        bench.parts["sender"].on["send"] = both
        bench.engine.answers[LinkChanged] = [SendPacket(OWN, PEER, b"")]
        bench.runtime.deliver(LinkChanged("home", True))

    assert _run(scene).events()[1:3] == [_packet(b"a"), _icmp(b"x")]


def _said(kind: HarpType, name: int) -> PacketReceived:
    return _packet(bytes(6) + bytes((kind, name)))


def test_roles_come_before_bindings() -> None:
    """A HELLO does not wait for state that came before it."""
    hello, switch = _said(HarpType.HELLO, 1), _said(HarpType.SO_REQ, 2)
    bulk = [_said(kind, 3) for kind in (HarpType.SS_REP, HarpType.SS_ACK, HarpType.SS_REQ)]

    async def scene(bench: Bench) -> None:
        def all_at_once(_: SendPacket) -> None:
            bench.runtime.deliver(_icmp(b"x"))
            for said in (*bulk, hello, switch):
                bench.runtime.deliver_first(said)

        bench.parts["sender"].on["send"] = all_at_once
        bench.engine.answers[LinkChanged] = [SendPacket(OWN, PEER, b"")]
        bench.runtime.deliver(LinkChanged("home", True))

    assert _run(scene).events()[1:-1] == [hello, switch, *bulk, _icmp(b"x")]


def test_no_deadline_waits_long_behind_bindings() -> None:
    """Some of them are taken first, so that nothing is repeated that was acknowledged; not all."""
    flood = [_said(HarpType.SS_REP, 3)] * (3 * BULK_US)

    async def scene(bench: Bench) -> None:
        bench.engine.deadline = 0
        bench.runtime.deliver(LinkChanged("home", True))
        bench.runtime._bulk.extend(flood)
        bench.runtime.deliver_first(_said(HarpType.HELLO, 1))
        await _turns()

    bench = _run(scene)
    before = [note[0] for note in bench.notes].index("expire")
    assert BULK_US // 8 < before < 2 * BULK_US
    assert len(bench.events()) == len(flood) + 3


def test_the_guard_is_fed_in_the_midst_of_work() -> None:
    fed: list[int] = []

    async def scene(bench: Bench) -> None:
        bench.parts["guard"].on["feed"] = lambda _: fed.append(len(bench.events()))
        os.write(bench.others.write, bytes(range(60)))
        bench.engine.deadline = bench.runtime.clock.now_us() + 30
        bench.runtime.deliver(LinkChanged("home", True))
        await _turns()

    _run(scene)
    assert any(10 < events < 50 for events in fed)


class Saturated(ScriptedEngine):
    """An event takes a tenth of a millisecond; a HELLO is due every ten."""

    COST_US, EVERY_US = 100, 10_000
    clock: StepClock
    late_us: list[int]

    def receive(self, event: Event, now: int) -> list[Effect]:
        self.clock.us += self.COST_US
        return super().receive(event, now)

    def expire(self, now: int) -> list[Effect]:
        assert self.deadline is not None
        self.late_us.append(now - self.deadline)
        self.notes.append(("expire", now))
        self.deadline += self.EVERY_US
        return []


def test_twice_as_much_as_can_be_done_costs_no_deadline() -> None:
    """Updates wait, and their sockets count those that find no room; HELLOs leave and are heard in
    time, and the guard is fed."""
    fed: list[int] = []
    half_seconds, per_drain = 1, AT_ONCE

    async def scene(bench: Bench) -> None:
        engine = Saturated(notes=bench.notes)
        engine.clock, engine.late_us = cast(StepClock, bench.runtime.clock), []
        engine.deadline = engine.clock.now_us()
        bench.runtime.engine = cast(Engine, engine)
        bench.parts["guard"].on["feed"] = fed.append
        bench.runtime.deliver(LinkChanged("home", True))
        end = engine.clock.us + half_seconds * 500_000
        while engine.clock.us < end:
            # In the time that one takes two come: of mobile nodes and of members.
            os.write(bench.others.write, bytes(per_drain))
            for _ in range(per_drain):
                bench.runtime._bulk.append(_said(HarpType.SS_ACK, 3))
            await _turns(1)
        assert len(engine.late_us) > 45 * half_seconds
        assert max(engine.late_us) < BULK_US + 2 * Saturated.COST_US
        engine.deadline = None

    _run(scene)
    assert max(b - a for a, b in itertools.pairwise(fed)) < 2 * Saturated.EVERY_US


def test_the_timer_wakes_the_loop_at_the_first_deadline_of_all() -> None:
    async def scene(bench: Bench) -> None:
        plane = bench.parts["data_plane"]
        plane.deadline = 1  # in the past of both clocks

        def renewed(now: int) -> None:
            plane.deadline = None

        plane.on["renew"] = renewed
        bench.runtime.deliver(LinkChanged("home", True))
        await _turns()

    assert _run(scene).happened() == ["data_plane.renew"]


def test_a_command_is_answered_to_who_gave_it() -> None:
    async def scene(bench: Bench) -> None:
        given: list[CommandGiven] = []

        def answer(event: Event, now: int) -> list[Effect]:
            if isinstance(event, CommandGiven):
                given.append(event)
                return [CommandAnswered(GROUP, event.token, ("held",) * len(given))]
            return []

        cast(Any, bench.engine).receive = answer
        first = await bench.runtime.command(GROUP, Command.SWITCHOVER, PEER, force=True)
        second = await bench.runtime.command(GROUP, Command.HOLD)
        assert (first, second) == (("held",), ("held", "held"))
        assert (given[0].to, given[0].force, given[1].command) == (PEER, True, Command.HOLD)
        assert given[0].token != given[1].token

    _run(scene)


def test_whoever_delivers_what_the_engine_fails_at_the_daemon_knows() -> None:
    """A command of an operator, say: its task would only log it."""

    def fail(_: SendPacket) -> None:
        raise ZeroDivisionError

    async def scene(bench: Bench) -> None:
        bench.engine.answers[CommandGiven] = [SendPacket(OWN, PEER, b"")]
        bench.parts["sender"].on["send"] = fail
        with pytest.raises(ZeroDivisionError):
            await bench.runtime.command(GROUP, Command.HOLD)
        bench.parts["sender"].on.clear()

    assert [type(fault) for fault in _run(scene).faults] == [ZeroDivisionError]


def test_the_last_event_is_the_stop_and_who_waits_for_an_answer_is_let_go() -> None:
    waiting: list[asyncio.Task[tuple[str, ...]]] = []

    async def scene(bench: Bench) -> None:
        waiting.append(asyncio.create_task(bench.runtime.command(GROUP, Command.RESYNC)))
        await _turns(1)
        bench.engine.answers[StopRequested] = [SendPacket(OWN, PEER, b"goodbye")]

    bench = _run(scene)
    assert bench.events()[-1] == StopRequested()
    assert bench.happened() == ["sender.send"]
    bench.runtime.deliver(LinkChanged("home", True))
    assert bench.events()[-1] == StopRequested()
    assert waiting[0].cancelled()


def test_a_reload_that_ends_after_the_stop_changes_nothing() -> None:
    """It was under way, on a thread, when harpd was told to end."""

    async def scene(bench: Bench) -> None:
        pass

    bench = _run(scene)
    notes = len(bench.notes)
    bench.runtime.reconfigure(cast(Any, None))
    assert (bench.faults, len(bench.notes)) == ([], notes)
    assert bench.events() == [StopRequested()]


def _fail(*_: object) -> NoReturn:
    raise ZeroDivisionError


def test_a_stop_after_a_fault_says_goodbye_and_works_nothing_else_off() -> None:
    async def scene(bench: Bench) -> None:
        bench.engine.answers[LinkChanged] = [SendPacket(OWN, PEER, b"")]
        bench.parts["sender"].on["send"] = _fail
        with pytest.raises(ZeroDivisionError):
            bench.runtime.deliver(LinkChanged("home", True))
        bench.parts["sender"].on.clear()
        bench.runtime.deliver(LinkChanged("home", False))  # waits for ever
        bench.engine.deadline = 0
        bench.engine.answers[StopRequested] = [SendPacket(OWN, PEER, b"goodbye")]

    bench = _run(scene)
    assert bench.events() == [LinkChanged("home", True), StopRequested()]
    assert bench.notes[-1] == ("sender.send", SendPacket(OWN, PEER, b"goodbye"))


def test_an_engine_that_cannot_even_stop_is_let_go() -> None:
    async def scene(bench: Bench) -> None:
        cast(Any, bench.engine).receive = _fail
        with pytest.raises(ZeroDivisionError):
            bench.runtime.deliver(LinkChanged("home", True))

    _run(scene)
