"""The thread: answers come when the disk has it, errors stop nothing, kill -9 loses nothing."""

from __future__ import annotations

import asyncio
import errno
import os
import random
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.daemon.journal.test_file import kept
from tests.daemon.journal.writing import SENDERS

from harp.cli.common import Failure
from harp.daemon.journal import group as group_module
from harp.daemon.journal import writer as writer_module
from harp.daemon.journal.file import JournalFile
from harp.daemon.journal.writer import JournalWriter
from harp.engine.effects import Level, WriteJournal
from harp.engine.events import Event, JournalWritten
from harp.engine.journal import JournalCodec, TimestampKept, split
from harp.wire.codec import DEFAULT_CODEC

CODEC = JournalCodec(DEFAULT_CODEC, 0)


class Bench:
    """A writer in a loop, and what it says."""

    def __init__(self, directory: Path) -> None:
        self.events: list[Event] = []
        self.said: list[tuple[Level, str]] = []
        self._loop = asyncio.get_running_loop()
        self._news = asyncio.Event()
        self.writer = JournalWriter(directory, self._deliver, self._tell)

    def _deliver(self, event: Event) -> None:
        self.events.append(event)
        self._news.set()

    def _tell(self, level: Level, text: str) -> None:
        """On the writer's thread."""
        self.said.append((level, text))
        self._loop.call_soon_threadsafe(self._news.set)

    async def until(self, ready: Callable[[], bool]) -> None:
        """Until it is so; whenever something was delivered or told."""
        async with asyncio.timeout(20):
            while not ready():
                self._news.clear()
                await self._news.wait()

    async def answered(self, token: int) -> None:
        """Until the last answer is this one."""
        await self.until(lambda: self.events[-1:] == [JournalWritten(7, token)])


def _records(path: Path) -> list[bytes]:
    return split(path.read_bytes()).records


def test_who_waits_is_answered_when_it_is_on_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synchronised: list[int] = []
    real = os.fdatasync

    def counted(descriptor: int) -> None:
        synchronised.append(os.fstat(descriptor).st_size)
        real(descriptor)

    monkeypatch.setattr(os, "fdatasync", counted)

    async def scene() -> None:
        bench = Bench(tmp_path)
        assert bench.writer.restore(7) == [] and bench.writer.restore(8) == []
        for number in range(100):
            bench.writer.write(WriteJournal(7, kept(number), number))
        bench.writer.write(WriteJournal(8, kept(1)))
        await bench.until(lambda: len(bench.events) == 100)
        assert bench.events == [JournalWritten(7, number) for number in range(100)]
        assert synchronised[0] == 100 * len(kept(1))  # one for all
        assert len(synchronised) <= 3
        bench.writer.close()

    asyncio.run(scene())
    assert _records(tmp_path / "group-7.journal") == [kept(number) for number in range(100)]
    assert _records(tmp_path / "group-8.journal") == [kept(1)]


def test_everything_is_written_at_the_end(tmp_path: Path) -> None:
    async def scene() -> None:
        bench = Bench(tmp_path)
        bench.writer.restore(7)
        bench.writer.write(WriteJournal(7, kept(1)))
        bench.writer.close()
        again = Bench(tmp_path)
        assert again.writer.restore(7) == [kept(1)]
        again.writer.close()  # nothing was ever written

    asyncio.run(scene())


def test_a_disk_that_stands_still_fills_no_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last of each thing waits, and is written when the disk goes on."""
    goes_on = threading.Event()
    real = os.fdatasync

    def stands(descriptor: int) -> None:
        assert goes_on.wait(20)
        real(descriptor)

    monkeypatch.setattr(os, "fdatasync", stands)
    monkeypatch.setattr(writer_module, "MOST_WAITING", 10)

    async def scene() -> None:
        bench = Bench(tmp_path)
        bench.writer.restore(7)
        for sequence in range(1, 101):
            for number in range(4):
                token = sequence if number == 3 and sequence < 100 else None
                bench.writer.write(WriteJournal(7, kept(number, sequence), token))
            await asyncio.sleep(0)
        waiting = len(bench.writer._pending) + len(bench.writer._late)
        assert waiting + bench.writer._given < 10 + 2 * 4
        goes_on.set()
        await bench.answered(99)
        bench.writer.close()

    asyncio.run(scene())
    assert _records(tmp_path / "group-7.journal")[-4:] == [kept(n, 100) for n in range(4)]


def test_a_full_disk_stops_nothing_and_is_made_up_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(group_module, "RETRY_S", 0.01)
    full = True
    real = JournalFile.append

    def append(file: JournalFile, data: bytes) -> None:
        if full:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(file, data)

    monkeypatch.setattr(JournalFile, "append", append)

    async def scene() -> None:
        nonlocal full
        bench = Bench(tmp_path)
        bench.writer.restore(7)
        for sequence in range(1, 4):
            bench.writer.write(WriteJournal(7, kept(1, sequence) + kept(2), sequence))
            await bench.until(lambda: len(bench.said) == 1)
        assert bench.said[0][0] is Level.ERROR
        assert "No space left on device: bindings are kept in memory only" in bench.said[0][1]
        full = False
        await bench.until(lambda: len(bench.said) == 2)
        assert bench.said[1][1].endswith("group-7.journal: written again")
        bench.writer.write(WriteJournal(7, kept(3), 9))
        await bench.until(lambda: len(bench.events) == 1)
        assert bench.events == [JournalWritten(7, 9)]  # nobody was told a lie meanwhile
        bench.writer.close()

    asyncio.run(scene())
    assert sorted(_records(tmp_path / "group-7.journal")) == sorted([kept(1, 3), kept(2), kept(3)])


def test_after_a_failed_synchronisation_nobody_is_answered_until_all_is_written_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(group_module, "RETRY_S", 0.01)
    broken = [OSError(errno.EIO, "Input/output error")]
    real = os.fdatasync

    def sync(descriptor: int) -> None:
        if broken:
            raise broken.pop()
        real(descriptor)

    monkeypatch.setattr(os, "fdatasync", sync)

    async def scene() -> None:
        bench = Bench(tmp_path)
        bench.writer.restore(7)
        before = (tmp_path / "group-7.journal").stat().st_ino
        bench.writer.write(WriteJournal(7, kept(1), 1))
        await bench.until(lambda: bool(bench.said))
        assert "what is on disk is not known any more" in bench.said[0][1]
        await bench.until(lambda: len(bench.said) == 2)
        assert bench.said[1][1].endswith("written anew, and on disk")
        assert bench.events == []
        assert (tmp_path / "group-7.journal").stat().st_ino != before
        bench.writer.write(WriteJournal(7, kept(2), 2))
        await bench.until(lambda: bench.events == [JournalWritten(7, 2)])
        bench.writer.close()

    asyncio.run(scene())
    assert _records(tmp_path / "group-7.journal") == [kept(1), kept(2)]


def test_a_long_file_is_compacted_while_it_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(group_module, "COMPACT_OCTETS", 20_000)
    path = tmp_path / "group-7.journal"

    async def scene() -> None:
        bench = Bench(tmp_path)
        bench.writer.restore(7)
        inode = path.stat().st_ino
        sequence = 0
        async with asyncio.timeout(30):
            while path.stat().st_ino == inode:
                for _ in range(20):
                    sequence += 1
                    bench.writer.write(WriteJournal(7, kept(sequence % 7, sequence), sequence))
                await bench.answered(sequence)
        bench.writer.close()
        newest = {kept(s % 7, s) for s in range(sequence - 6, sequence + 1)}
        assert newest <= set(_records(path))
        assert len(_records(path)) < sequence
        assert bench.said == []

    asyncio.run(scene())


def test_damage_is_told_and_the_rest_used(tmp_path: Path) -> None:
    whole = kept(1) + kept(2) + kept(3)
    at = len(kept(1)) + 20

    async def scene() -> None:
        (tmp_path / "group-7.journal").write_bytes(whole[:at] + b"?" + whole[at + 1 :])
        (tmp_path / "group-8.journal").write_bytes(whole[:-1])
        bench = Bench(tmp_path)
        assert bench.writer.restore(7) == [kept(1), kept(3)]
        assert bench.writer.restore(8) == [kept(1), kept(2)]
        (first, text), (second, more) = bench.said
        assert (first, second) == (Level.ERROR, Level.WARNING)
        assert "damaged in 1 places" in text and "group-7.damaged, the rest is used" in text
        assert "its last record was cut short" in more
        bench.writer.close()

    asyncio.run(scene())


def test_a_directory_that_cannot_be_used_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    async def scene() -> None:
        bench = Bench(tmp_path / "file")
        with pytest.raises(Failure, match=r"set daemon\.state_dir to a directory"):
            bench.writer.restore(7)
        bench.writer.close()

    asyncio.run(scene())


def test_a_kill_at_any_moment_loses_nothing_that_was_answered(tmp_path: Path) -> None:
    """Five times: the process is killed while it writes as fast as it can."""
    rng = random.Random(5)
    first = 0
    for _ in range(5):
        answered = _written_until_killed(tmp_path, first, rng.randrange(50, 3000))
        newest = _newest(tmp_path)
        for number in range(max(first + 1, answered - SENDERS + 1), answered + 1):
            assert newest[number % SENDERS] >= number
        first = answered + 1000  # more than may have been written without an answer


def _written_until_killed(directory: Path, first: int, wanted: int) -> int:
    """The last number that was answered."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.daemon.journal.writing", str(directory), str(first)],
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    with process, process.stdout as out:
        answered = next(number for number in map(int, out) if number >= first + wanted)
        process.send_signal(signal.SIGKILL)
        return max([answered, *map(int, out)])


def _newest(directory: Path) -> dict[int, int]:
    """By sender: the newest number that a restart finds."""
    found: dict[int, int] = {}
    for octets in _records(directory / "group-7.journal"):
        record = CODEC.decode(octets)
        assert isinstance(record, TimestampKept)
        sender = int.from_bytes(record.sender)
        found[sender] = max(found.get(sender, 0), record.timestamp)
    return found
