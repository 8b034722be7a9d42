"""What the kernel backend puts into the kernel: where packets are tunnelled to, and who may send.

The tunnel device itself needs a kernel with `ip6_tunnel` (`on_full_kernel.py`); everything else
is tested with what every kernel has.
"""

from __future__ import annotations

import contextlib
import errno
import json
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

from harp.daemon.dataplane.kernel_worker import TunnelGroup
from harp.daemon.dataplane.plan import GroupPlan, Plan
from harp.daemon.dataplane.sets import checking_table, marking_table, tunnelling_table
from harp.daemon.dataplane.worker import WorkerGroup
from harp.daemon.netlink.connection import NetlinkError
from harp.daemon.netlink.nft import Nft, load

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root")
PLAN = Plan((GroupPlan(GROUP, "home", VIRTUAL, VIRTUAL, 11407, 11407, 0x11B, 60),), "harp0")
PREFIX = (address("2001:db8:77:1::"), 64)
STAND_IN = "100::11b"
NOWHERE = (STAND_IN, 0)
ELSEWHERE = address("2001:db8:2::77")


class Site:
    """A worker's group on the home agent; what its tunnel would send is sent by the test."""

    def __init__(self, ha: str, mn: str) -> None:
        self.ha = ha
        ip("-n", ha, "addr", "add", "2001:db8:1::1/128", "dev", "home", "nodad")
        with entered(ha):
            load(marking_table(PLAN) + tunnelling_table(PLAN) + checking_table(PLAN), "tables")
            self.nft = Nft()
            self.group = self.worker()
        group = PLAN.groups[0]
        table = ("table", str(group.table))
        ip("-n", ha, "-6", "rule", "add", "fwmark", str(group.mark), *table)
        ip("-n", ha, "-6", "route", "add", "default", "dev", "lo", *table)
        ip("-n", ha, "route", "add", STAND_IN, "dev", "lo")
        self.tunnel = raw_in(ha, socket.IPPROTO_RAW)
        # What goes into the tunnel is marked, and comes out of it with the mark.
        self.tunnel.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, group.mark)
        self.inside = raw_in(ha, 41)
        self.mobile = raw_in(mn, socket.IPPROTO_RAW)
        self.outside = raw_in(mn, 41)

    def worker(self) -> TunnelGroup:
        """As a process that begins has it."""
        return TunnelGroup(WorkerGroup(GROUP, 11407, VIRTUAL), PLAN.device, self.nft)

    def step(self) -> None:
        while self.group.bindings.changed:
            self.group.step()
        assert self.group.failed == 0

    def tunnelled(self, *packets: bytes) -> list[bytes]:
        """Which of these come to the mobile node; the last one must."""
        for packet in packets:
            with contextlib.suppress(PermissionError):  # dropped
                whole = outer(packet, source=VIRTUAL, to=PLAN.groups[0].stand_in)
                self.tunnel.sendto(whole, NOWHERE)
        heard: list[bytes] = []
        while not heard or heard[-1] != packets[-1]:
            heard.append(self.outside.recv(4096))
        return heard

    def elements(self) -> int:
        """Of all sets and maps."""
        command = ("ip", "netns", "exec", self.ha, "nft", "-j", "list", "table", "ip6", "harp0")
        told = json.loads(subprocess.check_output(command))["nftables"]
        held = [each.get("set") or each.get("map") for each in told]
        return sum(len(each.get("elem", ())) for each in held if each)

    def pass_(self, *packets: bytes) -> list[bytes]:
        """Which of these come out of the check; the last one must."""
        for packet in packets:
            self.mobile.sendto(packet, ("2001:db8:1::1", 0))
        heard: list[bytes] = []
        while not heard or heard[-1] != packets[-1][40:]:
            heard.append(self.inside.recv(4096))
        return heard

    def close(self) -> None:
        for each in (self.tunnel, self.inside, self.mobile, self.outside):
            each.close()
        self.nft.close()


@contextmanager
def site() -> Iterator[Site]:
    with home_network() as (ha, _, mn):
        there = Site(ha, mn)
        try:
            yield there
        finally:
            there.close()


def outer(
    payload: bytes, next_header: int = 41, source: bytes = CARE_OF, to: bytes = VIRTUAL
) -> bytes:
    """A packet from the care-of address to the home agent, or by the kernel's tunnel."""
    return struct.pack("!IHBB", 6 << 28, len(payload), next_header, 64) + source + to + payload


def inner(source: bytes, text: bytes = b"text") -> bytes:
    return udp_packet(source, PEER, text)


def to(home: str | bytes, text: bytes = b"text") -> bytes:
    """A packet that the tunnel has encapsulated."""
    return udp_packet(PEER, home if isinstance(home, bytes) else address(home), text)


LIMIT = bytes((41, 0, 4, 1, 4, 1, 1, 0))
"""Destination Options with a Tunnel Encapsulation Limit of 4 (RFC 2473 §4.1.1)."""


def fragments(payload: bytes) -> list[bytes]:
    """Two fragments, the first with the inner header."""
    cut = 64
    first = struct.pack("!BBHI", 41, 0, 1, 77) + payload[:cut]
    second = struct.pack("!BBHI", 41, 0, cut, 77) + payload[cut:]
    return [outer(first, 44), outer(second, 44)]


def test_what_is_tunnelled_goes_to_the_care_of_address() -> None:
    """Of home address and prefix; what has none, or no more, goes nowhere."""
    bound = [to(HOME), to("2001:db8:77:1::5")]
    with site() as there:
        there.group.bindings.prepare(HOME, 0, CARE_OF, (PREFIX,))
        there.step()
        assert there.tunnelled(to("2001:db8:1::bad"), to("2001:db8:77:2::5"), *bound) == bound
        last = to("2001:db8:1::2", b"last")
        there.group.bindings.prepare(address("2001:db8:1::2"), 0, CARE_OF)
        there.group.bindings.prepare(HOME, 0, ELSEWHERE, (PREFIX,))
        there.step()
        assert there.tunnelled(*bound, last) == [last]
        there.group.bindings.prepare(HOME, 0, CARE_OF)
        there.step()
        assert there.tunnelled(*bound, last) == [bound[0], last]
        there.group.bindings.remove(HOME, 0)
        there.step()
        assert there.tunnelled(*bound, last) == [last]
        there.group.bindings.remove(address("2001:db8:1::2"), 0)
        there.step()
        assert there.elements() == 0


def test_a_worker_finds_what_one_before_it_left() -> None:
    """What was unbound or moved while there was none, and what is as it was."""
    stays, moves, goes = HOME, address("2001:db8:1::2"), address("2001:db8:1::3")
    nets = [(address(f"2001:db8:77:{number}::"), 64) for number in range(1, 5)]
    with site() as there:
        there.group.bindings.prepare(stays, 0, CARE_OF, tuple(nets[:2]))
        there.group.bindings.prepare(moves, 0, CARE_OF, (nets[2],))
        there.group.bindings.prepare(goes, 0, CARE_OF, (nets[3],))
        there.step()
        before = there.group
        there.group = there.worker()
        assert there.group.installed == before.installed
        assert there.group._senders == before._senders
        there.group.bindings.prepare(stays, 0, CARE_OF, tuple(nets[:2]))
        there.group.bindings.prepare(moves, 0, ELSEWHERE)
        there.step()
        there.group.sweep()
        there.step()
        kept = [to(stays), to("2001:db8:77:1::5"), to("2001:db8:77:2::5")]
        gone = [to("2001:db8:77:3::5"), to(moves), to(goes), to("2001:db8:77:4::5")]
        assert there.tunnelled(*gone, *kept) == kept
        may, not_any_more = inner(stays), [outer(inner(moves)), outer(inner(goes))]
        assert there.pass_(*not_any_more, outer(may)) == [may]
        there.group.bindings.clear()
        there.step()
        assert there.elements() == 0


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
        there.group.bindings.prepare(address("2001:db8:1::2"), 0, CARE_OF)
        there.step()
        last = to("2001:db8:1::2")
        assert there.tunnelled(to(HOME), last) == [last]
        assert there.pass_(outer(good)) == [good]
