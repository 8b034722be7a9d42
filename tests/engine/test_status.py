"""The snapshot of a group for people."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from harp.engine import events as ev
from harp.engine.config import LinkConfig
from harp.engine.effects import Role
from harp.tables.reasons import Reason

from .group_net import GROUP, UNIX_US, Net, S, address, hello, packet


def settled(**changes: Any) -> Net:
    net = Net(3, **changes)
    net.run(20 * S)
    assert net.roles == [Role.STANDBY, Role.STANDBY, Role.ACTIVE]
    return net


def test_of_an_active() -> None:
    net = settled()
    for number in range(3):
        net.register(2, number, 1)
    net.run(S)
    status = net.group(2).status(net.now)
    assert (status.group, status.member, status.mode) == (GROUP, "c", "virtual")
    assert (status.role, status.reason, status.active) == ("ACTIVE", "takeover", None)
    (entered,) = (
        at for at, who, effect in net.seen if who == 2 and getattr(effect, "new", 0) is Role.ACTIVE
    )
    assert status.for_us == net.now - entered
    assert (status.service, status.security, status.preference) == ("on", "none", 102)
    assert (status.bindings, status.tombstones, status.unprotected) == (3, 0, 0)
    assert status.synchronised and not (status.reconciling or status.syncing)
    assert (status.position.term, status.term_known) == (3, 3)
    assert status.position.position == net.group(2).sync.position.position > 0
    assert (status.base.term, status.base.position) == (0, 0)
    assert (status.quorum, status.quorum_met, status.held, status.fenced) == (0, True, False, False)
    assert status.counters["home_agent.binding_updates"] == 3
    assert list(status.counters) == sorted(status.counters)
    assert [(link.name, link.up, link.slot) for link in status.links] == [("eth0", True, False)]


def test_of_its_peers() -> None:
    net = settled()
    first, second = net.group(2).status(net.now).peers
    assert (first.name, first.identity, first.configured) == ("a", "2001:db8:0:1::100", True)
    assert first.up and first.synchronised and first.durable and first.agrees
    assert not (first.active or first.draining)
    assert (first.preference, first.silence_us) == (100, 3 * S)
    assert first.restart_counter == UNIX_US // S
    assert first.position is not None and first.position.term == 3
    (link,) = first.links
    assert (link.link, link.address, link.state) == ("eth0", "2001:db8:0:1::100", "up")
    assert link.for_us is not None and 0 < link.for_us <= net.now
    assert (second.name, second.preference) == ("b", 101)


def test_of_a_standby_that_saw_one_go() -> None:
    net = settled()
    net.crash(0)
    net.run(5 * S)
    status = net.group(1).status(net.now)
    assert (status.role, status.active, status.service) == ("STANDBY", "2001:db8:0:1::102", "off")
    gone, active = status.peers
    assert not gone.up and gone.links[0].state == "down"
    assert gone.links[0].for_us is not None and gone.links[0].for_us < 5 * S
    assert active.active and not active.durable


def test_before_anything_was_heard() -> None:
    net = Net(2, quorum=2, links=(LinkConfig("eth0", slots=True),), hold=True)
    net.now = S // 2
    net.tell(0, ev.HelloSlotChanged(GROUP, "eth0", True, 1))
    net.tell(0, ev.LinkChanged("eth0", False))
    status = net.group(0).status(net.now)
    assert (status.role, status.reason, status.for_us) == ("INIT", "", S // 2)
    assert (status.quorum, status.quorum_met, status.held, status.preference) == (2, False, True, 0)
    assert [(link.up, link.slot) for link in status.links] == [(False, True)]
    (peer,) = status.peers
    assert (peer.restart_counter, peer.position, peer.agrees) == (None, None, None)
    assert (peer.links[0].state, peer.links[0].for_us) == ("unknown", None)


def test_who_was_discovered_says_so() -> None:
    net = Net(2, discover=True)
    net.tell(0, packet(hello(), address(9), link="eth0"))
    known, found = net.group(0).status(net.now).peers
    assert (known.configured, found.configured) == (True, False)
    assert found.name == found.identity == "2001:db8:0:1::109"


def test_it_is_json_and_stays_as_it_is() -> None:
    net = settled()
    group = net.group(2)
    status = group.status(net.now)
    text = json.dumps(asdict(status))
    assert json.loads(text)["peers"][0]["links"][0]["state"] == "up"
    assert group.status(net.now) == status, "asking changes nothing"
    net.tell(2, packet(hello(), address(0)))
    net.run(5 * S)
    assert json.dumps(asdict(status)) == text
    assert group.status(net.now).counters[f"received.{Reason.REPLAY}"] == 1
