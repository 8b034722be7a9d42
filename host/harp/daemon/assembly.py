"""Which parts a configuration asks for, made and plugged together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from harp.daemon.absent import NoGuard, NoJournal
from harp.daemon.config.model import DaemonConfig
from harp.daemon.control.events import EventLog
from harp.daemon.dataplane.choose import make
from harp.daemon.dataplane.external import ExternalBackend
from harp.daemon.endpoints import Endpoints
from harp.daemon.fences import Fences
from harp.daemon.guard.guard import Guard
from harp.daemon.journal.writer import JournalWriter
from harp.daemon.links import Links
from harp.daemon.log import LogObserver, tell
from harp.daemon.metrics.tally import Tally
from harp.daemon.neighbors.announcer import Announcer
from harp.daemon.offload.plug import make_offload
from harp.daemon.on_role import OnRole
from harp.daemon.parts import Deliver, Journal, Parts, Source
from harp.daemon.parts import Guard as GuardPart
from harp.daemon.runtime import Runtime
from harp.engine.effects import PrepareRoute
from harp.engine.engine import Engine
from harp.engine.events import Event, HelloSlotChanged
from harp.engine.routes import prepare_route


@dataclass(frozen=True, slots=True)
class Assembly:
    """All parts of a daemon, none of them open."""

    parts: Parts
    """What the engine's effects go to."""
    others: Sequence[Source]
    """Sources beside those of the endpoints."""
    on_role: OnRole
    """Ends last: it tells of the end."""
    events: EventLog
    """What `harpctl watch` shows."""
    tally: Tally
    """What metrics count."""


def assemble(
    config: DaemonConfig, runtime: Runtime, endpoints: Endpoints, links: Links
) -> Assembly:
    """The parts that the configuration asks for. `Failure`: the kernel lacks what one needs."""
    engine, deliver = runtime.engine, runtime.deliver
    journal: Journal = NoJournal(deliver)
    if config.journal:
        journal = JournalWriter(config.state_dir, deliver, tell)
    plane = make(config, lambda: routes(engine), deliver)
    announcer = Announcer(config, lambda group, home: flags_of(engine, group, home), deliver)
    links.on_found.append(lambda link: announcer.link_found(link.name))
    links.on_found.append(lambda _: plane.link_changed())
    links.on_usable.append(lambda _, usable: plane.link_changed() if usable else None)
    fences = Fences(deliver)
    guard: GuardPart = Guard(config, fences.of("guard")) if config.guard else NoGuard()
    offload = make_offload(config, _told(guard, fences.of("board")), runtime.clock)
    links.on_usable.append(offload.link_changed)
    on_role, events, tally = OnRole(config), EventLog(config.engine), Tally(config.engine)
    made = Parts(
        listener=endpoints,
        sender=endpoints.sender,
        data_plane=plane,
        announcer=announcer,
        journal=journal,
        guard=guard,
        offload=offload,
        observers=(LogObserver(config.engine), events, tally, on_role),
    )
    others: list[Source] = [announcer]
    if isinstance(plane, ExternalBackend):
        others.append(plane)
    return Assembly(made, others, on_role, events, tally)


def _told(guard: GuardPart, deliver: Deliver) -> Deliver:
    """`deliver` of the board: the guard hears too where its slots send."""

    def both(event: Event) -> None:
        if isinstance(event, HelloSlotChanged):
            guard.slot(event)
        deliver(event)

    return both


def routes(engine: Engine) -> Iterator[PrepareRoute]:
    """The route of every binding: for a data plane that knows none of them."""
    for number, group in engine.groups.items():
        for _, entry in group.store.entries():
            yield prepare_route(number, entry)


def flags_of(engine: Engine, group: int, home: bytes) -> int | None:
    """Flags of a home address's binding; None: there is none."""
    store = engine.groups[group].store
    for bid in store.bids(home):
        entry = store.get(home, bid)
        if entry is not None:
            return entry.flags
    return None
