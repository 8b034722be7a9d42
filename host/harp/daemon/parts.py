"""What the runtime asks of its parts: one Protocol each; the engine's effects are the words.

Everything here is called from the loop's thread, in the order in which the engine asked
(harp.md §9), and must return at once: what takes longer than a millisecond is queued or handed to
a thread. No part raises for what the network or the kernel does: it counts and logs. A part that
cannot start raises `harp.cli.common.Failure` from `open` with one line that says what to do.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeAlias

from harp.daemon.config.model import DaemonConfig
from harp.engine.effects import (
    AnnounceNeighbor,
    CommandAnswered,
    Dropped,
    HelloTemplate,
    Log,
    PrepareRoute,
    PrepareRoutes,
    RemoveRoute,
    SendPacket,
    SendParameterProblem,
    SetServing,
    StartDad,
    StateChanged,
    WatchPeer,
    WriteJournal,
)
from harp.engine.events import (
    Event,
    HelloSlotChanged,
    PeerChanged,
    PeerDown,
    PeerLeft,
    PeerLinkChanged,
    PeerUp,
)

Deliver: TypeAlias = Callable[[Event], None]
"""Gives the engine an event, stamped with the time of the call. Loop's thread only; other threads
go through `loop.call_soon_threadsafe`. Called while effects are carried out, it waits its turn."""

PeerEffect: TypeAlias = PeerUp | PeerDown | PeerLeft | PeerChanged | PeerLinkChanged
"""What became of a peer."""


class Source(Protocol):
    """Something with a file descriptor that brings events."""

    def fileno(self) -> int:
        """Readable when something waits."""

    def drain(self, limit: int) -> int:
        """Delivers what waits, at most `limit` datagrams; how many those were. Fewer than `limit`:
        nothing waits any more."""


class Listener(Protocol):
    """The sockets: some addresses are ours only while we serve."""

    def serving(self, serving: SetServing) -> None:
        """The virtual address and the home agents' anycast addresses are ours, or no more."""

    def lost(self) -> dict[str, int]:
        """Datagrams that found no room, because harpd was busy with those before them: of
        `members`, of the rest of `mobility`, of `discovery`."""


class Sender(Protocol):
    """Puts packets on the wire; never raises: errors are counted and told once."""

    @property
    def counters(self) -> Mapping[str, int]:
        """Packets that did not leave, by name of the error; `link_down`: kept back."""

    def send(self, packet: SendPacket) -> None:
        """One packet, from its source address, by its link."""

    def parameter_problem(self, problem: SendParameterProblem) -> None:
        """ICMPv6 Parameter Problem, Code 0 (RFC 4443 §3.4)."""


@dataclass(frozen=True, slots=True)
class DataPlaneStatus:
    """What the data plane says of itself."""

    name: str
    """`kernel`, `tun` or `external`."""
    serving: tuple[int, ...] = ()
    """Group IDs whose address and forwarding are on."""
    routes: int = 0
    """Prepared."""
    queued: int = 0
    """Changes that wait for the kernel."""
    counters: dict[str, int] = field(default_factory=dict)
    """Packets and failures by name."""
    detail: str = ""
    """One line for people: the device, the measured rate."""


class DataPlane(Protocol):
    """Addresses, rule, tunnel and routes (harp.md §9)."""

    @property
    def name(self) -> str:
        """`kernel`, `tun` or `external`."""

    @property
    def deadline(self) -> int | None:
        """When to call `renew` next, µs; None: never."""

    def open(self) -> None:
        """Cleans leftovers, makes tables and tunnel device. `Failure`: cannot work here."""

    def prepare(self, route: PrepareRoute) -> None:
        """Queued."""

    def prepare_many(self, routes: PrepareRoutes) -> None:
        """Queued as it is, unpacked off the loop or in small pieces."""

    def remove(self, route: RemoveRoute) -> None:
        """Queued behind what is prepared."""

    def serve(self, serving: SetServing) -> None:
        """At once and in constant time, before this returns: address (no DAD, finite lifetime)
        and rule, or both away."""

    def renew(self, now_us: int) -> None:
        """Renews the lifetime of addresses; sends what is queued."""

    def link_changed(self) -> None:
        """An interface appeared or became usable: another number, addresses that went with it."""

    def close(self) -> None:
        """Undoes all that it did. Nothing is called after it."""

    def status(self) -> DataPlaneStatus:
        """For people and metrics."""


class Announcer(Protocol):
    """Neighbor discovery for addresses that are not on this machine (harp.md §9)."""

    @property
    def counters(self) -> Mapping[str, int]:
        """`advertised`, `answered`, `conflicts`, `unsent`."""

    def open(self) -> None:
        """Sockets on each link. `Failure`: cannot work here."""

    def announce(self, neighbor: AnnounceNeighbor) -> None:
        """One unsolicited NA on the group's links; the engine paces."""

    def serving(self, serving: SetServing) -> None:
        """Answer solicitations for the group's home addresses, or stop."""

    def start_dad(self, dad: StartDad) -> None:
        """Probes; delivers `DadFinished`."""

    def close(self) -> None:
        """Stops answering."""


class Journal(Protocol):
    """Each group's records on disk (harp.md §6)."""

    def restore(self, group: int) -> list[bytes]:
        """What a group's file holds, oldest first; damage is set aside and told."""

    def write(self, record: WriteJournal) -> None:
        """Appended; with a token `JournalWritten` is delivered once it is on disk."""

    def close(self) -> None:
        """All that was written is on disk when this returns."""


@dataclass(frozen=True, slots=True)
class GuardStatus:
    """What the guard says of itself."""

    running: bool
    """The process lives."""
    armed: tuple[int, ...] = ()
    """Group IDs that it would withdraw."""
    fired: int = 0
    """How often it withdrew."""


class Guard(Protocol):
    """The process that withdraws when this one dies or stalls (harp.md §9).

    When it withdrew although the daemon lives, it delivers `Fenced(True)`, and `Fenced(False)` once
    the daemon is fed again."""

    @property
    def deadline(self) -> int | None:
        """When to call `feed` at the latest, µs; None: nothing is armed."""

    def open(self) -> None:
        """Starts the process. `Failure`: cannot."""

    def feed(self, now_us: int) -> None:
        """The loop lives: called whenever it wakes up."""

    def sent(self, packet: SendPacket) -> None:
        """A packet of a group left: from its HELLOs the guard knows what a goodbye looks like."""

    def slot(self, change: HelloSlotChanged) -> None:
        """A board sends our HELLOs on a link, or does no longer: while it does, its goodbye counts,
        for it would go on to contradict another one until its lease is over."""

    def serving(self, serving: SetServing) -> None:
        """Arm before the data plane serves, disarm after it has withdrawn."""

    def reconfigure(self, config: DaemonConfig) -> None:
        """Other keys and intervals, from a reload."""

    def close(self, *, withdraw: bool = False) -> None:
        """Ends. `withdraw`: with a fault the daemon has not, or nobody knows whether it has: the
        guard withdraws and says goodbye first."""

    def status(self) -> GuardStatus:
        """For people and metrics."""


@dataclass(frozen=True, slots=True)
class OffloadStatus:
    """What the offload says of itself."""

    device: str
    """As configured; `none`: there is none."""
    attached: bool
    """Session up, lease held."""
    version: str = ""
    """Gateware version and build."""
    counters: dict[str, int] = field(default_factory=dict)
    """Device counters and those of the link to it; they go on over a link that was lost."""
    detail: str = ""
    """One line for people: why it is not attached, or what keeps this member from serving."""
    round_trip_us: int | None = None
    """Of a short request, µs; None: not attached."""


class Offload(Protocol):
    """The bridge to an offload device (offload.md); delivers detection events by itself."""

    async def open(self) -> None:
        """Starts to look for the device; a device that is absent is no error."""

    def watch(self, peer: WatchPeer) -> None:
        """Watch a peer, or stop."""

    def template(self, template: HelloTemplate) -> None:
        """Content of a HELLO slot."""

    def active(self, group: int, serving: bool) -> None:
        """What the filter lets through depends on it."""

    def link_changed(self, link: str, up: bool) -> None:
        """Packets with our addresses may leave on an interface, or no more."""

    async def rest(self) -> None:
        """Before the engine stops: its HELLOs are its own again. A tenth of a second at most."""

    async def close(self) -> None:
        """Resigns the slots, gives the lease back."""

    def status(self) -> OffloadStatus:
        """For people and metrics."""


class Observer(Protocol):
    """Who is told what happened: logs, metrics, `harpctl watch`, `on_role`."""

    def role(self, change: StateChanged) -> None:
        """A role changed."""

    def peer(self, change: PeerEffect) -> None:
        """A peer changed."""

    def dropped(self, drop: Dropped) -> None:
        """A message was dropped: may come 50,000 times a second."""

    def log(self, line: Log) -> None:
        """A line for people."""

    def answered(self, answer: CommandAnswered) -> None:
        """A command was answered; who asked is told through `Runtime.command`."""


@dataclass(frozen=True, slots=True)
class Parts:
    """All parts of one daemon."""

    listener: Listener
    sender: Sender
    data_plane: DataPlane
    announcer: Announcer
    journal: Journal
    guard: Guard
    offload: Offload
    observers: Sequence[Observer] = ()
