"""Outer headers, fragments and errors: scapy reads them, and a receiver puts them together."""

from __future__ import annotations

import pytest
from scapy.layers.inet6 import (
    ICMPv6PacketTooBig,
    IPv6,
    IPv6ExtHdrFragment,
    defragment6,
)
from tests.daemon.dataplane.test_tun import udp_packet
from tests.daemon.site import CARE_OF, HOME, PEER, VIRTUAL

from harp.daemon.dataplane.encapsulate import (
    NarrowPath,
    decapsulated,
    encapsulate,
    fragments,
    may_answer,
    narrow_path,
    packet_too_big,
)

ENDS = VIRTUAL + CARE_OF


def with_class(packet: bytes, traffic_class: int) -> bytes:
    word = int.from_bytes(packet[:4]) | traffic_class << 20
    return word.to_bytes(4) + packet[4:]


def test_the_outer_header() -> None:
    """RFC 2473 §6."""
    inner = with_class(udp_packet(PEER, HOME, b"text"), 0xB9)
    outer = IPv6(encapsulate(inner, ENDS))
    assert (outer.src, outer.dst) == ("2001:db8:1::1", "2001:db8:2::9")
    assert (outer.nh, outer.hlim, outer.tc, outer.fl) == (41, 64, 0xB9, 0)
    assert outer.plen == len(inner) and bytes(outer.payload) == inner


@pytest.mark.parametrize("mtu", [1280, 1281, 1300, 1399])
@pytest.mark.parametrize("size", [1, 1200, 1232])
def test_fragments_come_together(mtu: int, size: int) -> None:
    inner = udp_packet(PEER, HOME, bytes(range(256)) * 5)[: 48 + size]
    outer = encapsulate(inner, ENDS)
    pieces = fragments(outer, mtu, 77)
    assert all(len(piece) <= mtu for piece in pieces)
    parsed = [IPv6(piece) for piece in pieces]
    assert all(piece[IPv6ExtHdrFragment].id == 77 for piece in parsed)
    assert bytes(defragment6(parsed)) == outer


def test_packet_too_big() -> None:
    """RFC 4443 §3.2: as much of the packet as fits 1,280 octets, checksum right."""
    packet = udp_packet(PEER, HOME, bytes(1400))
    answer = IPv6(packet_too_big(packet, VIRTUAL, 1300))
    assert (answer.src, answer.dst) == ("2001:db8:1::1", "2001:db8:1::c1")
    message = answer[ICMPv6PacketTooBig]
    assert (len(answer), message.mtu) == (1280, 1300)
    assert bytes(message.payload) == packet[: 1280 - 48]
    sum_ = message.cksum
    del message.cksum
    assert IPv6(bytes(answer))[ICMPv6PacketTooBig].cksum == sum_


def test_no_error_about_an_error() -> None:
    """RFC 4443 §2.4 (e)."""
    about = packet_too_big(udp_packet(PEER, HOME, b""), VIRTUAL, 1300)
    assert not may_answer(about)
    assert not may_answer(udp_packet(bytes(16), HOME, b""))
    assert not may_answer(udp_packet(b"\xff" + bytes(15), HOME, b""))
    assert may_answer(udp_packet(PEER, HOME, b""))
    assert may_answer(bytes(IPv6(src="::1", dst="::2", nh=58)) + bytes((128, 0, 0, 0)))


@pytest.mark.parametrize(
    ("inner", "outer", "left"),
    [(0, 0, 0), (0, 3, None), (1, 3, 3), (2, 3, 3), (3, 0, 3), (2, 1, 2), (0, 2, 0)],
)
def test_congestion_in_the_tunnel(inner: int, outer: int, left: int | None) -> None:
    """RFC 6040 §4.2, figure 4."""
    packet = with_class(udp_packet(PEER, HOME, b""), inner)
    result = decapsulated(packet, outer)
    assert (result is None) == (left is None)
    if result is not None:
        assert int.from_bytes(result[:4]) >> 20 & 3 == left
        assert result[4:] == packet[4:]


def test_what_a_router_says_of_a_path() -> None:
    inner = udp_packet(PEER, HOME, bytes(1300))
    about = encapsulate(inner, ENDS)
    message = packet_too_big(about, PEER, 1320)[40:]
    assert narrow_path(message) == NarrowPath(VIRTUAL, CARE_OF, HOME, 1320)
    less = packet_too_big(about, PEER, 600)[40:]
    found = narrow_path(less)
    assert found is not None and found.mtu == 1280, "no IPv6 link carries less (RFC 8200 §5)"
    assert narrow_path(packet_too_big(inner, PEER, 1320)[40:]) is None
    assert narrow_path(bytes((1, *message[1:]))) is None
    assert narrow_path(message[:80]) is None
