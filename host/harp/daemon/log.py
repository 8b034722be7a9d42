"""Lines for people: to stderr, or to the journal of systemd with their level; never waiting.

Ref: sd-daemon(3) (level prefixes); harp.md §5 (reasons)
"""

from __future__ import annotations

import contextlib
import logging
import os
import queue
import sys
import threading
from ipaddress import IPv6Address
from logging.handlers import QueueHandler
from typing import TextIO

from harp.daemon.config.model import LogLevel
from harp.daemon.names import MemberNames
from harp.daemon.parts import PeerEffect
from harp.daemon.privileges import as_the_loop
from harp.engine.config import EngineConfig
from harp.engine.effects import CommandAnswered, Dropped, Level, Log, StateChanged
from harp.engine.events import PeerChanged, PeerDown, PeerLeft, PeerLinkChanged, PeerUp

LOGGER = logging.getLogger("harp")
MOST_WAITING = 10_000
"""Lines that nobody has taken; more are dropped and counted: harpd's memory is locked."""
END_S = 2.0
"""At the end, for what is not written yet: who takes no lines keeps no harpd from ending."""
_SYSLOG = {logging.DEBUG: 7, logging.INFO: 6, logging.WARNING: 4, logging.ERROR: 3}
"""sd-daemon(3): SD_DEBUG, SD_INFO, SD_WARNING, SD_ERR."""

LEVELS = {
    LogLevel.DEBUG: Level.DEBUG,
    LogLevel.INFO: Level.INFO,
    LogLevel.WARNING: Level.WARNING,
    LogLevel.ERROR: Level.ERROR,
}
"""As the configuration calls them."""
_WARNING = {"name": LOGGER.name, "levelno": logging.WARNING, "levelname": "WARNING"}


class _Line(logging.Formatter):
    """A line as a terminal or a file takes it."""

    def format(self, record: logging.LogRecord) -> str:
        return " ".join(super().format(record).split())


class _JournalLine(logging.Formatter):
    """A line as systemd's journal takes it from stderr: it has time and name itself."""

    def format(self, record: logging.LogRecord) -> str:
        return f"<{_SYSLOG.get(record.levelno, 6)}>{' '.join(record.getMessage().split())}"


class _Lines(QueueHandler):
    """Hands lines to the thread that writes them, as many as may wait."""

    def __init__(self, lines: queue.SimpleQueue[logging.LogRecord | None]) -> None:
        super().__init__(lines)
        self.dropped = 0
        self._lines = lines

    def enqueue(self, record: logging.LogRecord) -> None:
        if self._lines.qsize() < MOST_WAITING:
            self._lines.put(record)
        else:
            self.dropped += 1


class LogWriter:
    """Writes what is logged in a thread of its own: a terminal that stands still stops no loop."""

    def __init__(self, level: int, stream: TextIO | None = None) -> None:
        """`stream`: None: stderr."""
        self._lines: queue.SimpleQueue[logging.LogRecord | None] = queue.SimpleQueue()
        self._stream = stream or _own_stderr()
        self._formatter = _formatter()
        self._handler = _Lines(self._lines)
        self._thread = threading.Thread(target=self._write, name="harpd-log", daemon=True)
        LOGGER.addHandler(self._handler)
        LOGGER.propagate = False
        LOGGER.setLevel(level)

    def start(self) -> None:
        """Once the process is scheduled as it shall be."""
        self._thread.start()

    def close(self) -> None:
        """Everything logged is written when this returns, if somebody takes it."""
        self._lines.put(None)
        if self._thread.is_alive():
            self._thread.join(END_S)
        else:
            self._write()
        LOGGER.removeHandler(self._handler)
        LOGGER.propagate = True

    def _write(self) -> None:
        as_the_loop()
        while (line := self._lines.get()) is not None:
            self._put(line)
            if dropped := self._handler.dropped:
                self._handler.dropped = 0
                text = f"{dropped} lines of the log were dropped: nobody took them"
                self._put(logging.makeLogRecord({"msg": text, **_WARNING}))

    def _put(self, line: logging.LogRecord) -> None:
        """Not by a handler: `logging` would wait for its lock at the end, which a write that stands
        still keeps."""
        with contextlib.suppress(OSError):  # nobody is there to be told
            self._stream.write(f"{self._formatter.format(line)}\n")
            self._stream.flush()


def _own_stderr() -> TextIO:
    """With a buffer of its own: a thread that stands in a write holds the buffer's lock, and the
    interpreter cannot end without that of `sys.stderr`."""
    return os.fdopen(
        sys.stderr.fileno(), "w", encoding="utf-8", errors="backslashreplace", closefd=False
    )


def _formatter() -> logging.Formatter:
    if "JOURNAL_STREAM" in os.environ:
        return _JournalLine()
    return _Line("%(asctime)s.%(msecs)03d %(levelname)s %(message)s", "%H:%M:%S")


def tell(level: Level, text: str) -> None:
    """A line that belongs to no group (`links.Tell`)."""
    LOGGER.log(level, text)


class LogObserver:
    """`parts.Observer` that writes lines."""

    def __init__(self, config: EngineConfig) -> None:
        self._names = MemberNames(config)

    def role(self, change: StateChanged) -> None:
        """Always worth a line."""
        LOGGER.info("group %d: %s → %s (%s)", change.group, change.old, change.new, change.reason)

    def peer(self, change: PeerEffect) -> None:
        """Changes of flags and preference are for `debug`."""
        name = self._names.of(change.group, change.peer)
        match change:
            case PeerUp():
                LOGGER.info("group %d: %s is up", change.group, name)
            case PeerDown():
                LOGGER.warning("group %d: %s is down: not heard any more", change.group, name)
            case PeerLeft():
                LOGGER.info("group %d: %s left: it said so", change.group, name)
            case PeerChanged(restarted=True):
                LOGGER.info("group %d: %s was restarted", change.group, name)
            case PeerChanged():
                LOGGER.debug("group %d: %s says something new", change.group, name)
            case PeerLinkChanged():
                what = "found" if change.up else "lost"
                LOGGER.info("group %d: %s is %s on %s", change.group, name, what, change.link)

    def dropped(self, drop: Dropped) -> None:
        """For `debug`: there may be very many."""
        if LOGGER.isEnabledFor(logging.DEBUG):
            where = "no group" if drop.group is None else f"group {drop.group}"
            source = IPv6Address(drop.source)
            LOGGER.debug("%s: %s from %s dropped: %s", where, drop.reason, source, drop.detail)

    def log(self, line: Log) -> None:
        """As the engine says it."""
        text = line.text if line.group is None else f"group {line.group}: {line.text}"
        LOGGER.log(line.level, text)

    def answered(self, answer: CommandAnswered) -> None:
        """A command is worth a line only if it was refused."""
        if answer.refusals:
            refusals = ", ".join(answer.refusals)
            LOGGER.info("group %d: command refused: %s", answer.group, refusals)
