"""One group's journal file: appended, synchronised, replaced. Blocking; no threads, no engine.

Ref: harp.md §6 (durability, journal); open(2), fdatasync(2), rename(2)

A file is records one after the other (`harp.engine.journal`). It is only ever appended to, or
replaced as a whole by rename: a crash leaves the old one, the new one, or the old one with a last
record cut short.
"""

from __future__ import annotations

import contextlib
import errno
import os
from pathlib import Path

from harp.daemon.journal.compaction import compacted
from harp.engine.journal import Damage, split

_MODE = 0o600
"""Bindings say where mobile nodes are: nobody else's business."""
_COPY_OCTETS = 1 << 20


class JournalFile:
    """The file of one group, open for appending."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.octets = 0
        """Of whole records: what lies past them was not written to its end."""
        self.certain = True
        """After a crash the name leads to this file, and not to the one that it has replaced."""
        self._descriptor = -1

    @property
    def replacement(self) -> Path:
        """Where the file that is to replace it is written."""
        return self.path.with_suffix(".new")

    @property
    def damaged(self) -> Path:
        """Where octets that hold no record are set aside."""
        return self.path.with_suffix(".damaged")

    def open(self) -> tuple[list[bytes], list[Damage]]:
        """What it holds, oldest first, and what holds no record: that is set aside. Raises OSError:
        it cannot be read or written at all."""
        self.replacement.unlink(missing_ok=True)
        try:
            content = self.path.read_bytes()
        except FileNotFoundError:
            content = b""
        records, damage = split(content)
        try:
            if damage:
                self._set_aside(damage)
            self._write_whole(b"".join(compacted(records)))
            self.swap(0)
        except OSError:  # no room for a second file: the old one goes on, without what was cut off
            cut = sum(len(each.octets) for each in damage if each.at_end)
            self._open_at(len(content) - cut)
        return records, damage

    def append(self, data: bytes) -> None:
        """Whole records. Raises OSError; the file then ends where it ended before."""
        written = 0
        try:
            while written < len(data):
                written += os.write(self._descriptor, data[written:])
        except OSError:
            with contextlib.suppress(OSError):
                os.ftruncate(self._descriptor, self.octets)
            raise
        self.octets += written

    def sync(self) -> None:
        """What was appended is on disk. Raises OSError: what is on disk is not known any more."""
        os.fdatasync(self._descriptor)

    def swap(self, since: int) -> None:
        """The replacement takes its place, after what was appended from an offset on was added to
        it. Raises OSError; the old file then stays."""
        descriptor = os.open(self.replacement, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
        try:
            if self._descriptor >= 0:
                self._copy_tail(since, descriptor)
            os.fsync(descriptor)
            octets = os.fstat(descriptor).st_size
            self.replacement.rename(self.path)
        except OSError:
            os.close(descriptor)
            raise
        self.close()
        self._descriptor, self.octets = descriptor, octets
        self.certain = _sync_directory(self.path.parent)

    def close(self) -> None:
        """Gives the descriptor back."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _open_at(self, octets: int) -> None:
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
        self._descriptor = os.open(self.path, flags, _MODE)
        os.ftruncate(self._descriptor, octets)
        self.octets = octets

    def _write_whole(self, content: bytes) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
        with os.fdopen(os.open(self.replacement, flags, _MODE), "wb") as file:
            file.write(content)

    def _copy_tail(self, since: int, target: int) -> None:
        with self.path.open("rb") as source:
            source.seek(since)
            left = self.octets - since
            while left > 0:
                data = source.read(min(left, _COPY_OCTETS))
                if not data:
                    raise OSError(errno.EIO, "the file was cut short by somebody else")
                left -= len(data)
                while data:
                    data = data[os.write(target, data) :]

    def _set_aside(self, damage: list[Damage]) -> None:
        """The newest damage only: a disk that breaks must not be filled too."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
        with os.fdopen(os.open(self.damaged, flags, _MODE), "wb") as file:
            os.fchmod(file.fileno(), _MODE)  # one from before may have another
            for each in damage:
                file.write(f"# offset {each.offset}, {len(each.octets)} octets\n".encode())
                file.write(each.octets + b"\n")


def _sync_directory(path: Path) -> bool:
    """A rename is on disk when its directory is: whether it is for sure, as far as that can be
    asked (fsync(2): EINVAL where a file system knows no such thing)."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        os.fsync(descriptor)
    except OSError as error:
        return error.errno == errno.EINVAL
    finally:
        os.close(descriptor)
    return True
