"""Recorded sessions, and a device that plays one back. Sans-IO.

A recording is text, one message a line: µs since its start, `>` (to the device) or `<`, and the
frame in hexadecimal; `#` begins a comment. What is played back is what was answered to the same
request then, in order; the last answer again when there is no other; events come at their time,
again until acknowledged. So a recorded board can be put before any host, whatever numbers its
requests have.

Ref: offload.md §6
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import TypeAlias

from harp.offload.frames import Answer, Deframer, Message, Pushed, Request, encode
from harp.offload.registers import fields_of
from harp.tables.link import LinkOp, LinkStatus
from harp.tables.offload import EVENT_REPEAT_US
from harp.tables.registers import BY_NAME

_ACK = BY_NAME["event_ack"].offset
_Key: TypeAlias = tuple[int, int, int, tuple[int, ...]]


class BadRecording(ValueError):
    """A line that is none; one line."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One message of a recording."""

    at_us: int
    """Since its start."""
    message: Message


class Recorder:
    """Turns the octets of both directions into lines; noise is left out."""

    def __init__(self, now: int) -> None:
        self._start = now
        self._there, self._back = Deframer(), Deframer()

    def sent(self, octets: bytes, now: int) -> list[str]:
        """Lines of what went to the device."""
        return [self._line(m, ">", now) for m in self._there.feed(octets)]

    def received(self, octets: bytes, now: int) -> list[str]:
        """Lines of what came from it."""
        return [self._line(m, "<", now) for m in self._back.feed(octets)]

    def _line(self, message: Message, way: str, now: int) -> str:
        return f"{now - self._start} {way} {encode(message).hex()}"


def parse(lines: Iterable[str]) -> Iterator[Entry]:
    """The messages of a recording. Raises BadRecording."""
    for number, line in enumerate(lines, 1):
        text = line.partition("#")[0].split()
        if not text:
            continue
        try:
            at, way, octets = text
            messages = Deframer().feed(bytes.fromhex(octets))
            if way not in "<>" or len(messages) != 1 or int(at) < 0:
                raise ValueError
        except ValueError:
            raise BadRecording(f"line {number}: {line.strip()[:60]!r} is no message") from None
        yield Entry(int(at), messages[0])


def _key(request: Request) -> _Key:
    return request.op, request.address, request.count, request.words


class ReplayDevice:
    """The device's end of a recorded session."""

    def __init__(self, recording: Iterable[Entry]) -> None:
        self.unknown = 0
        """Requests that the recording has no answer to: refused."""
        self._answers: dict[_Key, deque[Answer]] = defaultdict(deque)
        self._events: list[tuple[int, Pushed]] = []
        self._start: int | None = None
        self._acked: set[tuple[int, int]] = set()
        self._deframer = Deframer()
        self._last: tuple[Request, bytes] | None = None
        asked: dict[int, Request] = {}
        for entry in recording:
            match entry.message:
                case Request() as request:
                    asked[request.number] = request
                case Answer() as answer if answer.number in asked:
                    self._answers[_key(asked.pop(answer.number))].append(answer)
                case Pushed() as push:
                    self._note(entry.at_us, push)
                case _:
                    pass

    def _note(self, at_us: int, push: Pushed) -> None:
        """Each event once, at its first time."""
        if all(push != known for _, known in self._events):
            self._events.append((at_us, push))

    @property
    def deadline(self) -> int | None:
        """When the next event is due, caller's µs; None: before the first octet, or no more."""
        due = [at for at, push in self._events if (push.id, push.first_us) not in self._acked]
        return None if self._start is None or not due else self._start + min(due)

    def receive(self, octets: bytes, now: int) -> bytes:
        """Octets of the host in, answers and events that are due out."""
        if self._start is None and octets:
            self._start = now
        answers = b""
        for message in self._deframer.feed(octets):
            if isinstance(message, Request):
                answers += self._answer(message)
        return answers + self._due(now)

    def _answer(self, request: Request) -> bytes:
        if self._last is not None and self._last[0] == request:
            return self._last[1]
        if request.address == _ACK and request.op == LinkOp.WRITE:
            self._acknowledge(request)
            answer = Answer(request.op, request.number, LinkStatus.OK)
        else:
            answer = self._recorded(request)
        frame = encode(answer)
        self._last = request, frame
        return frame

    def _recorded(self, request: Request) -> Answer:
        known = self._answers.get(_key(request))
        if known:
            answer = known.popleft() if len(known) > 1 else known[0]
            return replace(answer, number=request.number)
        self.unknown += 1
        words = () if request.op == LinkOp.WRITE else (0,) * request.count
        return Answer(request.op, request.number, LinkStatus.REFUSED, words)

    def _acknowledge(self, request: Request) -> None:
        ack = fields_of("event_ack", request.words)
        for _, push in self._events:
            if (push.id, push.count) == (ack["id"], ack["count"]):
                self._acked.add((push.id, push.first_us))

    def _due(self, now: int) -> bytes:
        if self._start is None:
            return b""
        frames = b""
        for n, (at, push) in enumerate(self._events):
            if self._start + at <= now and (push.id, push.first_us) not in self._acked:
                frames += encode(push)
                self._events[n] = (now - self._start + EVENT_REPEAT_US, push)
        return frames
