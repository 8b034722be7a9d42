"""Binding Updates with the Home Address option on a kernel without `mip6`: a packet socket.

Ref: RFC 6275 §6.3, §9.3.1; packet(7); harp.md §10

The kernel drops such packets and tells their sender so (Parameter Problem, Code 2, because of the
option's type); that it never sees them is the packet filter's business.
"""

from __future__ import annotations

import socket
import sys
from collections.abc import Collection, Mapping

from harp.daemon.parts import Deliver
from harp.daemon.sockets.batch import Datagram
from harp.daemon.sockets.filters import attach, home_address_option
from harp.daemon.sockets.options import MOBILE_OCTETS, roomy
from harp.daemon.sockets.source import DatagramSource
from harp.engine.effects import SetServing
from harp.engine.events import PacketReceived
from harp.tables.ipv6 import ETHERTYPE_IPV6
from harp.tables.mh import MAX_MH_OCTETS
from harp.wire.messages import Malformed
from harp.wire.packet import find_mobility_header

_SLOTS = 64
_BEFORE_MH_OCTETS = 40 + 8 * 256
"""IPv6 header and the longest Destination Options."""
_INTERFACE = slice(4, 8)
"""Of `struct sockaddr_ll`."""
_DESTINATION = slice(24, 40)
_HOP_LIMIT = 7


class HomeAddressSocket(DatagramSource):
    """Packets with a Home Address option and a Mobility Header to us; a `parts.Source`.

    What has no such option is left to the raw sockets, and so is what is not to an address of ours:
    a router sees the packets that it forwards here too.
    """

    def __init__(self, own: Collection[bytes], names: Mapping[int, str], deliver: Deliver) -> None:
        self._own = set(own)
        self._names = names
        self._deliver = deliver
        opened = socket.socket(
            socket.AF_PACKET,
            socket.SOCK_DGRAM | socket.SOCK_NONBLOCK,
            socket.htons(ETHERTYPE_IPV6),
        )
        super().__init__(opened, _SLOTS, _BEFORE_MH_OCTETS + MAX_MH_OCTETS)
        attach(opened, home_address_option())
        roomy(opened, MOBILE_OCTETS)

    def serving(self, serving: SetServing) -> None:
        """The virtual address is ours now, or no more."""
        if serving.serving:
            self._own.add(serving.address)
        else:
            self._own.discard(serving.address)

    def take(self, datagram: Datagram) -> None:
        packet = datagram.payload
        if packet[_DESTINATION] not in self._own:
            return
        interface = int.from_bytes(datagram.name[_INTERFACE], sys.byteorder)
        link = self._names.get(interface, "")
        found = find_mobility_header(packet)
        if isinstance(found, Malformed):
            source, destination = packet[8:24], packet[_DESTINATION]
            self._deliver(
                PacketReceived(source, destination, b"", packet[_HOP_LIMIT], link, cut=True)
            )
        elif found is not None and found.source != found.ip_source:
            self._deliver(
                PacketReceived(
                    found.source,
                    found.destination,
                    found.payload,
                    found.hop_limit,
                    link,
                    found.ip_source,
                )
            )
