"""The last record of each thing: what a journal comes down to. Also a program, for a process.

    python -m harp.daemon.journal.compaction OLD NEW OCTETS

reads the first OCTETS of OLD and writes NEW, by itself at the lowest priority: half a million
records would hold the daemon's interpreter for a second.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from pathlib import Path

from harp.engine.journal import forgets, split, subject

_MODE = 0o600
_LEAST_PRIORITY = 19


def compacted(records: Iterable[bytes]) -> list[bytes]:
    """The records that are still true, in the order in which they were written last."""
    last: dict[bytes, bytes] = {}
    for record in records:
        about = subject(record)
        last.pop(about, None)
        last[about] = record
    return [record for record in last.values() if not forgets(record)]


def main(old: str, new: str, octets: str) -> None:
    """The program."""
    os.nice(_LEAST_PRIORITY)
    with Path(old).open("rb") as file:
        records = split(file.read(int(octets))).records
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
    with os.fdopen(os.open(new, flags, _MODE), "wb") as file:
        file.write(b"".join(compacted(records)))
        file.flush()
        os.fsync(file.fileno())


if __name__ == "__main__":
    main(*sys.argv[1:])
