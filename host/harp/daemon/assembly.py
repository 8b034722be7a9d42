"""Which parts a configuration asks for, made and plugged together."""

from __future__ import annotations

from collections.abc import Callable

from harp.daemon.absent import NoAnnouncer, NoGuard, NoJournal, NoOffload, NoPlane
from harp.daemon.config.model import DaemonConfig
from harp.daemon.endpoints import Endpoints
from harp.daemon.journal.writer import JournalWriter
from harp.daemon.log import LogObserver, tell
from harp.daemon.parts import Journal, Parts
from harp.daemon.runtime import Runtime

Assemble = Callable[[DaemonConfig, Runtime, Endpoints], Parts]


def assemble(config: DaemonConfig, runtime: Runtime, endpoints: Endpoints) -> Parts:
    """All parts, none of them opened."""
    journal: Journal = NoJournal(runtime.deliver)
    if config.journal:
        journal = JournalWriter(config.state_dir, runtime.deliver, tell)
    return Parts(
        listener=endpoints,
        sender=endpoints.sender,
        data_plane=NoPlane(),
        announcer=NoAnnouncer(),
        journal=journal,
        guard=NoGuard(),
        offload=NoOffload(),
        observers=(LogObserver(config.engine),),
    )
