"""Messages of the serial link as octets, for either end.

Ref: offload.md §6; `harp.tables.link` (layouts)
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from typing import TypeAlias

from cobs import cobs

from harp.tables.link import (
    ANSWER,
    ANSWER_HEAD,
    ANSWER_TAIL,
    CRC_OCTETS,
    DELIMITER,
    EVENT_HEAD,
    MAX_FRAME_OCTETS,
    MAX_WORDS,
    REQUEST_HEAD,
    WORD_OCTETS,
    LinkField,
    LinkOp,
    LinkStatus,
)

_CODES = {1: "B", 2: "H", 4: "I", 8: "Q"}


def _struct(head: tuple[LinkField, ...]) -> struct.Struct:
    return struct.Struct("<" + "".join(_CODES[field.octets] for field in head))


_REQUEST, _EVENT = _struct(REQUEST_HEAD), _struct(EVENT_HEAD)
_ANSWER, _STATUS = _struct(ANSWER_HEAD), _struct(ANSWER_TAIL)
_SHORTEST = _ANSWER.size + _STATUS.size + CRC_OCTETS
_DELIMITER = bytes((DELIMITER,))


@dataclass(frozen=True, slots=True)
class Request:
    """From the host. The op is a number: a device must answer those that it does not know."""

    op: int
    """`LinkOp`."""
    number: int
    """16 bits."""
    address: int
    """First word in the register map."""
    count: int
    """Words to read or write."""
    words: tuple[int, ...] = ()
    """32 bits each; of a WRITE as many as `count`."""

    @property
    def well_formed(self) -> bool:
        """Whether a device does it; else it answers MALFORMED."""
        if self.op not in (LinkOp.READ, LinkOp.WRITE, LinkOp.KICK):
            return False
        wanted = self.count if self.op == LinkOp.WRITE else 0
        return 1 <= self.count <= MAX_WORDS and len(self.words) == wanted


@dataclass(frozen=True, slots=True)
class Answer:
    """From the device, one for each request that arrived whole."""

    op: int
    """Of the request."""
    number: int
    """Of the request."""
    status: LinkStatus
    """How it ended."""
    words: tuple[int, ...] = ()
    """What was read."""


@dataclass(frozen=True, slots=True)
class Pushed:
    """From the device, unasked: a pending event, again and again until it is acknowledged."""

    id: int
    """Code of its kind x EVENT_STRIDE + index."""
    count: int
    """How often since it was acknowledged."""
    first_us: int
    """When it happened first since then, device's µs."""


Message: TypeAlias = Request | Answer | Pushed


def encode(message: Message) -> bytes:
    """The message as a frame, delimiters on both sides. Raises struct.error for a number that does
    not fit its field."""
    match message:
        case Request():
            head = _REQUEST.pack(message.op, message.number, message.address, message.count)
            body = head + _packed(message.words)
        case Answer():
            head = _ANSWER.pack(message.op | ANSWER, message.number)
            body = head + _packed(message.words) + _STATUS.pack(message.status)
        case Pushed():
            body = _EVENT.pack(LinkOp.EVENT, message.id, message.count, message.first_us)
    body += zlib.crc32(body).to_bytes(CRC_OCTETS, "little")
    coded: bytes = cobs.encode(body)
    return _DELIMITER + coded + _DELIMITER


def decode(frame: bytes) -> Message | None:
    """The message of what stood between two delimiters; None: COBS, CRC or layout is wrong."""
    try:
        octets = cobs.decode(frame)
    except cobs.DecodeError:
        return None
    body, crc = octets[:-CRC_OCTETS], octets[-CRC_OCTETS:]
    if len(octets) < _SHORTEST or int.from_bytes(crc, "little") != zlib.crc32(body):
        return None
    if body[0] & ANSWER:
        return _answer(body)
    if body[0] == LinkOp.EVENT:
        return Pushed(*_EVENT.unpack(body)[1:]) if len(body) == _EVENT.size else None
    words = _unpacked(body[_REQUEST.size :])
    if words is None or len(body) < _REQUEST.size:
        return None
    op, number, address, count = _REQUEST.unpack_from(body)
    return Request(op, number, address, count, words)


def _answer(body: bytes) -> Answer | None:
    words = _unpacked(body[_ANSWER.size : -_STATUS.size])
    op, number = _ANSWER.unpack_from(body)
    (status,) = _STATUS.unpack(body[-_STATUS.size :])
    if words is None or status not in tuple(LinkStatus):
        return None
    return Answer(op & ~ANSWER, number, LinkStatus(status), words)


def _packed(words: tuple[int, ...]) -> bytes:
    return struct.pack(f"<{len(words)}I", *words)


def _unpacked(octets: bytes) -> tuple[int, ...] | None:
    if len(octets) % WORD_OCTETS:
        return None
    return struct.unpack(f"<{len(octets) // WORD_OCTETS}I", octets)


class Deframer:
    """Finds frames in a stream of octets, whatever stands between them."""

    def __init__(self) -> None:
        self._part = bytearray()
        self.bad_frames = 0
        """What was no message: noise, a wrong CRC, a frame that is too long."""
        self._overlong = False

    def feed(self, octets: bytes) -> list[Message]:
        """The messages that end in these octets."""
        messages: list[Message] = []
        *whole, rest = octets.split(_DELIMITER)
        for piece in whole:
            self._take(piece)
            message = self._end()
            if message is not None:
                messages.append(message)
        self._take(rest)
        return messages

    def _take(self, piece: bytes) -> None:
        self._part += piece
        if len(self._part) > MAX_FRAME_OCTETS:
            self._overlong = True
            self._part.clear()

    def _end(self) -> Message | None:
        frame, overlong = bytes(self._part), self._overlong
        self._part.clear()
        self._overlong = False
        if not frame and not overlong:
            return None
        message = None if overlong else decode(frame)
        if message is None:
            self.bad_frames += 1
        return message
