"""Home agents list and failure detection (harp.md §3 "HELLO replay", §4)."""

from __future__ import annotations

from typing import Any

import pytest

from harp.engine import events as ev
from harp.engine.config import DetectionSource, Key, Protection, Security
from harp.engine.detection import Detector
from harp.engine.effects import HelloKind, HelloWanted, Log, WatchPeer
from harp.engine.peers import LinkState, Peer, PeerTable
from harp.wire.messages import Configuration, Detection, Harp, RestartCounter, SyncPosition

from .group_net import FLAG_A, FLAG_D, FLAG_S, GROUP, MS, S, address, config, hello, of

PEER = address(1)
OFFLOAD, BFD = DetectionSource.OFFLOAD, DetectionSource.BFD
PSK = Protection(Security.PSK, keys=(Key(300, bytes(16)),))


class Rig:
    """A detector of member 0, told of HELLOs of member 1."""

    def __init__(self, **changes: Any) -> None:
        self.config = config(0, **changes)
        self.table = PeerTable(self.config)
        self.detector = Detector(self.config, self.table)

    @property
    def peer(self) -> Peer:
        return self.table.peers[PEER]

    def hear(
        self, message: Harp, now: int, link: int = 0, multicast: bool = True
    ) -> list[Any] | None:
        """None: a replay."""
        at = self.peer.links[link]
        if self.detector.replayed(self.peer, at, message, multicast):
            return None
        return self.detector.heard(self.peer, at, message, multicast, now)


def test_up_down_and_the_question_before() -> None:
    rig = Rig()
    assert rig.hear(hello(1), 0) == [ev.PeerUp(GROUP, PEER)]
    assert rig.detector.deadline == 2 * S
    assert rig.detector.expire(2 * S - 1) == []
    assert rig.detector.expire(2 * S) == [HelloWanted(HelloKind.ASK, PEER, 0)]
    assert rig.detector.expire(2 * S) == []
    assert rig.detector.deadline == 3 * S
    assert rig.detector.expire(3 * S) == [ev.PeerDown(GROUP, PEER)]
    assert rig.detector.deadline is None
    assert rig.peer.links[0].since_us == 3 * S


def test_an_active_whose_hellos_were_absorbed_was_active_until_it_says_otherwise() -> None:
    """Else nobody would wait for its successor's word."""
    rig = Rig()
    rig.hear(hello(1, flags=FLAG_A), 0)
    rig.hear(hello(2, flags=0), 10 * S)
    assert rig.table.last_active_us == 0
    rig.hear(hello(3, flags=FLAG_A), 11 * S)
    rig.detector.attached(ev.DetectorAttached(GROUP, "eth0", OFFLOAD))
    rig.hear(hello(4, flags=0), 20 * S)
    assert rig.table.last_active_us == 20 * S
    rig.hear(hello(5, flags=0), 30 * S)
    assert rig.table.last_active_us == 20 * S


def test_every_hello_moves_the_deadline_and_costs_nothing() -> None:
    rig = Rig()
    rig.hear(hello(1), 0)
    assert rig.hear(hello(2), S) == []
    assert rig.detector.deadline == 2 * S  # may be early, never late
    assert rig.detector.expire(2 * S) == []
    assert rig.detector.deadline == 3 * S


@pytest.mark.parametrize(
    ("message", "silence_us", "late_us"),
    [
        (hello(interval_ms=100), 300 * MS, 200 * MS),
        (hello(interval_ms=100, options=(Detection(5_000, 4),)), 20 * MS, 15 * MS),
        (hello(interval_ms=100, options=(Detection(0, 4),)), 300 * MS, 200 * MS),
        (hello(interval_ms=100, options=(Detection(5, 0),)), 300 * MS, 200 * MS),
        (hello(options=(Detection(5_000, 1),)), 5 * MS, 0),
        (hello(interval_ms=0, lifetime_s=4), 4 * S, 0),
        (hello(interval_ms=60_000, lifetime_s=2), 2 * S, 2 * S),
    ],
)
def test_how_long_silence_may_be(message: Harp, silence_us: int, late_us: int) -> None:
    rig = Rig()
    rig.hear(message, 0)
    assert (rig.peer.silence_us, rig.peer.late_us) == (silence_us, late_us)
    assert rig.peer.links[0].deadline == silence_us
    assert rig.table.silence_us == silence_us
    assert of(ev.PeerDown, rig.detector.expire(silence_us))


def test_lifetime_zero_is_goodbye() -> None:
    rig = Rig(links=2)
    rig.hear(hello(1), 0, 0)
    rig.hear(hello(1), 0, 1)
    gone = rig.hear(hello(2, lifetime_s=0), S, 0)
    assert gone == [
        ev.PeerLinkChanged(GROUP, PEER, "eth0", up=False),
        ev.PeerLinkChanged(GROUP, PEER, "eth1", up=False),
        ev.PeerLeft(GROUP, PEER),
    ]
    assert rig.hear(hello(3, lifetime_s=0), S, 0) == []
    assert [link.state for link in rig.peer.links] == [LinkState.LEFT, LinkState.LEFT]
    assert rig.detector.expire(100 * S) == []


def test_back_behind_three_goodbyes_is_no_replay() -> None:
    """Its Restart Counter was never heard, so only the Sequence # could tell."""
    rig = Rig()
    rig.hear(hello(500), 0)
    for sequence in (501, 502, 503):
        assert rig.hear(hello(sequence, lifetime_s=0), S) is not None
    assert rig.hear(hello(1), 2 * S) == [ev.PeerUp(GROUP, PEER)]


def test_down_only_when_down_on_all_links() -> None:
    rig = Rig(links=2)
    assert rig.hear(hello(1), 0, 0) == [
        ev.PeerLinkChanged(GROUP, PEER, "eth0", up=True),
        ev.PeerUp(GROUP, PEER),
    ]
    assert rig.hear(hello(1), S, 1) == [ev.PeerLinkChanged(GROUP, PEER, "eth1", up=True)]
    assert rig.peer.best_link().index == 0
    lost = rig.detector.expire(3 * S)
    assert ev.PeerLinkChanged(GROUP, PEER, "eth0", up=False) in lost
    assert not of(ev.PeerDown, lost)
    assert rig.peer.best_link().index == 1
    assert of(ev.PeerDown, rig.detector.expire(4 * S))
    assert rig.peer.best_link().index == 0


@pytest.mark.parametrize(
    "change",
    [
        hello(2, preference=1),
        hello(2, FLAG_A),
        hello(2, FLAG_S),
        hello(2, FLAG_D),
        hello(2, options=(Configuration(bytes(8)),)),
    ],
)
def test_changes_are_told(change: Harp) -> None:
    rig = Rig()
    rig.hear(hello(1), 0)
    assert ev.PeerChanged(GROUP, PEER) in (rig.hear(change, S) or [])


def test_other_settings_are_said_once_and_again_after_agreement() -> None:
    rig = Rig()
    other, same = Configuration(bytes(8)), Configuration(rig.config.settings_hash())
    rig.hear(hello(1), 0)
    assert len(of(Log, rig.hear(hello(2, options=(other,)), 0) or [])) == 1
    assert not of(Log, rig.hear(hello(3, options=(Configuration(bytes(7) + b"1"),)), 0) or [])
    assert not of(Log, rig.hear(hello(4, options=(same,)), 0) or [])
    assert len(of(Log, rig.hear(hello(5, options=(other,)), 0) or [])) == 1
    assert rig.table.count_agreeing(rig.config.settings_hash()) == 0
    rig.hear(hello(6, options=(same,)), 0)
    assert rig.table.count_agreeing(rig.config.settings_hash()) == 1


def test_sequences_are_kept_by_link_and_kind() -> None:
    rig = Rig(links=2)
    assert rig.hear(hello(5), 0) is not None
    assert rig.hear(hello(5), 0) is None
    assert rig.hear(hello(4), 0) is None
    assert rig.hear(hello(4), 0, multicast=False) is not None
    assert rig.hear(hello(4), 0, link=1) is not None
    assert rig.hear(hello(5 + 0x7FFF), 0) is not None
    assert rig.hear(hello(5 + 0x7FFF - 0x8000 & 0xFFFF), 0) is None


def test_restart_counter_greater_starts_anew_lesser_is_a_replay() -> None:
    rig = Rig()

    def first(sequence: int, counter: int) -> Harp:
        return hello(sequence, options=(RestartCounter(counter), SyncPosition(1, 2)))

    assert rig.hear(first(500, 7), 0) is not None
    assert rig.hear(first(501, 6), 0) is None
    assert rig.hear(first(500, 7), 0) is None
    assert rig.hear(first(1, 8), 0) == [ev.PeerChanged(GROUP, PEER, restarted=True)]
    assert rig.peer.position == SyncPosition(1, 2)
    assert rig.hear(hello(2), 0) == []


@pytest.mark.parametrize(
    ("changes", "counter", "accepted"),
    [
        ({}, True, True),  # unprotected: forgotten when down
        ({"protection": PSK}, False, True),  # no Restart Counter known: forgotten
        ({"protection": PSK}, True, False),
    ],
)
def test_what_is_forgotten_when_a_peer_is_down(
    changes: dict[str, Any], counter: bool, accepted: bool
) -> None:
    rig = Rig(**changes)
    rig.hear(hello(500, options=(RestartCounter(7),) if counter else ()), 0)
    rig.detector.expire(10 * S)
    assert (rig.hear(hello(3), 11 * S) is not None) is accepted


def test_a_peer_that_may_have_restarted_unheard_is_asked_once_an_interval() -> None:
    rig = Rig(protection=PSK)
    rig.hear(hello(500, options=(RestartCounter(7),)), 0)
    link = rig.peer.links[0]
    assert rig.detector.replay_heard(rig.peer, link, S) == []
    rig.detector.expire(10 * S)
    asked = rig.detector.replay_heard(rig.peer, link, 11 * S)
    assert asked == [HelloWanted(HelloKind.ASK, PEER, 0)]
    assert rig.detector.replay_heard(rig.peer, link, 11 * S + 1) == []
    assert rig.detector.replay_heard(rig.peer, link, 12 * S) == asked


def test_a_hello_of_a_wrong_clock_is_a_sign_of_life_and_little_more() -> None:
    rig = Rig()
    late = hello(9, FLAG_A | FLAG_S, preference=500, options=(Detection(1, 3),))
    link = rig.peer.links[0]
    assert rig.detector.heard_late(rig.peer, link, late, S) == [ev.PeerUp(GROUP, PEER)]
    assert (rig.peer.active, rig.peer.synchronised, rig.peer.preference) == (True, False, 0)
    assert rig.table.last_active_us == S
    assert link.deadline == 4 * S  # nothing valid is known: own detection time
    assert rig.detector.heard_late(rig.peer, link, late, S) == []
    cleared = hello(10)
    assert rig.detector.heard_late(rig.peer, link, cleared, 2 * S) == [ev.PeerChanged(GROUP, PEER)]
    gone = hello(11, lifetime_s=0)
    assert rig.detector.heard_late(rig.peer, link, gone, 2 * S) == [ev.PeerLeft(GROUP, PEER)]


def test_restarted_deadlines() -> None:
    rig = Rig()
    rig.hear(hello(1), 0)
    rig.detector.restart(10 * S)
    assert not of(ev.PeerDown, rig.detector.expire(13 * S - 1))
    assert of(ev.PeerDown, rig.detector.expire(13 * S))


class TestOtherSources:
    """harp.md §4: "Detection sources are interchangeable"."""

    def report(self, rig: Rig, state: ev.PeerReport, source: DetectionSource = BFD) -> list[Any]:
        event = ev.PeerReported(GROUP, PEER, "eth0", source, state)
        return rig.detector.reported(event, 5 * S)

    def test_an_attached_source_replaces_the_own_deadlines(self) -> None:
        rig = Rig()
        rig.hear(hello(7), 0)
        watched = rig.detector.attached(ev.DetectorAttached(GROUP, "eth0", OFFLOAD))
        assert WatchPeer(GROUP, PEER, "eth0", 3 * S, 2 * S, 7) in watched
        assert rig.detector.expire(100 * S) == []
        assert self.report(rig, ev.PeerReport.DOWN, OFFLOAD) == [ev.PeerDown(GROUP, PEER)]
        assert self.report(rig, ev.PeerReport.DOWN, OFFLOAD) == []
        # Down holds: a HELLO that the host still reads does not overrule who watches.
        assert rig.hear(hello(8), 5 * S) == []
        assert not rig.peer.up
        assert self.report(rig, ev.PeerReport.UP, OFFLOAD) == [
            WatchPeer(GROUP, PEER, "eth0", 3 * S, 2 * S, 8),
            ev.PeerUp(GROUP, PEER),
        ]
        assert self.report(rig, ev.PeerReport.UP, OFFLOAD) == []
        assert self.report(rig, ev.PeerReport.LEFT, OFFLOAD) == [ev.PeerLeft(GROUP, PEER)]

    def test_new_timing_is_passed_on(self) -> None:
        rig = Rig()
        rig.detector.attached(ev.DetectorAttached(GROUP, "eth0", OFFLOAD))
        assert rig.hear(hello(1), 0) == [
            WatchPeer(GROUP, PEER, "eth0", 3 * S, 2 * S, 1),
            ev.PeerUp(GROUP, PEER),
        ]
        assert rig.hear(hello(2), 0) == []
        assert rig.hear(hello(3, interval_ms=10), 0) == [
            WatchPeer(GROUP, PEER, "eth0", 30 * MS, 20 * MS, 3)
        ]

    def test_a_lost_source_gives_deadlines_back_with_grace(self) -> None:
        rig = Rig()
        rig.hear(hello(1), 0)
        for source in (OFFLOAD, BFD):
            rig.detector.attached(ev.DetectorAttached(GROUP, "eth0", source))
        assert rig.detector.lost(ev.DetectorLost(GROUP, "eth0", BFD), 5 * S) == []
        assert rig.detector.expire(100 * S) == []
        lost = ev.DetectorLost(GROUP, "eth0", OFFLOAD, grace_us=200 * MS)
        rig.detector.lost(lost, 5 * S)
        assert rig.peer.links[0].deadline == 8 * S + 200 * MS
        rig.detector.lost(lost, 6 * S)
        assert rig.peer.links[0].deadline == 8 * S + 200 * MS

    def test_up_needs_a_valid_hello_and_all_sources(self) -> None:
        rig = Rig()
        assert self.report(rig, ev.PeerReport.UP) == []
        rig.hear(hello(1), 0)
        self.report(rig, ev.PeerReport.DOWN, BFD)
        self.report(rig, ev.PeerReport.DOWN, OFFLOAD)
        assert self.report(rig, ev.PeerReport.UP, BFD) == []
        assert self.report(rig, ev.PeerReport.UP, OFFLOAD) == [ev.PeerUp(GROUP, PEER)]

    def test_unknown_names_do_no_harm(self) -> None:
        rig = Rig()
        event = ev.PeerReported(GROUP, address(9), "eth0", BFD, ev.PeerReport.DOWN)
        assert rig.detector.reported(event, 0) == []
        assert rig.detector.counters["unknown_report"] == 1
        assert rig.detector.attached(ev.DetectorAttached(GROUP, "eth9", BFD)) == []
        assert rig.detector.lost(ev.DetectorLost(GROUP, "eth9", BFD), 0) == []
        rig.detector.sequence_seen(ev.SequenceSeen(GROUP, address(9), "eth0", True, 5))

    def test_absorbed_hellos_move_the_sequence(self) -> None:
        rig = Rig()
        rig.detector.sequence_seen(ev.SequenceSeen(GROUP, PEER, "eth0", True, 50))
        rig.detector.sequence_seen(ev.SequenceSeen(GROUP, PEER, "eth0", False, 60))
        assert rig.hear(hello(50), 0) is None
        assert rig.hear(hello(60), 0, multicast=False) is None
        assert rig.hear(hello(51), 0) is not None
        # What an offload tells may be older than a HELLO that it passed on.
        rig.detector.sequence_seen(ev.SequenceSeen(GROUP, PEER, "eth0", True, 49))
        assert rig.hear(hello(51), 0) is None
        rig.detector.sequence_seen(ev.SequenceSeen(GROUP, PEER, "eth0", False, 59))
        assert rig.hear(hello(60), 0, multicast=False) is None

    def test_what_only_adds_to_the_own_deadlines_is_forgotten_with_it(self) -> None:
        rig = Rig()
        rig.hear(hello(1), 0)
        assert self.report(rig, ev.PeerReport.DOWN) == [ev.PeerDown(GROUP, PEER)]
        assert rig.hear(hello(2), 5 * S) == []
        assert rig.detector.lost(ev.DetectorLost(GROUP, "eth0", BFD), 5 * S) == []
        assert rig.hear(hello(3), 6 * S) == [ev.PeerUp(GROUP, PEER)]
        assert rig.peer.links[0].deadline == 9 * S


def test_best_active_is_the_strongest_that_is_up() -> None:
    rig = Rig()
    assert rig.table.best_active() is None
    for number, preference in ((1, 5), (2, 5)):
        peer = rig.table.peers[address(number)]
        rig.detector.heard(peer, peer.links[0], hello(1, FLAG_A, preference), True, 0)
    best = rig.table.best_active()
    assert best is not None
    assert best.identity == address(2)  # ties go to the higher address (harp.md §1)
    assert not best.draining
