"""First registrations that wait for duplicate address detection.

Ref: RFC 6275 §10.3.1 (DAD by the home agent); RFC 4862 §5.4
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from harp.engine.addresses import link_local_of
from harp.tables.mh import BuFlag

if TYPE_CHECKING:
    from harp.engine.config import HomeAgentConfig
    from harp.engine.request import Request


@dataclass(slots=True)
class _Waiting:
    request: Request
    missing: set[bytes]
    """Addresses whose detection has not ended."""
    deadline_us: int


class DadQueue:
    """At most one waiting Binding Update a home address: the newest."""

    def __init__(self, config: HomeAgentConfig) -> None:
        self._config = config
        self._waiting: dict[bytes, _Waiting] = {}
        """By home address, earliest deadline first: all wait equally long."""
        self._homes: dict[bytes, set[bytes]] = {}
        """Address under detection: the home addresses that wait for it."""

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def deadline(self) -> int | None:
        """When the first one has waited too long, µs."""
        return next((waiting.deadline_us for waiting in self._waiting.values()), None)

    def wait(self, request: Request, now: int) -> list[bytes]:
        """Lets a Binding Update wait; the addresses whose detection must begin.

        RFC 6275 §10.3.1: with L "defend both the given ... (home) address and the derived
        link-local"; else "only the given address". A newer one takes the place of an older one.
        """
        home = request.home_address
        waiting = self._waiting.get(home)
        if waiting:
            waiting.request = request
            return []
        addresses = [home]
        if request.message.flags & BuFlag.LINK_LOCAL:
            addresses.append(link_local_of(home))
        self._waiting[home] = _Waiting(request, set(addresses), now + self._config.dad_timeout_us)
        fresh = [address for address in addresses if address not in self._homes]
        for address in addresses:
            self._homes.setdefault(address, set()).add(home)
        return fresh

    def finished(self, address: bytes, duplicate: bool) -> list[Request]:
        """Detection of an address ended: the Binding Updates that need wait no longer, or, if it
        is a duplicate, those that it refuses."""
        ready: list[Request] = []
        for home in sorted(self._homes.get(address, ())):
            waiting = self._waiting[home]
            waiting.missing.discard(address)
            if duplicate or not waiting.missing:
                ready.append(self._remove(home))
        return ready

    def overdue(self, now: int) -> list[Request]:
        """The Binding Updates that have waited too long: nobody ran the detection."""
        late = [home for home, waiting in self._waiting.items() if waiting.deadline_us <= now]
        return [self._remove(home) for home in late]

    def clear(self) -> None:
        """Forgets all."""
        self._waiting.clear()
        self._homes.clear()

    def _remove(self, home: bytes) -> Request:
        waiting = self._waiting.pop(home)
        for address in (home, link_local_of(home)):
            homes = self._homes.get(address)
            if homes:
                homes.discard(home)
                if not homes:
                    del self._homes[address]
        return waiting.request
