"""The engine: many groups, one input, one deadline; no I/O (harp.md §3 to §10).

Times are int µs, monotonic, from the caller; UNIX time is `now` + clock offset. Start with
`restore` for each journal record, then `start`; after every call do the effects and call `expire`
at `deadline`. Calling `expire` early does nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from random import Random

from harp.engine.config import EngineConfig
from harp.engine.effects import Effect
from harp.engine.events import Event
from harp.engine.group import Group


class Engine:
    """All groups of one process, independent of each other."""

    def __init__(self, config: EngineConfig, rng: Random, clock_offset_us: int) -> None:
        raise NotImplementedError

    @property
    def groups(self) -> dict[int, Group]:
        """By Group ID; for status, and for tests to look inside."""
        raise NotImplementedError

    def restore(self, group: int, records: Iterable[bytes]) -> None:
        """Takes what the journal kept of a group, oldest record first; before `start`."""
        raise NotImplementedError

    def start(self, now: int) -> list[Effect]:
        """Every group enters INIT and says HELLO with R."""
        raise NotImplementedError

    def receive(self, event: Event, now: int) -> list[Effect]:
        """One thing that happened at `now`."""
        raise NotImplementedError

    def expire(self, now: int) -> list[Effect]:
        """All that is due at `now`; deliver waiting packets first."""
        raise NotImplementedError

    @property
    def deadline(self) -> int | None:
        """When to call `expire` next, µs; None: not before something arrives."""
        raise NotImplementedError
