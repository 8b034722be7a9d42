"""A device by hand: registers read and written one after the other, waiting for each answer.

For tools and tests; the daemon has `driver`. Ref: offload.md §6
"""

from __future__ import annotations

import random
import select
import threading
import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Protocol

from harp.offload.device import Identity
from harp.offload.port import PortFailed
from harp.offload.programs import IDENTITY, MAX_WORDS, Program, Words, identity_of
from harp.offload.registers import fields_of, words_of
from harp.offload.session import Answered, Ask, Occurred, Output, Over, Send, Session, Urgency
from harp.tables.link import BAUD, LinkOp, LinkStatus
from harp.tables.registers import BY_NAME, MAGIC, MAP_VERSION

IDLE_S = 0.0002
"""Between looks at a port that has no descriptor."""
PATIENCE_S = 0.002
"""Longest wait for octets: less than any wait for an answer."""


class DeviceFailed(Exception):
    """What was asked could not be done; one line."""


class Octets(Protocol):
    """An open port (`harp.offload.port.Port`)."""

    def fileno(self) -> int | None:
        """To wait for; None: it has none."""

    def read(self) -> bytes:
        """What has come."""

    def write(self, octets: bytes) -> None:
        """Sends."""

    def close(self) -> None:
        """Gives it back."""


class Client:
    """One conversation; `events` has those that came meanwhile."""

    def __init__(
        self, port: Octets, baud: int = BAUD, clock: Callable[[], int] | None = None
    ) -> None:
        self.events: list[tuple[int, Occurred]] = []
        """Time of arrival, µs, and event."""
        self._port = port
        self._clock = clock or _monotonic_us
        self._session = Session(random.randrange(1 << 16), baud)
        self._answers: dict[int, Answered] = {}
        self._over = ""

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._port.close()

    @property
    def now_us(self) -> int:
        """The clock that events are stamped with."""
        return self._clock()

    @property
    def round_trip_us(self) -> int | None:
        """Smoothed, without the line's own time."""
        return self._session.round_trip_us

    def identify(self) -> Identity:
        """Raises DeviceFailed if this is no offload whose map is known."""
        try:
            magic, version = self.ask(Ask(LinkOp.READ, 0, 2))
        except DeviceFailed as error:
            noise = self._session.deframer.bad_frames
            what = f"noise ({noise} frames): wrong baud rate or device?" if noise else str(error)
            raise DeviceFailed(f"no offload answers: {what}") from None
        if magic != MAGIC:
            raise DeviceFailed(f"another device answers: magic {magic:#010x}")
        if version != MAP_VERSION:
            raise DeviceFailed(f"register map version {version}; this host knows {MAP_VERSION}")
        return identity_of(self.ask(Ask(LinkOp.READ, 0, IDENTITY)))

    def read(self, name: str, index: int = 0) -> dict[str, int]:
        """Every field of an element. Raises DeviceFailed."""
        register = BY_NAME[name]
        words: Words = ()
        for at in range(0, register.words, MAX_WORDS):
            count = min(MAX_WORDS, register.words - at)
            words += self.ask(Ask(LinkOp.READ, register.address(index) + at, count))
        return fields_of(name, words)

    def write(self, name: str, index: int = 0, **fields: int) -> None:
        """A whole element; fields that are not named get their reset value."""
        self.write_words(BY_NAME[name].address(index), words_of(name, index, **fields))

    def write_words(self, address: int, words: Sequence[int]) -> None:
        """Words upwards from an address."""
        self.ask(Ask(LinkOp.WRITE, address, len(words), tuple(words)))

    def kick(self) -> dict[str, int]:
        """Renews the lease; the slots' sequences."""
        answer = BY_NAME["kick_answer"]
        ask = Ask(LinkOp.KICK, answer.offset, answer.words, (), Urgency.KICK)
        return fields_of(answer.name, self.ask(ask))

    def run(self, program: Program) -> None:
        """A program of `harp.offload.programs`."""
        words: Words | None = None
        try:
            while True:
                words = self.ask(next(program) if words is None else program.send(words))
        except StopIteration:
            return

    def ask(self, ask: Ask) -> Words:
        """The words that were read. Raises DeviceFailed."""
        token = self._session.ask(ask)
        self._take(self._session.pump(self._clock()))
        while token not in self._answers:
            if self._over:
                raise DeviceFailed(self._over)
            self._turn()
        answer = self._answers.pop(token)
        if answer.status is not LinkStatus.OK:
            raise DeviceFailed(f"word {ask.address:#06x}: {answer.status.name.lower()}")
        return answer.words

    def wait(self, us: int, until: Callable[[], bool] = lambda: False) -> bool:
        """Lets events come for so long; whether that became true."""
        end = self._clock() + us
        while not until():
            if self._clock() >= end:
                return False
            self._turn()
        return True

    def _turn(self) -> None:
        try:
            octets = self._port.read()
        except PortFailed as error:
            raise DeviceFailed(str(error)) from None
        now = self._clock()
        if octets:
            self._take(self._session.receive(octets, now))
        self._take(self._session.expire(now))
        if not octets:
            self._idle()

    def _idle(self) -> None:
        descriptor = self._port.fileno()
        if descriptor is None:
            threading.Event().wait(IDLE_S)
        else:
            select.select([descriptor], [], [], PATIENCE_S)

    def _take(self, outputs: list[Output]) -> None:
        for output in outputs:
            match output:
                case Send(octets):
                    try:
                        self._port.write(octets)
                    except PortFailed as error:
                        raise DeviceFailed(str(error)) from None
                case Answered():
                    self._answers[output.token] = output
                case Occurred():
                    self.events.append((self._clock(), output))
                case Over(reason):
                    self._over = reason


def _monotonic_us() -> int:
    return time.monotonic_ns() // 1000
