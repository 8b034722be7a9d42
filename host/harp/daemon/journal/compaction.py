"""The last record of each thing: what a journal comes down to. Also a program, for a process.

    python -m harp.daemon.journal.compaction OLD NEW OCTETS PARENT

reads the first OCTETS of OLD and writes NEW, by itself at the lowest priority: half a million
records would hold the daemon's interpreter for a second. It ends with PARENT, the process that
started it: the next harpd writes to NEW too.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from collections.abc import Iterable
from pathlib import Path

from harp.engine.journal import forgets, split, subject

_MODE = 0o600
_LEAST_PRIORITY = 19
_PR_SET_PDEATHSIG = 1


def compacted(records: Iterable[bytes]) -> list[bytes]:
    """The records that are still true, in the order in which they were written last."""
    last: dict[bytes, bytes] = {}
    for record in records:
        about = subject(record)
        last.pop(about, None)
        last[about] = record
    return [record for record in last.values() if not forgets(record)]


def main(old: str, new: str, octets: str) -> None:
    """Without the process around it."""
    os.nice(_LEAST_PRIORITY)
    with Path(old).open("rb") as file:
        records = split(file.read(int(octets))).records
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
    with os.fdopen(os.open(new, flags, _MODE), "wb") as file:
        file.write(b"".join(compacted(records)))
        file.flush()
        os.fsync(file.fileno())


def end_with(parent: int) -> None:
    """Kills the calling process with the one that started it."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # died before
        raise SystemExit(1)


if __name__ == "__main__":
    end_with(int(sys.argv.pop()))
    main(*sys.argv[1:])
