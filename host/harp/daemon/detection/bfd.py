"""What FRR's bfdd says on its control socket: framing, and what a message means. No I/O.

Ref: RFC 5880 §6.8.1 (states), RFC 5882 §4.1 (AdminDown is no failure); FRR: `bfdd --bfdctl`

bfdd pushes a JSON object whenever a session's state changes, which `vtysh` could only poll. Each
message has a head of 8 octets: length of what follows (32 bits), exchange (16), type (8),
version (8), big-endian; only the set of notifications wanted is in the machine's own order.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import IPv6Address
from struct import Struct

_HEAD = Struct("!IHBB")
_WANTED = Struct("=Q")
_TYPE_RESPONSE, _TYPE_NOTIFY = 1, 4
_VERSION = 1
_ALL = (1 << 64) - 1
_MAX_OCTETS = 1 << 20
"""A longer message is noise: bfdd's are some hundred octets."""

SUBSCRIBE = _HEAD.pack(_WANTED.size, 1, _TYPE_NOTIFY, _VERSION) + _WANTED.pack(_ALL)
"""Asks for the state of every session, now and at each change."""


class BfdError(Exception):
    """The other end does not speak bfdd's control protocol; one line."""


class SessionState(StrEnum):
    """State of a BFD session (RFC 5880 §6.2), as bfdd spells it."""

    UP = "up"
    DOWN = "down"
    INIT = "init"
    ADMIN_DOWN = "adm-down"


@dataclass(frozen=True, slots=True)
class SessionTold:
    """bfdd told the state of a session."""

    peer: IPv6Address
    """The neighbour."""
    interface: str
    """Local interface; empty: multihop, or none configured."""
    state: SessionState
    """Now."""


class BfdFeed:
    """Octets of one connection in, session states out."""

    def __init__(self) -> None:
        self._waiting = bytearray()

    def feed(self, octets: bytes) -> Iterator[SessionTold]:
        """Raises `BfdError` where the other end is no bfdd; IPv4 sessions are passed over."""
        self._waiting += octets
        while len(self._waiting) >= _HEAD.size:
            length, _, kind, version = _HEAD.unpack_from(self._waiting)
            if version != _VERSION or length > _MAX_OCTETS:
                raise BfdError(f"version {version}, {length} octets: no control socket of bfdd")
            end = _HEAD.size + length
            if len(self._waiting) < end:
                return
            body = bytes(self._waiting[_HEAD.size : end])
            del self._waiting[:end]
            told = _session(_object(body), answer=kind == _TYPE_RESPONSE)
            if told:
                yield told


def _object(body: bytes) -> dict[str, object]:
    try:
        parsed = json.loads(body)
    except (UnicodeDecodeError, ValueError, RecursionError):
        raise BfdError("a message that is not JSON: no control socket of bfdd") from None
    if not isinstance(parsed, dict):
        raise BfdError("a message that is no JSON object: no control socket of bfdd")
    return parsed


def _session(message: dict[str, object], *, answer: bool) -> SessionTold | None:
    if answer:
        if message.get("status") != "ok":
            raise BfdError(
                f"bfdd refuses to tell its sessions: {message.get('error', 'no reason')}"
            )
        return None
    if message.get("op") != "status" or not message.get("ipv6"):
        return None
    try:
        return SessionTold(
            IPv6Address(str(message["peer-address"])),
            str(message.get("local-interface", "")),
            SessionState(str(message["state"])),
        )
    except (KeyError, ValueError):
        return None  # a state or an address that only a later FRR knows
