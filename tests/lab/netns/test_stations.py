"""Mobile node, load generator, observer and pings on real links, with a stand-in home agent."""

import itertools
import socket
import time
from collections.abc import Iterator
from random import Random
from typing import Any

import pytest
from tests.lab.netns.stand_in import StandInAgent

from harp.lab.netns import flood, plan
from harp.lab.netns.capture import Observer
from harp.lab.netns.load_process import LoadProcess
from harp.lab.netns.mobile import MobileStation
from harp.lab.netns.namespaces import entered
from harp.lab.netns.node import MobileNode, NodeConfig
from harp.lab.netns.pause import pause
from harp.lab.netns.pings import Pinger
from harp.lab.netns.timeline import NS_PER_S, Timeline
from harp.lab.netns.world import CN, CORE, World
from harp.tables.harp_types import HarpFlag, HarpType
from harp.tables.ipv6 import ETHERTYPE_IPV6
from harp.tables.mh import HOP_LIMIT, NEXT_HEADER, BaStatus
from harp.wire.codec import DEFAULT_CODEC
from harp.wire.messages import Harp

pytestmark = [pytest.mark.xdist_group("netns"), pytest.mark.usefixtures("netns")]
AGENT = plan.VIRTUAL.packed


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with World() as made:
        yield made


@pytest.fixture(scope="module")
def agent(world: World) -> Iterator[StandInAgent]:
    with StandInAgent(world, "ha1", refuse_first=BaStatus.INSUFFICIENT_RESOURCES) as made:
        yield made


def until(found: object, seconds: float = 5.0) -> bool:
    assert callable(found)
    end = time.monotonic() + seconds
    while not found() and time.monotonic() < end:
        pause(0.005)
    return bool(found())


def test_mobile_node_registers_after_a_refusal(world: World, agent: StandInAgent) -> None:
    config = NodeConfig(plan.home_address(77), (AGENT,), first_wait_us=20_000)
    node = MobileNode(config, plan.care_of_address(77), Random(1))
    station = MobileStation(world, node)
    station.register()
    with station:
        assert until(lambda: node.bound == AGENT)
    assert [status for _, status in node.answers] == [BaStatus.INSUFFICIENT_RESOURCES, 0]
    assert agent.updates[plan.home_address(77)] == 2


def test_load_generator_fills_and_refreshes(world: World, agent: StandInAgent) -> None:
    with LoadProcess(world, 300, AGENT, seed=5) as load:
        load.start(5000, filling=True)
        assert until(lambda: load.report()["filled"] == 300)
        load.start(2000)
        assert until(lambda: load.report()["answers"]["0"] >= 900)
        load.stop()
        assert until(lambda: everything_answered(load.report())), "nothing is lost on such links"
        acknowledged = load.acknowledged()
    assert len(acknowledged) == 300
    assert min(acknowledged) >= 0
    assert all(agent.updates[plan.home_address(number)] >= 3 for number in range(300))


def everything_answered(report: dict[str, Any]) -> bool:
    """Each Binding Update has its answer, be it the refusal that the agent may still owe."""
    return bool(report["updates"] == sum(report["answers"].values()))


SEQUENCES = itertools.count(1)


def hello(world: World, member: str, flags: int, lifetime_s: int = 1) -> None:
    """A multicast HELLO from a member's place."""
    port, group = plan.HOME_PORTS[member], "ff02::114"
    source = port.address.packed
    multicast = socket.inet_pton(socket.AF_INET6, group)
    sequence = next(SEQUENCES)
    message = Harp(HarpType.HELLO, plan.GROUP, sequence, flags=flags, lifetime_s=lifetime_s)
    with (
        entered(world.inside(member)),
        socket.socket(socket.AF_INET6, socket.SOCK_RAW, NEXT_HEADER) as link,
    ):
        link.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, HOP_LIMIT)
        link.bind((str(port.address), 0))
        mh = DEFAULT_CODEC.build(source, multicast, message)
        link.sendto(mh, (f"{group}%{port.name}", 0))


def test_observer_sees_roles_and_goodbye(world: World) -> None:
    timeline = Timeline()
    with Observer(world, timeline) as observer:
        begin_ns = time.time_ns()
        hello(world, "ha2", HarpFlag.S)
        hello(world, "ha2", HarpFlag.S | HarpFlag.A)
        first = observer.wait(lambda: observer.first("A+", begin_ns), 2.0)
        assert first is not None
        assert first.member == "ha2"
        assert begin_ns <= first.at_ns <= time.time_ns(), "one clock"
        assert observer.actives(NS_PER_S) == ["ha2"]
        hello(world, "ha2", HarpFlag.S, lifetime_s=0)
        assert observer.wait(lambda: observer.first("left", begin_ns), 2.0)
        assert observer.actives(NS_PER_S) == []
        assert observer.heard["ha2"].hellos == 3
        assert observer.heard["ha1"].hellos == 0
    texts = [entry.what for entry in timeline.entries]
    assert texts == ["is synchronised", "is active", "is active no more", "says goodbye"]


def test_solicited_advertisement_is_no_announcement(world: World, agent: StandInAgent) -> None:
    world.batch(CORE, f"neigh flush dev {plan.HOME}")
    with Observer(world, Timeline()) as observer, Pinger(world, CN, plan.VIRTUAL, 200):
        found = observer.wait(lambda: observer.first("answer", 0), 5.0)
        assert found is not None
        assert found.member == "ha1"
        # What the router asked for is no news for others.
        assert observer.first("na", 0) is None


def test_pings_lost_are_those_of_the_cut(world: World) -> None:
    with Pinger(world, CN, plan.HOME_PORTS["ha3"].address, 1000) as pinger:
        assert until(lambda: any(pinger.answered_ns))
        begin_ns = time.time_ns()
        world.cut("ha3")
        pause(0.05)
        world.mend("ha3")
        end_ns = time.time_ns()
        assert until(lambda: pinger.first_answer(end_ns) is not None)
        (outage, *_) = pinger.outages(begin_ns, time.time_ns())
    # One ping a millisecond, however long the kernel took to raise the link again.
    assert outage.lost >= 40
    assert outage.lost == pytest.approx(outage.ms, rel=0.3)


def test_flood_arrives(world: World) -> None:
    port = plan.HOME_PORTS["ha2"]
    with (
        entered(world.inside("ha2")),
        socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, 0) as link,
    ):
        link.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 << 20)
        link.bind((port.name, ETHERTYPE_IPV6))
        with entered(world.inside(CORE)):
            sent = flood.flood(port.address.packed, plan.mac_octets(port), 5_000, 0.1, seed=1)
        link.setblocking(False)
        arrived = 0
        while True:
            try:
                arrived += link.recv(2048)[6] == NEXT_HEADER
            except BlockingIOError:
                break
    assert sent["sent"] >= 400
    assert arrived == sent["sent"]
