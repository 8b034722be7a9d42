"""What still reaches a member that withdrew gets to the next active, and never to and fro."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import IPv6Address
from pathlib import Path

import pytest
from tests.daemon.dataplane.test_tun import (
    CARE_OF,
    CN,
    HOME,
    OFF,
    ON,
    VIRTUAL,
    Site,
    site,
    udp_packet,
)
from tests.daemon.network import entered, ip

from harp.daemon.neighbors.link_socket import LinkSocket
from harp.daemon.neighbors.messages import (
    ALL_NODES,
    Flag,
    advertisement,
    multicast_mac,
)
from harp.engine.effects import PrepareRoute
from harp.tables.ipv6 import ETHERTYPE_IPV6

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root")

BEFORE, NEXT = bytes.fromhex("020000000055"), bytes.fromhex("020000000077")
"""Of the member that was active before this one, and of the one that will be."""
HANDED_ON = {VIRTUAL: b"to the agent", HOME: b"to the node"}
"""Destination → what it is sent."""


class Neighbor:
    """Who is on the home link beside the home agent, and sees all that it sends there."""

    def __init__(self, there: Site) -> None:
        with entered(there.ha):
            link = LinkSocket("home")
            self.agent = link.mac
            link.close()
        with entered(there.cn):
            self.link = LinkSocket("eth0")
            self._seen = socket.socket(
                socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETHERTYPE_IPV6)
            )
        self._seen.settimeout(5)

    def send(self) -> None:
        """As if it had not heard yet that the home agent withdrew."""
        for destination, text in HANDED_ON.items():
            self.link.send(udp_packet(CN, destination, text), self.agent)

    def advertise(self) -> None:
        """As the next active does first of all."""
        packet = advertisement(CN, ALL_NODES, VIRTUAL, Flag.OVERRIDE | Flag.ROUTER, NEXT)
        self.link.send(packet, multicast_mac(ALL_NODES))

    def handed_on(self) -> dict[bytes, bytes]:
        """Destination → link-layer address that it went to."""
        found: dict[bytes, bytes] = {}
        while len(found) < len(HANDED_ON):
            frame, (*_, packet_type, _, _) = self._seen.recvfrom(2048)
            destination = frame[38:54]
            if packet_type != socket.PACKET_OUTGOING and frame[62:] == HANDED_ON.get(destination):
                found[destination] = frame[:6]
        return found

    def close(self) -> None:
        self.link.close()
        self._seen.close()


@contextmanager
def old_neighbor(run_dir: Path) -> Iterator[tuple[Site, Neighbor]]:
    """A home agent that is a standby, and remembers where the addresses were long ago."""
    with site(run_dir) as there:
        there.plane.prepare(PrepareRoute(7, HOME, 0, CARE_OF))
        there.settle()
        neighbor = Neighbor(there)
        for address in HANDED_ON:
            entry = (str(IPv6Address(address)), "lladdr", BEFORE.hex(":"), "dev", "home")
            ip("-n", there.ha, "neigh", "replace", *entry, "nud", "stale")
        yield there, neighbor
        assert there.said == []
        neighbor.close()


def test_after_a_withdrawal_it_waits_for_the_next_active(tmp_path: Path) -> None:
    with old_neighbor(tmp_path) as (there, neighbor):
        there.plane.serve(ON)
        there.plane.serve(OFF)
        neighbor.send()
        neighbor.advertise()
        assert neighbor.handed_on() == {VIRTUAL: NEXT, HOME: NEXT}


def test_a_standby_sends_it_where_the_virtual_address_is(tmp_path: Path) -> None:
    """Also what is for a mobile node whose own advertisement was not heard yet."""
    with old_neighbor(tmp_path) as (_, neighbor):
        neighbor.advertise()
        neighbor.send()
        assert neighbor.handed_on() == {VIRTUAL: NEXT, HOME: NEXT}


def test_the_detour_outlasts_an_interface_that_was_down(tmp_path: Path) -> None:
    with old_neighbor(tmp_path) as (there, neighbor):
        there.plane.serve(ON)
        for state in ("down", "up"):
            ip("-n", there.ha, "link", "set", "home", state)
        ip("-n", there.ha, "addr", "add", "2001:db8:1::a1/64", "dev", "home", "nodad")
        there.plane.serve(OFF)
        neighbor.send()
        neighbor.advertise()
        assert neighbor.handed_on() == {VIRTUAL: NEXT, HOME: NEXT}
