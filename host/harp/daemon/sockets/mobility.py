"""Mobility Headers that arrive: raw sockets of protocol 135.

Ref: RFC 6275 §6.1 (Mobility Header), §6.3 (Home Address option); RFC 3542 §3, §6; harp.md §10
"""

from __future__ import annotations

import socket
import sys
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from struct import Struct

from harp.cli.common import Failure
from harp.daemon.parts import Deliver
from harp.daemon.sockets.batch import Datagram, control_messages
from harp.daemon.sockets.filters import attach, members_only
from harp.daemon.sockets.options import MOBILE_OCTETS, PKTINFO, RECEIVE_OCTETS, join, roomy
from harp.daemon.sockets.source import DatagramSource
from harp.engine.config import EngineConfig
from harp.engine.events import PacketReceived
from harp.tables.ipv6 import HOME_ADDRESS_OPTION
from harp.tables.mh import MAX_MH_OCTETS, NEXT_HEADER
from harp.wire.maker import maker

_SLOTS = 64
_SOURCE = slice(8, 24)
"""The address in `struct sockaddr_in6`."""
_USUAL = Struct("@Nii16sINiii")
"""Ancillary data of nearly every datagram: address and interface, then hop limit."""
_USUAL_OCTETS = 64
"""With the padding behind it."""
_make_event = maker(PacketReceived)
_OWN_CHECKSUM = -1
"""IPV6_CHECKSUM: the kernel judges none (harp.md §10)."""


def raw_socket() -> socket.socket:
    """A raw socket of protocol 135. `Failure`: not permitted."""
    try:
        opened = socket.socket(socket.AF_INET6, socket.SOCK_RAW | socket.SOCK_NONBLOCK, NEXT_HEADER)
    except PermissionError:
        raise Failure(
            "raw sockets are not permitted: run as root, or with the capabilities CAP_NET_RAW and "
            "CAP_NET_ADMIN"
        ) from None
    opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_CHECKSUM, _OWN_CHECKSUM)
    return opened


@dataclass(frozen=True, slots=True)
class Sorting:
    """Whose Mobility Headers come first."""

    mh_type: int
    """MH Type of HARP."""
    members: Collection[bytes]
    """Addresses of all members of all groups; empty: whoever speaks HARP."""
    any_hop_limit: bool
    """A group has members that are routers apart."""

    @classmethod
    def of(cls, config: EngineConfig) -> Sorting:
        """As the groups want it."""
        groups = config.groups
        known = {a for g in groups for m in g.peers for a in m.addresses}
        return cls(
            groups[0].code_points.mh_type_harp,
            frozenset() if any(group.discover for group in groups) else frozenset(known),
            not all(group.require_hop_limit for group in groups),
        )


class MobilitySocket(DatagramSource):
    """One of two sockets that share the Mobility Headers; a `parts.Source`.

    `others` = False: HARP from members; True: all the rest, Binding Updates above all. Source and
    destination are those of the checksum: with `mip6` in the kernel it puts the home address where
    the source was, and the care-of address into the Home Address option, which comes along as
    ancillary data.
    """

    def __init__(
        self, sorting: Sorting, names: Mapping[int, str], deliver: Deliver, *, others: bool
    ) -> None:
        self._names = names
        self._deliver = deliver
        opened = raw_socket()
        super().__init__(opened, _SLOTS, MAX_MH_OCTETS)
        roomy(opened, MOBILE_OCTETS if others else RECEIVE_OCTETS)
        for option in (
            socket.IPV6_RECVPKTINFO,
            socket.IPV6_RECVHOPLIMIT,
            socket.IPV6_RECVDSTOPTS,
        ):
            opened.setsockopt(socket.IPPROTO_IPV6, option, 1)
        program = members_only(
            sorting.mh_type, sorting.members, any_hop_limit=sorting.any_hop_limit, others=others
        )
        attach(opened, program)

    def join(self, groups: Iterable[bytes], interface: int) -> None:
        """Hears multicast groups on an interface."""
        for group in groups:
            join(self.socket, group, interface)

    def take(self, datagram: Datagram) -> None:
        self._deliver(self._event(datagram))

    def _event(self, datagram: Datagram) -> PacketReceived:
        payload, name, control = datagram
        source = name[_SOURCE]
        if len(control) == _USUAL_OCTETS:
            _, _, first, to, interface, _, _, second, hops = _USUAL.unpack_from(control)
            if first == socket.IPV6_PKTINFO and second == socket.IPV6_HOPLIMIT:
                link = self._names.get(interface, "")
                return _make_event(source, to, payload, hops, link, b"", False)
        return self._unusual(source, payload, control)

    def _unusual(self, source: bytes, payload: bytes, control: bytes) -> PacketReceived:
        """With destination options, or in another order."""
        destination, link, hop_limit, care_of = b"", "", 0, b""
        for level, kind, content in control_messages(control):
            if level != socket.IPPROTO_IPV6:
                continue
            if kind == socket.IPV6_PKTINFO:
                destination, interface = PKTINFO.unpack(content)
                link = self._names.get(interface, "")
            elif kind == socket.IPV6_HOPLIMIT:
                hop_limit = int.from_bytes(content, sys.byteorder)
            elif kind == socket.IPV6_DSTOPTS:
                care_of = swapped_care_of(content) or care_of
        return PacketReceived(source, destination, payload, hop_limit, link, care_of)


def swapped_care_of(options: bytes) -> bytes:
    """The address in the Home Address option of Destination Options, empty if there is none."""
    at = 2
    while at + 1 < len(options):
        if options[at] == 0:  # Pad1 (RFC 8200 §4.2)
            at += 1
            continue
        stop = at + 2 + options[at + 1]
        if options[at] == HOME_ADDRESS_OPTION and stop - at == 18 and stop <= len(options):
            return options[at + 2 : stop]
        at = stop
    return b""
