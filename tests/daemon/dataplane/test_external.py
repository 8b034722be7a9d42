"""An existing home agent on the other end of the socket."""

from __future__ import annotations

import json
import os
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import IPv6Address
from pathlib import Path

import pytest
from tests.daemon.dataplane.ticks import Ticks
from tests.daemon.network import entered, home_network
from tests.daemon.site import CARE_OF, GROUP, HOME, VIRTUAL, address

from harp.daemon.clock import SystemClock
from harp.daemon.dataplane.external import ExternalBackend
from harp.daemon.dataplane.leftovers import made_by
from harp.daemon.dataplane.plan import GroupPlan, Plan
from harp.daemon.dataplane.refill import SLICE_US, Refill
from harp.engine.config import Prefix
from harp.engine.effects import PrepareRoute, PrepareRoutes, RemoveRoute, SetServing
from harp.engine.events import Event, PacketReceived
from harp.tables.mh import BuFlag
from harp.wire.bulk import BindingRecord, BulkCodec
from harp.wire.codec import DEFAULT_CODEC
from harp.wire.messages import BindingIdentifier, BindingUpdate

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root")
PLAN = Plan((GroupPlan(GROUP, "home", VIRTUAL, VIRTUAL, 11407, 11407, 0x11B, 60),), "harp0")
NOT_SERVING = {"event": "serving", "group": 7, "serving": False, "address": "2001:db8:1::1"}
UNKNOWN_GROUP = (
    b'{"group": 9, "home_address": "::1", "care_of_address": "::1", "sequence": 1, "lifetime_s": 4}'
)


class Site:
    """The backend, and what came of it."""

    def __init__(self, ha: str, run_dir: Path) -> None:
        self.ha = ha
        self.said: list[str] = []
        self.events: list[Event] = []
        self.stored: list[PrepareRoute] = []
        self.path = run_dir / "bindings.sock"
        with entered(ha):
            self.plane = ExternalBackend(
                PLAN,
                made_by(PLAN, run_dir),
                DEFAULT_CODEC,
                SystemClock(),
                self.said.append,
                lambda: self.stored,
                self.events.append,
            )
            self.plane.open()

    def connect(self) -> HomeAgent:
        client = HomeAgent(self.path)
        self.work()
        return client

    def work(self) -> None:
        """The loop's turn."""
        self.plane.drain(8)
        self.plane.renew(SystemClock().now_us())


class HomeAgent:
    """The client."""

    def __init__(self, path: Path) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.settimeout(5)
        self.socket.connect(str(path))
        self._lines = self.socket.makefile("rb")

    def next(self) -> dict[str, object]:
        line: dict[str, object] = json.loads(self._lines.readline())
        return line

    def say(self, **what: object) -> None:
        self.socket.sendall(json.dumps(what).encode() + b"\n")

    def close(self) -> None:
        self._lines.close()
        self.socket.close()


@contextmanager
def site(run_dir: Path) -> Iterator[Site]:
    with home_network() as (ha, _, _):
        there = Site(ha, run_dir)
        try:
            yield there
        finally:
            there.plane.close()


def test_everything_at_first_then_each_change(tmp_path: Path) -> None:
    prefix = Prefix(address("2001:db8:77::"), 48)
    with site(tmp_path) as there:
        there.stored.append(PrepareRoute(GROUP, HOME, 3, CARE_OF, (prefix,)))
        client = there.connect()
        assert client.next() == {
            "event": "binding",
            "group": 7,
            "home_address": "2001:db8:1::beef",
            "bid": 3,
            "care_of_address": "2001:db8:2::9",
            "prefixes": ["2001:db8:77::/48"],
        }
        assert client.next() == NOT_SERVING
        there.plane.serve(SetServing(GROUP, True, VIRTUAL))
        assert client.next() == NOT_SERVING | {"serving": True}
        shown = subprocess.check_output(("ip", "-n", there.ha, "-6", "addr"), text=True)
        assert "2001:db8:1::1/128" in shown
        records = [BindingRecord(HOME, CARE_OF, 0, 1, units) for units in (10, 0)]
        there.plane.prepare_many(PrepareRoutes(GROUP, BulkCodec(DEFAULT_CODEC).pack(records)))
        there.plane.remove(RemoveRoute(GROUP, HOME, 3))
        there.work()
        heard = [client.next() for _ in range(3)]
        assert [each["event"] for each in heard] == ["binding", "unbound", "unbound"]
        assert [each["bid"] for each in heard] == [0, 0, 3]
        client.close()


def test_everything_goes_a_slice_at_a_time(tmp_path: Path) -> None:
    """The loop has deadlines beside a home agent that connects to 5,000 bindings."""
    taken = 0
    homes = [VIRTUAL[:8] + (index + 4096).to_bytes(8) for index in range(5000)]

    def bindings() -> Iterator[PrepareRoute]:
        nonlocal taken
        for home in homes:
            taken += 1
            yield PrepareRoute(GROUP, home, 0, CARE_OF)

    with site(tmp_path) as there:
        there.plane._refill = Refill(bindings, Ticks())
        client = HomeAgent(there.path)
        there.plane.drain(8)
        assert taken == 0 and there.plane.deadline == 0
        before, heard = 0, list[object]()
        while len(heard) < len(homes):
            there.plane.renew(0)
            assert 0 < taken - before <= SLICE_US // Ticks.STEP_US
            heard += [client.next()["home_address"] for _ in range(taken - before)]
            before = taken
            assert there.plane.deadline is not None and there.plane.deadline < 10_000
        there.plane.renew(0)
        assert heard == [str(IPv6Address(home)) for home in homes]
        assert client.next() == NOT_SERVING
        client.close()


def test_a_client_that_leaves_ends_its_refill(tmp_path: Path) -> None:
    routes = [PrepareRoute(GROUP, HOME, bid, CARE_OF) for bid in range(500)]
    with site(tmp_path) as there:
        there.plane._refill = Refill(lambda: routes, Ticks())
        there.connect().close()
        there.work()
        client = there.connect()
        assert client.next()["bid"] == 0
        client.close()


def test_a_binding_that_the_home_agent_accepted(tmp_path: Path) -> None:
    with site(tmp_path) as there:
        client = there.connect()
        client.say(
            group=7,
            home_address="2001:db8:1::beef",
            care_of_address="2001:db8:2::9",
            sequence=4,
            lifetime_s=600,
            flags=int(BuFlag.HOME_REGISTRATION | BuFlag.ACKNOWLEDGE),
            bid=2,
        )
        there.work()
        (packet,) = there.events
        assert isinstance(packet, PacketReceived)
        assert (packet.source, packet.destination, packet.care_of) == (HOME, VIRTUAL, CARE_OF)
        update = DEFAULT_CODEC.parse(packet.source, packet.destination, packet.payload)
        wanted = BindingUpdate(4, int(BuFlag.HOME_REGISTRATION), 600, (BindingIdentifier(2),))
        assert update == wanted
        client.close()


@pytest.mark.parametrize(
    ("line", "why"),
    [
        (b"nonsense", "malformed"),
        (b'{"group": 7}', "missing required field"),
        (UNKNOWN_GROUP, "no group 9"),
    ],
)
def test_a_line_that_is_no_binding(tmp_path: Path, line: bytes, why: str) -> None:
    with site(tmp_path) as there:
        client = there.connect()
        client.socket.sendall(line + b"\n")
        there.work()
        assert there.events == [] and why in there.said[0]
        assert there.plane.status().counters == {"bad_lines": 1}
        client.close()


def test_bad_lines_are_told_once_a_connection(tmp_path: Path) -> None:
    with site(tmp_path) as there:
        for _ in range(2):
            client = there.connect()
            client.socket.sendall(b"nonsense\n" * 100)
            there.work()
            client.close()
            there.work()
        assert len(there.said) == 2
        assert there.plane.status().counters == {"bad_lines": 200}


def test_the_next_client_after_one_that_left(tmp_path: Path) -> None:
    with site(tmp_path) as there:
        there.connect().close()
        there.work()
        client = there.connect()
        assert client.next() == NOT_SERVING
        client.socket.sendall(bytes(5000))
        there.work()
        assert client.socket.recv(1) == b"", "a line without an end"
        client.close()
