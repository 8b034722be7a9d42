"""The process that forwards in user space, where the kernel has no `ip6_tunnel`.

Ref: RFC 2473 (tunnelling in IPv6), RFC 6275 §10.4.2, §10.4.5; harp.md §10

Packets to home addresses come out of a TUN device and leave behind an outer header; packets from
mobile nodes come in at a raw socket, are checked, and go into the device, from where the kernel
forwards them.
"""

from __future__ import annotations

import errno
import itertools
import os
import socket
import struct
import time
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

from harp.daemon.dataplane.encapsulate import (
    IPV6_IN_IPV6,
    decapsulated,
    encapsulate,
    fragments,
    may_answer,
    narrow_path,
    packet_too_big,
)
from harp.daemon.dataplane.feed import Report
from harp.daemon.dataplane.plan import MIN_MTU
from harp.daemon.dataplane.worker import Group, Worker, begin
from harp.daemon.netlink.nft import Nft
from harp.tables.icmpv6 import NEXT_HEADER as ICMPV6
from harp.tables.icmpv6 import PACKET_TOO_BIG
from harp.tables.ipv6 import FIXED_HEADER_OCTETS

_AT_ONCE = 64
"""Packets of one side in a row before the other has its turn."""
_MAX_OCTETS = 65_575
_MTU_S = 600
"""A path's MTU is believed so long (RFC 8201 §5.3: ten minutes)."""
_BUFFER_OCTETS = 4 << 20
_ICMPV6_FILTER = 1
_ONLY_TOO_BIG = struct.pack("=8I", 0xFFFFFFFF ^ 1 << PACKET_TOO_BIG, *[0xFFFFFFFF] * 7)
_CONTROL_OCTETS = socket.CMSG_SPACE(4) + socket.CMSG_SPACE(20)


class _PathMtu(NamedTuple):
    octets: int
    until: float


class Forwarder(Worker):
    """Both ways through the tunnels of all groups."""

    def __init__(self, groups: Sequence[Group], feed: socket.socket, tun: int) -> None:
        super().__init__(groups, feed)
        self._tun = tun
        self._by_source = {group.source: group for group in self.groups}
        self._paths: dict[bytes, _PathMtu] = {}
        self._identification = itertools.count(int(time.time()))
        self._encapsulated = self._decapsulated = self._unbound = 0
        self._too_big = self._unsent = 0
        self._out = socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_RAW)
        self._in = socket.socket(socket.AF_INET6, socket.SOCK_RAW, IPV6_IN_IPV6)
        self._icmp = socket.socket(socket.AF_INET6, socket.SOCK_RAW, ICMPV6)
        self._prepare_sockets()
        os.set_blocking(tun, False)
        self.watch(tun, self._from_device)
        self.watch(self._in.fileno(), self._from_tunnels)
        self.watch(self._icmp.fileno(), self._from_path)

    def report(self) -> Report:
        """With the packets of both ways."""
        return (
            super()
            .report()
            ._replace(
                encapsulated=self._encapsulated,
                decapsulated=self._decapsulated,
                unbound=self._unbound,
                too_big=self._too_big,
                unsent=self._unsent,
            )
        )

    def _prepare_sockets(self) -> None:
        for each in (self._out, self._in, self._icmp):
            each.setblocking(False)
        self._in.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER_OCTETS)
        self._out.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BUFFER_OCTETS)
        self._in.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVTCLASS, 1)
        self._in.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
        self._icmp.setsockopt(ICMPV6, _ICMPV6_FILTER, _ONLY_TOO_BIG)

    def _from_device(self) -> None:
        """Packets that the kernel routed to mobile nodes."""
        for _ in range(_AT_ONCE):
            try:
                packet = os.read(self._tun, _MAX_OCTETS)
            except BlockingIOError:
                return
            found = self._tunnel_to(packet[24:40])
            if found is not None:
                self._send(packet, *found)

    def _tunnel_to(self, destination: bytes) -> tuple[Group, bytes] | None:
        """Group and care-of address for a destination."""
        for group in self.groups:
            care_of = group.bindings.hosts.get(destination)
            if care_of is not None:
                return group, care_of
        for group in self.groups:
            network = group.bindings.network_of(destination) if group.bindings.networks else None
            if network is not None:
                return group, network[1]
        return None

    def _send(self, packet: bytes, group: Group, care_of: bytes) -> None:
        """One packet into its tunnel, in pieces or answered where the tunnel is too narrow."""
        outer = encapsulate(packet, group.source + care_of)
        path = self._paths.get(care_of) if self._paths else None
        if path is not None and len(outer) > path.octets:
            self._send_narrow(packet, outer, group, care_of, path)
            return
        try:
            self._out.sendto(outer, (_text(care_of), 0))
            self._encapsulated += 1
        except OSError as error:
            self._unsent += 1
            if error.errno == errno.EMSGSIZE:  # the way to it leaves by a link narrower than ours
                self._learn(care_of, MIN_MTU)

    def _send_narrow(
        self, packet: bytes, outer: bytes, group: Group, care_of: bytes, path: _PathMtu
    ) -> None:
        """RFC 2473 §7.1: larger than 1,280 octets: Packet Too Big; else fragments."""
        if path.until < time.monotonic():
            del self._paths[care_of]
            self._send(packet, group, care_of)
        elif len(packet) > max(MIN_MTU, path.octets - FIXED_HEADER_OCTETS):
            self._too_big += 1
            if may_answer(packet):
                mtu = max(MIN_MTU, path.octets - FIXED_HEADER_OCTETS)
                self._to_device(packet_too_big(packet, group.source, mtu))
        else:
            number = next(self._identification) & 0xFFFFFFFF
            for piece in fragments(outer, path.octets, number):
                try:
                    self._out.sendto(piece, (_text(care_of), 0))
                except OSError:
                    self._unsent += 1
                    return
            self._encapsulated += 1

    def _from_tunnels(self) -> None:
        """Packets from mobile nodes, reassembled by the kernel."""
        for _ in range(_AT_ONCE):
            try:
                packet, control, _, peer = self._in.recvmsg(_MAX_OCTETS, _CONTROL_OCTETS)
            except BlockingIOError:
                return
            outer = socket.inet_pton(socket.AF_INET6, peer[0].partition("%")[0])
            inner = self._checked(packet, outer, control)
            if inner is None:
                self._unbound += 1
            elif self._to_device(inner):
                self._decapsulated += 1

    def _checked(
        self, packet: bytes, outer: bytes, control: list[tuple[int, int, bytes]]
    ) -> bytes | None:
        """RFC 6275 §10.4.5; None: dropped."""
        traffic_class, destination = 0, b""
        for _, kind, data in control:
            if kind == socket.IPV6_PKTINFO:
                destination = data[:16]
            else:
                (traffic_class,) = struct.unpack("=i", data[:4])
        group = self._by_source.get(destination)
        if group is None or len(packet) < FIXED_HEADER_OCTETS or packet[0] >> 4 != 6:
            return None
        if not group.bindings.may_send(packet[8:24], outer):
            return None
        return decapsulated(packet, traffic_class)

    def _from_path(self) -> None:
        """A router on a tunnel's path says that it is narrow (RFC 2473 §7.1, RFC 8201 §4)."""
        try:
            message = self._icmp.recv(_MAX_OCTETS)
        except BlockingIOError:
            return
        path = narrow_path(message)
        if path is None or path.source not in self._by_source:
            return
        found = self._tunnel_to(path.inner)
        if found is not None and found[1] == path.care_of:
            self._learn(path.care_of, path.mtu)

    def _learn(self, care_of: bytes, mtu: int) -> None:
        known = self._paths.get(care_of)
        if known is None or mtu < known.octets or known.until < time.monotonic():
            self._paths[care_of] = _PathMtu(mtu, time.monotonic() + _MTU_S)

    def _to_device(self, packet: bytes) -> bool:
        try:
            os.write(self._tun, packet)
        except OSError:
            self._unsent += 1
            return False
        return True


@lru_cache(maxsize=65_536)
def _text(address: bytes) -> str:
    return socket.inet_ntop(socket.AF_INET6, address)


def main() -> None:
    """The process."""
    plan, feed, others = begin("harpd-tun")
    nft = Nft()
    groups = [Group(each, plan.table, nft) for each in plan.groups]
    Forwarder(groups, feed, others["tun"]).run()


if __name__ == "__main__":
    main()
