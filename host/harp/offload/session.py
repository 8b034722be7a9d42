"""One conversation with a device over the serial link: requests, repeats, events. Sans-IO.

Ref: offload.md §5 (events), §6 (serial link); RFC 6298 §2, §3, §5.5 to §5.7 (round trips, Karn's
rule, waits that stay long until a round trip was measured again)

One request is under way at a time; it is repeated, octet for octet, until its answer comes or
`TRIES` were in vain: then the conversation is over. The device does a repeated number once.

Events come unasked, again and again until acknowledged. An acknowledgement is a request like any
other, so that it is done once: a stale copy of it can never clear a later event of the same kind.
Of one event the last count alone is acknowledged (another clears nothing), and between two
acknowledgements a command has its turn: events that come faster than they are answered keep nothing
else waiting.
"""

from __future__ import annotations

import heapq
import itertools
from dataclasses import dataclass
from enum import IntEnum
from typing import TypeAlias

from harp.offload.frames import Answer, Deframer, Pushed, Request, encode
from harp.tables.constants import US_PER_MS, US_PER_S
from harp.tables.link import (
    ANSWER_HEAD,
    ANSWER_TAIL,
    BITS_AN_OCTET,
    CRC_OCTETS,
    MAX_MESSAGE_OCTETS,
    WORD_OCTETS,
    LinkOp,
    LinkStatus,
    octets_of,
)
from harp.tables.offload import EVENT_KINDS, EVENT_REPEAT_US, EVENT_STRIDE, EventKind
from harp.tables.registers import BY_NAME

TRIES = 8
"""Sendings of one request; then the device counts as gone."""
FIRST_WAIT_US = 40 * US_PER_MS
"""Wait for an answer before a round trip was measured: an FTDI adapter holds octets for 16 ms."""
MIN_WAIT_US = 5 * US_PER_MS
MAX_WAIT_US = 100 * US_PER_MS
BACKOFF_LIMIT = 4
"""Waits double up to this many times the first."""
STALE_US = 5 * EVENT_REPEAT_US
"""A copy of an acknowledged event that comes later was sent behind the acknowledgement: the device
did not take it."""
FRAMING_OCTETS = 4
"""COBS codes and delimiters of a frame, at most."""
_RESET = EVENT_KINDS.index(EventKind.RESET)
_ACK = BY_NAME["event_ack"]


class Urgency(IntEnum):
    """Which request goes first."""

    KICK = 0
    NOW = 1
    """Watchdog, fence, slots: others hear of it."""
    COMMAND = 2
    POLL = 3


@dataclass(frozen=True, slots=True)
class Ask:
    """A request as its asker sees it."""

    op: LinkOp
    address: int
    """First word."""
    count: int
    """Words."""
    words: tuple[int, ...] = ()
    """Of a WRITE."""
    urgency: Urgency = Urgency.COMMAND


@dataclass(frozen=True, slots=True)
class Send:
    """Octets for the line."""

    octets: bytes


@dataclass(frozen=True, slots=True)
class Answered:
    """A request was done, or refused."""

    token: int
    """As `Session.ask` gave it."""
    status: LinkStatus
    words: tuple[int, ...]
    """What was read."""
    sent_us: int
    """When it was sent first, µs: nothing of it happened before."""


@dataclass(frozen=True, slots=True)
class Occurred:
    """An event that was not known yet, or happened again."""

    kind: EventKind
    index: int
    """Port, peer, bucket, or 0."""
    first_us: int
    """Device's time of the first since acknowledged, µs."""
    count: int
    """How often since acknowledged."""


@dataclass(frozen=True, slots=True)
class Over:
    """The conversation has ended: every request that waits has failed."""

    reason: str
    """For people."""


Output: TypeAlias = Send | Answered | Occurred | Over


@dataclass(slots=True)
class _Seen:
    """What the host knows of an event."""

    first_us: int
    count: int
    acked_us: int | None = None
    """When the device said that it has the acknowledgement, µs."""


@dataclass(slots=True)
class _Pending:
    """The request under way."""

    token: int
    request: Request
    frame: bytes
    sent_us: int
    wait_us: int
    due: int
    tries: int = 1
    ack: Pushed | None = None
    """The event that it acknowledges."""


class Session:
    """Requests in, answers and events out. `first_number`: random, so that an answer that is left
    over from another conversation is not taken for one of this."""

    def __init__(self, first_number: int, baud: int) -> None:
        self.round_trip_us: int | None = None
        """Smoothed, without the time that the octets take on the line; None: not measured."""
        self.retries = 0
        """Requests sent again."""
        self.deframer = Deframer()
        self._number = first_number & 0xFFFF
        self._octet_us = BITS_AN_OCTET * US_PER_S / baud
        self._variation_us = 0
        self._backoff = 1
        self._tokens = itertools.count(1)
        self._queue: list[tuple[Urgency, int, Ask]] = []
        self._acks: dict[int, Pushed] = {}
        """Events to acknowledge, by id."""
        self._acked = False
        """The last request was an acknowledgement."""
        self._pending: _Pending | None = None
        self._seen: dict[int, _Seen] = {}
        self._over = False

    @property
    def deadline(self) -> int | None:
        """When to call `expire`, µs."""
        return self._pending.due if self._pending else None

    @property
    def idle(self) -> bool:
        """Nothing under way and nothing waits."""
        return self._pending is None and not self._queue and not self._acks

    def measure_anew(self) -> None:
        """Forgets the round trips so far: of long requests, when short ones are to follow."""
        self.round_trip_us = None

    def ask(self, ask: Ask) -> int:
        """Queues a request; `pump` sends it. The token comes back with its answer."""
        token = next(self._tokens)
        heapq.heappush(self._queue, (ask.urgency, token, ask))
        return token

    def pump(self, now: int) -> list[Output]:
        """Sends the most urgent request, if none is under way."""
        if self._pending or self._over or not (self._queue or self._acks):
            return []
        ack: Pushed | None = None
        if self._ack_is_next:
            ack = self._acks.pop(next(iter(self._acks)))
            token, ask = next(self._tokens), _acknowledgement(ack)
        else:
            _, token, ask = heapq.heappop(self._queue)
        if ack is not None or ask.urgency > Urgency.NOW:
            self._acked = ack is not None
        self._number = (self._number + 1) & 0xFFFF
        request = Request(ask.op, self._number, ask.address, ask.count, ask.words)
        frame = encode(request)
        wait_us = self._wait_us(frame, ask)
        self._pending = _Pending(token, request, frame, now, wait_us, now + wait_us, ack=ack)
        return [Send(frame)]

    @property
    def _ack_is_next(self) -> bool:
        """Kicks and what others hear of go first; all else and acknowledgements take turns, polls
        too: commands wait for the one under way."""
        if not self._acks or not self._queue:
            return bool(self._acks)
        return self._queue[0][0] > Urgency.NOW and not self._acked

    def receive(self, octets: bytes, now: int) -> list[Output]:
        """Octets from the line."""
        outputs: list[Output] = []
        for message in self.deframer.feed(octets):
            match message:
                case Answer():
                    outputs += self._answer(message, now)
                case Pushed():
                    outputs += self._event(message, now)
                case Request():
                    self.deframer.bad_frames += 1  # an echo: host talks to host
        return outputs + self.pump(now)

    def expire(self, now: int) -> list[Output]:
        """Repeats the request under way, or gives up."""
        pending = self._pending
        if pending is None or now < pending.due:
            return self.pump(now)
        if pending.tries >= TRIES:
            return [self.end(f"no answer to {TRIES} tries")]
        self.retries += 1
        self._backoff = min(2 * self._backoff, BACKOFF_LIMIT)
        pending.due = now + pending.wait_us * min(BACKOFF_LIMIT, 1 << pending.tries)
        pending.tries += 1
        return [Send(pending.frame)]

    def end(self, reason: str) -> Over:
        """Nothing more is asked."""
        self._pending, self._over = None, True
        self._queue.clear()
        self._acks.clear()
        return Over(reason)

    def _wait_us(self, frame: bytes, ask: Ask) -> int:
        words = 0 if ask.op is LinkOp.WRITE else ask.count
        answer = octets_of(ANSWER_HEAD + ANSWER_TAIL) + words * WORD_OCTETS
        answer += CRC_OCTETS + FRAMING_OCTETS
        # The device may be in the middle of another message.
        line_us = int((len(frame) + answer + MAX_MESSAGE_OCTETS) * self._octet_us)
        if self.round_trip_us is None:
            return line_us + FIRST_WAIT_US
        wait_us = self._backoff * (self.round_trip_us + 4 * self._variation_us)
        return line_us + min(max(wait_us, MIN_WAIT_US), MAX_WAIT_US)

    def _answer(self, answer: Answer, now: int) -> list[Output]:
        """The one that is waited for; any other is a copy or left over."""
        pending = self._pending
        if pending is None or not _fits(answer, pending.request):
            return []
        self._pending = None
        if pending.tries == 1:  # Karn: of a repeated one it is not known which was answered
            self._measure(now - pending.sent_us, pending, answer)
        if pending.ack is not None:
            self._acknowledged(pending.ack, now)
            return []
        return [Answered(pending.token, answer.status, answer.words, pending.sent_us)]

    def _measure(self, elapsed_us: int, pending: _Pending, answer: Answer) -> None:
        """RFC 6298 §2, of what is not the line's own time."""
        octets = octets_of(ANSWER_HEAD + ANSWER_TAIL) + len(answer.words) * WORD_OCTETS + CRC_OCTETS
        line_us = int((len(pending.frame) + octets + FRAMING_OCTETS) * self._octet_us)
        sample_us = max(0, elapsed_us - line_us)
        self._backoff = 1
        if self.round_trip_us is None:
            self.round_trip_us, self._variation_us = sample_us, sample_us // 2
            return
        off_us = abs(self.round_trip_us - sample_us)
        self._variation_us = (3 * self._variation_us + off_us) // 4
        self.round_trip_us = (7 * self.round_trip_us + sample_us) // 8

    def _event(self, push: Pushed, now: int) -> list[Output]:
        kind, index = divmod(push.id, EVENT_STRIDE)
        if self._over or kind >= len(EVENT_KINDS):
            return []
        seen = self._seen.get(push.id)
        known = seen is not None and seen.first_us == push.first_us and push.count <= seen.count
        if seen is not None and known:
            if seen.acked_us is None or (kind != _RESET and now - seen.acked_us < STALE_US):
                return []  # a copy: the acknowledgement is on its way, or crossed it
            seen.acked_us = None
        else:
            self._seen[push.id] = _Seen(push.first_us, push.count)
        self._acks[push.id] = push
        if known and kind != _RESET:
            return []
        # A reset begins time anew, so a second one looks like a copy of the first.
        return [Occurred(EVENT_KINDS[kind], index, push.first_us, push.count)]

    def _acknowledged(self, push: Pushed, now: int) -> None:
        seen = self._seen[push.id]
        if (seen.first_us, seen.count) == (push.first_us, push.count):
            seen.acked_us = now


def _acknowledgement(push: Pushed) -> Ask:
    words = (push.id << _ACK.field("id").at | push.count << _ACK.field("count").at,)
    return Ask(LinkOp.WRITE, _ACK.offset, 1, words)


def _fits(answer: Answer, request: Request) -> bool:
    """Whether it answers that request."""
    reads = request.op != LinkOp.WRITE and answer.status is not LinkStatus.MALFORMED
    return (
        answer.number == request.number
        and answer.op == request.op
        and len(answer.words) == (request.count if reads else 0)
    )
