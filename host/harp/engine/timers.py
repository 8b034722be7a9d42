"""Named timers of one part: an enum names them, one table holds when each is due."""

from __future__ import annotations

from enum import Enum
from typing import Generic, TypeVar

Name = TypeVar("Name", bound=Enum)


class Timers(Generic[Name]):
    """When each timer is due, µs; a timer that does not run is absent."""

    def __init__(self) -> None:
        self._due: dict[Name, int] = {}
        self.next: int | None = None
        """The earliest, µs; None: none runs."""

    def set(self, name: Name, due: int) -> None:
        """Starts a timer, or moves it."""
        self._due[name] = due
        self.next = min(self._due.values())

    def stop(self, *names: Name) -> None:
        """Stops timers; those that do not run stay so."""
        for name in names:
            self._due.pop(name, None)
        self.next = min(self._due.values(), default=None)

    def due(self, name: Name) -> int | None:
        """When a timer is due, µs; None: it does not run."""
        return self._due.get(name)

    def pop(self, now: int) -> Name | None:
        """Stops and names the earliest timer that is due at `now`; None: none is."""
        if self.next is None or self.next > now:
            return None
        name = min(self._due, key=self._due.__getitem__)
        self.stop(name)
        return name
