"""Asks a running harpd: `with ControlClient(path) as control: control.call("status")`.

Blocking, no event loop; whatever goes wrong is a `Failure` with one line that says what to do.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from harp.cli.common import Failure
from harp.daemon.config.model import ControlSettings
from harp.daemon.control.protocol import (
    MAX_LINE_OCTETS,
    SCHEMA,
    Question,
    encode,
    parse_answer,
)

DEFAULT_SOCKET = ControlSettings().socket
PATIENCE_S = 10.0
"""harpd answers in milliseconds; one that is stopped never does."""
_CHUNK = 1 << 18


class NoHarpd(Failure):
    """No daemon answers."""


class ControlRefused(Failure):
    """The daemon's own answer is no."""

    def __init__(self, name: str, text: str) -> None:
        super().__init__(text)
        self.name = name
        """One of `protocol.Wrong`."""


class ControlClient:
    """One connection."""

    def __init__(self, path: Path = DEFAULT_SOCKET, patience_s: float = PATIENCE_S) -> None:
        """Connects. Raises `NoHarpd`."""
        self._path = path
        self._patience_s = patience_s
        self._waiting = bytearray()
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.settimeout(patience_s)
        try:
            self._socket.connect(str(path))
        except (OSError, ValueError) as error:
            self._socket.close()
            raise NoHarpd(_unreachable(path, error)) from None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Ends the connection."""
        self._socket.close()

    def call(self, command: str, **arguments: object) -> dict[str, Any]:
        """One answer. Raises `ControlRefused`, `NoHarpd`."""
        self._ask(command, arguments)
        result: dict[str, Any] = self._answer()["result"]
        return result

    def bindings(self, **arguments: object) -> Iterator[list[dict[str, Any]]]:
        """The binding cache of a group, page by page; `group`, `home_address` as arguments."""
        self._ask(Question.BINDINGS, arguments)
        more = True
        while more:
            answer = self._answer()
            more = answer.get("more", False)
            yield answer["result"].get("bindings", [])

    def watch(
        self, since: int | None = None, timeout_s: float | None = None
    ) -> Iterator[dict[str, Any]]:
        """Events as they happen, each with `lost`: how many were dropped before it; with `since`
        first those kept above that number. Ends when nothing happens for `timeout_s`."""
        for event in self.ticking(since, timeout_s):
            if event is None:
                return
            yield event

    def ticking(
        self, since: int | None = None, tick_s: float | None = None
    ) -> Iterator[dict[str, Any] | None]:
        """The same, without end; None whenever nothing happened for `tick_s`."""
        self._ask(Question.WATCH, {"since": since})
        self._socket.settimeout(tick_s)
        while True:
            line = self._line()
            if line is None:
                yield None
            else:
                result = self._judged(line)["result"]
                yield result["event"] | {"lost": result["lost"]}

    def _ask(self, command: str, arguments: dict[str, object]) -> None:
        given = {name: value for name, value in arguments.items() if value is not None}
        try:
            self._socket.sendall(encode({"schema": SCHEMA, "command": command} | given))
        except OSError:
            raise NoHarpd(self._gone()) from None

    def _answer(self) -> dict[str, Any]:
        line = self._line()
        if line is None:
            raise NoHarpd(
                f"harpd does not answer at {self._path} for {self._patience_s:g} s: it is stopped"
                " or its machine is overloaded; see `systemctl status harpd`"
            )
        return self._judged(line)

    def _judged(self, line: bytes) -> dict[str, Any]:
        try:
            answer = parse_answer(line)
        except ValueError as wrong:
            raise NoHarpd(f"no harpd of this version answers at {self._path}: {wrong}") from None
        if not answer.get("ok"):
            error = answer["error"]
            raise ControlRefused(str(error.get("name")), str(error.get("text")))
        return answer

    def _line(self) -> bytes | None:
        """The next line; None: nothing came in time."""
        begin = 0
        while (end := self._waiting.find(b"\n", begin)) < 0:
            begin = len(self._waiting)
            if begin > MAX_LINE_OCTETS:
                raise NoHarpd(f"what answers at {self._path} is no harpd: its line has no end")
            try:
                octets = self._socket.recv(_CHUNK)
            except TimeoutError:
                return None
            except OSError:
                octets = b""
            if not octets:
                raise NoHarpd(self._gone())
            self._waiting += octets
        line = bytes(self._waiting[:end])
        del self._waiting[: end + 1]
        return line

    def _gone(self) -> str:
        return f"harpd closed the connection at {self._path}: it ends; see `systemctl status harpd`"


def _unreachable(path: Path, error: OSError | ValueError) -> str:
    match error:
        case FileNotFoundError():
            return (
                f"no socket {path}: harpd does not run, or [control] socket names another"
                " (say which with --socket); `systemctl start harpd`"
            )
        case ConnectionRefusedError():
            return f"nobody listens at {path}: harpd has died; `systemctl restart harpd`"
        case PermissionError():
            return f"no permission for {path}: be root, or in the group of [control] group"
        case TimeoutError() | BlockingIOError():
            return f"harpd takes no connection at {path}: it is stopped or overloaded"
        case OSError(strerror=str(reason)):
            return f"{path}: {reason}"
        case _:
            return f"{path}: {error}"
