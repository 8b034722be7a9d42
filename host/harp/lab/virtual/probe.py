"""What invariants may see of an engine: the same few questions to every engine under test.

The real engine is looked into through `EngineProbe`; the tests of the invariants bring engines of
their own, simple or wrong on purpose.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from random import Random
from typing import NamedTuple, Protocol, TypeAlias

from harp.engine.config import EngineConfig
from harp.engine.effects import Effect, Role
from harp.engine.engine import Engine
from harp.engine.events import Event
from harp.lab.virtual.settings import GROUP
from harp.wire.messages import SyncPosition


class Held(NamedTuple):
    """What a store holds for a home address."""

    care_of: bytes
    sequence: int


class Runs(Protocol):
    """The engine's own interface (`harp.engine.engine.Engine`)."""

    def restore(self, group: int, records: Iterable[bytes]) -> None:
        """Takes the journal's records."""

    def start(self, now: int) -> list[Effect]:
        """Begins."""

    def receive(self, event: Event, now: int) -> list[Effect]:
        """One event."""

    def expire(self, now: int) -> list[Effect]:
        """What is due."""

    @property
    def deadline(self) -> int | None:
        """When `expire` is due."""


class Probe(Protocol):
    """Questions about one running member."""

    @property
    def role(self) -> Role:
        """Its role."""

    @property
    def held(self) -> bool:
        """Whether an operator keeps it from taking over."""

    @property
    def synchronised(self) -> bool:
        """The S flag."""

    @property
    def position(self) -> SyncPosition:
        """Last log position applied, or written by the active."""

    @property
    def following(self) -> bytes | None:
        """Identity of the active whose log it applies."""

    @property
    def unprotected(self) -> int:
        """Successes counted `unprotected` so far."""

    def digest(self) -> tuple[int, int]:
        """Count and hash of the live bindings (harp.md §2.3)."""

    def holds(self, home_address: bytes) -> Held | None:
        """The binding of a home address."""

    def buried(self, home_address: bytes) -> int | None:
        """Sequence # of the deletion that is known of a home address without binding."""


Maker: TypeAlias = Callable[[EngineConfig, Random, int], tuple[Runs, Probe]]
"""Makes an engine (configuration, chance, clock offset in µs) and the probe that looks into it."""


class EngineProbe:
    """Looks into the real engine; each answer as `Probe` asks for it."""

    def __init__(self, engine: Engine) -> None:
        group = engine.groups[GROUP]
        self._roles, self._sync, self._store = group.roles, group.sync, group.store

    @property
    def role(self) -> Role:
        """The group's role."""
        return self._roles.role

    @property
    def held(self) -> bool:
        """Whether the operator holds it."""
        return self._roles.held

    @property
    def synchronised(self) -> bool:
        """The S flag."""
        return self._sync.synchronised

    @property
    def position(self) -> SyncPosition:
        """As its HELLOs announce it."""
        return self._sync.position

    @property
    def following(self) -> bytes | None:
        """As its roles have chosen."""
        return self._roles.active

    @property
    def unprotected(self) -> int:
        """Counted by synchronisation."""
        return self._sync.counters["unprotected"]

    def digest(self) -> tuple[int, int]:
        """The store's own, kept with every change."""
        digest = self._store.digest
        return digest.count, digest.hash

    def holds(self, home_address: bytes) -> Held | None:
        """The live binding without BID."""
        entry = self._store.get(home_address)
        return None if entry is None else Held(entry.care_of_address, entry.sequence)

    def buried(self, home_address: bytes) -> int | None:
        """The tombstone without BID."""
        entry = self._store.find(home_address)
        return None if entry is None or entry.live else entry.sequence


def make_engine(config: EngineConfig, rng: Random, clock_offset_us: int) -> tuple[Runs, Probe]:
    """The real engine (`Maker`)."""
    engine = Engine(config, rng, clock_offset_us)
    return engine, EngineProbe(engine)
