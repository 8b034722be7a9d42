"""What keepalived writes into its notify FIFO. No I/O.

Ref: RFC 5798 §6.4 (states); keepalived.conf(5): `vrrp_notify_fifo`

A line per change: `INSTANCE "name" MASTER 150`. An instance stands for one peer, in which that peer
has the higher priority: while it advertises we are BACKUP, when it falls silent we become MASTER.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

_LINE = re.compile(rb'INSTANCE "(?P<name>[^"]{1,255})" (?P<state>[A-Z_]{1,32})\b')
_MAX_LINE_OCTETS = 512


class InstanceState(StrEnum):
    """State of a VRRP instance, as keepalived spells it."""

    MASTER = "MASTER"
    """The peer is silent."""
    BACKUP = "BACKUP"
    """The peer advertises."""
    FAULT = "FAULT"
    """An own interface is down: nothing is known of the peer."""
    STOP = "STOP"
    """keepalived ends: nothing is known."""


_STATES = {state.encode(): state for state in InstanceState}


@dataclass(frozen=True, slots=True)
class InstanceTold:
    """keepalived told the state of an instance."""

    name: str
    """As in keepalived.conf."""
    state: InstanceState
    """Now."""


class VrrpFeed:
    """Octets of the FIFO in, instance states out; lines about anything else are passed over."""

    def __init__(self) -> None:
        self._waiting = b""

    def feed(self, octets: bytes) -> Iterator[InstanceTold]:
        """Whole lines only; a line longer than any of keepalived's is dropped."""
        *lines, self._waiting = (self._waiting + octets).split(b"\n")
        self._waiting = self._waiting[-_MAX_LINE_OCTETS:]
        for line in lines:
            found = _LINE.match(line)
            if found and (state := _STATES.get(found["state"])):
                yield InstanceTold(found["name"].decode(errors="replace"), state)
