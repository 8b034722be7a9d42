"""Control protocol: newline-delimited JSON over a Unix stream socket; both ends use this module.

A request is one object in one line: `{"schema": 1, "command": "status", …arguments}`. An answer is
one line, `{"schema": 1, "ok": true, "result": {…}}` or
`{"schema": 1, "ok": false, "error": {"name": "…", "text": "…"}}`. A connection may carry any number
of requests, one after the other. Two commands answer in more than one line: `bindings` with
`{"schema": 1, "ok": true, "more": true, "result": {"bindings": […]}}` until a line without `more`,
and `watch` with `{"schema": 1, "ok": true, "more": true, "result": {event}}` for ever.

`SCHEMA` grows when a key goes away or means something else; new keys may come at any time.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any

import msgspec

SCHEMA = 1
"""Version of requests, answers, and of what `harpctl --json` prints."""
MAX_REQUEST_OCTETS = 65536
"""A longer request is refused and the connection closed."""
MAX_LINE_OCTETS = 64 * 1024 * 1024
"""A longer answer does not come from harpd."""


class Question(StrEnum):
    """What may be asked."""

    STATUS = "status"
    """Everything about groups and parts, at one moment."""
    BINDINGS = "bindings"
    """The binding cache of a group."""
    EVENTS = "events"
    """What happened last."""
    OFFLOAD = "offload"
    """The board, and the filter in software."""
    WATCH = "watch"
    """What happens from now on."""
    SWITCHOVER = "switchover"
    """The standby takes over, or the active gives."""
    SWITCHBACK = "switchback"
    """The active gives its role away."""
    CHECK = "check"
    """What is against a planned switch."""
    HOLD = "hold"
    """Never take over."""
    RELEASE = "release"
    """End of hold."""
    RESYNC = "resync"
    """Full sync now."""
    REKEY = "rekey"
    """HA-REKEY to every mobile node."""
    RELOAD = "reload"
    """Read the configuration file again."""


class Wrong(StrEnum):
    """Names of errors, kept once shipped."""

    BAD_REQUEST = "bad_request"
    """Not a request of this protocol."""
    UNKNOWN_COMMAND = "unknown_command"
    """No such command."""
    UNKNOWN_GROUP = "unknown_group"
    """No such group, or none was named and there are several."""
    UNKNOWN_MEMBER = "unknown_member"
    """`to` is no other member of the group."""
    BAD_CONFIGURATION = "bad_configuration"
    """The file cannot be used; the running configuration stays."""
    BUSY = "busy"
    """Too many connections."""
    TOO_SLOW = "too_slow"
    """A command was not answered by the engine in time."""
    INTERNAL = "internal"
    """A mistake in harpd; its log says more."""


class Refused(Exception):
    """An error that is the answer."""

    def __init__(self, name: Wrong, text: str) -> None:
        super().__init__(text)
        self.name = name
        self.text = text


def encode(value: object) -> bytes:
    """A line; dataclasses become objects with their fields' names."""
    return msgspec.json.encode(value) + b"\n"


def success(result: object, *, more: bool = False) -> bytes:
    """An answer."""
    head: dict[str, object] = {"schema": SCHEMA, "ok": True}
    return encode(head | ({"more": True} if more else {}) | {"result": result})


def failure(refused: Refused) -> bytes:
    """An error as answer."""
    error = {"name": refused.name, "text": refused.text}
    return encode({"schema": SCHEMA, "ok": False, "error": error})


class Request(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One request."""

    schema: int
    """`SCHEMA` of the asker."""
    command: str
    """One of `Question`."""
    group: int | None = None
    """Group ID; None: the only one."""
    to: str | None = None
    """Name or address of a member."""
    force: bool = False
    """Override local checks."""
    home_address: str | None = None
    """`bindings`: of one mobile node only."""
    since: int | None = None
    """`events`, `watch`: numbers above it; None: all that is kept (`watch`: none)."""


_REQUEST = msgspec.json.Decoder(Request)


def parse_request(line: bytes) -> Request:
    """Raises `Refused`."""
    try:
        request = _REQUEST.decode(line)
    except (msgspec.DecodeError, RecursionError) as error:
        raise Refused(Wrong.BAD_REQUEST, f"no request: {error}") from None
    if request.schema != SCHEMA:
        raise Refused(Wrong.BAD_REQUEST, f"schema {request.schema} is not served, {SCHEMA} is")
    return request


def parse_answer(line: bytes) -> dict[str, Any]:
    """An answer as an object. Raises ValueError: this is no harpd, or another version."""
    try:
        answer = msgspec.json.decode(line)
    except (msgspec.DecodeError, RecursionError):
        raise ValueError("its answer is no JSON") from None
    if not isinstance(answer, dict) or not isinstance(answer.get("schema"), int):
        raise ValueError("its answer has no schema")
    if answer["schema"] != SCHEMA:
        raise ValueError(f"it answers with schema {answer['schema']}, this harpctl knows {SCHEMA}")
    if not isinstance(answer.get("result" if answer.get("ok") else "error"), dict):
        raise ValueError("its answer has neither result nor error")
    return answer
