"""Runs on a kernel with `mip6`: Binding Updates in, answers out. Prints one JSON object."""

from __future__ import annotations

import json
import socket
import subprocess
from contextlib import ExitStack

from tests.daemon.network import entered, ip, namespace, until, wire
from tests.daemon.site import CARE_OF, HOME, OWN, group_config

from harp.daemon.links import Links
from harp.daemon.sockets.mip6 import HomeAddressOption, remove_leftovers
from harp.daemon.sockets.mobility import MobilitySocket, Sorting
from harp.daemon.sockets.sender import PacketSender
from harp.engine.config import EngineConfig
from harp.engine.effects import SendPacket
from harp.engine.events import Event, PacketReceived
from harp.wire.codec import DEFAULT_CODEC
from harp.wire.messages import BindingUpdate

UPDATE = DEFAULT_CODEC.build(HOME, OWN, BindingUpdate(sequence=7, flags=0xC000, lifetime_s=40))


def with_home_address() -> bytes:
    """An IPv6 packet: Destination Options with the Home Address option, then the update."""
    options = bytes((135, 2, 1, 2, 0, 0, 201, 16)) + HOME
    length = len(options) + len(UPDATE)
    return b"\x60\0\0\0" + length.to_bytes(2) + bytes((60, 64)) + CARE_OF + OWN + options + UPDATE


def main() -> None:
    """The scene."""
    found: dict[str, object] = {}
    with ExitStack() as stack:
        ha, cn = stack.enter_context(namespace("ha")), stack.enter_context(namespace("cn"))
        wire(ha, "home", cn, "eth0")
        ip("-n", ha, "addr", "add", "2001:db8:1::a1/64", "dev", "home", "nodad")
        ip("-n", cn, "addr", "add", "2001:db8:1::c1/64", "dev", "eth0", "nodad")
        ip("-n", cn, "addr", "add", "2001:db8:2::9/64", "dev", "eth0", "nodad")
        ip("-n", ha, "route", "add", "2001:db8:2::/64", "via", "2001:db8:1::c1")
        events: list[Event] = []
        with entered(cn):
            raw = socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_RAW)
            tap = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(0x86DD))
            tap.settimeout(10)
        with entered(ha):
            links = Links({"home": frozenset((OWN,))}, events.append, lambda _, text: None)
            links.open()
            links.settle()
            option = HomeAddressOption()
            found["mip6"] = option.open()
            found["again"] = HomeAddressOption().open()
            sorting = Sorting.of(EngineConfig((group_config(),)))
            rest = MobilitySocket(sorting, links.names, events.append, others=True)
            sender = PacketSender(links, lambda _, text: print(text), mip6=True)
            raw.sendto(with_home_address(), ("2001:db8:1::a1", 0))

            def heard() -> bool:
                rest.drain(8)
                return bool(events)

            until(heard, "the Binding Update")
            found["event"] = events == [PacketReceived(HOME, OWN, UPDATE, 64, "home", CARE_OF)]
            sender.send(SendPacket(OWN, HOME, UPDATE, via=CARE_OF))
            option.close()
            found["left"] = subprocess.check_output(["ip", "xfrm", "state"], text=True)
            HomeAddressOption().open()
            remove_leftovers()
            found["left after undo"] = subprocess.check_output(["ip", "xfrm", "state"], text=True)
        found["packet"] = _next(tap)
        for each in (raw, tap, links, rest, sender):
            each.close()
    print(json.dumps(found), flush=True)


def _next(tap: socket.socket) -> dict[str, object]:
    """The packet that left the home agent, field by field."""
    while True:
        packet = tap.recv(2048)
        if packet[8:24] == OWN and packet[6] != 58:
            header = packet[40:64]
            return {
                "to care-of": packet[24:40] == CARE_OF,
                "hop limit": packet[7],
                "headers": [packet[6], header[0]],
                "routing": list(header[1:4]),
                "home address": header[8:24] == HOME,
                "whole": packet[64:] == UPDATE,
            }


if __name__ == "__main__":
    main()
