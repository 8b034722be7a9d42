"""A process that writes a journal as harpd does, and prints each token once it is on disk.

    python -m tests.daemon.journal.writing DIRECTORY FIRST

Killed at any moment, everything printed must be in the journal.
"""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

from harp.daemon.journal.writer import JournalWriter
from harp.engine.effects import Level, WriteJournal
from harp.engine.events import Event, JournalWritten
from harp.engine.journal import JournalCodec, TimestampKept
from harp.wire.codec import DEFAULT_CODEC

SENDERS = 50


def record(number: int) -> bytes:
    """The newest of one of few senders: later numbers overrule."""
    sender = (number % SENDERS).to_bytes(16)
    return JournalCodec(DEFAULT_CODEC, 0).encode(TimestampKept(sender, number))


async def write(directory: Path, first: int) -> None:
    """Without an end; at most a few hundred wait for the disk."""
    asked, done, news = first, first, asyncio.Event()

    def told(event: Event) -> None:
        nonlocal done
        assert isinstance(event, JournalWritten)
        done = event.token
        os.write(1, f"{done}\n".encode())
        news.set()

    def tell(level: Level, text: str) -> None:
        os.write(2, f"{text}\n".encode())

    journal = JournalWriter(directory, told, tell)
    journal.restore(7)
    while True:
        asked += 1
        journal.write(WriteJournal(7, record(asked), asked))
        if asked - done > 200:
            news.clear()
            await news.wait()


if __name__ == "__main__":
    asyncio.run(write(Path(sys.argv[1]), int(sys.argv[2])))
