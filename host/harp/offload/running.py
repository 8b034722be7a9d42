"""Programs on one connection: one at a time, each sent the words that it asked for. Sans-IO.

Ref: offload.md §6 (one request at a time)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from harp.offload.programs import Program, Unwelcome, Words
from harp.offload.session import Answered, Ask, Send, Session
from harp.tables.link import LinkStatus

Then: TypeAlias = Callable[[], None]
"""What follows when a program has ended."""


def nothing() -> None:
    """Nothing follows."""


@dataclass(slots=True)
class _Running:
    """The program under way."""

    program: Program
    done: Then
    failed: Then
    token: int = 0


class Runner:
    """Asks for programs, and for what is wanted beside them."""

    def __init__(
        self,
        session: Session,
        send: Callable[[Send], None],
        now: Callable[[], int],
        unusable: Then,
    ) -> None:
        """`unusable`: told where a program that must not be refused was."""
        self._session = session
        self._send = send
        self._now = now
        self._unusable = unusable
        self._running: _Running | None = None

    @property
    def busy(self) -> bool:
        """A program is under way."""
        return self._running is not None

    def run(self, program: Program, done: Then = nothing, failed: Then | None = None) -> None:
        """Begins a program; none may be under way."""
        self._running = _Running(program, done, failed or self._unusable)
        self._step(None)

    def ask(self, ask: Ask) -> int:
        """A request beside the program; its token."""
        token = self._session.ask(ask)
        for output in self._session.pump(self._now()):
            if isinstance(output, Send):
                self._send(output)
        return token

    def answered(self, answer: Answered) -> None:
        """Goes on with the program, if that is its answer."""
        if self._running is not None and answer.token == self._running.token:
            self._step(answer.words, answer.status is not LinkStatus.OK)

    def close(self) -> None:
        """The program under way is given up."""
        running, self._running = self._running, None
        if running is not None:
            running.program.close()

    def _step(self, words: Words | None, refused: bool = False) -> None:
        """The program's next request."""
        running = self._running
        assert running is not None
        try:
            if refused:
                ask = running.program.throw(Unwelcome())
            else:
                ask = next(running.program) if words is None else running.program.send(words)
        except StopIteration:
            self._running = None
            running.done()
        except Unwelcome:
            self._running = None
            running.failed()
        else:
            running.token = self.ask(ask)


def first_free(taken: set[int], rows: int) -> int | None:
    """The lowest row of a table of the board that nobody has; None: all are taken."""
    return next((n for n in range(rows) if n not in taken), None)
