"""A mobile node on real links: a packet socket to its router, a TUN with its home address.

Ref: packet(7); Linux Documentation/networking/tuntap.rst; RFC 6275 §11

Its programs (the kernel's answer to a ping, for one) use the home address; what they send goes into
the tunnel to the home agent and what comes out of it reaches them. User space, because a kernel
need have neither ip6_tunnel nor mip6.
"""

from __future__ import annotations

import fcntl
import os
import socket
import struct
import time
from collections.abc import Callable
from ipaddress import IPv6Address

from harp.lab.netns import plan
from harp.lab.netns.namespaces import entered
from harp.lab.netns.node import MobileNode
from harp.lab.netns.threads import Station
from harp.lab.netns.world import MN, World
from harp.tables.ipv6 import ETHERTYPE_IPV6

TUN = "tun-mn"
INNER_MTU = 1400
"""Octets: room for the tunnel's header and the visited link's."""
_TUNSETIFF, _IFF_TUN, _IFF_NO_PI = 0x400454CA, 0x1, 0x1000
_RECEIVE_OCTETS = 4 << 20


def packet_socket(interface: str, receive_octets: int = _RECEIVE_OCTETS) -> socket.socket:
    """A packet socket of IPv6 packets without link-layer header, in the thread's namespace."""
    made = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, 0)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_octets)
    made.bind((interface, ETHERTYPE_IPV6))
    made.setblocking(False)
    return made


class MobileStation(Station):
    """The driver of one `MobileNode` in the mobile nodes' namespace."""

    def __init__(self, world: World, node: MobileNode) -> None:
        super().__init__("mobile node")
        self.node = node
        self._router = (plan.VISITED, ETHERTYPE_IPV6, 0, 0, plan.mac_octets(plan.CORE_VISITED))
        self._outbox: list[bytes] = []
        with entered(world.inside(MN)):
            self._link = packet_socket(plan.VISITED)
            self._tun = _open_tun()
        home = IPv6Address(node.config.home_address)
        world.batch(
            MN,
            f"link set {TUN} mtu {INNER_MTU} up",
            f"addr add {home}/128 dev {TUN} nodad",
            f"route add default dev {TUN} src {home} metric 10",
        )

    def register(self) -> None:
        """Wants a binding from now on; only before the station runs."""
        self._outbox += self.node.register(_now())

    def descriptors(self) -> dict[int, Callable[[], None]]:
        return {self._link.fileno(): self._from_link, self._tun: self._from_tun}

    def tick(self, now_ns: int) -> int | None:
        self._send(self._outbox)
        self._outbox = []
        self._send(self.node.expire(now_ns // 1000))
        deadline = self.node.deadline
        return None if deadline is None else deadline * 1000

    def close(self) -> None:
        self._link.close()
        os.close(self._tun)

    def _from_link(self) -> None:
        try:
            while True:
                packet, sender = self._link.recvfrom(65536)
                if sender[2] != socket.PACKET_OUTGOING:
                    self._arrived(packet)
        except BlockingIOError:
            return

    def _arrived(self, packet: bytes) -> None:
        found = self.node.unwrap(packet)
        if found is not None:
            os.write(self._tun, found)
        else:
            self._send(self.node.receive(packet, _now()))

    def _from_tun(self) -> None:
        try:
            while True:
                wrapped = self.node.wrap(os.read(self._tun, 65536))
                if wrapped is not None:
                    self._send([wrapped])
        except BlockingIOError:
            return

    def _send(self, packets: list[bytes]) -> None:
        for packet in packets:
            self._link.sendto(packet, self._router)


def _open_tun() -> int:
    descriptor = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    request = struct.pack("16sH14x", TUN.encode(), _IFF_TUN | _IFF_NO_PI)
    fcntl.ioctl(descriptor, _TUNSETIFF, request)
    return descriptor


def _now() -> int:
    return time.monotonic_ns() // 1000
