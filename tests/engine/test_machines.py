"""The state machines as tables: every pair of state and happening has its row, and does it."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import Any

import pytest

from harp.engine import events as ev
from harp.engine import fullsync_table, liveness_table, role_table, stream_table
from harp.engine.batch import Packer
from harp.engine.config import DetectionSource
from harp.engine.detection import Detector
from harp.engine.effects import HelloKind, HelloWanted, Role, SendHarp, WatchPeer
from harp.engine.fullsync import AHEAD_MESSAGES, ALL, Arrival, Exchange
from harp.engine.fullsync_table import Phase
from harp.engine.liveness_table import Happening as Life
from harp.engine.machine import Row, expand
from harp.engine.peers import LinkState, Peer, PeerLink, PeerTable
from harp.engine.roles import Roles
from harp.engine.stream import Stream
from harp.engine.stream_table import Happening as Ack
from harp.engine.stream_table import Phase as Answering
from harp.tables.harp_types import HarpFlag, HarpType
from harp.wire.messages import Harp, Options, RestartCounter, SyncPosition

from .group_net import GROUP, MS, S, address, config, hello, of
from .sync_net import group

PEER = address(1)
BFD = DetectionSource.BFD
AT = SyncPosition(3, 9)
MACHINES = [
    (Roles, role_table.TABLE, Role, role_table.Happening),
    (Detector, liveness_table.TABLE, LinkState, Life),
    (Exchange, fullsync_table.TABLE, Phase, fullsync_table.Happening),
    (Stream, stream_table.TABLE, Answering, Ack),
]
QUIET = {"ignore", "unexpected", "rest", "stay"}


@pytest.mark.parametrize(("code", "table", "states", "happenings"), MACHINES)
def test_every_pair_has_its_row(code: Any, table: Any, states: Any, happenings: Any) -> None:
    assert set(table) == {(state, happening) for state in states for happening in happenings}
    for (state, _), row in table.items():
        assert callable(getattr(code, f"_{row.handler}"))
        assert row.note
        assert state not in row.targets
        assert not (row.handler in QUIET and row.targets)


class Light(StrEnum):
    ON = "on"
    OFF = "off"


class Push(StrEnum):
    BUTTON = "button"


def test_a_table_with_a_gap_or_two_rows_is_refused() -> None:
    on = (Push.BUTTON, (Light.ON,), "switch", (Light.OFF,), "")
    off = (Push.BUTTON, (Light.OFF,), "switch", (Light.ON,), "")
    assert expand(Light, Push, [on, off])[Light.ON, Push.BUTTON] == Row("switch", (Light.OFF,), "")
    with pytest.raises(ValueError, match=r"no row for \[\('OFF', 'BUTTON'\)\]"):
        expand(Light, Push, [on])
    with pytest.raises(ValueError, match="two rows for ON and BUTTON"):
        expand(Light, Push, [on, off, on])


# Liveness of a peer on a link


class Liveness:
    """A peer with two links. The second was heard, so that timing and Restart Counter are known;
    the first is brought to some state."""

    def __init__(self, state: LinkState) -> None:
        table = PeerTable(config(0, links=2))
        self.detector = Detector(config(0, links=2), table)
        self.peer: Peer = table.peers[PEER]
        self.link: PeerLink = self.peer.links[0]
        self.heard: list[Life] = []
        """What the machine of the first link was told."""
        self.hello(1, link=1)
        if state is not LinkState.UNKNOWN:
            self.hello(1)
        if state is LinkState.DOWN:
            self.detector.expire(3 * S)
        if state is LinkState.LEFT:
            self.hello(2, lifetime_s=0)
        assert self.link.state is state
        hear = self.detector.hear

        def spy(happening: Life, peer: Peer, link: PeerLink, at: int) -> list[Any]:
            if link is self.link:
                self.heard.append(happening)
            return hear(happening, peer, link, at)

        self.detector.hear = spy  # type: ignore[method-assign]

    def hello(self, sequence: int, link: int = 0, now: int = 0, **changes: Any) -> list[Any]:
        options = (RestartCounter(changes.pop("counter", 7)),)
        message = hello(sequence, options=options, **changes)
        return self.detector.heard(self.peer, self.peer.links[link], message, True, now)

    def report(self, state: ev.PeerReport) -> list[Any]:
        return self.detector.reported(ev.PeerReported(GROUP, PEER, "eth0", BFD, state), 4 * S)

    def attach(self) -> list[Any]:
        return self.detector.attached(ev.DetectorAttached(GROUP, "eth0", BFD))

    def lose_source(self) -> list[Any]:
        self.attach()
        return self.detector.lost(ev.DetectorLost(GROUP, "eth0", BFD, S), 4 * S)


LIFE: dict[Life, Callable[[Liveness], list[Any] | None]] = {
    Life.HELLO: lambda rig: rig.hello(9, now=4 * S),
    Life.RETIMED: lambda rig: rig.hello(9, now=4 * S, interval_ms=10),
    Life.RESTARTED: lambda rig: rig.hello(9, now=4 * S, counter=8),
    Life.WRONG_CLOCK: lambda rig: rig.detector.heard_late(rig.peer, rig.link, hello(9), 4 * S),
    Life.GOODBYE: lambda rig: rig.report(ev.PeerReport.LEFT),
    Life.REPLAY: lambda rig: rig.detector.replay_heard(rig.peer, rig.link, 4 * S),
    Life.UNJUDGED: lambda rig: rig.detector.ask(rig.peer, rig.link, 4 * S),
    Life.LATE: lambda rig: rig.detector.expire(2 * S),
    Life.SILENT: lambda rig: rig.detector.expire(4 * S),
    Life.REPORTED_UP: lambda rig: rig.report(ev.PeerReport.UP),
    Life.REPORTED_DOWN: lambda rig: rig.report(ev.PeerReport.DOWN),
    Life.ATTACHED: Liveness.attach,
    Life.LOST: Liveness.lose_source,
    Life.PAUSED: lambda rig: rig.detector.restart(4 * S),
}
"""How each comes about, from outside."""
NEVER_DUE = {Life.LATE, Life.SILENT}
"""Of a link that is not up."""


@pytest.mark.parametrize(("state", "happening"), liveness_table.TABLE)
def test_what_a_link_does_about_each_happening(state: LinkState, happening: Life) -> None:
    rig, row = Liveness(state), liveness_table.TABLE[state, happening]
    effects = LIFE[happening](rig) or []
    if happening in NEVER_DUE and state is not LinkState.UP:
        assert not rig.heard
        assert rig.detector.hear(happening, rig.peer, rig.link, 4 * S) == []
    assert rig.heard[-1] is happening
    assert rig.link.state is (row.targets[0] if row.targets else state)
    told = [event.up for event in of(ev.PeerLinkChanged, effects) if event.link == "eth0"]
    assert told == [target is LinkState.UP for target in row.targets]
    asked = HelloWanted(HelloKind.ASK, PEER, 0) in effects
    assert asked is row.handler.startswith("question")
    assert bool(of(WatchPeer, effects)) is (row.handler == "hand_over")
    counted_anew = row.handler in ("keep", "watch_again", "rise")
    late = 4 * S + (S if happening is Life.LOST else 0)
    if counted_anew:
        assert rig.link.deadline == late + rig.peer.silence_us
    elif rig.link.state is not LinkState.UP or row.handler == "hand_over":
        assert rig.link.deadline is None


def test_a_link_that_no_row_lets_change_is_a_bug(monkeypatch: pytest.MonkeyPatch) -> None:
    rig = Liveness(LinkState.DOWN)
    pair = LinkState.DOWN, Life.HELLO
    monkeypatch.setitem(liveness_table.TABLE, pair, Row("rise", (), ""))
    with pytest.raises(AssertionError, match="down may not lead to up"):
        rig.hello(9)


# An exchange


SYNC = fullsync_table.Happening
ASKED, STREAMING, COMPLETE = Phase.ASKED, Phase.STREAMING, Phase.COMPLETE


def reply(index: int, position: SyncPosition | None = None, more: bool = True, **k: Any) -> Harp:
    options: Options = (position,) if position else ()
    flags = HarpFlag.R | HarpFlag.M if more else HarpFlag.R
    return Harp(HarpType.SS_REP, 7, 77, flags=flags, index=index, options=options, **k)


def exchange(phase: Phase) -> Exchange:
    """In some phase; while it streams only the second message of three is missing."""
    asked = Exchange(group(2, sync_timeout_us=20 * S), PEER, 77, ALL, 0)
    if phase is Phase.REFUSED:
        asked.arrived(reply(1, status=133), 0)
    elif phase is Phase.FAILED:
        asked.expire(20 * S)
    elif phase is not ASKED:
        asked.arrived(reply(1, AT, more=phase is STREAMING), 0)
    if phase is STREAMING:
        asked.arrived(reply(3, more=False), 0)
    assert asked.phase is phase
    return asked


STEPS = [
    (ASKED, SYNC.REFUSAL, reply(1, status=133), Phase.REFUSED),
    (ASKED, SYNC.OUTSIDE, reply(1 + AHEAD_MESSAGES), ASKED),
    (ASKED, SYNC.UNPLACED, reply(1), ASKED),
    (ASKED, SYNC.UNPLACED, reply(2, AT), ASKED),
    (ASKED, SYNC.NEW, reply(1, AT), STREAMING),
    (ASKED, SYNC.NEW, reply(1, AT, more=False), COMPLETE),
    (ASKED, SYNC.LATE, 3 * S, ASKED),
    (ASKED, SYNC.SILENT, 16 * S, Phase.FAILED),
    (ASKED, SYNC.TIME_OVER, 20 * S, Phase.FAILED),
    (STREAMING, SYNC.REFUSAL, reply(1, status=133), STREAMING),
    (STREAMING, SYNC.OTHER_ANSWER, reply(2, SyncPosition(4, 0)), Phase.FAILED),
    (STREAMING, SYNC.OUTSIDE, reply(1, AT), STREAMING),
    (STREAMING, SYNC.AGAIN, reply(3, more=False), STREAMING),
    (STREAMING, SYNC.NEW, reply(4), STREAMING),
    (STREAMING, SYNC.NEW, reply(2), COMPLETE),
    (STREAMING, SYNC.LATE, 3 * S, STREAMING),
    (STREAMING, SYNC.SILENT, 16 * S, Phase.FAILED),
    (STREAMING, SYNC.TIME_OVER, 20 * S, Phase.FAILED),
]
"""Phase, happening, the message or the time that it is, the phase after."""
ARRIVALS = {"take": Arrival.NEW, "again": Arrival.AGAIN, "skip": Arrival.AGAIN}
"""Of a handler; all others: useless."""


@pytest.mark.parametrize(("phase", "happening", "what", "after"), STEPS)
def test_what_an_exchange_does(
    phase: Phase,
    happening: SYNC,
    what: Harp | int,
    after: Phase,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked, row = exchange(phase), fullsync_table.TABLE[phase, happening]
    heard: list[SYNC] = []
    find = asked._handler
    monkeypatch.setattr(asked, "_handler", lambda what: heard.append(what) or find(what))
    if isinstance(what, int):
        assert asked.expire(what - 1 if happening is SYNC.LATE else 0) == []
        assert asked.expire(what) == ([asked.ask()] if row.handler == "repeat" else [])
    else:
        assert asked.arrived(what, S) is ARRIVALS.get(row.handler, Arrival.USELESS)
        counted_anew = row.handler in ("take", "again")
        assert asked._due == (4 * S if counted_anew else 3 * S)
    assert heard == [happening]
    assert asked.phase is after


def test_every_row_of_an_exchange_is_shown_or_does_nothing() -> None:
    shown = {(phase, happening) for phase, happening, _, _ in STEPS}
    changes = {(phase, happening, after) for phase, happening, _, after in STEPS if after != phase}
    rows = fullsync_table.TABLE.items()
    changes.add((STREAMING, SYNC.REFUSAL, Phase.REFUSED))  # test_sync_stream.test_broken_off
    assert changes == {(*pair, target) for pair, row in rows for target in row.targets}
    for (phase, happening), row in rows:
        if row.handler not in QUIET:
            assert (phase, happening) in shown
            continue
        asked = exchange(phase)
        handler = asked._handler(happening)
        if row.handler == "rest":
            assert handler(20 * S) == []
        else:
            assert handler(reply(1), S) is Arrival.USELESS
        assert asked.phase is phase


def test_a_phase_that_no_row_names_is_a_bug(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(fullsync_table.TABLE, (ASKED, SYNC.NEW), Row("take", (COMPLETE,), ""))
    with pytest.raises(AssertionError, match="asked may not lead to streaming"):
        exchange(ASKED).arrived(reply(1, AT), 0)


# The answering side of a full sync

OPENING, CLOSING, DONE = Answering.OPENING, Answering.CLOSING, Answering.COMPLETE
FLOWING, BROKEN = Answering.FLOWING, Answering.BROKEN


def answer(phase: Answering) -> Stream:
    """A stream in some phase: of three messages, or of one if it is opening."""
    config = group(2, sync_timeout_us=20 * S, stream_window_messages=1)
    bodies = iter([] if phase is OPENING else [b"", b"", b""])
    made = Stream(
        config, Packer(config), Harp(HarpType.SS_REQ, 7, 77), AT, lambda _: next(bodies, None), 0
    )
    made.pump(PEER, 0)
    for index in {FLOWING: [1], CLOSING: [1, 2], DONE: [1, 2, 3]}.get(phase, []):
        assert made.acknowledged(index, 0)
        made.pump(PEER, 0)
    if phase is BROKEN:
        made.expire(PEER, 20 * S)
    assert made.phase is phase
    return made


ANSWERS = [
    (OPENING, Ack.ACKNOWLEDGED, 1, DONE),
    (FLOWING, Ack.ACKNOWLEDGED, 2, FLOWING),
    (CLOSING, Ack.ACKNOWLEDGED, 3, DONE),
    *((phase, Ack.STRAY, 9, phase) for phase in Answering),
    *((phase, Ack.LATE, 30 * MS, phase) for phase in (OPENING, FLOWING, CLOSING)),
    *((phase, Ack.SILENT, 16 * S, BROKEN) for phase in (OPENING, FLOWING, CLOSING)),
    *((phase, Ack.TIME_OVER, 20 * S, BROKEN) for phase in (OPENING, FLOWING, CLOSING)),
]
"""Phase, happening, the Index or the time that it is, the phase after."""


@pytest.mark.parametrize(("phase", "happening", "what", "after"), ANSWERS)
def test_what_a_stream_does(
    phase: Answering,
    happening: Ack,
    what: int,
    after: Answering,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made = answer(phase)
    heard: list[Ack] = []
    find = made._handler
    monkeypatch.setattr(made, "_handler", lambda what: heard.append(what) or find(what))
    if happening in (Ack.ACKNOWLEDGED, Ack.STRAY):
        assert made.acknowledged(what, S) is (happening is Ack.ACKNOWLEDGED)
    else:
        assert made.expire(PEER, 0) == []
        sent = made.expire(PEER, what)
        assert (sent is None) is (after is BROKEN)
        assert sent is None or [type(effect) for effect in sent] == [SendHarp]
    assert heard == [happening]
    assert made.phase is after
    assert made.complete is (after is DONE)


def test_a_stream_flows_after_its_first_and_closes_with_its_last() -> None:
    bodies = iter([b"", b""])
    config = group(2, stream_window_messages=8)
    made = Stream(
        config, Packer(config), Harp(HarpType.SS_REQ, 7, 77), AT, lambda _: next(bodies, None), 0
    )
    assert [len(made.pump(PEER, 0)), made.phase] == [1, OPENING]
    made.acknowledged(1, 0)
    assert made.phase is FLOWING
    assert [len(made.pump(PEER, 0)), made.phase] == [1, CLOSING]


def test_every_row_of_a_stream_is_shown_or_does_nothing() -> None:
    shown = {(phase, happening) for phase, happening, _, _ in ANSWERS}
    shown |= {(phase, Ack.LAST_SENT) for phase in Answering}  # the test before this one
    for (phase, happening), row in stream_table.TABLE.items():
        if row.handler not in QUIET:
            assert (phase, happening) in shown
            continue
        made = answer(phase)
        handler = made._handler(happening)
        if row.handler == "ignore":
            assert handler(1, S) is False
        elif row.handler == "rest":
            assert handler(PEER, 20 * S) == []
        else:
            handler()
        assert made.phase is phase


def test_a_phase_of_a_stream_that_no_row_names_is_a_bug(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(stream_table.TABLE, (OPENING, Ack.ACKNOWLEDGED), Row("go_on", (), ""))
    with pytest.raises(AssertionError, match="opening may not lead to complete"):
        answer(OPENING).acknowledged(1, 0)
