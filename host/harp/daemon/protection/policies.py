"""Security policies of the kernel, read through netlink XFRM.

Ref: linux/xfrm.h (struct xfrm_userpolicy_info, xfrm_user_tmpl); RFC 4301 §4.4.1 (SPD)

pyroute2 knows nothing of XFRM, so the one dump that is needed is written here.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv6Address, IPv6Network
from struct import Struct

NETLINK_XFRM = 6
ESP = 50
"""IPv6 next header of ESP (RFC 4303 §2)."""

_MSG_NEWPOLICY, _MSG_GETPOLICY = 0x13, 0x15
_NLMSG_ERROR, _NLMSG_DONE = 2, 3
_REQUEST_DUMP = 0x1 | 0x300
_ATTRIBUTE_TMPL = 5
_DIRECTION_IN, _ACTION_ALLOW, _TYPE_MAIN = 0, 0, 0
_ATTRIBUTE_TYPE = 16

_HEADER = Struct("=IHHII")
"""struct nlmsghdr."""
_ATTRIBUTE = Struct("=HH")
"""struct nlattr."""
_SELECTOR = Struct("=16s16s4xHHHBBB3xiI")
"""struct xfrm_selector: destination, source, source port and mask, family, prefix lengths,
protocol, interface, user."""
_POLICY = Struct("=56s64s32sIIBBBB4x")
"""struct xfrm_userpolicy_info: selector, limits, use, priority, index, direction, action …"""
_TEMPLATE = Struct("=16s4sB3xH2x16sIBBB1xIII")
"""struct xfrm_user_tmpl: destination, SPI, protocol, family, source, reqid, mode, share,
optional …"""
_RECEIVE_OCTETS = 1 << 16


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
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_XFRM) as asked:
        asked.bind((0, 0))
        asked.send(_HEADER.pack(_HEADER.size + 64, _MSG_GETPOLICY, _REQUEST_DUMP, 1, 0) + bytes(64))
        found = [
            policy
            for kind, payload in _messages(asked)
            if kind == _MSG_NEWPOLICY and (policy := _parse(payload))
        ]
    return sorted(found, key=lambda policy: (policy.priority, policy.index))


def _messages(asked: socket.socket) -> Iterator[tuple[int, bytes]]:
    while True:
        datagram = asked.recv(_RECEIVE_OCTETS)
        at = 0
        while at < len(datagram):
            length, kind, *_ = _HEADER.unpack_from(datagram, at)
            payload = datagram[at + _HEADER.size : at + length]
            if kind == _NLMSG_DONE:
                return
            if kind == _NLMSG_ERROR:
                code = -int.from_bytes(payload[:4], "little", signed=True)
                raise OSError(code, "the kernel does not tell its security policies")
            yield kind, payload
            at += -(-length // 4) * 4


def _parse(payload: bytes) -> InboundPolicy | None:
    selector, _, _, priority, index, direction, action, _, _ = _POLICY.unpack_from(payload)
    to, by, port, mask, family, to_length, by_length, protocol, _, _ = _SELECTOR.unpack(selector)
    attributes = dict(_attributes(payload[_POLICY.size :]))
    main = attributes.get(_ATTRIBUTE_TYPE, b"\0")[0] == _TYPE_MAIN
    # An unspecified family is that of a policy for everything (`::/0` without addresses).
    if direction != _DIRECTION_IN or not main or family not in (socket.AF_INET6, 0):
        return None
    return InboundPolicy(
        source=IPv6Network((by, by_length)),
        destination=IPv6Network((to, to_length)),
        protocol=protocol,
        priority=priority,
        index=index,
        # The kernel puts the MH Type where others have the source port, in network order.
        mh_type=socket.ntohs(port) if mask else None,
        allow=action == _ACTION_ALLOW,
        templates=tuple(
            Template(protocol=fields[2], transport=fields[6] == 0, optional=fields[8] != 0)
            for fields in _TEMPLATE.iter_unpack(attributes.get(_ATTRIBUTE_TMPL, b""))
        ),
    )


def _attributes(payload: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at + _ATTRIBUTE.size <= len(payload):
        length, kind = _ATTRIBUTE.unpack_from(payload, at)
        if length < _ATTRIBUTE.size:
            return
        yield kind, payload[at + _ATTRIBUTE.size : at + length]
        at += -(-length // 4) * 4
