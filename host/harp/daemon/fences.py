"""One fence out of several: guard and board each may fence this member (harp.md §9, offload.md §4).

The engine knows one flag. It is fenced from the first that fences until the last lets go.
"""

from __future__ import annotations

from harp.daemon.parts import Deliver
from harp.engine.events import Event, Fenced


class Fences:
    """Who fences now."""

    def __init__(self, deliver: Deliver) -> None:
        self._deliver = deliver
        self._fencing: set[str] = set()

    def of(self, name: str) -> Deliver:
        """`deliver` for a part that may fence: what else it says passes as it is."""

        def deliver(event: Event) -> None:
            if isinstance(event, Fenced):
                self._take(name, event.fenced)
            else:
                self._deliver(event)

        return deliver

    def _take(self, name: str, fenced: bool) -> None:
        before = bool(self._fencing)
        if fenced:
            self._fencing.add(name)
        else:
            self._fencing.discard(name)
        if bool(self._fencing) != before:
            self._deliver(Fenced(fenced))
