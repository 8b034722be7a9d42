"""Stand-ins for what a test does not run: a home agent that says yes to every Binding Update."""

from __future__ import annotations

import socket
from collections import Counter
from collections.abc import Callable

from harp.lab.netns import packets, plan
from harp.lab.netns.mobile import packet_socket
from harp.lab.netns.namespaces import entered
from harp.lab.netns.threads import Station
from harp.lab.netns.world import World
from harp.tables.ipv6 import ETHERTYPE_IPV6, ROUTING_TYPE_2, NextHeader
from harp.tables.mh import NEXT_HEADER
from harp.wire.codec import DEFAULT_CODEC
from harp.wire.messages import BindingAcknowledgement, BindingUpdate
from harp.wire.packet import MobilityPacket, find_mobility_header


def acknowledgement(update: MobilityPacket, message: BindingUpdate, status: int = 0) -> bytes:
    """The answer to a Binding Update, with its type 2 routing header (RFC 6275 §6.4)."""
    answer = BindingAcknowledgement(status, message.sequence, message.lifetime_s)
    mh = DEFAULT_CODEC.build(update.destination, update.source, answer)
    routing = bytes((NEXT_HEADER, 2, ROUTING_TYPE_2, 1)) + bytes(4) + update.source
    return packets.ipv6(update.ip_destination, update.ip_source, NextHeader.ROUTING, routing + mh)


def update_in(packet: bytes) -> tuple[MobilityPacket, BindingUpdate] | None:
    """A Binding Update, if it is one."""
    found = find_mobility_header(packet)
    if not isinstance(found, MobilityPacket):
        return None
    message = DEFAULT_CODEC.parse(found.source, found.destination, found.payload)
    return (found, message) if isinstance(message, BindingUpdate) else None


class StandInAgent(Station):
    """Answers Binding Updates at one member's place; forwards nothing."""

    def __init__(self, world: World, member: str, refuse_first: int | None = None) -> None:
        super().__init__("stand-in home agent")
        self.updates: Counter[bytes] = Counter()
        """By home address."""
        self._refuse = refuse_first
        self._router = (plan.HOME, ETHERTYPE_IPV6, 0, 0, plan.mac_octets(plan.CORE_HOME))
        world.batch(member, f"addr add {plan.VIRTUAL}/128 dev {plan.HOME} nodad")
        with entered(world.inside(member)):
            self._link = packet_socket(plan.HOME)

    def descriptors(self) -> dict[int, Callable[[], None]]:
        return {self._link.fileno(): self._read}

    def tick(self, now_ns: int) -> int | None:
        return None

    def close(self) -> None:
        self._link.close()

    def _read(self) -> None:
        while True:
            try:
                packet, sender = self._link.recvfrom(2048)
            except BlockingIOError:
                return
            found = update_in(packet) if sender[2] != socket.PACKET_OUTGOING else None
            if found is None:
                continue
            self.updates[found[0].source] += 1
            status = 0
            if self._refuse is not None:
                status, self._refuse = self._refuse, None
            self._link.sendto(acknowledgement(*found, status=status), self._router)
