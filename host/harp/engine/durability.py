"""When a binding change is durable, and so when its Binding Acknowledgement may leave.

Ref: harp.md §6 (durability)
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from harp.engine.config import Durability, SyncConfig
from harp.engine.effects import ChangesDurable
from harp.wire.maker import maker

_make_durable = maker(ChangesDurable)


@dataclass(slots=True)
class _Wait:
    """One `SubmitChanges` with a token."""

    token: int
    position: int
    """Of the log message that holds its last change."""
    due: int
    """When the wait is over, µs."""
    standby: bool
    """An acknowledgement is still waited for."""
    journal: bool
    """The journal is still waited for."""
    protected: bool = False
    """A synchronised standby has it."""


class DurabilityGate:
    """Holds tokens back until one synchronised standby has acknowledged, and, with
    `journal_sync`, until the journal is on disk; neither longer than `durability_timeout`."""

    def __init__(self, config: SyncConfig) -> None:
        self._config = config
        self._waits: deque[_Wait] = deque()
        """In the order of their positions and of their times."""
        self._journal: dict[int, _Wait] = {}
        self.unprotected = 0
        """Tokens let go without a standby's acknowledgement."""

    def add(self, token: int, position: int, hopeful: bool, now: int) -> list[ChangesDurable]:
        """A token whose changes are in the log up to `position`. `hopeful`: a standby is up that
        may acknowledge. Told at once if there is nothing to wait for."""
        config = self._config
        standby = hopeful and config.durability is Durability.STANDBY
        journal = config.journal_sync
        if not (standby or journal):
            return [self._tell(token, protected=False)]
        due = now + config.durability_timeout_us
        wait = _Wait(token, position, due, standby=standby, journal=journal)
        self._waits.append(wait)
        if journal:
            self._journal[token] = wait
        return []

    def acknowledged(self, position: int) -> list[ChangesDurable]:
        """A synchronised standby has applied all up to `position`."""
        for wait in self._waits:
            if wait.position > position:
                break
            wait.standby, wait.protected = False, True
        return self._settle()

    def journal_written(self, token: int) -> list[ChangesDurable]:
        """The journal holds the changes of a token."""
        wait = self._journal.pop(token, None)
        if wait is None:
            return []  # the wait was over before
        wait.journal = False
        return self._settle()

    def hopeless(self) -> list[ChangesDurable]:
        """No standby is left that may acknowledge (harp.md §6: "at once if none is up"), or a new
        term begins, whose log does not hold these changes."""
        for wait in self._waits:
            wait.standby = False
        return self._settle()

    def clear(self) -> None:
        """No Binding Acknowledgement is to leave any more."""
        self._waits.clear()
        self._journal.clear()

    def expire(self, now: int) -> list[ChangesDurable]:
        """harp.md §6: "after `durability_timeout`"."""
        for wait in self._waits:
            if wait.due > now:
                break
            wait.standby = wait.journal = False
        return self._settle()

    @property
    def deadline(self) -> int | None:
        """End of the longest wait, µs."""
        return self._waits[0].due if self._waits else None

    def _settle(self) -> list[ChangesDurable]:
        """Lets go what waits for nothing, in the order it came."""
        done: list[ChangesDurable] = []
        waits = self._waits
        while waits and not (waits[0].standby or waits[0].journal):
            wait = waits.popleft()
            self._journal.pop(wait.token, None)
            done.append(self._tell(wait.token, protected=wait.protected))
        return done

    def _tell(self, token: int, *, protected: bool) -> ChangesDurable:
        self.unprotected += not protected
        return _make_durable(token, protected)
