"""Unsolicited Neighbor Advertisements of a new active, paced (harp.md §9 step 3).

Ref: RFC 4861 §7.2.6; RFC 6275 §10.4.1; harp.md §8 (`na_rate`)
"""

from __future__ import annotations

from harp.engine.addresses import link_local_of
from harp.engine.config import GroupConfig, SwitchMode
from harp.engine.effects import AnnounceNeighbor, Effect
from harp.engine.pacing import Walk
from harp.engine.store import BindingStore
from harp.tables.constants import US_PER_S
from harp.tables.mh import BuFlag

COPIES = 3
"""RFC 4861 §7.2.6, §10: "MAX_NEIGHBOR_ADVERTISEMENT" 3, for the virtual address."""
SPACING_US = US_PER_S
"""RFC 4861 §7.2.6: advertisements "MUST be separated by at least RetransTimer seconds", 1 s."""


class Announcer:
    """Tells the home link who answers now: the virtual address, then every home address."""

    def __init__(self, config: GroupConfig, store: BindingStore) -> None:
        self._config = config
        self._walk = Walk(store, config.na_rate)
        self._copies = 0
        self._copy_at: int | None = None

    def reconfigured(self) -> None:
        """Another `na_rate`."""
        self._walk.pace(self._config.na_rate)

    @property
    def deadline(self) -> int | None:
        """When `expire` is due, µs."""
        times = (self._copy_at, self._walk.deadline)
        return min((time for time in times if time is not None), default=None)

    def start(self, now: int) -> list[Effect]:
        """The member became active."""
        if self._config.mode is SwitchMode.VIRTUAL:
            self._copies, self._copy_at = COPIES, now
        self._walk.start(now)
        return self.expire(now)

    def stop(self) -> None:
        """The member is active no more."""
        self._copy_at = None
        self._walk.stop()

    def expire(self, now: int) -> list[Effect]:
        """The advertisements that are due; the virtual address comes first."""
        effects: list[Effect] = []
        if self._copy_at is not None and self._copy_at <= now:
            effects.append(
                AnnounceNeighbor(self._config.group, self._config.virtual_address, router=True)
            )
            self._copies -= 1
            self._copy_at = now + SPACING_US if self._copies else None
        for entry in self._walk.take(now):
            router = bool(entry.flags & BuFlag.MOBILE_ROUTER)  # RFC 3963 §6.2
            effects.append(AnnounceNeighbor(self._config.group, entry.home_address, router))
            if entry.flags & BuFlag.LINK_LOCAL:
                address = link_local_of(entry.home_address)
                effects.append(AnnounceNeighbor(self._config.group, address, router))
        return effects
