"""When a Binding Acknowledgement may leave, and digests at a position (harp.md §6)."""

from __future__ import annotations

from harp.engine.config import Durability, SyncConfig
from harp.engine.digests import Digests, Finding
from harp.engine.durability import DurabilityGate
from harp.engine.effects import ChangesDurable
from harp.tables.constants import DIGESTS_KEPT
from harp.wire.messages import CacheDigest, SyncPosition

from .sync_net import MS

SAFE = True
UNPROTECTED = False


def test_told_when_one_standby_has_it() -> None:
    gate = DurabilityGate(SyncConfig())
    assert gate.deadline is None
    assert gate.add(1, 5, True, 0) == gate.add(2, 6, True, 10) == []
    assert gate.deadline == 100 * MS
    assert gate.acknowledged(4) == []
    assert gate.acknowledged(5) == [ChangesDurable(1, SAFE)]
    assert gate.acknowledged(9) == [ChangesDurable(2, SAFE)]
    assert gate.unprotected == 0


def test_told_unprotected_after_the_timeout_or_when_nobody_is_left() -> None:
    gate = DurabilityGate(SyncConfig())
    gate.add(1, 5, True, 0)
    gate.add(2, 6, True, 10)
    assert gate.expire(100 * MS - 1) == []
    assert gate.expire(100 * MS) == [ChangesDurable(1, UNPROTECTED)]
    assert gate.hopeless() == [ChangesDurable(2, UNPROTECTED)]
    assert gate.add(3, 7, False, 0) == [ChangesDurable(3, UNPROTECTED)]
    assert gate.unprotected == 3


def test_local_durability_waits_for_nobody() -> None:
    gate = DurabilityGate(SyncConfig(durability=Durability.LOCAL))
    assert gate.add(1, 5, True, 0) == [ChangesDurable(1, UNPROTECTED)]


def test_the_journal_too() -> None:
    gate = DurabilityGate(SyncConfig(journal_sync=True))
    gate.add(1, 5, True, 0)
    gate.add(2, 5, True, 0)
    gate.add(3, 6, False, 0)
    assert gate.acknowledged(5) == []
    assert gate.journal_written(2) == [], "in the order they came"
    assert gate.journal_written(1) == [ChangesDurable(1, SAFE), ChangesDurable(2, SAFE)]
    assert gate.journal_written(1) == []
    assert gate.journal_written(3) == [ChangesDurable(3, UNPROTECTED)]
    gate.add(4, 7, True, 0)
    assert gate.expire(100 * MS) == [ChangesDurable(4, UNPROTECTED)]
    assert gate.journal_written(4) == [], "a disk that hangs holds nobody up"


def test_cleared() -> None:
    gate = DurabilityGate(SyncConfig(journal_sync=True))
    gate.add(1, 5, True, 0)
    gate.clear()
    assert gate.journal_written(1) == gate.acknowledged(9) == gate.expire(1 << 40) == []


def at(position: int) -> SyncPosition:
    return SyncPosition(2, position)


def test_digests_compare_at_their_position() -> None:
    digests = Digests()
    assert digests.compare(at(1), CacheDigest(1, 1)) is Finding.UNKNOWN
    assert digests.note(at(1), CacheDigest(1, 1)) is Finding.UNKNOWN
    digests.note(at(2), CacheDigest(2, 2))
    assert digests.compare(at(1), CacheDigest(1, 1)) is Finding.EQUAL
    assert digests.compare(at(2), CacheDigest(2, 3)) is Finding.DIFFERENT
    assert digests.compare(at(2), CacheDigest(3, 2)) is Finding.DIFFERENT
    assert digests.differences == 2
    assert digests.compare(at(2), CacheDigest(2, 2)) is Finding.EQUAL
    assert digests.differences == 0


def test_digests_wait_until_their_position_is_reached() -> None:
    digests = Digests()
    digests.wait(at(3), CacheDigest(3, 3), 10)
    digests.wait(at(5), CacheDigest(5, 5), 20)
    assert digests.awaited is not None and digests.awaited.heard_at == 10
    assert digests.note(at(2), CacheDigest(2, 2)) is Finding.UNKNOWN
    assert digests.note(at(3), CacheDigest(3, 3)) is Finding.EQUAL
    assert digests.awaited is None
    digests.wait(at(4), CacheDigest(4, 4), 30)
    digests.forget()
    assert digests.note(at(4), CacheDigest(4, 4)) is Finding.UNKNOWN


def test_the_last_1024_are_kept() -> None:
    digests = Digests()
    for position in range(DIGESTS_KEPT + 1):
        digests.note(at(position), CacheDigest(0, 0))
    assert digests.compare(at(0), CacheDigest(0, 0)) is Finding.UNKNOWN
    assert digests.compare(at(1), CacheDigest(0, 0)) is Finding.EQUAL
