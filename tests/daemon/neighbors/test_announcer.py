"""Neighbor discovery for home addresses on a real home link, judged by the kernel and by scapy."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from scapy.layers.inet6 import ICMPv6ND_NA, ICMPv6ND_NS, ICMPv6NDOptDstLLAddr, IPv6
from scapy.layers.l2 import Ether
from tests.daemon.network import entered, home_network, ip, until
from tests.daemon.site import GROUP, HOME, VIRTUAL, address, daemon_config

from harp.daemon.neighbors.announcer import Announcer
from harp.daemon.neighbors.messages import multicast_mac, probe, solicited_node
from harp.engine.addresses import link_local_of
from harp.engine.effects import AnnounceNeighbor, Level, SetServing, StartDad
from harp.engine.events import DadFinished, Event
from harp.tables.mh import BuFlag

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root")
ON, OFF = SetServing(GROUP, True, VIRTUAL), SetServing(GROUP, False, VIRTUAL)
SOURCE = "2001:db8:1::a1"


class Site:
    """An announcer on the home agent; the correspondent asks and listens."""

    def __init__(self, ha: str, cn: str, run_dir: Path) -> None:
        self.ha, self.cn = ha, cn
        self.events: list[Event] = []
        self.said: list[tuple[Level, str]] = []
        self.timers: list[Callable[[], None]] = []
        self.bindings: dict[bytes, int] = {HOME: 0}
        with entered(ha):
            self.announcer = Announcer(
                daemon_config(run_dir),
                lambda group, home: self.bindings.get(home),
                self.events.append,
                lambda level, text: self.said.append((level, text)),
                lambda seconds, call: self.timers.append(call),
            )
            self.announcer.open()
        with entered(cn):
            self.wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x86DD))
            self.wire.bind(("eth0", 0x86DD))
        self.wire.settimeout(5)

    def heard(self, kind: type) -> Ether:
        """The next message of a kind that the correspondent hears."""
        while True:
            frame = Ether(self.wire.recv(2048))
            if kind in frame:
                return frame

    def send(self, packet: bytes, mac: bytes) -> None:
        """From the correspondent."""
        with entered(self.cn):
            self.wire.send(mac + self.wire.getsockname()[4] + b"\x86\xdd" + packet)

    def serve_until(self, ready: Callable[[], object], what: str) -> None:
        """The announcer's turn again and again."""
        until(lambda: (self.announcer.drain(64), ready())[1], what)

    def neighbor(self, target: str) -> str:
        """The correspondent's entry."""
        return subprocess.check_output(
            ("ip", "-n", self.cn, "-6", "neigh", "show", target), text=True
        )


@contextmanager
def site(run_dir: Path) -> Iterator[Site]:
    with home_network() as (ha, cn, _):
        there = Site(ha, cn, run_dir)
        try:
            yield there
        finally:
            there.announcer.close()
            there.wire.close()


def test_who_says_send_to_me_asks_again_where_its_neighbors_are(tmp_path: Path) -> None:
    """A question that was lost while the link came up; who is known stays known."""
    with site(tmp_path) as there:
        for target, state in (("2001:db8:1::fe", "incomplete"), ("2001:db8:1::2", "reachable")):
            lladdr = () if state == "incomplete" else ("lladdr", "02:00:00:00:00:02")
            ip("-n", there.ha, "neigh", "add", target, *lladdr, "dev", "home", "nud", state)
        there.announcer.announce(AnnounceNeighbor(GROUP, HOME, router=False))
        assert _known(there.ha) == {"2001:db8:1::fe", "2001:db8:1::2"}
        there.announcer.announce(AnnounceNeighbor(GROUP, VIRTUAL, router=True))
        assert _known(there.ha) == {"2001:db8:1::2"}


def _known(name: str) -> set[str]:
    """Global neighbors in a node's cache, answered or not."""
    shown = subprocess.check_output(
        ("ip", "-n", name, "-6", "neigh", "show", "dev", "home"), text=True
    )
    return {line.split()[0] for line in shown.splitlines() if line.startswith("2001:")}


def test_unsolicited_advertisement(tmp_path: Path) -> None:
    """RFC 6275 §10.4.1: S 0, O 1, the home agent's link-layer address, its own source."""
    with site(tmp_path) as there:
        there.announcer.announce(AnnounceNeighbor(GROUP, VIRTUAL, router=True))
        there.announcer.announce(AnnounceNeighbor(GROUP, HOME, router=False))
        for target, router in (("2001:db8:1::1", 1), ("2001:db8:1::beef", 0)):
            frame = there.heard(ICMPv6ND_NA)
            advert = frame[ICMPv6ND_NA]
            assert (advert.tgt, advert.R, advert.S, advert.O) == (target, router, 0, 1)
            assert (frame[IPv6].src, frame[IPv6].dst, frame[IPv6].hlim) == (SOURCE, "ff02::1", 255)
            assert (frame.dst, frame.src) == ("33:33:00:00:00:01", _mac(there.ha))
            assert advert[ICMPv6NDOptDstLLAddr].lladdr == frame.src
            assert frame[ICMPv6ND_NA].cksum == _checksum_by_scapy(frame)
        assert there.announcer.counters["advertised"] == 2


def _mac(name: str) -> str:
    words = subprocess.check_output(("ip", "-n", name, "link", "show", "home"), text=True).split()
    return words[words.index("link/ether") + 1]


def _checksum_by_scapy(frame: Ether) -> int:
    packet = frame[IPv6].copy()
    del packet[ICMPv6ND_NA].cksum
    checksum: int = IPv6(bytes(packet))[ICMPv6ND_NA].cksum
    return checksum


def test_the_kernel_of_a_neighbor_finds_a_home_address(tmp_path: Path) -> None:
    with site(tmp_path) as there:
        there.announcer.serving(ON)
        with entered(there.cn):
            asking = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
        with asking:
            asking.sendto(b"?", ("2001:db8:1::beef", 9))
            there.serve_until(lambda: "lladdr" in there.neighbor("2001:db8:1::beef"), "resolved")
        assert _mac(there.ha) in there.neighbor("2001:db8:1::beef")
        assert "router" not in there.neighbor("2001:db8:1::beef")
        answer = there.heard(ICMPv6ND_NA)[ICMPv6ND_NA]
        assert (answer.S, answer.O, answer.R) == (1, 1, 0)


def test_nobody_answers_for_what_is_not_served(tmp_path: Path) -> None:
    """Standby; then active, but asked for an address without a binding."""
    with site(tmp_path) as there:
        there.bindings[address("2001:db8:1::2")] = int(BuFlag.MOBILE_ROUTER)
        with entered(there.cn):
            asking = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
        with asking:
            there.send(probe(HOME), multicast_mac(solicited_node(HOME)))
            assert there.announcer.drain(64) == 0, "a standby is not even woken"
            there.announcer.serving(ON)
            asking.sendto(b"?", ("2001:db8:1::404", 9))
            asking.sendto(b"?", ("2001:db8:1::2", 9))
            there.serve_until(
                lambda: "lladdr" in there.neighbor("2001:db8:1::2"), "a mobile router"
            )
        assert "router" in there.neighbor("2001:db8:1::2")
        assert "lladdr" not in there.neighbor("2001:db8:1::404")
        assert there.announcer.counters["answered"] == 1
        there.announcer.serving(OFF)
        there.send(probe(HOME), multicast_mac(solicited_node(HOME)))
        assert there.announcer.drain(64) == 0, "nor one that was active"


def test_link_local_address_of_a_binding_with_l(tmp_path: Path) -> None:
    """RFC 6275 §10.4.1: with L the link-local address is defended too."""
    with site(tmp_path) as there:
        there.announcer.serving(ON)
        target = link_local_of(HOME)
        there.send(probe(target), multicast_mac(solicited_node(target)))
        there.serve_until(lambda: True, "heard")
        assert there.announcer.counters["answered"] == 0
        there.bindings[HOME] = int(BuFlag.LINK_LOCAL)

        def answered() -> bool:
            there.send(probe(target), multicast_mac(solicited_node(target)))
            return there.announcer.counters["answered"] > 0

        there.serve_until(answered, "defended")


def test_home_address_is_defended_against_a_probe(tmp_path: Path) -> None:
    """A host that takes a mobile node's home address finds it taken (RFC 4862 §5.4)."""
    with site(tmp_path) as there:
        there.announcer.serving(ON)
        ip("netns", "exec", there.cn, "sysctl", "-qw", "net.ipv6.conf.eth0.accept_dad=1")
        ip("-n", there.cn, "addr", "add", "2001:db8:1::beef/64", "dev", "eth0")

        def failed() -> bool:
            shown = subprocess.check_output(("ip", "-n", there.cn, "-6", "addr"), text=True)
            return "dadfailed" in shown

        there.serve_until(failed, "DAD failed")


def test_detection_finds_nobody(tmp_path: Path) -> None:
    with site(tmp_path) as there:
        free = address("2001:db8:1::f")
        there.announcer.start_dad(StartDad(GROUP, free))
        frame = there.heard(ICMPv6ND_NS)
        assert (frame[IPv6].src, frame[IPv6].hlim) == ("::", 255)
        assert frame[IPv6].dst == "ff02::1:ff00:f"
        assert frame[ICMPv6ND_NS].tgt == "2001:db8:1::f"
        assert there.events == []
        there.timers.pop()()
        assert there.events == [DadFinished(GROUP, free, duplicate=False)]


def test_detection_finds_the_owner(tmp_path: Path) -> None:
    """The correspondent's kernel defends its own address."""
    with site(tmp_path) as there:
        taken = address("2001:db8:1::c1")
        there.announcer.start_dad(StartDad(GROUP, taken))
        there.serve_until(lambda: there.events, "told")
        assert there.events == [DadFinished(GROUP, taken, duplicate=True)]
        there.timers.pop()()
        assert len(there.events) == 1, "the time that was over later says nothing"


def test_detection_meets_another_that_probes(tmp_path: Path) -> None:
    with site(tmp_path) as there:
        wanted = address("2001:db8:1::f")
        there.announcer.start_dad(StartDad(GROUP, wanted))
        there.send(probe(wanted), multicast_mac(solicited_node(wanted)))
        there.serve_until(lambda: there.events, "told")
        assert there.events == [DadFinished(GROUP, wanted, duplicate=True)]


def test_another_node_with_the_virtual_address_is_told_once(tmp_path: Path) -> None:
    with site(tmp_path) as there:
        there.announcer.serving(ON)
        other = ICMPv6ND_NA(tgt="2001:db8:1::1", S=0, O=1)
        packet = bytes(IPv6(src="2001:db8:1::c1", dst="ff02::1", hlim=255) / other)
        for count in (1, 2):
            there.send(packet, multicast_mac(b"\0\0\0\1"))
            there.serve_until(lambda n=count: there.announcer.counters["conflicts"] >= n, "counted")
        assert [level for level, _ in there.said] == [Level.ERROR]
        assert "answers for the virtual address 2001:db8:1::1 too" in there.said[0][1]


def test_an_interface_that_goes_and_comes_back(tmp_path: Path) -> None:
    with site(tmp_path) as there:
        there.announcer.serving(ON)
        ip("-n", there.ha, "link", "del", "home")
        there.announcer.announce(AnnounceNeighbor(GROUP, HOME, router=False))
        there.announcer.drain(64)
        assert there.announcer.counters["unsent"] == 1
        end = ("name", "eth0", "netns", there.cn)
        ip("-n", there.ha, "link", "add", "home", "type", "veth", "peer", *end)
        for name, link in ((there.ha, "home"), (there.cn, "eth0")):
            ip("-n", name, "link", "set", link, "up")
        with entered(there.ha):
            there.announcer.link_found("home")
        there.announcer.announce(AnnounceNeighbor(GROUP, HOME, router=False))
        assert there.announcer.counters["advertised"] == 1
