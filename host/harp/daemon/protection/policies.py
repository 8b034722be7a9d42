"""Security policies of the kernel, read through netlink XFRM.

Ref: linux/xfrm.h (struct xfrm_userpolicy_info, xfrm_user_tmpl); RFC 4301 §4.4.1 (SPD)

pyroute2 knows nothing of XFRM, so the one dump that is needed is taken apart here.
"""

from __future__ import annotations

import socket
from dataclasses import dataclass
from ipaddress import IPv6Address, IPv6Network
from struct import Struct

from harp.daemon.netlink.connection import Netlink
from harp.daemon.netlink.message import attributes, request

XFRM = 6
"""NETLINK_XFRM."""
ESP = 50
"""IPv6 next header of ESP (RFC 4303 §2)."""

_NEW_POLICY, _GET_POLICY = 0x13, 0x15
_ATTRIBUTE_TMPL = 5
_DIRECTION_IN, _ACTION_ALLOW, _TYPE_MAIN = 0, 0, 0
_ATTRIBUTE_TYPE = 16

_SELECTOR = Struct("=16s16s4xHHHBBB3xiI")
"""struct xfrm_selector: destination, source, source port and mask, family, prefix lengths,
protocol, interface, user."""
_POLICY = Struct("=56s64s32sIIBBBB4x")
"""struct xfrm_userpolicy_info: selector, limits, use, priority, index, direction, action …"""
_TEMPLATE = Struct("=16s4sB3xH2x16sIBBB1xIII")
"""struct xfrm_user_tmpl: destination, SPI, protocol, family, source, reqid, mode, share,
optional …"""


@dataclass(frozen=True, slots=True)
class Template:
    """What a policy wants to have been done to a packet."""

    protocol: int
    """50: ESP."""
    transport: bool
    """Transport mode; else a tunnel."""
    optional: bool
    """A packet without it is taken too."""


@dataclass(frozen=True, slots=True)
class InboundPolicy:
    """One inbound policy for IPv6."""

    source: IPv6Network
    """Who sends."""
    destination: IPv6Network
    """To whom."""
    protocol: int
    """Next header; 0: any."""
    priority: int
    """The lowest that fits decides; among equals the older one."""
    index: int
    """The kernel's own number."""
    mh_type: int | None
    """Narrowed to this MH Type (RFC 4877 §4.2); None: all of the protocol."""
    allow: bool
    """Else it blocks."""
    templates: tuple[Template, ...]
    """None: plaintext passes."""

    def covers(
        self, source: IPv6Address, destination: IPv6Address, protocol: int, mh_type: int
    ) -> bool:
        """Whether it says anything about such messages between the two."""
        return (
            source in self.source
            and destination in self.destination
            and self.protocol in (0, protocol)
            and self.mh_type in (None, mh_type)
        )

    @property
    def requires_esp(self) -> bool:
        """Whether nothing passes but ESP in transport mode."""
        return (
            self.allow
            and any(t.protocol == ESP and t.transport for t in self.templates)
            and not any(t.optional for t in self.templates)
        )


def inbound_policies() -> list[InboundPolicy]:
    """All inbound IPv6 policies of this network namespace, in the order in which they are asked.

    Raises `OSError` where the kernel has no XFRM or this process may not ask (CAP_NET_ADMIN)."""
    netlink = Netlink(XFRM)
    try:
        answers = netlink.dump(request(_GET_POLICY, 0, bytes(64)), "reading security policies")
    finally:
        netlink.close()
    found = [p for a in answers if a.kind == _NEW_POLICY and (p := _parse(a.body))]
    return sorted(found, key=lambda policy: (policy.priority, policy.index))


def _parse(payload: bytes) -> InboundPolicy | None:
    selector, _, _, priority, index, direction, action, _, _ = _POLICY.unpack_from(payload)
    to, by, port, mask, family, to_length, by_length, protocol, _, _ = _SELECTOR.unpack(selector)
    found = attributes(payload, _POLICY.size)
    main = found.get(_ATTRIBUTE_TYPE, b"\0")[0] == _TYPE_MAIN
    # An unspecified family is that of a policy for everything (`::/0` without addresses).
    if direction != _DIRECTION_IN or not main or family not in (socket.AF_INET6, 0):
        return None
    return InboundPolicy(
        # The kernel takes, and tells, selectors with bits behind their prefix.
        source=IPv6Network((by, by_length), strict=False),
        destination=IPv6Network((to, to_length), strict=False),
        protocol=protocol,
        priority=priority,
        index=index,
        # The kernel puts the MH Type where others have the source port, in network order.
        mh_type=socket.ntohs(port) if mask else None,
        allow=action == _ACTION_ALLOW,
        templates=tuple(
            Template(protocol=fields[2], transport=fields[6] == 0, optional=fields[8] != 0)
            for fields in _TEMPLATE.iter_unpack(found.get(_ATTRIBUTE_TMPL, b""))
        ),
    )
