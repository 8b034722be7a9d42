"""What a group's records go through on their way to the disk: errors, retries, compaction.

Ref: harp.md §6. On the writer's thread.

When the disk refuses (full, mostly) the newest record of each thing waits in memory, at most as
many as there are bindings, and is written once there is room. Who waits for a record is not
answered meanwhile: the engine then counts the binding as `unprotected` after its
`durability_timeout`, and the service goes on.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time

from harp.daemon.journal.file import JournalFile
from harp.daemon.links import Tell
from harp.engine.effects import Level
from harp.engine.journal import split, subject

COMPACT_OCTETS = 4 << 20
"""A smaller file is left as it is."""
_GROWTH = 4
"""Compacted when so many times as long as after the last time."""
RETRY_S = 1.0
"""Between two tries to write to a disk that refused, and between two unasked synchronisations."""


class GroupJournal:
    """One group's journal, written by one thread."""

    def __init__(self, file: JournalFile, name: str, tell: Tell) -> None:
        self._file = file
        self._name = name
        self._tell = tell
        self._backlog: dict[bytes, bytes] = {}
        self._suspect = not file.certain
        """A synchronisation failed: nobody knows what is on disk until all is written anew."""
        self._dirty = False
        self._tried_s = 0.0
        self._synchronised_s = 0.0
        self._process: subprocess.Popen[bytes] | None = None
        self._covers = 0
        """How many octets of the file the running compaction reads."""
        self._next_octets = 0
        self._plan_compaction()

    @property
    def compacting(self) -> bool:
        """A process compacts: look again soon."""
        return self._process is not None

    def write(self, data: bytes, wanted: bool) -> bool:
        """Whole records; `wanted`: somebody waits for them. Whether they are on disk for sure."""
        if self._backlog:
            self._keep(data)
            return False
        try:
            self._file.append(data)
        except OSError as error:
            self._tell(
                Level.ERROR,
                f"{self._name}: {error.strerror}: bindings are kept in memory only, and count as "
                "unprotected where the journal is waited for, until there is room again",
            )
            self._keep(data)
            self._tried_s = time.monotonic()
            return False
        self._dirty = True
        return self._sync() if wanted else False

    def tick(self) -> None:
        """What is due: a try after an error, a synchronisation, a compaction."""
        now_s = time.monotonic()
        if (self._backlog or self._suspect) and now_s - self._tried_s >= RETRY_S:
            self._tried_s = now_s
            self._recover()
        if self._dirty and now_s - self._synchronised_s >= RETRY_S:
            self._sync()
        if self._process is not None:
            self._finish_compaction(self._process)
        elif self._file.octets >= self._next_octets:
            self._start_compaction()

    def close(self) -> None:
        """Everything that can be is on disk when this returns."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        if self._backlog:
            self._recover()
        self._sync()
        self._file.close()

    def _keep(self, data: bytes) -> None:
        for record in split(data).records:
            about = subject(record)
            self._backlog.pop(about, None)
            self._backlog[about] = record

    def _recover(self) -> None:
        if self._suspect and self._process is None:
            self._start_compaction()
        if not self._backlog:
            return
        try:
            self._file.append(b"".join(self._backlog.values()))
        except OSError:
            return
        self._backlog.clear()
        self._dirty = True
        self._tell(Level.INFO, f"{self._name}: written again")

    def _sync(self) -> bool:
        """Whether all that was appended is on disk for sure."""
        self._synchronised_s = time.monotonic()
        try:
            self._file.sync()
        except OSError as error:
            if not self._suspect:
                text = f"{self._name}: {error.strerror}: what is on disk is not known any more"
                self._tell(Level.ERROR, text)
            self._suspect = True
        else:
            self._dirty = False
        return not self._suspect

    def _plan_compaction(self) -> None:
        self._next_octets = max(COMPACT_OCTETS, _GROWTH * self._file.octets)

    def _start_compaction(self) -> None:
        self._covers = self._file.octets
        command = [sys.executable, "-m", "harp.daemon.journal.compaction"]
        command += [str(self._file.path), str(self._file.replacement), str(self._covers)]
        command.append(str(os.getpid()))
        try:
            self._process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        except OSError:
            self._next_octets *= 2

    def _finish_compaction(self, process: subprocess.Popen[bytes]) -> None:
        status = process.poll()
        if status is None:
            return
        self._process = None
        try:
            if status != 0:
                raise OSError(0, f"compaction ended with status {status}")
            self._file.swap(self._covers)
        except OSError as error:
            # Tried again when it has grown as much again; the old file is as good as it was.
            self._next_octets = 2 * self._file.octets
            self._tell(Level.WARNING, f"{self._name}: not compacted: {error.strerror}")
            return
        self._plan_compaction()
        self._dirty = False
        if not self._file.certain:
            self._suspect = True
        elif self._suspect:
            self._suspect = False
            self._tell(Level.INFO, f"{self._name}: written anew, and on disk")
