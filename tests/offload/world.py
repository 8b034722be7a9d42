"""A host's session and a device's end over a line that may hurt, in virtual time."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping

from harp.offload.frames import Pushed
from harp.offload.session import Answered, Ask, Occurred, Output, Over, Send, Session
from harp.tables.link import BAUD
from harp.tables.offload import EVENT_KINDS, EVENT_REPEAT_US, EVENT_STRIDE
from harp_sim.device.hostile import HostileLine
from harp_sim.device.link_end import LinkEnd
from harp_sim.device.registers import Registers
from harp_sim.model.events import Event, EventKind, Events

FOREVER = 1 << 62


class EventRegisters(Registers):
    """Registers, of which `event_ack` clears pending events; notes every write that took effect."""

    def __init__(self) -> None:
        super().__init__()
        self.events = Events()
        self.written: list[tuple[str, int, dict[str, int]]] = []

    def commit(self, name: str, index: int, fields: Mapping[str, int]) -> None:
        if name == "event_ack":
            kind, at = divmod(fields["id"], EVENT_STRIDE)
            self.events.acknowledge(EventKind(EVENT_KINDS[kind]), at, fields["count"])
        else:
            self.written.append((name, index, dict(fields)))


class World:
    """`heard` takes what the session says; `end` may be swapped for another device."""

    def __init__(self, seed: int, rate: float) -> None:
        self.rng = random.Random(seed)
        self.now = 0
        self.registers = EventRegisters()
        self.end = LinkEnd(self.registers)
        self.up = HostileLine(self.rng, rate)
        self.down = HostileLine(self.rng, rate)
        self.heard: Callable[[Answered | Occurred | Over], None] = lambda output: None
        self._pushed: dict[tuple[str, int], tuple[int, int]] = {}
        self.session = self.connect()

    def connect(self) -> Session:
        """Another conversation over the same line."""
        self.session = Session(self.rng.randrange(1 << 16), BAUD)
        return self.session

    def ask(self, ask: Ask) -> int:
        token = self.session.ask(ask)
        self._take(self.session.pump(self.now))
        return token

    def occur(self, kind: EventKind, index: int = 0) -> None:
        self.registers.events.occur(kind, index, self.now)
        self._push()

    def run(self, until: Callable[[], bool], limit_us: int) -> bool:
        """Lets time pass until that is so; whether it came within the limit."""
        end = self.now + limit_us
        while not until():
            times = (
                self.session.deadline,
                self.up.deadline,
                self.down.deadline,
                self._push_due(),
                end,
            )
            self.now = max(self.now, min(t for t in times if t is not None))
            if self.now >= end:
                return False
            answers = self.end.receive(self.up.arrived(self.now))
            self.down.send(answers, self.now)
            self._push()
            octets = self.down.arrived(self.now)
            if octets:
                self._take(self.session.receive(octets, self.now))
            self._take(self.session.expire(self.now))
        return True

    def _take(self, outputs: list[Output]) -> None:
        for output in outputs:
            if isinstance(output, Send):
                self.up.send(output.octets, self.now)
            else:
                self.heard(output)

    def _due(self, event: Event) -> int:
        count, at = self._pushed.get((event.kind, event.index), (0, 0))
        return at + EVENT_REPEAT_US if count == event.count else self.now

    def _push_due(self) -> int:
        return min((self._due(e) for e in self.registers.events.pending()), default=FOREVER)

    def _push(self) -> None:
        """The device pushes what is pending, each again after a while."""
        for event in self.registers.events.pending():
            if self._due(event) > self.now:
                continue
            self._pushed[event.kind, event.index] = event.count, self.now
            number = list(EventKind).index(event.kind) * EVENT_STRIDE + event.index
            push = Pushed(number, event.count, event.first_us)
            self.down.send(self.end.push(push), self.now)
