"""Answers to the Heartbeats of members that watch us so; HARP itself does not live on them.

Ref: RFC 5847 §3.1 (requests and responses), §3.2 (restarts), §3.3, §3.4 (formats); offload.md §3
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from harp.engine.config import GroupConfig
from harp.engine.effects import SendPacket
from harp.tables.constants import US_PER_S
from harp.tables.mh import HeartbeatFlag
from harp.wire.messages import Heartbeat, RestartCounter

if TYPE_CHECKING:
    from harp.wire.codec import Codec


class Heartbeats:
    """Responses of one group, to each member at most as many a second as HELLOs on request."""

    def __init__(self, config: GroupConfig, codec: Codec) -> None:
        self._config = config
        self._codec = codec
        self._not_before: dict[bytes, int] = {}
        """When a member may be answered again, µs."""

    def answer(
        self, request: Heartbeat, member: bytes, link: int, restart_counter: int, now: int
    ) -> SendPacket | None:
        """The response to a request from a member's address on a link: the same Sequence Number,
        R set, U clear, and our Restart Counter. None: it asks too often."""
        if now < self._not_before.get(member, now):
            return None
        self._not_before[member] = now + US_PER_S // self._config.max_hello_rate
        options = (RestartCounter(restart_counter),)
        message = Heartbeat(request.sequence, int(HeartbeatFlag.RESPONSE), options)
        source, name = self._config.me.addresses[link], self._config.links[link].name
        payload = self._codec.build(source, member, message)
        return SendPacket(source, member, payload, name, group=self._config.group)
