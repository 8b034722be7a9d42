"""A member of the group: a machine with its clocks, a daemon with its engine, a guard process.

The machine does what `harp.daemon` does with a real kernel: it delivers packets, then timers; keeps
addresses and bindings where effects put them; writes the journal with some delay; and when the
daemon dies or stalls its guard withdraws the address and says goodbye (harp.md §9).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from enum import StrEnum
from random import Random
from typing import TYPE_CHECKING, Any

from harp.engine import effects as fx
from harp.engine import events as ev
from harp.engine.config import EngineConfig, GroupConfig
from harp.lab.virtual.guard import Guard
from harp.lab.virtual.network import Network, Packet, Port
from harp.wire.maker import maker

if TYPE_CHECKING:
    from harp.lab.virtual.probe import Maker, Probe, Runs

_received = maker(ev.PacketReceived)
UNIX_US = 1_800_000_000_000_000
"""UNIX time at the start of every scenario, µs."""
BOOTED_US = 3_600_000_000
"""Monotonic clock of a machine at the start of a scenario, µs."""
SOCKET_QUEUE = 256
"""Packets a socket holds while nobody reads it; more are lost."""
DAD_US = 100_000
"""How long duplicate address detection takes."""


class Condition(StrEnum):
    """What a machine is doing."""

    OFF = "off"
    RUNNING = "running"
    STALLED = "stalled"
    """Powered, but the daemon gets no CPU."""


class Watcher:
    """Told of what a node does; the invariants override what they need."""

    def started(self, node: Node) -> None:
        """An engine begins."""

    def stopped(self, node: Node) -> None:
        """An engine ends."""

    def stalled(self, node: Node) -> None:
        """The daemon gets no CPU from now on."""

    def resumed(self, node: Node) -> None:
        """The daemon runs again."""

    def heard(self, node: Node, packet: Packet) -> None:
        """A packet is about to be given to the engine."""

    def did(self, node: Node, effects: list[fx.Effect]) -> None:
        """The engine was called, returned these, and they are carried out."""

    def sends(self, node: Node, effect: fx.SendPacket) -> None:
        """A packet of the engine is about to leave."""

    def spoken(self, node: Node, payload: bytes) -> None:
        """A packet of the guard is about to leave."""


class Clocks:
    """Monotonic and wall clock of one machine against simulated time, all in µs."""

    def __init__(self) -> None:
        self.offset_us = UNIX_US - BOOTED_US
        """UNIX time minus monotonic time."""
        self.was_set = False
        """The wall clock has jumped."""
        self.drift_ppm = 0
        self._base = (0, BOOTED_US)

    def local(self, now: int) -> int:
        """The monotonic clock at simulated time `now`."""
        since, then = self._base
        elapsed = now - since
        if not self.drift_ppm:
            return then + elapsed
        return then + elapsed + elapsed * self.drift_ppm // 1_000_000

    def simulated(self, local: int) -> int:
        """The first simulated time at which the monotonic clock shows at least `local`."""
        since, then = self._base
        elapsed = -((then - local) * 1_000_000 // (1_000_000 + self.drift_ppm))
        return since + elapsed

    def set_drift(self, now: int, ppm: int) -> None:
        """From now on the clock runs `ppm` millionths fast."""
        self._base = (now, self.local(now))
        self.drift_ppm = ppm


class Node:
    """One member."""

    def __init__(
        self,
        config: GroupConfig,
        network: Network,
        seed: str,
        maker: Maker,
        watcher: Watcher,
        late_us: int = 0,
        disk_us: int = 0,
    ) -> None:
        self.config, self.name = config, config.me.name
        self.network = network
        self.clocks = Clocks()
        self.condition = Condition.OFF
        self.running = False
        """Whether its daemon runs and gets CPU; `_turn` keeps it."""
        self.probe: Probe | None = None
        """Into the running engine; None: there is none."""
        self.boots = 0
        """Engines started so far: names this one's lifetime."""
        self.began_us = 0
        """When the engine started, simulated µs."""
        self.remembers = True
        """The engine started with its journal."""
        self.overflowed = 0
        """Packets lost because the socket's queue was full."""
        self._engine: Runs | None = None
        self._seed, self._maker, self._watcher = seed, maker, watcher
        self._late_us, self._disk_us = late_us, disk_us
        self._chance = Random(f"{seed}/timers")
        self._journal: list[tuple[int, bytes]] = []
        self._queue: deque[ev.Event] = deque()
        self._wake: int | None = None
        self._deadline: int | None = None
        self._guard = Guard(self)
        self.stopping = False
        """Says goodbye, and wants to be called no more."""
        self.unplugged: set[str] = set()
        """Links whose interface is down, as far as the daemon knows."""
        self._down: set[str] = set()
        self.ports: dict[str, Port] = {
            link.name: network.links[link.name].attach(self, address)
            for link, address in zip(config.links, config.me.addresses, strict=True)
        }
        self._home = self.ports[config.links[0].name]
        self._do: dict[type[Any], Callable[[Any], None]] = {
            fx.SendPacket: self._send,
            fx.SetServing: self._serve,
            fx.AnnounceNeighbor: self._announce,
            fx.WriteJournal: self._write,
            fx.StartDad: self._detect,
        }

    @property
    def identity(self) -> bytes:
        """Its first address."""
        return self.config.identity

    @property
    def alive(self) -> bool:
        """Whether its daemon exists, stalled or not: what it stored is there."""
        return self._engine is not None

    @property
    def serving(self) -> bool:
        """Whether the machine owns the virtual address."""
        return self.config.virtual_address in self._home.addresses

    def start(self, memory: bool = True) -> None:
        """Boots the daemon, with the journal that reached the disk or without any."""
        if self._engine is not None:
            return
        self.remembers = memory
        if not memory:
            self._journal.clear()
        self.boots += 1
        self.began_us = self.network.now
        self._turn(Condition.RUNNING)
        rng = Random(f"{self._seed}/{self.boots}")
        engine, self.probe = self._maker(EngineConfig((self.config,)), rng, self.clocks.offset_us)
        self._engine = engine
        engine.restore(self.config.group, [record for _, record in self._journal])
        self._watcher.started(self)
        self._carry_out(engine.start(self._local))
        self.unplugged.clear()
        for link in sorted(self._down):
            self.tell(ev.LinkChanged(link, up=False))

    def crash(self) -> None:
        """Power is gone: nothing is said, and what was not on disk is lost."""
        now = self.network.now
        self._journal = [entry for entry in self._journal if entry[0] <= now]
        self._end()
        self._guard.power_lost()
        self.withdraw()

    def kill(self) -> None:
        """The daemon dies; its guard withdraws and says goodbye (harp.md §9)."""
        if self._engine is not None:
            self._end()
            self._guard.daemon_died()

    def stop(self) -> None:
        """The daemon ends as it should: says goodbye itself."""
        if self.running:
            self.stopping = True
            self.tell(ev.StopRequested())
            self.stopping = False
            self._end()
            self.withdraw()

    def stall(self) -> None:
        """The daemon gets no CPU until `resume`; its guard does."""
        if self.running:
            self._turn(Condition.STALLED)
            self._wake = None
            self._guard.starve()
            self._watcher.stalled(self)

    def resume(self) -> None:
        """The daemon runs again: reads its sockets first, then looks at its timers."""
        if self.condition is not Condition.STALLED:
            return
        self._turn(Condition.RUNNING)
        self._watcher.resumed(self)
        if self._guard.feed():
            # The guard withdrew meanwhile: what a fence means to the engine (harp.md §9).
            self.tell(ev.Fenced(True))
            self.tell(ev.Fenced(False))
        while self._queue and self.running:
            self._give(self._queue.popleft())
        if self.running:
            self._expire()

    def step_clock(self, by_us: int) -> None:
        """The wall clock jumps."""
        self.clocks.offset_us += by_us
        self.clocks.was_set = True
        self.tell(ev.ClockStepped(self.clocks.offset_us))

    def drift(self, ppm: int) -> None:
        """All clocks of the machine run fast by so many millionths from now on."""
        self.clocks.set_drift(self.network.now, ppm)
        self._wake = None
        self._arm()

    def plug(self, link: str, up: bool) -> None:
        """An interface goes up or down."""
        (self._down.discard if up else self._down.add)(link)
        self.tell(ev.LinkChanged(link, up))

    @property
    def next_call_us(self) -> int | None:
        """Time until the engine wants to be called, by its clock; None: it wants nothing."""
        deadline = self._deadline
        return None if deadline is None else deadline - self.clocks.local(self.network.now)

    def arrive(self, packet: Packet) -> None:
        """A packet from the network."""
        if self.condition is Condition.OFF:
            return
        if packet.next_header == fx.ICMPV6:
            self.tell(ev.IcmpReceived(packet.source, packet.destination, packet.payload))
            return
        link, source, destination, payload, _, hop_limit, care_of, *_ = packet
        if self.running:
            self._watcher.heard(self, packet)
        self.tell(_received(source, destination, payload, hop_limit, link, care_of, False))

    def tell(self, event: ev.Event) -> None:
        """Something happened: now to the engine, or to its queue while it stalls."""
        if self.running:
            self._give(event)
        elif self.condition is Condition.STALLED:
            if len(self._queue) < SOCKET_QUEUE:
                self._queue.append(event)
            else:
                self.overflowed += 1

    def withdraw(self) -> None:
        """The machine owns the virtual address no more."""
        self._home.link.disown(self._home, self.config.virtual_address)

    def speak(self, packet: Packet) -> None:
        """The guard says something of its own."""
        self._watcher.spoken(self, packet.payload)
        self.network.send(self.name, packet)

    @property
    def _local(self) -> int:
        return self.clocks.local(self.network.now)

    def _end(self) -> None:
        """The daemon is no more."""
        if self._engine is not None:
            self._watcher.stopped(self)
        self._engine = self.probe = self._wake = None
        self._queue.clear()
        self._turn(Condition.OFF)

    def _turn(self, condition: Condition) -> None:
        self.condition, self.running = condition, condition is Condition.RUNNING

    def _give(self, event: ev.Event) -> None:
        assert self._engine is not None
        if isinstance(event, ev.LinkChanged):
            (self.unplugged.discard if event.up else self.unplugged.add)(event.link)
        self._carry_out(self._engine.receive(event, self.clocks.local(self.network.now)))

    def _expire(self) -> None:
        assert self._engine is not None
        self._carry_out(self._engine.expire(self._local))

    def _carry_out(self, effects: list[fx.Effect]) -> None:
        for effect in effects:
            do = self._do.get(type(effect))
            if do is not None:
                do(effect)
        self._arm()
        self._watcher.did(self, effects)

    def _arm(self) -> None:
        """Plans the next call of `expire`; an earlier plan stays and finds nothing to do."""
        if self._engine is None or not self.running:
            return
        self._deadline = deadline = self._engine.deadline
        if deadline is None:
            return
        when = max(self.clocks.simulated(deadline), self.network.now)
        if self._wake is None or when < self._wake:
            self._wake = when
            late = int(self._chance.random() * self._late_us)
            self.network.at(when + late, self._timed, when)

    def _timed(self, planned: int) -> None:
        if planned != self._wake or self._engine is None:
            return
        self._wake = None
        if self._deadline is not None and self._deadline <= self._local:
            self._expire()
        else:
            self._arm()

    def _send(self, effect: fx.SendPacket) -> None:
        self._watcher.sends(self, effect)
        self._guard.saw(effect)
        self.network.send(
            self.name,
            Packet(
                effect.link or self.config.links[0].name,
                effect.source,
                effect.destination,
                effect.payload,
                effect.protocol,
                effect.hop_limit,
                via=effect.via,
            ),
        )

    def _serve(self, effect: fx.SetServing) -> None:
        if not effect.serving:
            self.withdraw()
        elif effect.address:
            self._home.link.own(self._home, effect.address)

    def _announce(self, effect: fx.AnnounceNeighbor) -> None:
        self._home.link.announce(self._home, effect.address)

    def _write(self, effect: fx.WriteJournal) -> None:
        on_disk = self.network.now + self._disk_us
        self._journal.append((on_disk, effect.record))
        if effect.token is not None:
            self._later(on_disk, ev.JournalWritten(effect.group, effect.token))

    def _detect(self, effect: fx.StartDad) -> None:
        finished = ev.DadFinished(effect.group, effect.address, duplicate=False)
        self._later(self.network.now + DAD_US, finished)

    def _later(self, when: int, event: ev.Event) -> None:
        """Tells the engine that runs now, if it still does then."""
        boots = self.boots
        self.network.at(when, lambda: self.tell(event) if boots == self.boots else None)
