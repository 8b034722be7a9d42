"""Home agent address discovery: ICMPv6 types 144 and 145, and the anycast address they go to.

Ref: RFC 6275 §6.5, §6.6, §10.5; RFC 2526 §2 (reserved anycast addresses); harp.md §10
"""

from __future__ import annotations

import contextlib
import socket
import struct

from harp.daemon.parts import Deliver
from harp.daemon.sockets.batch import Datagram, control_messages
from harp.daemon.sockets.options import (
    IPV6_JOIN_ANYCAST,
    IPV6_LEAVE_ANYCAST,
    PKTINFO,
    SOCKADDR,
    roomy,
)
from harp.daemon.sockets.source import DatagramSource
from harp.engine.config import EngineConfig, Prefix
from harp.engine.effects import SetServing
from harp.engine.events import IcmpReceived
from harp.tables.icmpv6 import DHAAD_REPLY, DHAAD_REQUEST, NEXT_HEADER

_SLOTS = 16
_OCTETS = 1280
_ICMPV6_FILTER = 1
_MOBILE_HOME_AGENTS = 126
"""Anycast Identifier (RFC 2526 §3)."""
_EUI64_INTERFACE_OCTETS = 8


def home_agents_anycast(prefix: Prefix) -> bytes:
    """The Mobile IPv6 Home-Agents anycast address of a prefix.

    RFC 2526 §2: all bits of the interface identifier are one except the last seven, which hold the
    identifier; with 64-bit identifiers the "universal/local" bit is zero.
    """
    host = (1 << (128 - prefix.length)) - 1
    value = int.from_bytes(prefix.address) | host & ~0x7F | _MOBILE_HOME_AGENTS & host
    address = bytearray(value.to_bytes(16))
    if prefix.length == 128 - 8 * _EUI64_INTERFACE_OCTETS:
        address[_EUI64_INTERFACE_OCTETS] &= ~0x02
    return bytes(address)


class DiscoverySocket(DatagramSource):
    """Discovery requests and replies; a `parts.Source`.

    The anycast address is this node's only while it serves: a standby that answered neighbor
    solicitations for it would get the requests and stay silent.
    """

    def __init__(self, config: EngineConfig, deliver: Deliver) -> None:
        self._groups = {group.group: group for group in config.groups}
        self._deliver = deliver
        opened = socket.socket(socket.AF_INET6, socket.SOCK_RAW | socket.SOCK_NONBLOCK, NEXT_HEADER)
        super().__init__(opened, _SLOTS, _OCTETS)
        opened.setsockopt(NEXT_HEADER, _ICMPV6_FILTER, _only(DHAAD_REQUEST, DHAAD_REPLY))
        opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
        roomy(opened)

    def serving(self, serving: SetServing, interface: int) -> None:
        """Takes the anycast addresses of a group's home prefixes on, or gives them back."""
        option = IPV6_JOIN_ANYCAST if serving.serving else IPV6_LEAVE_ANYCAST
        for prefix in self._groups[serving.group].home_prefixes:
            request = home_agents_anycast(prefix) + struct.pack("@I", interface)
            # Somebody assigned it to the interface, or the interface is gone: nothing to do.
            with contextlib.suppress(OSError):
                self.socket.setsockopt(socket.IPPROTO_IPV6, option, request)

    def take(self, datagram: Datagram) -> None:
        _, _, _, source, _ = SOCKADDR.unpack(datagram.name)
        self._deliver(IcmpReceived(source, _destination(datagram.control), datagram.payload))


def _destination(control: bytes) -> bytes:
    for level, kind, content in control_messages(control):
        if level == socket.IPPROTO_IPV6 and kind == socket.IPV6_PKTINFO:
            address: bytes = PKTINFO.unpack(content)[0]
            return address
    return b""


def _only(*types: int) -> bytes:
    """`struct icmp6_filter` (RFC 3542 §3.2): a bit that is set blocks."""
    words = [0xFFFF_FFFF] * 8
    for each in types:
        words[each >> 5] &= ~(1 << (each & 31))
    return struct.pack("@8I", *words)
