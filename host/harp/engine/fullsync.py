"""SS-REQ and the stream that answers it, from the asker's side.

Ref: harp.md §2.1 (SS-REQ, SS-REP, SS-ACK), §6 (full sync), §8 (backoff)

An `Exchange` knows which messages of the answer have come and whether it is complete; what is in
them its owner applies: a full sync (`replica`) or the state of a member ahead (`reconcile`). What
each phase does about each message and timer stands in `fullsync_table.TABLE`.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Any

from harp.engine.config import UNSPECIFIED, GroupConfig
from harp.engine.effects import Effect, SendHarp
from harp.engine.fullsync_table import TABLE, Happening, Phase
from harp.tables.constants import BACKOFF_FACTOR
from harp.tables.harp_types import SEQUENCE_MODULUS, STATUS_REFUSED, HarpFlag, HarpType, Status
from harp.wire.messages import AddressKind, Harp, IpAddress, Options, SyncPosition
from harp.wire.sequence import next_harp_sequence

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

AHEAD_MESSAGES = 4_096
"""Messages of an answer beyond the oldest missing one that are taken: bounds what is noted."""

ALL: Options = (IpAddress(AddressKind.HOME, UNSPECIFIED),)
"""harp.md §2.1: "`::` = all"."""


def all_since(base: SyncPosition) -> Options:
    """Asks for all that changed after `base`."""
    return (*ALL, base)


def single(home_addresses: list[bytes]) -> Options:
    """Asks for some home addresses."""
    return tuple(IpAddress(AddressKind.HOME, address) for address in home_addresses)


def find_position(message: Harp) -> SyncPosition | None:
    """The Sync Position of a message."""
    for option in message.options:
        if type(option) is SyncPosition:
            return option
    return None


def index_of(serial: int) -> int:
    """Index of an answer's `serial`-th message: harp.md §2.1, "from 1, after 65535 comes 1"."""
    return (serial - 1) % SEQUENCE_MODULUS + 1


def serial_of(index: int, oldest: int) -> int:
    """The first serial from `oldest` on that has this Index."""
    return oldest + (index - index_of(oldest)) % SEQUENCE_MODULUS


class Arrival(Enum):
    """What a message of the answer is."""

    NEW = "new"
    """Apply and acknowledge it."""
    AGAIN = "again"
    """Only acknowledge it."""
    USELESS = "useless"
    """Do neither: it comes again when it can be used."""


class Exchange:
    """One SS-REQ to one member, until its answer is complete or given up."""

    def __init__(
        self, config: GroupConfig, peer: bytes, sequence: int, options: Options, now: int
    ) -> None:
        self.peer = peer
        self.sequence = sequence
        """Names the exchange."""
        self.phase = Phase.ASKED
        self._allowed: tuple[Phase, ...] = ()
        """Where the row at hand may lead to."""
        self.position: SyncPosition | None = None
        """Where the request was taken, from the first message."""
        self.status = int(Status.SUCCESS)
        """Of a refusal."""
        self._config = config
        self._options = options
        self._end = now + config.sync.sync_timeout_us
        self._heard = now
        self._wait = config.sync.ss_req_timer_us
        self._due = now + self._wait
        self._oldest = 1
        """Serial of the oldest message that is missing."""
        self._beyond: set[int] = set()
        """Serials behind it that came."""
        self._last: int | None = None
        """Serial of the message without M."""

    def ask(self) -> Effect:
        """The SS-REQ; the same again when repeated."""
        message = Harp(HarpType.SS_REQ, self._config.group, self.sequence, options=self._options)
        return SendHarp(self.peer, message)

    @property
    def ended(self) -> bool:
        """Nothing more is expected."""
        return self.phase not in (Phase.ASKED, Phase.STREAMING)

    def arrived(self, message: Harp, now: int) -> Arrival:
        """Judges an SS-REP with this exchange's number."""
        arrival: Arrival = self._handler(self._judge(message))(message, now)
        return arrival

    def _judge(self, message: Harp) -> Happening:
        """What a message is to this exchange."""
        if message.status >= STATUS_REFUSED:
            return Happening.REFUSAL
        position = find_position(message)
        if position is not None and self.position not in (None, position):
            return Happening.OTHER_ANSWER
        serial = serial_of(message.index, self._oldest)
        if serial - self._oldest >= AHEAD_MESSAGES:
            return Happening.OUTSIDE
        if self.position is None and (serial != 1 or position is None):
            return Happening.UNPLACED
        return Happening.AGAIN if serial in self._beyond else Happening.NEW

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

    def _ignore(self, message: Harp, now: int) -> Arrival:
        return Arrival.USELESS

    def _refuse(self, message: Harp, now: int) -> Arrival:
        """There will be no answer."""
        self._turn(Phase.REFUSED)
        self.status = message.status
        return Arrival.USELESS

    def _refuse_late(self, message: Harp, now: int) -> Arrival:
        """The answer was broken off, if the SS-REQ was repeated since anything came of it; else the
        refusal is an old one, overtaken by the answer."""
        if self._wait == self._config.sync.ss_req_timer_us:
            return Arrival.USELESS
        return self._refuse(message, now)

    def _break_off(self, message: Harp, now: int) -> Arrival:
        """Another answer under the same number."""
        self._turn(Phase.FAILED)
        return Arrival.USELESS

    def _skip(self, message: Harp, now: int) -> Arrival:
        """It came long ago: no sign that the answer goes on."""
        return Arrival.AGAIN

    def _again(self, message: Harp, now: int) -> Arrival:
        """It came before."""
        self._wait_anew(now)
        return Arrival.AGAIN

    def _take(self, message: Harp, now: int) -> Arrival:
        """A missing one; the first tells where the request was taken."""
        self._wait_anew(now)
        if self.position is None:
            self.position = find_position(message)
        serial = serial_of(message.index, self._oldest)
        if not message.flags & HarpFlag.M:
            self._last = serial
        self._beyond.add(serial)
        while self._oldest in self._beyond:
            self._beyond.remove(self._oldest)
            self._oldest += 1
        if self._last is not None and self._oldest > self._last:
            self._turn(Phase.COMPLETE)
        elif self.phase is Phase.ASKED:
            self._turn(Phase.STREAMING)
        return Arrival.NEW

    def _wait_anew(self, now: int) -> None:
        """harp.md §2.1: the timer "restarts with each SS-REP"."""
        self._heard, self._wait = now, self._config.sync.ss_req_timer_us
        self._due = now + self._wait

    @property
    def deadline(self) -> int | None:
        """When to repeat or to give up, µs."""
        return None if self.ended else min(self._due, self._end)

    def expire(self, now: int) -> list[Effect]:
        """Repeats the SS-REQ; gives up when nothing was heard for HARELIABILITY_TIMEOUT, or at
        the end of `sync_timeout`."""
        if now < min(self._due, self._end):
            return []
        happening = Happening.LATE
        if now >= self._end:
            happening = Happening.TIME_OVER
        elif now - self._heard >= self._config.reliability_timeout_us:
            happening = Happening.SILENT
        effects: list[Effect] = self._handler(happening)(now)
        return effects

    def _rest(self, now: int) -> list[Effect]:
        return []

    def _repeat(self, now: int) -> list[Effect]:
        """The SS-REQ once more, with backoff."""
        self._wait *= BACKOFF_FACTOR
        self._due = min(now + self._wait, self._heard + self._config.reliability_timeout_us)
        return [self.ask()]

    def _give_up(self, now: int) -> list[Effect]:
        """No more of the answer is expected."""
        self._turn(Phase.FAILED)
        return []


class Asker:
    """Starts exchanges and remembers those that are over: their messages may come again."""

    def __init__(self, config: GroupConfig, rng: Random) -> None:
        self._config = config
        self._number = rng.randrange(SEQUENCE_MODULUS)  # harp.md §2.1: "start at random"
        self._open: dict[tuple[bytes, int], Exchange] = {}
        self._closed: dict[tuple[bytes, int], tuple[int, Status]] = {}

    def ask(self, peer: bytes, options: Options, now: int) -> tuple[Exchange, Effect]:
        """A new exchange, and its SS-REQ."""
        self._number = next_harp_sequence(self._number)
        exchange = Exchange(self._config, peer, self._number, options, now)
        self._open[peer, self._number] = exchange
        return exchange, exchange.ask()

    def find(self, peer: bytes, reply: Harp) -> Exchange | None:
        """The exchange that an SS-REP answers."""
        return self._open.get((peer, reply.sequence))

    def close(self, exchange: Exchange, now: int) -> None:
        """It is over, whatever its phase; remembered for HARELIABILITY_TIMEOUT."""
        for key in [key for key, (until, _) in self._closed.items() if until <= now]:
            del self._closed[key]
        key = (exchange.peer, exchange.sequence)
        del self._open[key]
        complete = exchange.phase is Phase.COMPLETE
        status = Status.SUCCESS if complete else Status.UNSPECIFIED
        self._closed[key] = now + self._config.reliability_timeout_us, status

    def late(self, peer: bytes, reply: Harp, now: int) -> Effect | None:
        """Acknowledges a message of an exchange that is over: of a complete one as before, of
        another so that the stream ends. None: of no exchange known."""
        until, status = self._closed.get((peer, reply.sequence), (now, Status.SUCCESS))
        return acknowledgement(self._config, peer, reply, status) if until > now else None

    def expire(self, now: int) -> list[Effect]:
        """Repeats SS-REQs."""
        return [effect for each in self._open.values() for effect in each.expire(now)]

    @property
    def deadline(self) -> int | None:
        """The earliest repetition or end, µs."""
        if not self._open:
            return None
        return min(
            (due for each in self._open.values() if (due := each.deadline) is not None),
            default=None,
        )


def acknowledgement(
    config: GroupConfig,
    peer: bytes,
    reply: Harp,
    status: Status = Status.SUCCESS,
    options: Options = (),
) -> Effect:
    """The SS-ACK of an SS-REP: harp.md §2.1, "repeats Sequence # and Index"."""
    message = Harp(
        HarpType.SS_ACK,
        config.group,
        reply.sequence,
        status=status,
        index=reply.index,
        options=options,
    )
    return SendHarp(peer, message)
