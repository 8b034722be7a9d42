"""What happened: the last events in order, and a stream for each watcher.

Keys of an event, kept once shipped: `number` (from 1, +1 each), `time` (UTC, ISO 8601), `kind`,
`group` (null: none), and by kind:
`role`: `old`, `new`, `reason` · `peer`: `peer` (name), `change` (`up`, `down`, `left`, `restarted`,
`changed`, `link_up`, `link_down`), `link` · `log`: `level`, `text` · `command`: `refusals`.
Drops are counted, not listed: a flood would push everything else out.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TypeAlias, assert_never

from harp.daemon.names import MemberNames
from harp.daemon.parts import PeerEffect
from harp.engine.config import EngineConfig
from harp.engine.effects import CommandAnswered, Dropped, Log, StateChanged
from harp.engine.events import PeerChanged, PeerDown, PeerLeft, PeerLinkChanged, PeerUp

KEPT = 1024
"""Events that are remembered, and that may wait for a watcher."""

Event: TypeAlias = dict[str, object]
"""One event, as JSON has it."""


class Feed:
    """Events on their way to one watcher. One that reads too slowly loses the oldest."""

    def __init__(self) -> None:
        self.lost = 0
        """Events dropped since the last `next`."""
        self._waiting: deque[Event] = deque()
        self._news = asyncio.Event()

    def put(self, event: Event) -> None:
        """Never waits."""
        if len(self._waiting) >= KEPT:
            self._waiting.popleft()
            self.lost += 1
        self._waiting.append(event)
        self._news.set()

    async def next(self) -> Event:
        """The oldest that waits."""
        while not self._waiting:
            self._news.clear()
            await self._news.wait()
        return self._waiting.popleft()


class EventLog:
    """`parts.Observer` that remembers and passes on."""

    def __init__(
        self,
        config: EngineConfig,
        wall_clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._names = MemberNames(config)
        self._wall_clock = wall_clock
        self._kept: deque[Event] = deque(maxlen=KEPT)
        self._feeds: list[Feed] = []
        self.last = 0
        """Number of the newest event; 0: none yet."""

    def since(self, number: int) -> list[Event]:
        """All kept events above a number, oldest first."""
        first = self.last - len(self._kept)
        return list(self._kept)[max(0, number - first) :]

    @contextmanager
    def feed(self, since: int | None = None) -> Iterator[Feed]:
        """A stream of what happens while the context lasts, and before it all above `since`."""
        feed = Feed()
        for event in self.since(since) if since is not None else ():
            feed.put(event)
        self._feeds.append(feed)
        try:
            yield feed
        finally:
            self._feeds.remove(feed)

    @property
    def watchers(self) -> int:
        """How many streams there are."""
        return len(self._feeds)

    def role(self, change: StateChanged) -> None:
        """A role changed."""
        self._add(
            "role",
            change.group,
            old=change.old.value,
            new=change.new.value,
            reason=str(change.reason),
        )

    def peer(self, change: PeerEffect) -> None:
        """A peer changed."""
        name = self._names.of(change.group, change.peer)
        link = change.link if isinstance(change, PeerLinkChanged) else None
        self._add("peer", change.group, peer=name, change=change_word(change), link=link)

    def dropped(self, drop: Dropped) -> None:
        """Counted elsewhere."""

    def log(self, line: Log) -> None:
        """A line for people."""
        self._add("log", line.group, level=line.level.name.lower(), text=line.text)

    def answered(self, answer: CommandAnswered) -> None:
        """A command was answered."""
        self._add("command", answer.group, refusals=[str(each) for each in answer.refusals])

    def _add(self, kind: str, group: int | None, **values: object) -> None:
        self.last += 1
        event: Event = {
            "number": self.last,
            "time": self._wall_clock().isoformat(timespec="milliseconds"),
            "kind": kind,
            "group": group,
            **values,
        }
        self._kept.append(event)
        for feed in self._feeds:
            feed.put(event)


def change_word(change: PeerEffect) -> str:
    """What became of a peer, in a word."""
    match change:
        case PeerUp():
            return "up"
        case PeerDown():
            return "down"
        case PeerLeft():
            return "left"
        case PeerChanged():
            return "restarted" if change.restarted else "changed"
        case PeerLinkChanged():
            return "link_up" if change.up else "link_down"
        case _:
            assert_never(change)
