"""The device's end of the serial link in plain Python: what `harp_gateware.link` does, in octets.

Ref: offload.md §6; `harp.tables.link`
"""

from __future__ import annotations

from typing import Protocol

from harp.offload.frames import Answer, Deframer, Pushed, Request, encode
from harp.tables.link import LinkOp, LinkStatus
from harp.tables.registers import BY_NAME

_GUARD = BY_NAME["guard"]
_KICK = 1 << _GUARD.field("kick").at


class Words(Protocol):
    """The registers, word by word (`harp_sim.device.registers.Registers`)."""

    def read(self, address: int, first: bool) -> tuple[int, bool]:
        """A word, and whether it is an error."""

    def write(self, address: int, data: int) -> bool:
        """Whether it is an error."""


class LinkEnd:
    """Octets of the host in, octets for the host out."""

    def __init__(self, words: Words) -> None:
        self._words = words
        self._deframer = Deframer()
        self._last: tuple[Request, bytes] | None = None
        self.repeats = 0
        """Requests that were a repeat."""
        self.executed = 0
        """Requests that were done."""

    @property
    def bad_frames(self) -> int:
        """Frames that were no request."""
        return self._deframer.bad_frames

    def receive(self, octets: bytes) -> bytes:
        """Answers to the requests that end in these octets."""
        answers = b""
        for message in self._deframer.feed(octets):
            if not isinstance(message, Request):
                self._deframer.bad_frames += 1
                continue
            if self._last is not None and self._last[0] == message:
                self.repeats += 1
            else:
                self._last = message, encode(self._do(message))
            answers += self._last[1]
        return answers

    def push(self, event: Pushed) -> bytes:
        """An event for the host."""
        return encode(event)

    def _do(self, request: Request) -> Answer:
        if not request.well_formed:
            return Answer(request.op, request.number, LinkStatus.MALFORMED)
        self.executed += 1
        refused = False
        words: list[int] = []
        if request.op == LinkOp.KICK:
            guard, _ = self._words.read(_GUARD.offset, True)
            refused = self._words.write(_GUARD.offset, guard | _KICK)
        for n in range(request.count):
            address = (request.address + n) & 0xFFFF
            if request.op == LinkOp.WRITE:
                error = self._words.write(address, request.words[n])
            else:
                word, error = self._words.read(address, n == 0)
                words.append(word)
            refused |= error
        status = LinkStatus.REFUSED if refused else LinkStatus.OK
        return Answer(request.op, request.number, status, tuple(words))
