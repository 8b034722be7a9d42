"""Dynamic home agent address discovery: which home agents a mobile node is told of.

Ref: RFC 6275 §10.5.1; RFC 3963 §7.2 (R flag); harp.md §10
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from harp.engine.effects import SendPacket
from harp.tables.icmpv6 import MOBILE_ROUTER, NEXT_HEADER
from harp.wire.icmpv6 import build_icmpv6
from harp.wire.messages import DhaadReply, DhaadRequest

if TYPE_CHECKING:
    from collections.abc import Iterable
    from random import Random

_MIN_MTU_OCTETS = 1280
_IPV6_HEADER_OCTETS = 40
_REPLY_HEAD_OCTETS = 8
MAX_ADDRESSES = (_MIN_MTU_OCTETS - _IPV6_HEADER_OCTETS - _REPLY_HEAD_OCTETS) // 16
"""RFC 6275 §10.5.1: "so that the packet fits within the minimum IPv6 MTU"."""


class Agent(NamedTuple):
    """A home agent that takes bindings now."""

    address: bytes
    """Where mobile nodes find it."""
    preference: int
    """Higher first."""


def reply(
    request: DhaadRequest,
    own_address: bytes,
    asker: bytes,
    agents: Iterable[Agent],
    rng: Random,
    group: int,
) -> SendPacket:
    """The answer to a discovery request.

    RFC 6275 §10.5.1: "listed in order of decreasing preference values"; "among home agents with
    equal preference ... in an order randomized ... every time". RFC 3963 §7.2: R "MUST be set if
    there is at least one Home Agent supporting Mobile Routers"; every home agent here does.
    """
    ranked = sorted(agents, key=lambda agent: (-agent.preference, rng.random()))
    addresses = tuple(agent.address for agent in ranked[:MAX_ADDRESSES])
    message = DhaadReply(request.identifier, addresses, request.flags & MOBILE_ROUTER)
    payload = build_icmpv6(own_address, asker, message)
    return SendPacket(own_address, asker, payload, protocol=NEXT_HEADER, group=group)
