"""Links: delay, loss, order, partitions, and who gets what (`harp.lab.virtual.network`)."""

from dataclasses import dataclass, field
from random import Random

import pytest

from harp.lab.virtual.network import Link, Network, Packet, Quality

A, B, SHARED = bytes(15) + b"\x0a", bytes(15) + b"\x0b", bytes(15) + b"\x55"
ALL = bytes([0xFF, 2]) + bytes(14)


@dataclass
class Ear:
    """Notes what arrives, and when."""

    name: str
    network: Network
    got: list[tuple[int, bytes]] = field(default_factory=list)

    def arrive(self, packet: Packet) -> None:
        self.got.append((self.network.now, packet.payload))


def link_of_two(quality: Quality) -> tuple[Network, Link, Ear, Ear]:
    network = Network(Random(1))
    link = network.add_link("home", quality)
    a, b = Ear("a", network), Ear("b", network)
    link.attach(a, A)
    link.attach(b, B)
    return network, link, a, b


def send(network: Network, destination: bytes, payload: bytes, sender: str = "a") -> None:
    network.send(sender, Packet("home", A, destination, payload))


def test_delay_lies_between_least_and_most() -> None:
    network, _, _, b = link_of_two(Quality(delay_us=1_000, jitter_us=500))
    for number in range(50):
        network.at(number * 10_000, send, network, B, b"x")
    network.run(1_000_000)
    times = [at % 10_000 for at, _ in b.got]
    assert len(times) == 50
    assert 1_000 <= min(times) < max(times) < 1_500


def test_order_is_kept_unless_reordered() -> None:
    for reorder, kept in ((0.0, True), (0.5, False)):
        network, _, _, b = link_of_two(Quality(100, 5_000, reorder=reorder, reorder_us=50_000))
        for number in range(100):
            network.at(number * 1_000, send, network, B, bytes([number]))
        network.run(1_000_000)
        order = [payload for _, payload in b.got]
        assert sorted(order) == [bytes([number]) for number in range(100)]
        assert (order == sorted(order)) is kept


@pytest.mark.parametrize(("name", "least", "most"), [("loss", 20, 80), ("duplicate", 120, 180)])
def test_chance_of(name: str, least: int, most: int) -> None:
    network, _, _, b = link_of_two(Quality(**{name: 0.5}))
    for _ in range(100):
        send(network, B, b"x")
    network.run(1_000_000)
    assert least < len(b.got) < most


def test_damage_changes_one_bit_and_says_so() -> None:
    network, _, _, b = link_of_two(Quality(damage=1.0))
    send(network, B, bytes(20))
    network.run(10_000)
    ((_, payload),) = b.got
    assert sum(octet.bit_count() for octet in payload) == 1
    assert network.stirred["damage"] == 1


def test_block_is_one_way() -> None:
    network, link, a, b = link_of_two(Quality())
    link.blocked.add(("a", "b"))
    send(network, B, b"to b")
    network.send("b", Packet("home", B, A, b"to a"))
    network.run(10_000)
    assert [p for _, p in a.got] == [b"to a"]
    assert b.got == []
    assert network.lost["blocked"] == 1


def test_multicast_reaches_all_but_the_sender() -> None:
    network, link, a, b = link_of_two(Quality())
    c = Ear("c", network)
    link.attach(c)
    send(network, ALL, b"x")
    network.run(10_000)
    assert (len(a.got), len(b.got), len(c.got)) == (0, 1, 1)


def test_unicast_follows_the_last_announcement_of_an_owner() -> None:
    network, link, a, b = link_of_two(Quality())
    c = Ear("c", network)
    link.attach(c)
    pa, pb = link.ports["a"], link.ports["b"]
    link.announce(pb, SHARED)  # owns it not: nobody listens
    send(network, SHARED, b"0", "c")
    link.own(pa, SHARED)
    link.own(pb, SHARED)
    send(network, SHARED, b"1", "c")
    link.announce(pb, SHARED)
    send(network, SHARED, b"2", "c")
    link.disown(pb, SHARED)  # the neighbor finds out and asks again
    send(network, SHARED, b"3", "c")
    network.run(10_000)
    assert [p for _, p in a.got] == [b"1", b"3"]
    assert [p for _, p in b.got] == [b"2"]
    assert network.lost["nobody"] == 1


def test_equal_times_run_in_the_order_given_and_the_past_is_now() -> None:
    network = Network(Random(1))
    seen: list[int] = []
    network.at(5, seen.append, 1)
    network.at(5, seen.append, 2)
    network.at(5, lambda: network.at(1, seen.append, network.now))
    network.run(10)
    assert seen == [1, 2, 5]
    assert network.now == 10
