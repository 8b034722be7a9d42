"""The engine in its loop: events in, effects out to the parts, deadlines by a timer.

Ref: harp.md §5 (Pause: sockets are read before silence is judged), §9 (order of effects)
"""

from __future__ import annotations

import asyncio
import itertools
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import assert_never

from harp.daemon.clock import Clock
from harp.daemon.duty import Duty
from harp.daemon.parts import Parts, Source
from harp.daemon.timer import Timer
from harp.engine.config import GroupConfig
from harp.engine.effects import (
    AnnounceAgain,
    AnnounceNeighbor,
    BindingMoved,
    CacheChanged,
    ChangesDurable,
    CommandAnswered,
    Dropped,
    Effect,
    HelloTemplate,
    HelloWanted,
    Log,
    PrepareRoute,
    PrepareRoutes,
    RemoveRoute,
    SendHarp,
    SendPacket,
    SendParameterProblem,
    SetServing,
    StartDad,
    StateChanged,
    SubmitChanges,
    WatchPeer,
    WriteJournal,
)
from harp.engine.engine import Engine
from harp.engine.events import (
    Command,
    CommandGiven,
    Event,
    PacketReceived,
    PeerChanged,
    PeerDown,
    PeerLeft,
    PeerLinkChanged,
    PeerUp,
    StopRequested,
)
from harp.engine.status import GroupStatus, status_of
from harp.tables.harp_types import HarpType

AT_ONCE = 64
"""Datagrams of one source in a row before the others have their turn."""
BEFORE_EXPIRE = 8192
"""Datagrams of members read before silence is judged; a flood could bring more for ever."""
BULK_US = 2_000
"""How long state synchronisation may go on before what is due is done."""
LOOK_US = 4_000
"""Between two looks whether the processor is to be left to others."""
_TYPE = slice(6, 7)
"""The Type of a HARP message (harp.md §2.1)."""
_BULK = frozenset(bytes((kind,)) for kind in (HarpType.SS_REQ, HarpType.SS_REP, HarpType.SS_ACK))


class Runtime:
    """Owns the engine. One instance a process; every method on the loop's thread.

    Two kinds of sources: what members say comes first and is read to the end before the engine
    judges silence; of anything else so much is taken at once that no deadline waits behind it.
    What they say of roles comes before what they say of bindings: HELLOs leave and are heard in
    time however much state is on its way. The guard is fed whenever deadlines were kept.
    """

    def __init__(self, engine: Engine, clock: Clock, on_fault: Callable[[Exception], None]) -> None:
        """`on_fault`: told what an event or its effects raised, whoever delivered it: it was left
        half done, and so is what waits. It is raised too."""
        self.engine = engine
        self.clock = clock
        self._on_fault = on_fault
        self._parts: Parts | None = None
        self._members: list[Source] = []
        self._others: list[Source] = []
        self._first: deque[Event] = deque()
        self._bulk: deque[Event] = deque()
        self._events: deque[Event] = deque()
        self._busy = True  # until `start`
        self._ended = False
        self._timer = Timer()
        self._duty = Duty(clock.now_us())
        self._look_at = 0
        self._due: int | None = None
        self._tokens = itertools.count(1)
        self._answers: dict[int, asyncio.Future[tuple[str, ...]]] = {}

    def deliver(self, event: Event) -> None:
        """Gives the engine an event (`parts.Deliver`)."""
        self._events.append(event)
        if not self._busy:
            self._work()

    def deliver_first(self, event: Event) -> None:
        """The same for what a member said: before all else that waits."""
        bulk = type(event) is PacketReceived and event.payload[_TYPE] in _BULK
        (self._bulk if bulk else self._first).append(event)
        if not self._busy:
            self._work()

    def start(self, parts: Parts, members: Sequence[Source], others: Sequence[Source]) -> None:
        """From now on the groups live: HELLOs leave, sources are read."""
        self._parts, self._members, self._others = parts, list(members), list(others)
        loop = asyncio.get_running_loop()
        loop.add_reader(self._timer.fileno(), self._timer_fired)
        for source in (*members, *others):
            loop.add_reader(source.fileno(), self._readable, source)
        self._carry_out(self.engine.start(self.clock.now_us()))
        self._work()

    def stop(self) -> None:
        """Withdraws and says goodbye; nothing is read or sent afterwards.

        After a fault in a callback too, as well as an engine can that stopped half way; if it
        cannot, that is no other fault: the guard does it (`parts.Guard.close`)."""
        failed = self._busy
        try:
            if failed:  # what waits, and what is due, would fail again
                self._carry_out(self.engine.receive(StopRequested(), self.clock.now_us()))
            else:
                self.deliver(StopRequested())
        except Exception:
            if not failed:
                raise
        finally:
            self._end()

    def _end(self) -> None:
        self._busy = self._ended = True
        loop = asyncio.get_running_loop()
        loop.remove_reader(self._timer.fileno())
        for source in (*self._members, *self._others):
            loop.remove_reader(source.fileno())
        self._timer.close()
        for waiting in self._answers.values():
            waiting.cancel()

    async def command(
        self, group: int, command: Command, to: bytes | None = None, force: bool = False
    ) -> tuple[str, ...]:
        """An operator's command; the reasons against it, none if it is done or under way."""
        token = next(self._tokens)
        answer: asyncio.Future[tuple[str, ...]] = asyncio.get_running_loop().create_future()
        self._answers[token] = answer
        try:
            self.deliver(CommandGiven(group, command, token, to, force))
            return await answer
        finally:
            del self._answers[token]

    def reconfigure(self, config: GroupConfig) -> None:
        """Other settings for a group that runs: those that `config.difference` calls live. Nothing
        after `stop`: a reload may have been under way, and nobody hears of a group that has said
        goodbye."""
        if self._ended:
            return
        self._busy = True
        with self._faults_told():
            self._carry_out(self.engine.reconfigure(config, self.clock.now_us()))
        self._work()

    @property
    def rested_us(self) -> int:
        """How long it has left the processor to others although there was work, µs."""
        return self._duty.rested_us

    def status(self) -> tuple[GroupStatus, ...]:
        """Every group as it is now."""
        now = self.clock.now_us()
        return tuple(status_of(group, now) for group in self.engine.groups.values())

    def _readable(self, source: Source) -> None:
        """What a source brings waits in the queues until all that was read at once is there."""
        self._busy = True
        source.drain(AT_ONCE)
        self._work()

    def _timer_fired(self) -> None:
        self._timer.acknowledge()
        self._work()

    def _work(self) -> None:
        """All events that wait, deadlines between them as they come; then the next deadline."""
        self._busy = True
        with self._faults_told():
            self._work_all()
            self._busy = False
            self._wait()

    @contextmanager
    def _faults_told(self) -> Iterator[None]:
        try:
            yield
        except Exception as fault:
            self._on_fault(fault)
            raise

    def _work_all(self) -> None:
        clock = self.clock
        while True:
            now = clock.now_us()
            if now >= self._look_at:
                self._look_at = now + LOOK_US
                self._duty.rest(now)
            if self._due is not None and now >= self._due:
                self._expire()
            elif not self._take(now):
                break

    def _take(self, now: int) -> bool:
        """One event, those that must not wait first; False: there is none."""
        for waiting in (self._first, self._bulk, self._events):
            if waiting:
                self._carry_out(self.engine.receive(waiting.popleft(), now))
                return True
        return False

    def _expire(self) -> None:
        """harp.md §5, Pause: "first reads its sockets". `now` is read after them: what they brought
        was heard by then. Bindings have so much time that what was acknowledged is not repeated."""
        for source in self._members:
            source.drain(BEFORE_EXPIRE)
        clock = self.clock
        end = clock.now_us() + BULK_US
        while self._first or (self._bulk and clock.now_us() < end):
            self._take(clock.now_us())
        now = clock.now_us()
        self._carry_out(self.engine.expire(now))
        self._due = self.engine.deadline
        self._running().guard.feed(now)

    def _wait(self) -> None:
        """Feeds the guard, and sets the timer to the first deadline of all."""
        parts = self._running()
        now = self.clock.now_us()
        parts.guard.feed(now)
        plane = parts.data_plane
        if plane.deadline is not None and plane.deadline <= now:
            plane.renew(now)
        self._due = self.engine.deadline
        wanted = (self._due, plane.deadline, parts.guard.deadline)
        self._timer.set(min((at for at in wanted if at is not None), default=None))

    def _carry_out(self, effects: Sequence[Effect]) -> None:
        for effect in effects:
            self._do(effect)

    def _running(self) -> Parts:
        if self._parts is None:
            raise AssertionError("the runtime has not been started")
        return self._parts

    def _do(self, effect: Effect) -> None:
        parts = self._running()
        match effect:
            case SendPacket():
                parts.sender.send(effect)
                if effect.group is not None:
                    parts.guard.sent(effect)
            case SendParameterProblem():
                parts.sender.parameter_problem(effect)
            case SetServing():
                self._serve(effect, parts)
            case AnnounceNeighbor():
                parts.announcer.announce(effect)
            case StartDad():
                parts.announcer.start_dad(effect)
            case PrepareRoute():
                parts.data_plane.prepare(effect)
            case PrepareRoutes():
                parts.data_plane.prepare_many(effect)
            case RemoveRoute():
                parts.data_plane.remove(effect)
            case WriteJournal():
                parts.journal.write(effect)
            case WatchPeer():
                parts.offload.watch(effect)
            case HelloTemplate():
                parts.offload.template(effect)
            case CommandAnswered():
                self._answer(effect, parts)
            case StateChanged():
                for observer in parts.observers:
                    observer.role(effect)
            case PeerUp() | PeerDown() | PeerLeft() | PeerChanged() | PeerLinkChanged():
                for observer in parts.observers:
                    observer.peer(effect)
            case Dropped():
                for observer in parts.observers:
                    observer.dropped(effect)
            case Log():
                for observer in parts.observers:
                    observer.log(effect)
            case (
                HelloWanted()
                | SendHarp()
                | SubmitChanges()
                | ChangesDurable()
                | BindingMoved()
                | AnnounceAgain()
                | CacheChanged()
            ):
                raise AssertionError(f"{effect} stays inside the engine")
            case _:
                assert_never(effect)

    def _serve(self, serving: SetServing, parts: Parts) -> None:
        """Guarded from before the address is there until after it is gone."""
        if serving.serving:
            parts.guard.serving(serving)
        parts.data_plane.serve(serving)
        parts.announcer.serving(serving)
        parts.listener.serving(serving)
        if not serving.serving:
            parts.guard.serving(serving)
        parts.offload.active(serving.group, serving.serving)

    def _answer(self, answer: CommandAnswered, parts: Parts) -> None:
        waiting = self._answers.get(answer.token)
        if waiting is not None and not waiting.done():
            waiting.set_result(answer.refusals)
        for observer in parts.observers:
            observer.answered(answer)
