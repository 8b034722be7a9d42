"""One group: joins detection, roles, synchronisation, switching and home agent (harp.md §4 to §10).

Parts do not know each other; what one wants of another is an effect (`effects.PartEffect`) that
this module routes.
"""

from __future__ import annotations

from collections import Counter
from random import Random

from harp.engine.config import GroupConfig
from harp.engine.effects import Effect, Role


class Group:
    """One group as this member runs it."""

    def __init__(self, config: GroupConfig, rng: Random, clock_offset_us: int) -> None:
        self.config = config
        self.counters: Counter[str] = Counter()
        """Drops by reason name, and what else is counted by name."""
        raise NotImplementedError

    @property
    def role(self) -> Role:
        """The role now."""
        raise NotImplementedError

    def expire(self, now: int) -> list[Effect]:
        """All that is due at `now`."""
        raise NotImplementedError

    @property
    def deadline(self) -> int | None:
        """When `expire` is due, µs."""
        raise NotImplementedError
