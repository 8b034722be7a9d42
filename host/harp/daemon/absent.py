"""Parts that the configuration switched off: each does nothing, and says so."""

from __future__ import annotations

from harp.daemon.config.model import DaemonConfig
from harp.daemon.parts import Deliver, GuardStatus, OffloadStatus
from harp.engine.effects import (
    HelloTemplate,
    SendPacket,
    SetServing,
    WatchPeer,
    WriteJournal,
)
from harp.engine.events import HelloSlotChanged, JournalWritten


class NoJournal:
    """`journal = false`: bindings of a group are gone when all its members restart."""

    def __init__(self, deliver: Deliver) -> None:
        self._deliver = deliver

    def restore(self, group: int) -> list[bytes]:
        """Nothing was kept."""
        return []

    def write(self, record: WriteJournal) -> None:
        """Nothing is kept; who waits for it need not."""
        if record.token is not None:
            self._deliver(JournalWritten(record.group, record.token))

    def close(self) -> None:
        """Nothing is open."""


class NoGuard:
    """`guard = false`: when harpd dies, its addresses stay until their lifetime ends."""

    deadline: int | None = None

    def open(self) -> None:
        """No process."""

    def feed(self, now_us: int) -> None:
        """Nobody watches."""

    def sent(self, packet: SendPacket) -> None:
        """Nobody says goodbye."""

    def slot(self, change: HelloSlotChanged) -> None:
        """Nobody says goodbye."""

    def serving(self, serving: SetServing) -> None:
        """Nobody withdraws."""

    def reconfigure(self, config: DaemonConfig) -> None:
        """Nobody to tell."""

    def close(self, *, withdraw: bool = False) -> None:
        """Nothing runs."""

    def status(self) -> GuardStatus:
        """Not running."""
        return GuardStatus(running=False)


class NoOffload:
    """`offload.device = "none"`: the engine's own timers watch the peers."""

    async def open(self) -> None:
        """No device."""

    def watch(self, peer: WatchPeer) -> None:
        """Nobody else watches."""

    def template(self, template: HelloTemplate) -> None:
        """The engine sends every HELLO."""

    def active(self, group: int, serving: bool) -> None:
        """No filter to tell."""

    def link_changed(self, link: str, up: bool) -> None:
        """No slot sends."""

    async def rest(self) -> None:
        """No slot sends."""

    async def close(self) -> None:
        """Nothing is open."""

    def status(self) -> OffloadStatus:
        """None."""
        return OffloadStatus("none", attached=False)
