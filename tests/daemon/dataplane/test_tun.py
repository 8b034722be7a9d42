"""The TUN backend between real namespaces."""

from __future__ import annotations

import os
import re
import signal
import socket
import struct
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import IPv6Address
from pathlib import Path

import pytest
from tests.daemon.network import entered, home_network, ip, namespace, until

from harp.daemon.clock import SystemClock
from harp.daemon.dataplane.leftovers import made_by
from harp.daemon.dataplane.plan import GroupPlan, Plan, halves
from harp.daemon.dataplane.tun import TunBackend
from harp.engine.config import Prefix
from harp.engine.effects import PrepareRoute, PrepareRoutes, RemoveRoute, SetServing
from harp.wire.bulk import BindingRecord, BulkCodec
from harp.wire.codec import DEFAULT_CODEC

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root")


def _a(text: str) -> bytes:
    return IPv6Address(text).packed


VIRTUAL, HOME, CARE_OF = _a("2001:db8:1::1"), _a("2001:db8:1::beef"), _a("2001:db8:2::9")
CN = _a("2001:db8:1::c1")
HALVES = halves(Prefix(_a("2001:db8:1::"), 64))
PLAN = Plan((GroupPlan(7, "home", VIRTUAL, VIRTUAL, 11407, 11407, 0x11B, 5, HALVES),), "harp0")
ON, OFF = SetServing(7, True, VIRTUAL), SetServing(7, False, VIRTUAL)


class Site:
    """The three nodes, and a TUN backend on the home agent."""

    def __init__(self, ha: str, cn: str, mn: str, run_dir: Path, plan: Plan = PLAN) -> None:
        self.ha, self.cn, self.mn, self.said = ha, cn, mn, list[str]()
        self.stored: list[PrepareRoute] = []
        with entered(ha):
            self.plane = TunBackend(
                plan,
                ("home", "away"),
                made_by(plan, run_dir),
                SystemClock(),
                self.said.append,
                lambda: self.stored,
            )
            self.plane.open()
        ip("-n", cn, "route", "add", "2001:db8:1::beef", "via", "2001:db8:1::a1")
        ip("-n", cn, "route", "add", "2001:db8:77::/48", "via", "2001:db8:1::a1")

    def settle(self) -> None:
        """Everything given is in the kernel."""
        child = self.plane._child
        assert child is not None
        child.flush()

        def flushed() -> bool:
            self.plane.renew(SystemClock().now_us())
            return child.report.flushed == child.asked

        until(flushed, "routes in the kernel")

    def counters(self) -> dict[str, int]:
        self.plane.renew(SystemClock().now_us())
        return self.plane.status().counters


@contextmanager
def site(run_dir: Path, plan: Plan = PLAN) -> Iterator[Site]:
    with home_network() as (ha, cn, mn):
        there = Site(ha, cn, mn, run_dir, plan)
        try:
            yield there
        finally:
            with entered(ha):
                there.plane.close()


def raw_in(name: str, protocol: int) -> socket.socket:
    """A raw socket in a namespace, with a deadline."""
    with entered(name):
        sock = socket.socket(socket.AF_INET6, socket.SOCK_RAW, protocol)
    sock.settimeout(5)
    return sock


def udp_in(name: str) -> socket.socket:
    with entered(name):
        sock = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    sock.settimeout(5)
    return sock


def udp_packet(source: bytes, destination: bytes, text: bytes, hop_limit: int = 64) -> bytes:
    """An IPv6 packet with UDP, from port 9 to 9."""
    from harp.wire.checksum import checksum

    datagram = bytearray(struct.pack("!HHHH", 9, 9, 8 + len(text), 0) + text)
    datagram[6:8] = checksum(source, destination, datagram, 17).to_bytes(2)
    head = struct.pack("!IHBB", 6 << 28, len(datagram), 17, hop_limit)
    return head + source + destination + bytes(datagram)


def test_both_ways_through_the_tunnel(tmp_path: Path) -> None:
    with site(tmp_path) as there, raw_in(there.mn, 41) as tunnel, udp_in(there.cn) as cn:
        there.plane.prepare(PrepareRoute(7, HOME, 0, CARE_OF))
        there.settle()
        there.plane.serve(ON)
        cn.bind(("2001:db8:1::c1", 9))
        cn.sendto(b"hello", ("2001:db8:1::beef", 9))
        inner, outer = tunnel.recvfrom(2048)
        assert IPv6Address(outer[0]).packed == VIRTUAL
        assert inner[24:40] == HOME and inner.endswith(b"hello")
        assert inner[7] == 63, "forwarding decrements the inner hop limit (RFC 2473 §3.1)"

        tunnel.sendto(udp_packet(HOME, CN, b"back"), ("2001:db8:1::1", 0))
        answer, source = cn.recvfrom(2048)
        assert (answer, IPv6Address(source[0]).packed) == (b"back", HOME)
        until(lambda: there.counters()["decapsulated"] == 1, "counted")
        assert there.counters()["encapsulated"] == 1
        assert there.counters()["unbound"] == 0
        assert re.search(r"at most about [\d,]+ packets/s", there.plane.status().detail)


def test_an_interface_that_was_down_has_its_address_again_at_once(tmp_path: Path) -> None:
    """The kernel drops addresses and routes of an interface that goes down."""

    def address() -> bool:
        shown = subprocess.check_output(("ip", "-n", there.ha, "-6", "addr"), text=True)
        return "2001:db8:1::1/" in shown

    with site(tmp_path) as there:
        there.plane.serve(ON)
        for state in ("down", "up"):
            ip("-n", there.ha, "link", "set", "home", state)
        assert not address()
        there.plane.link_changed()
        assert address()
        there.plane.serve(OFF)
        there.plane.link_changed()
        assert not address()
        assert there.said == []


def test_standby_forwards_nothing(tmp_path: Path) -> None:
    with site(tmp_path) as there, udp_in(there.cn) as cn:
        there.plane.prepare(PrepareRoute(7, HOME, 0, CARE_OF))
        there.settle()
        for serving in (ON, OFF):
            there.plane.serve(serving)
        cn.sendto(b"hello", ("2001:db8:1::beef", 9))
        found = subprocess.check_output(
            ("ip", "-n", there.ha, "-6", "route", "get", "2001:db8:1::beef"), text=True
        )
        assert "dev home" in found
        assert there.counters()["encapsulated"] == 0
        shown = subprocess.check_output(("ip", "-n", there.ha, "-6", "addr"), text=True)
        assert "2001:db8:1::1/" not in shown


def test_source_that_is_not_bound_is_dropped(tmp_path: Path) -> None:
    """RFC 6275 §10.4.5."""
    with site(tmp_path) as there, raw_in(there.mn, 41) as tunnel, udp_in(there.cn) as cn:
        there.plane.prepare(PrepareRoute(7, HOME, 0, CARE_OF))
        there.settle()
        there.plane.serve(ON)
        cn.bind(("2001:db8:1::c1", 9))
        stranger = _a("2001:db8:1::bad")
        tunnel.sendto(udp_packet(stranger, CN, b"no"), ("2001:db8:1::1", 0))
        tunnel.sendto(udp_packet(HOME, CN, b"not to the virtual address"), ("2001:db8:2::a1", 0))
        tunnel.sendto(b"short", ("2001:db8:1::1", 0))
        tunnel.sendto(udp_packet(HOME, CN, b"yes"), ("2001:db8:1::1", 0))
        assert cn.recv(2048) == b"yes"
        until(lambda: there.counters()["unbound"] == 3, "three dropped and counted")


def test_packet_too_big(tmp_path: Path) -> None:
    """The kernel answers what does not fit the device, the forwarder what the path is too narrow
    for, and what IPv6 must carry goes in fragments (RFC 2473 §7.1)."""
    with site(tmp_path) as there, raw_in(there.mn, 41) as tunnel, udp_in(there.cn) as cn:
        there.plane.prepare(PrepareRoute(7, HOME, 0, CARE_OF))
        there.settle()
        there.plane.serve(ON)
        cn.sendto(bytes(1452), ("2001:db8:1::beef", 9))  # 1,500 octets with headers
        until(lambda: _path_mtu(there.cn) == 1460, "the kernel's Packet Too Big")
        cn.sendto(bytes(1400), ("2001:db8:1::beef", 9))
        outer = tunnel.recv(2048)
        assert len(outer) == 1448
        # A router behind says 1,300: the path carries inner packets of 1,280, whole or in pieces.
        _say_too_big(there.mn, outer, 1300)
        _send_until(cn, there, "too_big", bytes(1300))
        until(lambda: _path_mtu(there.cn) == 1280, "the forwarder's Packet Too Big")
        cn.sendto(bytes(1232), ("2001:db8:1::beef", 9))
        while len(inner := tunnel.recv(2048)) != 1280:
            assert len(inner) == 1348, "sent before the path was known to be narrow"


def _send_until(cn: socket.socket, there: Site, counter: str, text: bytes) -> None:
    def counted() -> bool:
        cn.sendto(text, ("2001:db8:1::beef", 9))
        return there.counters()[counter] > 0

    until(counted, counter)


def _path_mtu(name: str) -> int:
    shown = subprocess.check_output(
        ("ip", "-n", name, "-6", "route", "get", "2001:db8:1::beef"), text=True
    )
    words = shown.split()
    return int(words[words.index("mtu") + 1]) if "mtu" in words else 0


def _say_too_big(name: str, inner: bytes, mtu: int) -> None:
    """ICMPv6 Packet Too Big from the mobile node's side to the virtual address."""
    outer = struct.pack("!IHBB", 6 << 28, len(inner), 41, 64) + VIRTUAL + CARE_OF
    with raw_in(name, 58) as icmp:
        icmp.sendto(struct.pack("!BBHI", 2, 0, 0, mtu) + outer + inner[:1000], ("2001:db8:1::1", 0))


def test_mobile_network(tmp_path: Path) -> None:
    """RFC 3963: packets to a prefix behind a mobile router, and from it."""
    prefix = Prefix(_a("2001:db8:77:1::"), 64)
    with site(tmp_path) as there, raw_in(there.mn, 41) as tunnel, udp_in(there.cn) as cn:
        there.plane.prepare(PrepareRoute(7, HOME, 0, CARE_OF, (prefix,)))
        there.settle()
        there.plane.serve(ON)
        cn.bind(("2001:db8:1::c1", 9))
        cn.sendto(b"behind", ("2001:db8:77:1::5", 9))
        assert tunnel.recv(2048)[24:40] == _a("2001:db8:77:1::5")
        tunnel.sendto(udp_packet(_a("2001:db8:77:1::5"), CN, b"up"), ("2001:db8:1::1", 0))
        assert cn.recv(2048) == b"up"
        there.plane.remove(RemoveRoute(7, HOME, 0))
        there.settle()
        assert there.plane.status().routes == 0


def test_the_home_prefix_is_told_of_while_serving(tmp_path: Path) -> None:
    """harp.md §9 (4): routes that a routing daemon takes for better than the connected one."""
    with site(tmp_path) as there:
        for serving, wanted in ((ON, 2), (OFF, 0)):
            there.plane.serve(serving)
            shown = _shown(there.ha)
            routes = [line for line in shown.splitlines() if "/65 dev home proto 114" in line]
            assert len(routes) == wanted
        assert there.said == []


def test_a_worker_that_dies_is_replaced(tmp_path: Path) -> None:
    with site(tmp_path) as there, raw_in(there.mn, 41) as tunnel, udp_in(there.cn) as cn:
        route = PrepareRoute(7, HOME, 0, CARE_OF)
        there.plane.prepare(route)
        there.plane.prepare(PrepareRoute(7, _a("2001:db8:1::60"), 0, CARE_OF))
        there.stored.append(route)
        there.settle()
        there.plane.serve(ON)
        child = there.plane._child
        assert child is not None
        os.kill(child.pid, signal.SIGKILL)
        there.plane.remove(RemoveRoute(7, _a("2001:db8:1::60"), 0))
        with entered(there.ha):
            until(lambda: there.counters()["worker_restarts"] == 1, "noticed")
            there.settle()
        cn.sendto(b"again", ("2001:db8:1::beef", 9))
        assert tunnel.recv(2048).endswith(b"again")
        assert "status -9" in there.said[0]
        assert there.plane.status().routes == 1
        held = ("ip", "netns", "exec", there.ha, "nft", "list", "set", "ip6", "harp0", "homes7")
        shown = subprocess.check_output(held, text=True)
        assert "::beef" in shown and "::60" not in shown, "unbound while there was no worker"


def test_leftovers_of_a_dead_one_are_removed(tmp_path: Path) -> None:
    """What a harpd with another address and another table left, as its file says."""
    old = Plan(
        (GroupPlan(7, "home", _a("2001:db8:1::2"), VIRTUAL, 11444, 11444, 0x144, 5),), "harp1"
    )
    with home_network() as (ha, _, _):
        ip("-n", ha, "route", "add", "2001:db8:5::/64", "dev", "home", "table", "11444")
        with entered(ha):
            _die_serving(old, tmp_path)
            assert "2001:db8:1::2/128" in _shown(ha) and "11444:" in _shown(ha)
            again = _open(PLAN, tmp_path)
        try:
            shown = _shown(ha)
            assert "2001:db8:1::2" not in shown and "11444:" not in shown
            assert "/65" not in shown
            assert "2001:db8:5::/64" in shown, "not ours: it stays"
        finally:
            with entered(ha):
                again.close()


def _die_serving(plan: Plan, run_dir: Path) -> None:
    """A process takes over and is killed."""
    pid = os.fork()
    if not pid:
        _open(plan, run_dir).serve(SetServing(7, True, plan.groups[0].address))
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(pid, 0)


def _open(plan: Plan, run_dir: Path) -> TunBackend:
    backend = TunBackend(plan, ("home",), made_by(plan, run_dir), SystemClock(), print, list)
    backend.open()
    return backend


def _shown(name: str) -> str:
    parts: tuple[tuple[str, ...], ...] = (
        ("addr",),
        ("rule",),
        ("route", "show", "table", "all"),
    )
    return "\n".join(
        subprocess.check_output(("ip", "-n", name, "-6", *part), text=True) for part in parts
    )


def test_close_undoes_everything(tmp_path: Path) -> None:
    with home_network() as (ha, _, _):
        before = _shown(ha)
        with entered(ha):
            plane = _open(PLAN, tmp_path)
            plane.prepare(PrepareRoute(7, HOME, 0, CARE_OF))
            plane.serve(ON)
            assert _shown(ha) != before
            plane.close()
        assert _shown(ha) == before
        assert not list(tmp_path.iterdir())


def block(count: int) -> PrepareRoutes:
    """Bindings of so many home addresses."""
    records = (
        BindingRecord(VIRTUAL[:8] + (index + 4096).to_bytes(8), CARE_OF, 0, 1, 10)
        for index in range(count)
    )
    return PrepareRoutes(7, BulkCodec(DEFAULT_CODEC).pack(records))


def test_missing_interface_is_one_line(tmp_path: Path) -> None:
    from harp.cli.common import Failure

    with namespace("bare") as name, entered(name), pytest.raises(Failure) as failure:
        _open(PLAN, tmp_path)
    assert str(failure.value) == "group 7: no interface home for the home link; there are none"
