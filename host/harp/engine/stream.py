"""Answers to SS-REQs: the store as a stream of SS-REPs, or a refusal.

Ref: harp.md §2.1 (SS-REP, exchange numbers), §6 (full sync), §8 (MAX_UPDATE_RATE)

What each phase of a stream does about each SS-ACK and timer stands in `stream_table.TABLE`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from harp.engine.batch import Packed, Packer
from harp.engine.config import GroupConfig
from harp.engine.effects import Effect, SendHarp
from harp.engine.entries import Change
from harp.engine.fullsync import index_of, serial_of
from harp.engine.log import ROUND_TRIPS
from harp.engine.repeat import wait_before
from harp.engine.store import BindingStore
from harp.engine.stream_table import TABLE, Happening, Phase
from harp.tables.harp_types import HarpFlag, HarpType, Status
from harp.wire.messages import Harp, SyncPosition

REMEMBERED_REPLIES = 64
"""Most exchanges remembered of one asker."""

Source = Callable[[int], bytes | list[Change] | None]
"""Next message's worth of bindings at `now`: a block, or some with options; None: no more."""


def whole_store(store: BindingStore, packer: Packer, since: SyncPosition | None) -> Source:
    """All bindings and tombstones, or what changed after `since`; each message fits."""
    ready: deque[bytes | list[Change]] = deque()
    cursor, done = 0, False

    def take(now: int) -> bytes | list[Change] | None:
        nonlocal cursor, done
        while not ready and not done:
            chunk = store.pack_range(packer.bulk, cursor, packer.records, now, since)
            cursor, done = chunk.cursor, chunk.done
            if chunk.block:
                ready.append(chunk.block)
            if chunk.others:
                ready.extend(packer.split(chunk.others))
        return ready.popleft() if ready else None

    return take


def some_homes(store: BindingStore, packer: Packer, homes: list[bytes], now: int) -> Source:
    """The bindings of some home addresses; of one that has none its tombstone, if any."""
    changes: list[Change] = []
    for home in dict.fromkeys(homes):
        entries = [store.get(home, bid) for bid in store.bids(home)] or [store.find(home)]
        changes.extend(entry.change(now) for entry in entries if entry)
    groups = packer.split(changes)
    return lambda _now: next(groups, None)


@dataclass(slots=True)
class _Sent:
    """A message of the stream that is not acknowledged yet."""

    packed: Packed
    first_at: int
    due: int
    repetition: int = 0


class Stream:
    """One running answer: a window of unacknowledged messages, each repeated by itself."""

    def __init__(
        self,
        config: GroupConfig,
        packer: Packer,
        request: Harp,
        position: SyncPosition,
        source: Source,
        now: int,
    ) -> None:
        self.sequence = request.sequence
        """Names the exchange."""
        self.position = position
        """Where the request was taken."""
        self.phase = Phase.OPENING
        self._allowed: tuple[Phase, ...] = ()
        """Where the row at hand may lead to."""
        self._config = config
        self._packer = packer
        self._source = source
        self._next = source(now)
        """What the next message carries: one is held back to know which is the last."""
        self._serial = 0
        """Of the last message sent."""
        self._last_sent = False
        self._sent: dict[int, _Sent] = {}
        self._end = now + config.sync.sync_timeout_us
        self._progress = now
        self._round_trip_us = 0
        self._due = self._end
        """Not later than the earliest repetition."""

    @property
    def complete(self) -> bool:
        """All sent and acknowledged."""
        return self.phase is Phase.COMPLETE

    @property
    def deadline(self) -> int:
        """When to repeat or to give up, µs."""
        return self._due

    def pump(self, peer: bytes, now: int) -> list[Effect]:
        """Sends what the window allows."""
        effects: list[Effect] = []
        opening = self.phase is Phase.OPENING
        window = 1 if opening else self._config.sync.stream_window_messages
        while not self._last_sent and len(self._sent) < window:
            body, self._next = self._next, self._source(now)
            self._serial += 1
            self._last_sent = self._next is None
            packed = self._message(body)
            due = now + self._wait(1)
            self._sent[self._serial] = _Sent(packed, now, due)
            self._due = min(self._due, due)
            effects.append(SendHarp(peer, packed.message, packed.block))
            if self._last_sent:
                self._handler(Happening.LAST_SENT)()
        return effects

    def _message(self, body: bytes | list[Change] | None) -> Packed:
        flags = HarpFlag.R if self._last_sent else HarpFlag.R | HarpFlag.M
        ends = self._serial == 1 or self._last_sent
        message = Harp(
            HarpType.SS_REP,
            self._config.group,
            self.sequence,
            flags=flags,
            index=index_of(self._serial),
            options=(self.position,) if ends else (),
        )
        if isinstance(body, list):
            return self._packer.pack(message, body)
        return Packed(message, body or b"")

    def _wait(self, repetition: int) -> int:
        sync = self._config.sync
        first = min(
            max(sync.ss_rep_timer_us, ROUND_TRIPS * self._round_trip_us), sync.ss_rep_timer_max_us
        )
        return wait_before(repetition, first, sync.ss_rep_timer_max_us)

    def acknowledged(self, index: int, now: int) -> bool:
        """Takes an SS-ACK; False if it fits no message that waits for one."""
        serial = serial_of(index, next(iter(self._sent), 1))
        happening = Happening.ACKNOWLEDGED if serial in self._sent else Happening.STRAY
        fits: bool = self._handler(happening)(serial, now)
        return fits

    def expire(self, peer: bytes, now: int) -> list[Effect] | None:
        """Repeats what is late; None: given up."""
        if now < self._due:
            return []
        happening = Happening.LATE
        if now >= self._end:
            happening = Happening.TIME_OVER
        elif now - self._progress >= self._config.reliability_timeout_us:
            happening = Happening.SILENT
        effects: list[Effect] | None = self._handler(happening)(peer, now)
        return effects

    def _handler(self, happening: Happening) -> Callable[..., Any]:
        """One row of the table."""
        row = TABLE[self.phase, happening]
        self._allowed = row.targets
        handler: Callable[..., Any] = getattr(self, f"_{row.handler}")
        return handler

    def _turn(self, phase: Phase) -> None:
        """Writes the phase; the only place that does."""
        if phase not in self._allowed:
            raise AssertionError(f"{self.phase} may not lead to {phase} here")
        self.phase = phase

    def _ignore(self, serial: int, now: int) -> bool:
        return False

    def _go_on(self, serial: int, now: int) -> bool:
        """A message is acknowledged; the first opens the window."""
        sent = self._sent.pop(serial)
        self._progress = now
        if not sent.repetition:
            self._round_trip_us = now - sent.first_at
        if self._last_sent and not self._sent:
            self._turn(Phase.COMPLETE)
        elif self.phase is Phase.OPENING:
            self._turn(Phase.FLOWING)
        return True

    def _stay(self) -> None:
        """Its phase says enough."""

    def _close(self) -> None:
        self._turn(Phase.CLOSING)

    def _rest(self, peer: bytes, now: int) -> list[Effect]:
        return []

    def _repeat(self, peer: bytes, now: int) -> list[Effect]:
        """Each message whose wait is over, with backoff."""
        effects: list[Effect] = []
        for sent in self._sent.values():
            if sent.due <= now:
                sent.repetition += 1
                sent.due = now + self._wait(sent.repetition + 1)
                effects.append(SendHarp(peer, sent.packed.message, sent.packed.block))
        self._due = min((sent.due for sent in self._sent.values()), default=self._end)
        self._due = min(self._due, self._end)
        return effects

    def _give_up(self, peer: bytes, now: int) -> None:
        """Nobody takes the rest of it."""
        self._turn(Phase.BROKEN)


@dataclass(frozen=True, slots=True)
class _Remembered:
    """An exchange that is over."""

    until: int
    refusal: Harp | None
    """To be repeated; None: answered by a stream that ended."""


class Answers:
    """Every answer that this member gives: one stream an asker, and what it said before."""

    def __init__(self, config: GroupConfig, packer: Packer) -> None:
        self._config = config
        self._packer = packer
        self._streams: dict[bytes, Stream] = {}
        self._remembered: dict[bytes, dict[int, _Remembered]] = {}

    def running(self, peer: bytes) -> Stream | None:
        """The stream to a member."""
        return self._streams.get(peer)

    def known(self, peer: bytes, request: Harp, now: int) -> list[Effect] | None:
        """What a repeated SS-REQ is answered; None: it is new.

        harp.md §2.1: "A repeated SS-REQ whose stream runs is ignored."
        """
        stream = self._streams.get(peer)
        if stream and stream.sequence == request.sequence:
            return []
        old = self._remembered.get(peer, {}).get(request.sequence)
        if old is None or old.until <= now:
            return None
        return [SendHarp(peer, old.refusal)] if old.refusal else []

    def refuse(self, peer: bytes, request: Harp, status: Status, now: int) -> list[Effect]:
        """Nothing is to be applied."""
        message = self._refusal(request.sequence, status)
        self._remember(peer, request.sequence, message, now)
        return [SendHarp(peer, message)]

    def _refusal(self, sequence: int, status: Status) -> Harp:
        return Harp(HarpType.SS_REP, self._config.group, sequence, status=status, index=1)

    def answer(
        self, peer: bytes, request: Harp, position: SyncPosition, source: Source, now: int
    ) -> list[Effect]:
        """Starts a stream; one that runs to the same member ends."""
        self.abort(peer, now)
        stream = Stream(self._config, self._packer, request, position, source, now)
        self._streams[peer] = stream
        return stream.pump(peer, now)

    def acknowledged(self, peer: bytes, message: Harp, now: int) -> list[Effect] | None:
        """An SS-ACK with an Index; None: it fits nothing."""
        stream = self._streams.get(peer)
        if stream is None or stream.sequence != message.sequence:
            return None
        if not stream.acknowledged(message.index, now):
            return None
        if stream.complete:
            self.abort(peer, now)
            return []
        return stream.pump(peer, now)

    def abort(self, peer: bytes, now: int) -> None:
        """Ends the stream to a member who wants no more of it, if one runs; its number stays
        used."""
        stream = self._streams.pop(peer, None)
        if stream:
            self._remember(peer, stream.sequence, None, now)

    def break_off(self, peer: bytes, now: int) -> None:
        """Ends the stream to a member who may wait for it: who asks once more is refused, and
        begins anew; unanswered it would wait for HARELIABILITY_TIMEOUT."""
        stream = self._streams.pop(peer, None)
        if stream:
            refusal = self._refusal(stream.sequence, Status.UNSPECIFIED)
            self._remember(peer, stream.sequence, refusal, now)

    def break_off_all(self, now: int) -> None:
        """A role change: every stream ends."""
        for peer in list(self._streams):
            self.break_off(peer, now)

    def forget(self, peer: bytes) -> None:
        """harp.md §2.1: "forgotten ... at a newer Restart Counter of the asker"."""
        self._streams.pop(peer, None)
        self._remembered.pop(peer, None)

    def _remember(self, peer: bytes, sequence: int, refusal: Harp | None, now: int) -> None:
        """Until HARELIABILITY_TIMEOUT."""
        replies = self._remembered.setdefault(peer, {})
        for old in [number for number, reply in replies.items() if reply.until <= now]:
            del replies[old]
        while len(replies) >= REMEMBERED_REPLIES:
            del replies[next(iter(replies))]
        replies[sequence] = _Remembered(now + self._config.reliability_timeout_us, refusal)

    def expire(self, now: int) -> list[Effect]:
        """Repeats; ends streams that nobody acknowledges."""
        effects: list[Effect] = []
        for peer, stream in list(self._streams.items()):
            more = stream.expire(peer, now)
            if more is None:
                self.break_off(peer, now)
            else:
                effects += more
        return effects

    @property
    def deadline(self) -> int | None:
        """The earliest repetition, µs."""
        if not self._streams:
            return None
        return min((stream.deadline for stream in self._streams.values()), default=None)
