"""Neighbor discovery messages: what is built is right, what is wrong is not taken."""

from __future__ import annotations

import pytest
from scapy.layers.inet6 import ICMPv6ND_NA, ICMPv6ND_NS, ICMPv6NDOptSrcLLAddr, IPv6
from tests.daemon.site import HOME, OWN

from harp.daemon.neighbors.messages import (
    ALL_NODES,
    Flag,
    Neighbor,
    advertisement,
    multicast_mac,
    parse,
    probe,
    solicited_node,
)
from harp.engine.config import UNSPECIFIED

MAC = bytes.fromhex("020000000001")


def test_what_is_built_is_read_back() -> None:
    assert parse(probe(HOME)) == Neighbor(UNSPECIFIED, HOME, True)
    advert = advertisement(OWN, ALL_NODES, HOME, Flag.OVERRIDE, MAC)
    assert parse(advert) == Neighbor(OWN, HOME, False)
    assert parse(advertisement(OWN, ALL_NODES, HOME, Flag.OVERRIDE, b"")) is not None


def test_groups_and_their_hardware_addresses() -> None:
    assert solicited_node(HOME).hex() == "ff0200000000000000000001ff00beef"
    assert multicast_mac(solicited_node(HOME)).hex() == "3333ff00beef"


def _ask(**fields: object) -> IPv6:
    return IPv6(src="2001:db8:1::c1", dst="ff02::1:ff00:beef", hlim=255, **fields)


TARGET = "2001:db8:1::beef"


def test_a_solicitation_of_a_neighbor() -> None:
    asked = _ask() / ICMPv6ND_NS(tgt=TARGET) / ICMPv6NDOptSrcLLAddr(lladdr="02:00:00:00:00:09")
    found = parse(bytes(asked))
    assert found is not None and found.target == HOME and not found.is_probe


@pytest.mark.parametrize(
    "packet",
    [
        IPv6(src="2001:db8:1::c1", dst=TARGET, hlim=254) / ICMPv6ND_NS(tgt=TARGET),
        _ask() / ICMPv6ND_NS(tgt=TARGET, code=1),
        _ask() / ICMPv6ND_NS(tgt=TARGET, cksum=1),
        _ask() / ICMPv6ND_NS(tgt="ff02::1"),
        _ask() / ICMPv6ND_NS(tgt=TARGET) / b"\x01\x00",
        _ask() / ICMPv6ND_NS(tgt=TARGET) / b"\x01\x02" / bytes(6),
        _ask() / ICMPv6ND_NS(tgt=TARGET) / b"\x01",
        IPv6(src="::", dst=TARGET, hlim=255) / ICMPv6ND_NS(tgt=TARGET),
        IPv6(src="::", dst="ff02::1:ff00:beef", hlim=255)
        / ICMPv6ND_NS(tgt=TARGET)
        / ICMPv6NDOptSrcLLAddr(lladdr="02:00:00:00:00:09"),
        IPv6(src="2001:db8:1::c1", dst="ff02::1", hlim=255) / ICMPv6ND_NA(tgt=TARGET, S=1),
        IPv6(src="2001:db8:1::c1", dst="ff02::1", hlim=255, nh=58) / (bytes((133,)) + bytes(23)),
        IPv6(src="2001:db8:1::c1", dst="ff02::1", hlim=255, nh=17) / bytes(24),
        IPv6(src="2001:db8:1::c1", dst="ff02::1", hlim=255, nh=58, plen=8) / bytes(24),
    ],
)
def test_what_is_not_valid_is_not_taken(packet: IPv6) -> None:
    """RFC 4861 §7.1.1, §7.1.2."""
    assert parse(bytes(packet)) is None


def test_cut_packets_are_not_taken() -> None:
    whole = probe(HOME)
    assert all(parse(whole[:size]) is None for size in range(len(whole)))
