"""Requests that are repeated until answered, and answers that are remembered (harp.md §2.1, §8)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from harp.tables.constants import BACKOFF_FACTOR
from harp.tables.harp_types import HarpType
from harp.wire.messages import Harp

if TYPE_CHECKING:
    from harp.engine.config import GroupConfig


@dataclass(slots=True)
class Exchange:
    """One request under way."""

    peer: bytes
    """Identity of the member asked."""
    message: Harp
    """Sent again as it is: a repetition keeps its Sequence #."""
    wait_us: int
    """Until the next repetition; doubles (harp.md §8)."""
    sent: int = 1
    """How often it was sent."""

    def repeat(self) -> int:
        """Counts one more sending; how long to wait after it, µs."""
        self.sent += 1
        self.wait_us *= BACKOFF_FACTOR
        return self.wait_us

    def answered_by(self, peer: bytes, message: Harp) -> bool:
        """Whether a reply belongs to it: Sequence # names the exchange (harp.md §2.1)."""
        return peer == self.peer and message.sequence == self.message.sequence


class Replies:
    """Answers kept for repeated requests: one for each asker and Type.

    harp.md §2.1: "remembered replies are forgotten after `HARELIABILITY_TIMEOUT`, at the next role
    change after the one they announce, and at a newer Restart Counter of the asker".
    """

    def __init__(self, config: GroupConfig) -> None:
        self._config = config
        self._kept: dict[tuple[bytes, HarpType], tuple[int, Harp, int]] = {}

    def keep(self, peer: bytes, request: Harp, reply: Harp, now: int) -> None:
        """Remembers the answer to a request."""
        self._kept[peer, request.type] = (
            request.sequence,
            reply,
            now + self._config.reliability_timeout_us,
        )

    def find(self, peer: bytes, request: Harp, now: int) -> Harp | None:
        """The answer that this very request had before."""
        sequence, reply, until = self._kept.get((peer, request.type), (0, None, 0))
        return reply if sequence == request.sequence and now < until else None

    def forget(self, peer: bytes) -> None:
        """An asker has restarted."""
        self._kept = {key: kept for key, kept in self._kept.items() if key[0] != peer}

    def clear(self) -> None:
        """The role changed."""
        self._kept.clear()
