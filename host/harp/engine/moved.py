"""What a former active still serves in hard mode: its old bindings, less those that moved (§9).

Ref: harp.md §9 ("The old one clears A, sets D"), RFC 5142 §5.1
"""

from __future__ import annotations

from harp.engine.config import GroupConfig
from harp.engine.effects import Effect, RemoveRoute
from harp.engine.entries import Key
from harp.engine.routes import route_effects
from harp.engine.store import BindingStore
from harp.tables.constants import US_PER_S


class Draining:
    """Home addresses whose routes are kept, and those that are gone to the new active."""

    def __init__(self, config: GroupConfig, store: BindingStore) -> None:
        self._group = config.group
        self._store = store
        self._home_agent = config.home_agent
        self._moved: set[bytes] = set()
        self._left = 0
        self.deadline: int | None = None
        """The last expiry there can be, µs; None: not draining."""

    @property
    def empty(self) -> bool:
        """Draining, and nothing is left to serve."""
        return self.deadline is not None and self._left <= 0

    def start(self, now: int) -> None:
        """The member is active no more; what it holds now it goes on serving."""
        self._left = len(self._store)
        self.deadline = now + self._home_agent.max_lifetime_s * US_PER_S

    def moved(self, home_address: bytes) -> list[Effect]:
        """The log shows that the new active serves a home address, or that it is gone."""
        if self.deadline is None or home_address in self._moved:
            return []
        self._moved.add(home_address)
        bids = self._store.bids(home_address) or (0,)
        self._left -= len(bids)
        return [RemoveRoute(self._group, home_address, bid) for bid in bids]

    def keeps(self, key: Key) -> bool:
        """Whether a change of the cache may change a route: not of what has moved."""
        return key[0] not in self._moved

    def stop(self) -> list[Effect]:
        """Standby as any other: every route is prepared again."""
        moved, self._moved = self._moved, set()
        self.deadline = None
        keys = [(home, bid) for home in sorted(moved) for bid in self._store.bids(home)]
        return route_effects(self._group, self._store, keys)

    def expire(self, now: int) -> list[Effect]:
        """The last lifetime is over: nothing is left."""
        if self.deadline is not None and self.deadline <= now:
            self._left = 0
        return []
