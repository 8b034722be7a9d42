"""What the kernel backend puts into the kernel: routes that encapsulate, and who may send.

The tunnel device itself needs a kernel with `ip6_tunnel` (`on_full_kernel.py`); everything else
is tested with what every kernel has.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import pytest
from tests.daemon.dataplane.test_tun import raw_in, udp_packet
from tests.daemon.network import entered, home_network, ip
from tests.daemon.site import CARE_OF, GROUP, HOME, PEER, VIRTUAL, address

from harp.daemon.dataplane.kernel_worker import RouteGroup
from harp.daemon.dataplane.plan import GroupPlan, Plan
from harp.daemon.dataplane.sets import checking_table, marking_table
from harp.daemon.dataplane.worker import WorkerGroup
from harp.daemon.netlink.connection import Netlink, NetlinkError
from harp.daemon.netlink.nft import Nft, load

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root")
PLAN = Plan((GroupPlan(GROUP, "home", VIRTUAL, VIRTUAL, 11407, 11407, 0x11B, 60),), "harp0")
PREFIX = (address("2001:db8:77:1::"), 64)


class Site:
    """A worker's group on the home agent, whose tunnel device is a stand-in."""

    def __init__(self, ha: str, mn: str) -> None:
        self.ha = ha
        ip("-n", ha, "addr", "add", "2001:db8:1::1/128", "dev", "home", "nodad")
        with entered(ha):
            load(marking_table(PLAN) + checking_table(PLAN), "tables")
            told = WorkerGroup(GROUP, 11407, VIRTUAL)
            device = socket.if_nametoindex("home")
            self.netlink, self.nft = Netlink(), Nft()
            self.group = RouteGroup(told, PLAN.device, self.nft, self.netlink, device)
        self.inside = raw_in(ha, 41)
        self.mobile = raw_in(mn, socket.IPPROTO_RAW)
        self.inside.settimeout(5)

    def step(self) -> None:
        while self.group.bindings.changed:
            self.group.step()
        assert self.group.failed == 0

    def routes(self) -> str:
        shown = ("ip", "-n", self.ha, "-6", "route", "show", "table", "11407")
        done = subprocess.run(shown, capture_output=True, text=True, check=False)
        return done.stdout  # a table that was never used is an error to ip

    def pass_(self, *packets: bytes) -> list[bytes]:
        """Which of these come out of the check; the last one must."""
        for packet in packets:
            self.mobile.sendto(packet, ("2001:db8:1::1", 0))
        heard: list[bytes] = []
        while not heard or heard[-1] != packets[-1][40:]:
            heard.append(self.inside.recv(4096))
        return heard

    def close(self) -> None:
        self.inside.close()
        self.mobile.close()
        self.netlink.close()
        self.nft.close()


@contextmanager
def site() -> Iterator[Site]:
    with home_network() as (ha, _, mn):
        there = Site(ha, mn)
        try:
            yield there
        finally:
            there.close()


def outer(payload: bytes, next_header: int = 41) -> bytes:
    """A packet from the care-of address to the home agent."""
    return (
        struct.pack("!IHBB", 6 << 28, len(payload), next_header, 64) + CARE_OF + VIRTUAL + payload
    )


def inner(source: bytes, text: bytes = b"text") -> bytes:
    return udp_packet(source, PEER, text)


LIMIT = bytes((41, 0, 4, 1, 4, 1, 1, 0))
"""Destination Options with a Tunnel Encapsulation Limit of 4 (RFC 2473 §4.1.1)."""


def fragments(payload: bytes) -> list[bytes]:
    """Two fragments, the first with the inner header."""
    cut = 64
    first = struct.pack("!BBHI", 41, 0, 1, 77) + payload[:cut]
    second = struct.pack("!BBHI", 41, 0, cut, 77) + payload[cut:]
    return [outer(first, 44), outer(second, 44)]


def test_a_route_encapsulates() -> None:
    with site() as there:
        there.group.bindings.prepare(HOME, 0, CARE_OF, (PREFIX,))
        there.step()
        wanted = "encap ip6 id 0 src 2001:db8:1::1 dst 2001:db8:2::9 hoplimit 64"
        lines = there.routes().splitlines()
        assert len(lines) == 2 and all(wanted in line and "proto 114" in line for line in lines)
        there.group.bindings.remove(HOME, 0)
        there.step()
        assert there.routes() == ""


def test_only_who_is_bound_comes_out_of_a_tunnel() -> None:
    """RFC 6275 §10.4.5, with and without extension headers in front of the inner packet."""
    stranger, good = inner(address("2001:db8:1::bad")), inner(HOME, b"good")
    with site() as there:
        there.group.bindings.prepare(HOME, 0, CARE_OF)
        there.step()
        assert there.pass_(outer(stranger), outer(b"short"), outer(good)) == [good]
        for behind in (LIMIT, bytes((41, 1)) + bytes((1, 12)) + bytes(12)):
            there.mobile.sendto(outer(behind + stranger, 60), ("2001:db8:1::1", 0))
        there.mobile.sendto(outer(LIMIT + good, 60), ("2001:db8:1::1", 0))
        assert there.inside.recv(4096) == good
        long = inner(HOME, bytes(100))
        for packet in (*fragments(inner(address("2001:db8:1::bad"), bytes(100))), *fragments(long)):
            there.mobile.sendto(packet, ("2001:db8:1::1", 0))
        assert there.inside.recv(4096) == long


def test_who_may_send_follows_the_bindings() -> None:
    moved, last = inner(HOME, b"from where it was"), inner(address("2001:db8:1::2"), b"last")
    with site() as there:
        bindings = there.group.bindings
        bindings.prepare(HOME, 0, CARE_OF)
        bindings.prepare(address("2001:db8:1::2"), 0, CARE_OF)
        there.step()
        assert there.pass_(outer(moved), outer(last)) == [moved, last]
        bindings.prepare(HOME, 0, address("2001:db8:2::77"))
        there.step()
        assert there.pass_(outer(moved), outer(last)) == [last]


def test_a_care_of_address_that_comes_later_may_send_too() -> None:
    """It changes no route, only who may send: for the home address and for what is behind it."""
    packets = [inner(address("2001:db8:77:1::5")), inner(HOME)]
    with site() as there:
        there.group.bindings.prepare(HOME, 1, address("2001:db8:2::77"), (PREFIX,))
        there.step()
        there.group.bindings.prepare(HOME, 2, CARE_OF)
        there.step()
        assert there.pass_(*map(outer, packets)) == packets
        there.group.bindings.remove(HOME, 2)
        there.group.bindings.prepare(address("2001:db8:1::2"), 0, CARE_OF)
        there.step()
        last = inner(address("2001:db8:1::2"))
        assert there.pass_(*map(outer, packets), outer(last)) == [last]


def test_a_sender_that_the_kernel_refuses_spoils_no_other() -> None:
    refused, elsewhere = address("2001:db8:2::bad"), address("2001:db8:2::77")
    others = [address(f"2001:db8:1::{number}") for number in range(2, 6)]
    good = [inner(home) for home in (HOME, *others)]
    with site() as there, refusing(there.nft, refused) as asked:
        bindings = there.group.bindings
        bindings.prepare(HOME, 0, elsewhere)
        there.step()
        for home in (HOME, *others):
            bindings.prepare(home, 0, CARE_OF)
        bindings.prepare(address("2001:db8:1::66"), 0, refused)
        there.group.step()
        assert there.group.failed == 1
        assert there.pass_(*[outer(packet) for packet in good]) == good
        asked.clear()
        bindings.prepare(address("2001:db8:1::66"), 0, elsewhere)
        there.group.step()
        assert asked and there.group.failed == 1, "what was refused is not taken for granted"


@contextmanager
def refusing(nft: Nft, octets: bytes) -> Iterator[list[bytes]]:
    """Transactions with these octets are refused as a whole; what was asked."""
    asked: list[bytes] = []
    commit = nft.commit

    def judge(messages: Sequence[bytes], what: str) -> None:
        asked.append(b"".join(messages))
        if octets in asked[-1]:
            raise NetlinkError.of(errno.ENOSPC, what)
        commit(messages, what)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nft, "commit", judge)
        yield asked


def test_a_mobile_router_sends_from_its_prefix() -> None:
    behind = inner(address("2001:db8:77:1::5"))
    beside = inner(address("2001:db8:77:2::5"))
    with site() as there:
        there.group.bindings.prepare(HOME, 0, CARE_OF, (PREFIX,))
        there.step()
        assert there.pass_(outer(beside), outer(behind)) == [behind]


def test_two_care_of_addresses_may_both_send() -> None:
    """RFC 5648: the lower BID is sent to, each may send."""
    good = inner(HOME)
    with site() as there:
        there.group.bindings.prepare(HOME, 2, CARE_OF)
        there.group.bindings.prepare(HOME, 1, address("2001:db8:2::77"))
        there.step()
        assert "dst 2001:db8:2::77" in there.routes()
        assert there.pass_(outer(good)) == [good]
