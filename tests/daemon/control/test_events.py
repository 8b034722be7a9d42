"""The event log and its feeds."""

import asyncio
from dataclasses import dataclass

import pytest
from tests.daemon.control.living import SINCE, group_config, octets

from harp.daemon.control.events import KEPT, EventLog
from harp.daemon.parts import PeerEffect
from harp.engine.config import EngineConfig
from harp.engine.effects import CommandAnswered, Dropped, Level, Log, Role, StateChanged
from harp.engine.events import PeerChanged, PeerDown, PeerLeft, PeerLinkChanged, PeerUp
from harp.tables.reasons import Reason


def log() -> EventLog:
    return EventLog(EngineConfig((group_config(),)), lambda: SINCE)


def line(number: int) -> Log:
    return Log(Level.WARNING, str(number), 7)


HA2 = octets("2001:db8:7::2")


@dataclass(frozen=True)
class Case:
    effect: PeerEffect
    change: str
    link: str | None = None


@pytest.mark.parametrize(
    "case",
    [
        Case(PeerUp(7, HA2), "up"),
        Case(PeerDown(7, HA2), "down"),
        Case(PeerLeft(7, HA2), "left"),
        Case(PeerChanged(7, HA2), "changed"),
        Case(PeerChanged(7, HA2, restarted=True), "restarted"),
        Case(PeerLinkChanged(7, HA2, "home", up=True), "link_up", "home"),
        Case(PeerLinkChanged(7, HA2, "home", up=False), "link_down", "home"),
    ],
)
def test_peers_have_names(case: Case) -> None:
    found = log()
    found.peer(case.effect)
    (event,) = found.since(0)
    assert (event["peer"], event["change"], event["link"]) == ("ha2", case.change, case.link)


def test_a_discovered_peer_is_its_address() -> None:
    found = log()
    found.peer(PeerUp(7, octets("2001:db8:7::9")))
    assert found.since(0)[0]["peer"] == "2001:db8:7::9"


def test_every_kind_and_its_keys() -> None:
    found = log()
    found.role(StateChanged(7, Role.STANDBY, Role.ACTIVE, "takeover"))
    found.log(Log(Level.ERROR, "text"))
    found.answered(CommandAnswered(7, 1, ("held",)))
    found.dropped(Dropped(Reason.AUTH, HA2))
    time = "2026-01-02T03:04:05.678+00:00"
    assert found.since(0) == [
        {
            **{"number": 1, "time": time, "kind": "role", "group": 7},
            **{"old": "STANDBY", "new": "ACTIVE", "reason": "takeover"},
        },
        {
            **{"number": 2, "time": time, "kind": "log", "group": None},
            **{"level": "error", "text": "text"},
        },
        {"number": 3, "time": time, "kind": "command", "group": 7, "refusals": ["held"]},
    ]


def test_the_oldest_are_forgotten() -> None:
    found = log()
    for number in range(KEPT + 10):
        found.log(line(number))
    kept = found.since(0)
    assert len(kept) == KEPT and kept[0]["number"] == 11 and kept[-1]["number"] == KEPT + 10
    assert [each["number"] for each in found.since(KEPT + 8)] == [KEPT + 9, KEPT + 10]
    assert found.since(KEPT + 10) == [] and found.since(10**9) == []


def test_a_slow_watcher_loses_the_oldest_and_is_told() -> None:
    async def body() -> None:
        found = log()
        found.log(line(0))
        with found.feed(since=0) as slow, found.feed() as fresh:
            for number in range(KEPT + 4):
                found.log(line(number))
            assert slow.lost == 5 and fresh.lost == 4
            assert (await slow.next())["number"] == 6
        assert found.watchers == 0

    asyncio.run(body())
