"""The active's log: numbered messages to every standby, repeated until acknowledged.

Ref: harp.md §6 (log, retransmission), §2.1 (Sequence #, Index), §8 (MAX_UPDATE_RATE)

One `Lane` a standby: a cumulative acknowledgement and go-back-N. The messages are the same to all
and kept, at most `log_window_messages`, so that a standby that was away resumes where it was.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from harp.engine.batch import PLAIN_OCTETS, Packed, Packer
from harp.engine.config import GroupConfig
from harp.engine.effects import Effect, SendHarp
from harp.engine.entries import Change
from harp.engine.repeat import UNLIMITED_REPETITIONS, wait_before
from harp.tables.harp_types import LOG_INDEX, SEQUENCE_MODULUS, HarpFlag, HarpType
from harp.wire.maker import maker
from harp.wire.messages import CacheDigest, Harp, SyncPosition
from harp.wire.sequence import log_sequence

_make_position = maker(SyncPosition)

RESEND_MESSAGES = 16
"""Sent again at once after a loss; the rest follows acknowledgements."""
ROUND_TRIPS = 2
"""harp.md §6: SS_REP_TIMER or "2 x measured round trip"."""


class Lane:
    """How far one standby is in the log of this term."""

    def __init__(self, position: int, window: int, now: int) -> None:
        self.acked = position
        """All up to it need not be sent: applied there, or covered by a stream."""
        self.sent = position
        """Last message sent, or about to be sent again."""
        self.reached = position
        """Last message ever sent."""
        self.window = window
        """How far `sent` may be ahead of `acked`."""
        self.repetition = 0
        """How often the oldest unacknowledged message was repeated."""
        self.since = now
        """When something began to be owed, or the last progress; µs."""
        self.due: int | None = None
        """When to repeat, µs; None: nothing is owed, or given up."""
        self.given_up = False
        """Nothing is repeated until it acknowledges anything again."""
        self.lost = False
        """Given up, or behind what is kept, and not caught up since."""
        self.recover = position
        """`window` is the whole again when all up to here is acknowledged."""
        self.gap_at = -1
        """`acked` when a gap was last reported and answered."""
        self.probe: tuple[int, int] | None = None
        """A message sent just once, and when: its acknowledgement measures the round trip."""
        self.round_trip_us = 0
        """Last measured; 0: never."""

    def back(self) -> None:
        """The oldest unacknowledged one is sent again, and the first of those behind it."""
        self.sent = self.acked
        self.recover = self.reached
        self.window = RESEND_MESSAGES
        self.repetition += 1
        self.probe = self.due = None


class ReplicatedLog:
    """Messages of the current term, and a lane for every standby that is sent them."""

    def __init__(self, config: GroupConfig, packer: Packer) -> None:
        self._config = config
        self._group = config.group
        self._sync = config.sync
        self._packer = packer
        self.term = 0
        self.position = 0
        """Of the last message; 0: none yet."""
        self.digest = CacheDigest(0, 0)
        """Of the store at `position`."""
        self._messages: deque[Packed] = deque()
        self._batch: list[Change] = []
        self._room = packer.room_octets
        self._lanes: dict[bytes, Lane] = {}

    def begin(self, term: int, digest: CacheDigest) -> None:
        """A new term: nothing in the log, nobody listens."""
        self.term, self.position, self.digest = term, 0, digest
        self._messages.clear()
        self._batch.clear()
        self._room = self._packer.room_octets
        self._lanes.clear()

    @property
    def batched(self) -> bool:
        """Changes wait for `flush`."""
        return bool(self._batch)

    @property
    def full(self) -> bool:
        """Not even a plain binding fits into the batch."""
        return self._room < PLAIN_OCTETS

    @property
    def here(self) -> SyncPosition:
        """Position of the last message."""
        return _make_position(self.term, self.position)

    @property
    def lanes(self) -> dict[bytes, Lane]:
        """By standby."""
        return self._lanes

    @property
    def first(self) -> int:
        """Position of the oldest message kept; one more than `position` if none is."""
        return self.position - len(self._messages) + 1

    def add(self, changes: Sequence[Change], octets: int) -> bool:
        """Puts changes into the batch; False, and nothing done, if it has no room: `flush`
        first."""
        if self._batch and octets > self._room:
            return False
        self._batch += changes
        self._room -= octets
        return True

    def flush(self, digest: CacheDigest, now: int) -> list[Effect]:
        """Ends the batch: one more log message, sent to all; `digest`: of the store with it."""
        self.position += 1
        self.digest = digest
        message = Harp(
            HarpType.SS_REP,
            self._group,
            log_sequence(self.position),
            flags=HarpFlag.R,
            index=LOG_INDEX,
            options=(self.here,),
        )
        self._messages.append(self._packer.pack(message, self._batch))
        if len(self._messages) > self._sync.log_window_messages:
            self._messages.popleft()
        self._batch = []
        self._room = self._packer.room_octets
        effects: list[Effect] = []
        for peer, lane in self._lanes.items():
            self._pump(peer, lane, now, effects)
        return effects

    def attach(self, peer: bytes, position: int, now: int) -> list[Effect]:
        """A standby is sent all behind `position`; what is kept no longer it cannot get."""
        lane = Lane(max(position, self.first - 1), self._sync.log_window_messages, now)
        lane.lost = position < lane.acked
        self._lanes[peer] = lane
        effects: list[Effect] = []
        self._pump(peer, lane, now, effects)
        return effects

    def detach(self, peer: bytes) -> None:
        """Nothing is sent to it any more."""
        self._lanes.pop(peer, None)

    def acknowledged(
        self, peer: bytes, sequence: int, position: SyncPosition, now: int
    ) -> list[Effect] | None:
        """An SS-ACK for the message `sequence`: all up to `position` is applied there. None, and
        nothing done: it fits nothing sent."""
        lane = self._lanes.get(peer)
        if lane is None or position.term > self.term:
            return None
        upto = position.position if position.term == self.term else 0
        if upto > lane.reached:
            return None
        if upto < lane.acked:
            return []  # overtaken by a later one
        if lane.given_up:
            lane.given_up = False
            lane.since = now
            lane.back()
        if upto > lane.acked:
            self._advance(lane, upto, now)
        ahead = (sequence - log_sequence(upto)) % SEQUENCE_MODULUS
        if 0 < ahead <= lane.reached - upto:
            self._gap(lane, now)
        effects: list[Effect] = []
        self._pump(peer, lane, now, effects)
        return effects

    def _advance(self, lane: Lane, upto: int, now: int) -> None:
        if lane.probe and upto >= lane.probe[0]:
            lane.round_trip_us, lane.probe = now - lane.probe[1], None
        lane.acked, lane.sent = upto, max(lane.sent, upto)
        lane.repetition, lane.since = 0, now
        lane.due = None
        if upto >= lane.recover:
            lane.window = self._sync.log_window_messages
        if upto == self.position:
            lane.lost = False

    def _gap(self, lane: Lane, now: int) -> None:
        """harp.md §6: "at a gap it is sent at once and the active resends from there"; once for
        each gap, within the free repetitions."""
        if lane.gap_at != lane.acked and lane.repetition < UNLIMITED_REPETITIONS:
            lane.gap_at = lane.acked
            lane.back()

    def _pump(self, peer: bytes, lane: Lane, now: int, effects: list[Effect]) -> None:
        """Sends what the window allows."""
        offset = self.first
        if lane.sent == lane.acked == lane.reached:
            lane.since = now
        if lane.sent < offset - 1:  # kept no longer: the standby will find the gap
            lane.sent = lane.acked = offset - 1
            lane.lost = True
        while lane.sent < self.position and lane.sent - lane.acked < lane.window:
            lane.sent += 1
            if lane.sent > lane.reached:
                lane.reached = lane.sent
                if lane.probe is None:
                    lane.probe = (lane.sent, now)
            message, block = self._messages[lane.sent - offset]
            effects.append(SendHarp(peer, message, block))
        if lane.due is None and lane.acked < lane.sent and not lane.given_up:
            lane.due = now + self._wait(lane)

    def _wait(self, lane: Lane) -> int:
        first = max(self._sync.ss_rep_timer_us, ROUND_TRIPS * lane.round_trip_us)
        most = self._sync.ss_rep_timer_max_us
        return wait_before(lane.repetition + 1, min(first, most), most)

    def expire(self, now: int) -> list[Effect]:
        """Repeats what is unacknowledged for too long; gives up after HARELIABILITY_TIMEOUT."""
        effects: list[Effect] = []
        for peer, lane in self._lanes.items():
            if lane.due is None or lane.due > now:
                continue
            if now - lane.since >= self._config.reliability_timeout_us:
                lane.due = None  # harp.md §6: "then ... counts as unsynchronised for durability"
                lane.given_up = lane.lost = True
            else:
                lane.back()
                self._pump(peer, lane, now, effects)
        return effects

    @property
    def deadline(self) -> int | None:
        """The earliest repetition, µs."""
        first: int | None = None
        for lane in self._lanes.values():
            if lane.due is not None and (first is None or lane.due < first):
                first = lane.due
        return first
