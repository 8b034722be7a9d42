"""What leaves: Mobility Headers and ICMPv6, from the right address, by the right interface.

Ref: RFC 6275 §6.4 (type 2 routing header), §9.2; RFC 4443 §3.4 (Parameter Problem);
     RFC 3542 §6 (ancillary data); RFC 4594 §3.1 (CS6); harp.md §2, §10
"""

from __future__ import annotations

import errno
import socket
import struct
from collections import Counter
from functools import lru_cache
from ipaddress import IPv6Address

from harp.daemon.links import Links, Tell
from harp.daemon.sockets.mobility import raw_socket
from harp.daemon.sockets.options import PKTINFO
from harp.daemon.sockets.quiet import CS6, quiet
from harp.engine.effects import ICMPV6, Level, SendPacket, SendParameterProblem
from harp.tables.ipv6 import FIXED_HEADER_OCTETS, ROUTING_TYPE_2, NextHeader
from harp.tables.mh import HOP_LIMIT, NEXT_HEADER

_FIXED = struct.Struct("!IHBB16s16s")
"""IPv6 header (RFC 8200 §3)."""
_ROUTING = struct.Struct("!BBBB4x16s")
"""Type 2 routing header: next header, length 2, type, segments left 1, address."""
_PROBLEM = struct.Struct("!BBHI")
"""ICMPv6 Parameter Problem: type, code, checksum (the kernel's), pointer."""
_VERSION = 6 << 28
_PARAMETER_PROBLEM = 4
_MIN_MTU_OCTETS = 1280
_ICMP_HEADER_OCTETS = 8

Ancillary = list[tuple[int, int, bytes]]
Address = tuple[str, int, int, int]


class PacketSender:
    """`parts.Sender` over raw sockets.

    A packet with a `via` has a type 2 routing header: the kernel's own where it knows `mip6`, so
    that XFRM policies see the home address; else the whole packet is written here. An error is
    counted by its name and told when it is the first one since a packet left.
    """

    def __init__(self, links: Links, tell: Tell, *, mip6: bool) -> None:
        self.counters: Counter[str] = Counter()
        """Packets that did not leave, by name of the error; `link_down`: kept back."""
        self._links = links
        self._tell = tell
        self._mip6 = mip6
        self._told: set[str] = set()
        self._mobility = quiet(raw_socket())
        self._icmp = quiet(socket.socket(socket.AF_INET6, socket.SOCK_RAW, ICMPV6))
        self._whole = socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_RAW)
        self._whole.setblocking(False)

    def send(self, packet: SendPacket) -> None:
        """One packet."""
        if packet.link and not self._links.up.get(packet.link, False):
            self.counters["link_down"] += 1
            return
        if packet.via and not self._mip6:
            self._send(self._whole, _with_routing_header(packet), [], packet.via)
            return
        ancillary = self._source(packet.source, packet.link)
        if packet.via:
            routing = _ROUTING.pack(0, 2, ROUTING_TYPE_2, 1, packet.via)
            ancillary = [*ancillary, (socket.IPPROTO_IPV6, socket.IPV6_RTHDR, routing)]
        if packet.hop_limit != HOP_LIMIT:
            hops = struct.pack("@i", packet.hop_limit)
            ancillary = [*ancillary, (socket.IPPROTO_IPV6, socket.IPV6_HOPLIMIT, hops)]
        opened = self._mobility if packet.protocol == NEXT_HEADER else self._icmp
        self._send(opened, packet.payload, ancillary, packet.destination)

    def parameter_problem(self, problem: SendParameterProblem) -> None:
        """RFC 4443 §3.4: "As much of invoking packet as possible". Of that its fixed header is
        written anew: extension headers before the Mobility Header are not known here any more."""
        invoking = _FIXED.pack(
            _VERSION,
            len(problem.payload),
            NEXT_HEADER,
            HOP_LIMIT,
            problem.destination,
            problem.source,
        )
        room = _MIN_MTU_OCTETS - FIXED_HEADER_OCTETS - _ICMP_HEADER_OCTETS
        head = _PROBLEM.pack(_PARAMETER_PROBLEM, 0, 0, FIXED_HEADER_OCTETS + problem.pointer)
        payload = head + (invoking + problem.payload)[:room]
        self._send(self._icmp, payload, self._source(problem.source, ""), problem.destination)

    def close(self) -> None:
        """Gives the descriptors back."""
        for opened in (self._mobility, self._icmp, self._whole):
            opened.close()

    def _source(self, source: bytes, link: str) -> Ancillary:
        info = PKTINFO.pack(source, self._links.index(link) if link else 0)
        return [(socket.IPPROTO_IPV6, socket.IPV6_PKTINFO, info)]

    def _send(
        self, opened: socket.socket, payload: bytes, ancillary: Ancillary, destination: bytes
    ) -> None:
        try:
            opened.sendmsg((payload,), ancillary, 0, _socket_address(destination))
        except OSError as error:
            self._failed(error, destination)
        else:
            if self._told:
                self._told.clear()

    def _failed(self, error: OSError, destination: bytes) -> None:
        name = errno.errorcode.get(error.errno or 0, "EIO")
        self.counters[name] += 1
        if name not in self._told:
            self._told.add(name)
            text = f"sending to {IPv6Address(destination)}: {error.strerror} ({name})"
            self._tell(Level.WARNING, text)


@lru_cache(maxsize=4096)
def _socket_address(address: bytes) -> Address:
    return (socket.inet_ntop(socket.AF_INET6, address), 0, 0, 0)


def _with_routing_header(packet: SendPacket) -> bytes:
    """The whole IPv6 packet: to the care-of address, then by the type 2 routing header home."""
    routing = _ROUTING.pack(packet.protocol, 2, ROUTING_TYPE_2, 1, packet.destination)
    header = _FIXED.pack(
        _VERSION | CS6 << 20,
        len(routing) + len(packet.payload),
        NextHeader.ROUTING,
        packet.hop_limit,
        packet.source,
        packet.via,
    )
    return header + routing + packet.payload
