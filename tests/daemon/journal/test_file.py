"""The file itself: what is appended comes back; what is damaged is set aside."""

from __future__ import annotations

import contextlib
import errno
import os
import random
import select
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from harp.daemon.journal import compaction
from harp.daemon.journal.compaction import compacted
from harp.daemon.journal.file import JournalFile
from harp.engine.entries import Entry
from harp.engine.journal import (
    EntryForgotten,
    EntryKept,
    JournalCodec,
    Record,
    RestartKept,
    StateKept,
    TimestampKept,
    forgets,
    split,
    subject,
)
from harp.wire.codec import DEFAULT_CODEC
from harp.wire.messages import SyncPosition

CODEC = JournalCodec(DEFAULT_CODEC, 0)


def kept(number: int, sequence: int = 1, bid: int = 0) -> bytes:
    """A binding."""
    position = SyncPosition(1, sequence)
    entry = Entry(
        home_address=number.to_bytes(16),
        bid=bid,
        care_of_address=bytes(16),
        flags=0,
        sequence=sequence,
        expires_us=10**9,
        longest_units=10,
        position=position,
        live=True,
        options=(),
    )
    return CODEC.encode(EntryKept(entry))


def encoded(record: Record) -> bytes:
    """Any other record."""
    return CODEC.encode(record)


def _reopened(path: Path) -> list[bytes]:
    file = JournalFile(path)
    records, damage = file.open()
    assert damage == []
    file.close()
    return records


def test_what_is_appended_comes_back_in_order(tmp_path: Path) -> None:
    path = tmp_path / "group-7.journal"
    records = [kept(number) for number in range(20)]
    file = JournalFile(path)
    assert file.open() == ([], [])
    file.append(b"".join(records[:12]))
    file.sync()
    file.append(b"".join(records[12:]))
    file.close()
    assert file.octets == path.stat().st_size == len(b"".join(records))
    assert path.stat().st_mode & 0o777 == 0o600
    assert _reopened(path) == records


@pytest.mark.parametrize("seed", range(5))
def test_a_last_record_cut_anywhere_costs_that_record_alone(tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    records = [kept(number) for number in range(10)]
    whole = b"".join(records)
    path = tmp_path / "group-7.journal"
    cut = rng.randrange(1, len(whole))
    path.write_bytes(whole[:cut])
    file = JournalFile(path)
    found, damage = file.open()
    ends = len(whole) // len(records)
    assert found == records[: cut // ends]
    assert sum(len(each.octets) for each in damage) == cut % ends
    assert all(each.at_end for each in damage)
    file.append(records[-1])
    file.close()
    assert _reopened(path) == [*found, records[-1]]
    assert file.damaged.exists() == bool(cut % ends)


@pytest.mark.parametrize("seed", range(20))
def test_flipped_octets_cost_no_other_record(tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    records = [kept(number) for number in range(40)]
    content = bytearray(b"".join(records))
    each = len(records[0])
    hit = sorted(rng.sample(range(len(content)), 4))
    for at in hit:
        content[at] ^= 1 << rng.randrange(8)
    path = tmp_path / "group-7.journal"
    path.write_bytes(content)
    file = JournalFile(path)
    found, damage = file.open()
    file.close()
    bad = {at // each for at in hit}
    assert found == [record for number, record in enumerate(records) if number not in bad]
    aside = file.damaged.read_bytes()
    assert file.damaged.stat().st_mode & 0o777 == 0o600
    assert all(one.octets in aside for one in damage)
    assert _reopened(path) == found


def test_a_replacement_that_was_never_finished_is_nothing(tmp_path: Path) -> None:
    path = tmp_path / "group-7.journal"
    path.write_bytes(kept(1))
    file = JournalFile(path)
    file.replacement.write_bytes(kept(2) + b"half a rec")
    assert file.open() == ([kept(1)], [])
    file.close()
    assert not file.replacement.exists()


def test_a_swap_takes_what_was_appended_meanwhile_along(tmp_path: Path) -> None:
    path = tmp_path / "group-7.journal"
    file = JournalFile(path)
    file.open()
    file.append(kept(1, 1) + kept(1, 2) + kept(2))
    covers = file.octets
    file.append(kept(3))
    compaction.main(str(path), str(file.replacement), str(covers))
    file.append(kept(1, 3))
    file.swap(covers)
    assert split(path.read_bytes()).records == [kept(1, 2), kept(2), kept(3), kept(1, 3)]
    file.append(kept(4))
    file.close()
    assert _reopened(path) == [kept(1, 2), kept(2), kept(3), kept(1, 3), kept(4)]


@pytest.mark.parametrize(("error", "certain"), [(errno.EINVAL, True), (errno.EIO, False)])
def test_a_directory_that_cannot_be_synchronised_loses_nothing(
    error: int, certain: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The new file has the name by then: what is written goes there, not to one without a name."""
    real = os.fsync

    def refused(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(error, os.strerror(error))
        real(descriptor)

    path = tmp_path / "group-7.journal"
    path.write_bytes(kept(1, 1) * 3)
    monkeypatch.setattr(os, "fsync", refused)
    file = JournalFile(path)
    assert file.open() == ([kept(1, 1)] * 3, [])
    assert path.read_bytes() == kept(1, 1)
    file.append(kept(2))
    compaction.main(str(path), str(file.replacement), str(file.octets))
    file.swap(file.octets)
    assert file.certain is certain
    file.append(kept(3))
    file.close()
    assert _reopened(path) == [kept(1, 1), kept(2), kept(3)]


def test_a_file_that_somebody_cut_short_is_not_swapped(tmp_path: Path) -> None:
    path = tmp_path / "group-7.journal"
    file = JournalFile(path)
    file.open()
    file.append(kept(1))
    covers = file.octets
    file.append(kept(2))
    compaction.main(str(path), str(file.replacement), str(covers))
    os.truncate(path, covers)
    with pytest.raises(OSError, match="cut short by somebody else"):
        file.swap(covers)
    assert path.read_bytes() == kept(1)
    file.close()


def test_a_write_that_fails_half_way_leaves_whole_records(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "group-7.journal"
    file = JournalFile(path)
    file.open()
    file.append(kept(1))
    real, calls = os.write, 0

    def full(descriptor: int, data: bytes) -> int:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(descriptor, data[: len(data) // 2])

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(OSError, match="No space"):
        file.append(kept(2) + kept(3))
    monkeypatch.undo()
    assert path.read_bytes() == kept(1)
    file.append(kept(4))
    file.close()
    assert _reopened(path) == [kept(1), kept(4)]


def test_no_room_for_a_second_file_at_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "group-7.journal"
    path.write_bytes(kept(1) + kept(2)[:-3])

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    file = JournalFile(path)
    monkeypatch.setattr(JournalFile, "_write_whole", full)
    records, _ = file.open()
    monkeypatch.undo()
    assert records == [kept(1)]
    file.append(kept(3))
    file.close()
    assert _reopened(path) == [kept(1), kept(3)]


STARTS = """
import os, signal, subprocess, sys
program = [sys.executable, "-m", "harp.daemon.journal.compaction"]
print(subprocess.Popen([*program, *sys.argv[1:], "9", str(os.getpid())]).pid, flush=True)
signal.pause()
"""


def test_a_compaction_ends_with_who_started_it(tmp_path: Path) -> None:
    old = tmp_path / "old"
    os.mkfifo(old)  # it waits there for ever: nobody writes
    command = [sys.executable, "-c", STARTS, str(old), str(tmp_path / "new")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as starter:
        assert starter.stdout is not None
        child = os.pidfd_open(int(starter.stdout.readline()))
        starter.kill()
    try:
        assert select.select([child], [], [], 20)[0]
    finally:
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(child, signal.SIGKILL)
        os.close(child)
    assert not (tmp_path / "new").exists()


def test_only_the_last_of_each_thing_stays() -> None:
    restart, state = encoded(RestartKept(1)), StateKept(SyncPosition(1, 2), SyncPosition(0, 0), 1)
    records = [
        *(kept(1, 1), encoded(RestartKept(0)), kept(2), kept(3), kept(3, 1, bid=9)),
        *(encoded(state), encoded(TimestampKept(bytes(16), 1)), kept(1, 2), restart),
        *(encoded(EntryForgotten((2).to_bytes(16), 0)), encoded(TimestampKept(bytes(16), 2))),
    ]
    assert compacted(records) == [
        *(kept(3), kept(3, 1, bid=9), encoded(state), kept(1, 2), restart),
        encoded(TimestampKept(bytes(16), 2)),
    ]


def test_subjects() -> None:
    assert subject(kept(1, 1, 5)) == subject(encoded(EntryForgotten((1).to_bytes(16), 5)))
    different = [
        *(kept(1), kept(2), kept(1, 1, 5), encoded(RestartKept(1))),
        encoded(StateKept(SyncPosition(1, 1), SyncPosition(1, 1), 1)),
        *(encoded(TimestampKept(bytes(16), 1)), encoded(TimestampKept(b"\1" * 16, 1))),
    ]
    assert len({subject(record) for record in different}) == len(different)
    unknown = bytearray(kept(1))
    unknown[2] = 99
    assert subject(bytes(unknown)) == bytes(unknown)
    assert [forgets(record) for record in different] == [False] * len(different)
