"""`parts.Journal`: hands records to a thread, which writes and synchronises many at once.

Ref: harp.md §6 (durability, `journal_sync`)
"""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from harp.cli.common import Failure
from harp.daemon.journal.file import JournalFile
from harp.daemon.journal.group import RETRY_S, GroupJournal
from harp.daemon.links import Tell
from harp.daemon.parts import Deliver
from harp.daemon.privileges import as_the_loop
from harp.engine.effects import Level, WriteJournal
from harp.engine.events import JournalWritten
from harp.engine.journal import Damage, subject

MOST_WAITING = 100_000
"""Records given to the thread; while a disk stands still, of more the newest of each thing waits,
which is as many as there are bindings."""
_SOON_S = 0.05
"""How often a running compaction is looked after."""

Records = list[WriteJournal]


class JournalWriter:
    """All groups' journals in one directory.

    Records written in one turn of the loop go to the thread together; while that waits for the
    disk, more gather, and share the next synchronisation."""

    def __init__(self, state_dir: Path, deliver: Deliver, tell: Tell) -> None:
        self._directory = state_dir
        self._deliver = deliver
        self._tell = tell
        self._groups: dict[int, GroupJournal] = {}
        self._pending: Records = []
        self._late: dict[tuple[int, bytes], WriteJournal] = {}
        """By group and subject: what came while the thread had `MOST_WAITING` to do."""
        self._given = 0
        """Records that the thread has not worked off."""
        self._queue: queue.SimpleQueue[Records | None] = queue.SimpleQueue()
        self._loop = asyncio.get_running_loop()
        self._thread = threading.Thread(target=self._run, name="harpd-journal", daemon=True)

    def restore(self, group: int) -> list[bytes]:
        """What a group's file holds. `Failure`: it cannot be used."""
        file = JournalFile(self._directory / f"group-{group}.journal")
        try:
            self._directory.mkdir(mode=0o750, parents=True, exist_ok=True)
            records, damage = file.open()
        except OSError as error:
            raise Failure(
                f"{file.path}: {error.strerror}; set daemon.state_dir to a directory that harpd "
                "may write to, or daemon.journal = false"
            ) from None
        self._report(file, damage)
        self._groups[group] = GroupJournal(file, str(file.path), self._tell)
        return records

    def write(self, record: WriteJournal) -> None:
        """Appended soon; with a token `JournalWritten` is delivered once it is on disk."""
        if self._given >= MOST_WAITING:
            self._keep_last(record)
            return
        if not self._pending:
            self._loop.call_soon(self._hand_over)
        self._pending.append(record)

    def close(self) -> None:
        """All that was written is on disk when this returns."""
        self._hand_over()
        self._give(list(self._late.values()))
        if self._thread.is_alive():
            self._queue.put(None)
            self._thread.join()
        for journal in self._groups.values():
            journal.close()

    def _hand_over(self) -> None:
        records, self._pending = self._pending, []
        self._give(records)

    def _give(self, records: Records) -> None:
        """The thread starts with the first record: later than the guard is forked."""
        if not records:
            return
        if not self._thread.is_alive():
            self._thread.start()
        self._given += len(records)
        self._queue.put(records)

    def _keep_last(self, record: WriteJournal) -> None:
        """Of each thing, as the file would come down to; who waits for an earlier one may be
        answered by that."""
        about = record.group, subject(record.record)
        before = self._late.pop(about, None)
        if before is not None and record.token is None:
            record = replace(record, token=before.token)
        self._late[about] = record

    def _done(self, records: int) -> None:
        """The thread has worked some off: what waits meanwhile goes next."""
        self._given -= records
        if self._late and self._given < MOST_WAITING:
            late, self._late = self._late, {}
            self._give(list(late.values()))

    def _report(self, file: JournalFile, damage: list[Damage]) -> None:
        octets = sum(len(each.octets) for each in damage)
        if not damage:
            return
        cut = len(damage) == 1 and damage[0].at_end
        what = "its last record was cut short" if cut else f"damaged in {len(damage)} places"
        self._tell(
            Level.WARNING if cut else Level.ERROR,
            f"{file.path}: {what}; {octets} octets are set aside in {file.damaged}, the rest is "
            "used",
        )

    # On the thread

    def _run(self) -> None:
        as_the_loop()
        while True:
            soon = any(journal.compacting for journal in self._groups.values())
            try:
                batches = [self._queue.get(timeout=_SOON_S if soon else RETRY_S)]
            except queue.Empty:
                batches = []
            while not self._queue.empty():
                batches.append(self._queue.get())
            records = [record for batch in batches if batch for record in batch]
            self._write(records)
            if records:
                self._loop.call_soon_threadsafe(self._done, len(records))
            for journal in self._groups.values():
                journal.tick()
            if None in batches:
                return

    def _write(self, records: Records) -> None:
        for group, journal in self._groups.items():
            ours = [record for record in records if record.group == group]
            if not ours:
                continue
            tokens = [record.token for record in ours if record.token is not None]
            if journal.write(b"".join(record.record for record in ours), bool(tokens)):
                self._loop.call_soon_threadsafe(self._written, group, tokens)

    def _written(self, group: int, tokens: Iterable[int]) -> None:
        for token in tokens:
            self._deliver(JournalWritten(group, token))
