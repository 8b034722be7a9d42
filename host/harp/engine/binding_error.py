"""Binding Errors.

Ref: RFC 6275 §6.1.9, §9.2, §9.3.3; RFC 4443 §2.4 (f) (rate limit); harp.md §3 rule 6
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from harp.engine.addresses import is_multicast, is_unicast
from harp.engine.effects import SendPacket
from harp.tables.constants import US_PER_S
from harp.wire.messages import BindingError

if TYPE_CHECKING:
    from harp.tables.mh import BeStatus
    from harp.wire.codec import Codec

RATE_PER_S = 10
"""Binding Errors a second. RFC 4443 §2.4 (f) gives such values for a small device."""
BURST = 10
_TOKEN_US = US_PER_S // RATE_PER_S


class BindingErrors:
    """Builds Binding Errors, as many as the rate limit allows.

    RFC 6275 §9.3.3: "SHOULD be subject to rate limiting in the same manner as is done for ICMPv6
    messages": a token bucket over all destinations.
    """

    def __init__(self, codec: Codec) -> None:
        self._codec = codec
        self._full_at_us = 0
        """When the bucket is full again."""

    def about(
        self, status: BeStatus, source: bytes, destination: bytes, home_address: bytes, now: int
    ) -> SendPacket | None:
        """The Binding Error for a packet, its addresses as on the wire; `home_address`: of its
        Home Address option, `::` without. None: must not be sent.

        RFC 6275 §9.3.3: "If the Source Address field does not contain a unicast address, the
        Binding Error message MUST NOT be sent."
        """
        if not is_unicast(source) or is_multicast(destination):
            return None
        full_at = max(self._full_at_us, now) + _TOKEN_US
        if full_at > now + BURST * _TOKEN_US:
            return None
        self._full_at_us = full_at
        payload = self._codec.build(destination, source, BindingError(status, home_address))
        return SendPacket(destination, source, payload)
