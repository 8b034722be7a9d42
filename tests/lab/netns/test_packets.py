"""What a mobile node sends is what RFC 6275 says, judged by the codec and by scapy."""

from ipaddress import IPv6Address

import pytest
from scapy.layers.inet6 import (
    HAO,
    MIP6MH_BU,
    IPv6,
    IPv6ExtHdrDestOpt,
    in6_chksum,
)

from harp.lab.netns import packets, plan
from harp.lab.netns.load import LABORATORY, Template
from harp.tables.mh import BuFlag
from harp.wire.messages import BindingUpdate

AGENT = plan.VIRTUAL.packed
FLAGS = BuFlag.ACKNOWLEDGE | BuFlag.HOME_REGISTRATION


def binding_update(number: int, sequence: int, lifetime_s: int = 600) -> bytes:
    return packets.from_mobile_node(
        plan.care_of_address(number),
        plan.home_address(number),
        AGENT,
        BindingUpdate(sequence, FLAGS, lifetime_s),
    )


def test_scapy_reads_a_binding_update() -> None:
    packet = IPv6(binding_update(7, 4711))
    assert IPv6Address(packet.src).packed == plan.care_of_address(7)
    options = packet[IPv6ExtHdrDestOpt]
    # RFC 6275 §6.3: "alignment requirement of 8n+6"
    assert bytes(options)[8:24] == plan.home_address(7)
    assert IPv6Address(options[HAO].hoa).packed == plan.home_address(7)
    update = packet[MIP6MH_BU]
    assert (update.seq, update.mhtime, str(update.flags)) == (4711, 150, "HA")
    unsigned = bytearray(bytes(update))
    unsigned[4:6] = bytes(2)
    pseudo = IPv6(src=options[HAO].hoa, dst=packet.dst)
    assert in6_chksum(135, pseudo, bytes(unsigned)) == update.cksum


@pytest.mark.parametrize("number", [0, 1, 255, 65_535, 99_999])
@pytest.mark.parametrize("sequence", [0, 1, 4711, 65_535])
def test_the_load_generator_sends_the_same_octets(number: int, sequence: int) -> None:
    assert Template(AGENT, 600).packet(number, sequence) == binding_update(number, sequence)


def test_template_at_another_place() -> None:
    packet = Template(AGENT, 4, LABORATORY).packet(3, 9)
    assert packet == binding_update(3, 9, lifetime_s=4)


def test_tunnel() -> None:
    inside = packets.ipv6(bytes(16), AGENT, 59, b"")
    packet = packets.tunnelled(plan.care_of_address(0), AGENT, inside)
    assert packets.inner(packet) == inside
    assert packets.source_of(packet) == plan.care_of_address(0)
    assert packets.destination_of(packet) == AGENT
    assert bytes(IPv6(packet)[IPv6:2]) == inside
    assert packets.inner(inside) is None
    assert packets.inner(packet[:60]) is None


def test_addresses_are_apart() -> None:
    home = {plan.home_address(number) for number in (0, 1, 0xFFFF, 99_999)}
    assert len(home) == 4
    assert all(IPv6Address(one) in plan.HOME_PREFIX for one in home)
    assert home.isdisjoint(port.address.packed for port in plan.HOME_PORTS.values())
    places = {plan.care_of_address(number, place) for number in (0, 99_999) for place in (0, 1)}
    assert len(places) == 4
    assert all(IPv6Address(one) in plan.CARE_OF_POOL for one in places)
