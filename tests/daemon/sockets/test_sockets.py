"""Sockets between two real namespaces; scapy judges what leaves."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import pytest
from scapy.layers.inet6 import (
    HAO,
    ICMPv6HAADRequest,
    IPv6,
    IPv6ExtHdrDestOpt,
    IPv6ExtHdrRouting,
    PadN,
)
from scapy.packet import Packet, Raw
from tests.daemon.network import entered, ip, namespace, until, wire
from tests.daemon.site import CARE_OF, GROUP, HOME, OWN, PEER, VIRTUAL, address, group_config

from harp.cli.common import Failure
from harp.daemon.links import Links
from harp.daemon.parts import Source
from harp.daemon.sockets.home_address import HomeAddressSocket
from harp.daemon.sockets.icmp import DiscoverySocket, home_agents_anycast
from harp.daemon.sockets.mobility import MobilitySocket, Sorting, raw_socket
from harp.daemon.sockets.options import lost, roomy
from harp.daemon.sockets.sender import PacketSender
from harp.engine.config import EngineConfig, Prefix
from harp.engine.effects import ICMPV6, SendPacket, SendParameterProblem, SetServing
from harp.engine.events import IcmpReceived, PacketReceived
from harp.tables.codepoints import DEFAULT_CODE_POINTS
from harp.tables.harp_types import HarpType
from harp.tables.mh import MhType
from harp.wire.codec import DEFAULT_CODEC
from harp.wire.icmpv6 import build_icmpv6
from harp.wire.messages import BindingUpdate, DhaadReply, DhaadRequest, Harp

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root")

CONFIG = EngineConfig((group_config(),))
MULTICAST = DEFAULT_CODE_POINTS.multicast_group.packed
STRANGER = address("2001:db8:1::99")
MH = 135


@dataclass
class Site:
    """A home agent `ha` and its peer `cn` on one link."""

    ha: str
    cn: str
    stack: ExitStack
    events: list[Any] = field(default_factory=list)
    said: list[str] = field(default_factory=list)

    def links(self) -> Links:
        """Those of the home agent, read."""
        with entered(self.ha):
            links = Links(
                {"home": frozenset((OWN,))},
                self.events.append,
                lambda _, text: self.said.append(text),
            )
        self.stack.callback(links.close)
        links.open()
        links.settle()
        return links

    def send(self, packet: Packet) -> None:
        """From the peer's node, as it stands."""
        with (
            entered(self.cn),
            socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_RAW) as raw,
        ):
            scope = socket.if_nametoindex("eth0")
            raw.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, scope)
            raw.sendto(bytes(packet), (packet.dst, 0, 0, 0))

    def heard(self, source: Source, count: int) -> list[Any]:
        """The next events of a source; no more come with them."""
        self.events.clear()

        def drained() -> bool:
            source.drain(64)
            return len(self.events) >= count

        until(drained, f"{count} events")
        return list(self.events)


@pytest.fixture
def site() -> Iterator[Site]:
    """Two nodes on a veth pair; neighbors need not be asked for."""
    with ExitStack() as stack:
        ha, cn = stack.enter_context(namespace("ha")), stack.enter_context(namespace("cn"))
        wire(ha, "home", cn, "eth0")
        ip("-n", ha, "addr", "add", "2001:db8:1::a1/64", "dev", "home", "nodad")
        ip("-n", cn, "addr", "add", "2001:db8:1::c1/64", "dev", "eth0", "nodad")
        yield Site(ha, cn, stack)


def _hello(source: bytes, destination: bytes, sequence: int = 1) -> bytes:
    return DEFAULT_CODEC.build(source, destination, Harp(HarpType.HELLO, GROUP, sequence))


def _update(sequence: int = 5) -> bytes:
    message = BindingUpdate(sequence=sequence, flags=0xC000, lifetime_s=40)
    return DEFAULT_CODEC.build(HOME, OWN, message)


def _ip(payload: bytes, source: bytes = PEER, to: bytes = OWN, hops: int = 255) -> Packet:
    text = socket.inet_ntop(socket.AF_INET6, source), socket.inet_ntop(socket.AF_INET6, to)
    return IPv6(src=text[0], dst=text[1], nh=MH, hlim=hops) / Raw(payload)


def _sockets(site: Site, links: Links) -> tuple[MobilitySocket, MobilitySocket]:
    sorting = Sorting.of(CONFIG)
    with entered(site.ha):
        first = MobilitySocket(sorting, links.names, site.events.append, others=False)
        rest = MobilitySocket(sorting, links.names, site.events.append, others=True)
    for each in (first, rest):
        site.stack.callback(each.close)
    first.join((MULTICAST,), links.index("home"))
    return first, rest


def test_what_members_say_is_apart_from_the_rest(site: Site) -> None:
    first, rest = _sockets(site, site.links())
    hello = _hello(PEER, OWN)
    wrong = bytearray(hello)
    wrong[4] ^= 0xFF  # the checksum: for the engine to judge
    multicast = _hello(PEER, MULTICAST)
    site.send(_ip(hello))
    site.send(_ip(bytes(wrong)))
    site.send(_ip(multicast, to=MULTICAST))
    site.send(_ip(hello, hops=64))
    site.send(_ip(hello, source=STRANGER))
    site.send(_ip(_update()))
    assert site.heard(first, 3) == [
        PacketReceived(PEER, OWN, hello, 255, "home"),
        PacketReceived(PEER, OWN, bytes(wrong), 255, "home"),
        PacketReceived(PEER, MULTICAST, multicast, 255, "home"),
    ]
    assert site.heard(rest, 3) == [
        PacketReceived(PEER, OWN, hello, 64, "home"),
        PacketReceived(STRANGER, OWN, hello, 255, "home"),
        PacketReceived(PEER, OWN, _update(), 255, "home"),
    ]


def test_all_that_waits_is_read_but_no_more_than_wanted(site: Site) -> None:
    first, _ = _sockets(site, site.links())
    for sequence in range(1, 201):
        site.send(_ip(_hello(PEER, OWN, sequence)))
    assert first.drain(150) == 150
    assert first.drain(150) == 50
    assert first.drain(150) == 0
    sequences = [int.from_bytes(event.payload[8:10]) for event in site.events]
    assert sequences == list(range(1, 201))


def test_an_octet_past_the_longest_header_is_cut_off_and_the_message_whole(site: Site) -> None:
    _, rest = _sockets(site, site.links())
    ip("-n", site.ha, "link", "set", "home", "mtu", "4000")
    ip("-n", site.cn, "link", "set", "eth0", "mtu", "4000")
    body = bytes([59, 255, MhType.BINDING_UPDATE, 0]).ljust(2048, b"\1") + b"beyond"
    site.send(_ip(body))
    (event,) = site.heard(rest, 1)
    assert event.payload == body[:2048]


def _with_home_address(payload: bytes, to: str = "2001:db8:1::a1") -> Packet:
    options = IPv6ExtHdrDestOpt(
        nh=MH, autopad=0, options=[PadN(optdata=b"\0\0"), HAO(hoa="2001:db8:1::beef")]
    )
    return IPv6(src="2001:db8:2::9", dst=to, hlim=64) / options / Raw(payload)


def test_home_address_options_come_by_the_packet_socket(site: Site) -> None:
    names = site.links().names
    with entered(site.ha):
        source = HomeAddressSocket((OWN,), names, site.events.append)
    site.stack.callback(source.close)
    ip("-n", site.ha, "addr", "add", "2001:db8:1::1/64", "dev", "home", "nodad")
    ip("-n", site.cn, "addr", "add", "2001:db8:2::9/64", "dev", "eth0", "nodad")
    site.send(_ip(_update()))  # no such option
    site.send(_with_home_address(_update(1), "2001:db8:1::1"))  # not ours yet
    site.send(_with_home_address(_update(2)))
    assert site.heard(source, 1) == [PacketReceived(HOME, OWN, _update(2), 64, "home", CARE_OF)]
    source.serving(SetServing(GROUP, True, VIRTUAL))
    site.send(_with_home_address(_update(3), "2001:db8:1::1"))
    (event,) = site.heard(source, 1)
    assert (event.destination, event.care_of) == (VIRTUAL, CARE_OF)
    source.serving(SetServing(GROUP, False, VIRTUAL))
    site.send(_with_home_address(_update(4), "2001:db8:1::1"))
    site.send(_with_home_address(_update(5)))
    (event,) = site.heard(source, 1)
    assert event.payload == _update(5)


def test_a_packet_that_was_cut_says_so(site: Site) -> None:
    names = site.links().names
    with entered(site.ha):
        source = HomeAddressSocket((OWN,), names, site.events.append)
    site.stack.callback(source.close)
    ip("-n", site.cn, "addr", "add", "2001:db8:2::9/64", "dev", "eth0", "nodad")
    # Longer than any slot: what a slot holds ends before the Payload Length says.
    ip("-n", site.ha, "link", "set", "home", "mtu", "9000")
    ip("-n", site.cn, "link", "set", "eth0", "mtu", "9000")
    site.send(_with_home_address(_update() + bytes(6000)))
    (event,) = site.heard(source, 1)
    assert event.cut and event.source == CARE_OF


def test_discovery_requests_reach_the_anycast_address_while_serving(site: Site) -> None:
    with entered(site.ha):
        source = DiscoverySocket(CONFIG, site.events.append)
    site.stack.callback(source.close)
    interface = site.links().index("home")
    ip("netns", "exec", site.ha, "sysctl", "-qw", "net.ipv6.conf.all.forwarding=1")
    anycast = home_agents_anycast(CONFIG.groups[0].home_prefixes[0])
    request = build_icmpv6(PEER, anycast, DhaadRequest(77))
    packet = IPv6(src="2001:db8:1::c1", dst=socket.inet_ntop(socket.AF_INET6, anycast))
    on, off = SetServing(GROUP, True, VIRTUAL), SetServing(GROUP, False, VIRTUAL)
    source.serving(on, interface)
    site.send(packet / ICMPv6HAADRequest(id=77, R=0))
    assert site.heard(source, 1) == [IcmpReceived(PEER, anycast, request)]
    source.serving(off, interface)
    site.send(packet / ICMPv6HAADRequest(id=78, R=0))
    source.serving(on, interface)
    source.serving(on, interface)  # once more does no harm
    site.send(packet / ICMPv6HAADRequest(id=79, R=0))
    (event,) = site.heard(source, 1)
    assert event.payload == build_icmpv6(PEER, anycast, DhaadRequest(79))


@pytest.mark.parametrize(
    ("prefix", "length", "anycast"),
    [
        ("2001:db8:1::", 64, "2001:db8:1:0:fdff:ffff:ffff:fffe"),  # RFC 2526 §2, 64-bit
        ("2001:db8:1::", 96, "2001:db8:1::ffff:fffe"),
        ("2001:db8:1::", 48, "2001:db8:1:ffff:ffff:ffff:ffff:fffe"),
    ],
)
def test_anycast_address_of_a_prefix(prefix: str, length: int, anycast: str) -> None:
    assert home_agents_anycast(Prefix(address(prefix), length)) == address(anycast)


class Wire:
    """What the peer's node receives, as whole IPv6 packets from the home agent."""

    def __init__(self, site: Site) -> None:
        with entered(site.cn):
            self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(0x86DD))
            self._socket.bind(("eth0", 0x86DD))
        site.stack.callback(self._socket.close)
        self._socket.settimeout(10)

    def next(self, of: bytes = OWN) -> Any:
        """The next one from an address that is no neighbor discovery."""
        while True:
            packet = self._socket.recv(4096)
            if packet[8:24] == of and not (packet[6] == ICMPV6 and packet[40] in range(130, 144)):
                return IPv6(packet)


def _sender(site: Site, links: Links) -> PacketSender:
    with entered(site.ha):
        sender = PacketSender(links, lambda _, text: site.said.append(text), mip6=False)
    site.stack.callback(sender.close)
    return sender


def test_packets_leave_from_their_address_with_hop_limit_255(site: Site) -> None:
    sender, wire_ = _sender(site, site.links()), Wire(site)
    hello = _hello(OWN, PEER)
    sender.send(SendPacket(OWN, PEER, hello, "home", group=GROUP))
    packet = wire_.next()
    assert (packet.src, packet.dst, packet.hlim, packet.nh, packet.tc) == (
        "2001:db8:1::a1",
        "2001:db8:1::c1",
        255,
        MH,
        0xC0,
    )
    assert bytes(packet.payload) == hello
    sender.send(SendPacket(OWN, MULTICAST, _hello(OWN, MULTICAST), "home"))
    assert wire_.next().dst == "ff02::114"
    # An answer of a home agent that has withdrawn its address a moment ago.
    sender.send(SendPacket(VIRTUAL, PEER, hello, hop_limit=7))
    packet = wire_.next(VIRTUAL)
    assert (packet.src, packet.hlim) == ("2001:db8:1::1", 7)
    sender.send(
        SendPacket(OWN, PEER, build_icmpv6(OWN, PEER, DhaadReply(9, (OWN,))), protocol=ICMPV6)
    )
    packet = wire_.next()
    assert (packet[1].type, packet[1].id, packet[1].addresses) == (145, 9, ["2001:db8:1::a1"])
    assert sender.counters == {} and site.said == []


def test_a_care_of_address_gets_a_type_2_routing_header(site: Site) -> None:
    sender, wire_ = _sender(site, site.links()), Wire(site)
    ack = _hello(OWN, HOME)
    sender.send(SendPacket(OWN, HOME, ack, via=PEER))
    packet = wire_.next()
    assert (packet.dst, packet.nh, packet.hlim) == ("2001:db8:1::c1", 43, 255)
    header = packet[IPv6ExtHdrRouting]
    assert (header.type, header.len, header.segleft, header.nh) == (2, 2, 1, MH)
    assert header.addresses == ["2001:db8:1::beef"]
    assert bytes(header.payload) == ack


def test_a_parameter_problem_points_into_the_packet_it_is_about(site: Site) -> None:
    sender, wire_ = _sender(site, site.links()), Wire(site)
    about = _hello(PEER, OWN) + bytes(3000)
    sender.parameter_problem(SendParameterProblem(OWN, PEER, about, 1))
    packet = wire_.next()
    problem = packet[1]
    assert (problem.type, problem.code, problem.ptr) == (4, 0, 41)  # RFC 4443 §3.4
    assert len(packet) == 1280
    assert bytes(problem.payload)[40:] == about[: 1280 - 88]
    again: Any = IPv6(bytes(packet))
    del again[1].cksum
    assert bytes(IPv6(bytes(again))) == bytes(packet)


def test_what_cannot_leave_is_counted_and_told_once(site: Site) -> None:
    links = site.links()
    sender = _sender(site, links)
    nowhere = SendPacket(OWN, address("2001:db8:99::1"), _hello(OWN, PEER))
    for _ in range(3):
        sender.send(nowhere)
    assert sender.counters == {"ENETUNREACH": 3}
    assert site.said == ["sending to 2001:db8:99::1: Network is unreachable (ENETUNREACH)"]
    sender.send(SendPacket(OWN, PEER, _hello(OWN, PEER), "home"))
    sender.send(nowhere)
    assert len(site.said) == 2
    links.up["home"] = False
    sender.send(SendPacket(OWN, PEER, _hello(OWN, PEER), "home"))
    assert sender.counters["link_down"] == 1


def test_without_permission_there_is_one_line() -> None:
    os.seteuid(65534)
    try:
        with pytest.raises(Failure, match=r"run as root, or with the capabilities CAP_NET_RAW"):
            raw_socket()
    finally:
        os.seteuid(0)


def test_what_found_no_room_is_counted() -> None:
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as heard:
        heard.bind(("::1", 0))
        roomy(heard, 1 << 12)
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as said:
            for _ in range(100):
                said.sendto(bytes(512), heard.getsockname())
        heard.setblocking(False)
        there = 0
        with contextlib.suppress(BlockingIOError):
            while heard.recv(1024):
                there += 1
        assert 0 < there < 100 and lost(heard) == 100 - there
