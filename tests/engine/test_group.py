"""The group: what no part does by itself, and the engine around it."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import pytest

from harp.engine import events as ev
from harp.engine.config import (
    DetectionSource,
    EngineConfig,
    HomeAgentConfig,
    Key,
    LinkConfig,
    Protection,
    Security,
    SyncConfig,
)
from harp.engine.effects import (
    HelloTemplate,
    Log,
    PrepareRoute,
    PrepareRoutes,
    RemoveRoute,
    Role,
    StartDad,
    WatchPeer,
    WriteJournal,
)
from harp.engine.engine import Engine
from harp.engine.events import Command
from harp.engine.journal import EntryForgotten, JournalCodec, RestartKept
from harp.tables.harp_types import HarpType
from harp.wire.codec import DEFAULT_CODEC
from harp.wire.messages import Harp, RestartCounter

from .group_net import GROUP, MS, UNIX_US, Net, S, address, config, home, of, sent

JOURNAL = JournalCodec(DEFAULT_CODEC, UNIX_US)


def started(counter: int | None) -> int:
    """Restart Counter of the first HELLO after a journal that kept `counter`."""
    engine = Engine(EngineConfig((config(),)), Random(1), UNIX_US)
    records = [JOURNAL.encode(RestartKept(counter))] if counter is not None else []
    engine.restore(GROUP, records)
    effects = engine.start(0)
    (first,) = sent(effects, HarpType.HELLO)
    (option,) = [o for o in first.options if isinstance(o, RestartCounter)]
    (kept,) = [JOURNAL.decode(e.record) for e in of(WriteJournal, effects)]
    assert kept == RestartKept(option.value)
    return option.value


def test_restart_counter_is_the_greater_of_journal_plus_one_and_unix_seconds() -> None:
    unix_s = UNIX_US // S
    assert started(None) == unix_s
    assert started(unix_s - 5) == unix_s
    assert started(unix_s + 5) == unix_s + 6


def test_an_unprotected_group_is_told_at_start() -> None:
    engine = Engine(EngineConfig((config(),)), Random(1), UNIX_US)
    assert len(of(Log, engine.start(0))) == 1
    keys = Protection(Security.PSK, keys=(Key(300, bytes(16)),))
    quiet = Engine(EngineConfig((config(protection=keys),)), Random(1), UNIX_US)
    assert not of(Log, quiet.start(0))


def test_what_the_journal_kept_is_back_after_a_restart() -> None:
    net = Net()
    net.run(4 * S)
    net.register(2, 1, sequence=1)
    net.register(2, 2, sequence=1)
    net.run(S)
    position = net.group(0).sync.position
    for member in range(3):
        net.crash(member)
    net.journals[0] += [
        JOURNAL.encode(EntryForgotten(home(2), 0)),
        b"not a record",
    ]
    net.boot(0)
    assert net.group(0).store.get(home(1)) is not None
    assert net.group(0).store.get(home(2)) is None
    assert net.group(0).sync.position == position


def test_a_record_of_an_unknown_kind_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = Engine(EngineConfig((config(),)), Random(1), UNIX_US)
    monkeypatch.setattr(JournalCodec, "decode", lambda self, octets: None)
    engine.restore(GROUP, [JOURNAL.encode(RestartKept(1))])
    assert engine.groups[GROUP].counters["unknown_record"] == 1


def test_routes_follow_the_log_and_are_ready_on_standbys() -> None:
    net = Net()
    net.run(4 * S)
    net.register(2, 1, sequence=1)
    seen = net.run(S)
    assert {who for _, who, e in seen if isinstance(e, PrepareRoute)} >= {0, 1}
    net.register(2, 1, sequence=2, lifetime_s=0)
    seen = net.run(S)
    assert {who for _, who, e in seen if isinstance(e, RemoveRoute)} >= {0, 1}


def test_a_full_sync_brings_its_routes_in_one_effect() -> None:
    net = Net()
    net.run(4 * S)
    for number in range(5):
        net.register(2, number, sequence=1)
    net.run(S)
    net.crash(0)
    net.journals[0].clear()
    net.boot(0)
    seen = net.run(5 * S)
    assert [e.group for _, who, e in seen if who == 0 and isinstance(e, PrepareRoutes)] == [GROUP]
    assert len(net.group(0).store) == 5


def test_journal_sync_waits_for_the_disk() -> None:
    net = Net(sync=SyncConfig(journal_sync=True, durability_timeout_us=10 * S))
    net.run(4 * S)
    net.register(2, 1, sequence=1)
    net.run(S)
    assert not net.answers
    (token,) = net.tokens
    net.tell(2, ev.JournalWritten(GROUP, token))
    net.run(S)
    assert len(net.answers) == 1


def test_dad_comes_before_the_first_registration() -> None:
    net = Net(1, home_agent=HomeAgentConfig(dad=True))
    net.run(4 * S)
    net.register(0, 1, sequence=1)
    assert [e.address for _, _, e in net.seen if isinstance(e, StartDad)] == [home(1)]
    net.tell(0, ev.DadFinished(GROUP, home(1), duplicate=False))
    net.run(S)
    assert [a.status for a in net.answers] == [0]


def test_rekey_on_takeover() -> None:
    net = Net(2, rekey_on_takeover=True)
    net.run(4 * S)
    net.register(1, 1, sequence=1)
    net.run(S)
    sent_before = net.group(0)
    net.crash(1)
    effects = []
    while net.group(0).role is not Role.ACTIVE:
        deadline = sent_before.deadline
        assert deadline is not None
        net.now = deadline
        effects = net.engine(0).expire(deadline)
    assert len(sent(effects, HarpType.REKEY)) == 1


def test_detection_sources_reach_the_roles() -> None:
    net = Net()
    net.run(4 * S)
    offload = DetectionSource.OFFLOAD
    watched = net.tell(1, ev.DetectorAttached(GROUP, "eth0", offload))
    assert {e.peer for e in of(WatchPeer, watched)} == {address(0), address(2)}
    net.tell(1, ev.SequenceSeen(GROUP, address(2), "eth0", True, 40))
    down = ev.PeerReported(GROUP, address(2), "eth0", offload, ev.PeerReport.DOWN)
    assert of(ev.PeerDown, net.tell(1, down))
    net.run(MS)
    assert net.roles[1] is Role.ACTIVE
    net.tell(1, ev.DetectorLost(GROUP, "eth0", offload))


def test_slots_change_who_sends_the_hellos() -> None:
    mine = config(0, links=(LinkConfig("eth0", slots=True),))
    engine = Engine(EngineConfig((mine,)), Random(1), UNIX_US)
    engine.start(0)
    assert engine.receive(ev.HelloSlotChanged(GROUP, "eth9", True, 5), 0) == []
    engine.receive(ev.HelloSlotChanged(GROUP, "eth0", True, 5), 0)
    effects = engine.receive(ev.Fenced(True), 1)
    assert of(HelloTemplate, effects)  # preference 0 is news
    assert [hello.sequence for hello in sent(effects)] == [6]
    assert not sent(engine.expire(2 * S))


def test_a_slot_about_to_start_is_told_the_last_sequence_used() -> None:
    mine = config(0, links=(LinkConfig("eth0", slots=True),))
    engine = Engine(EngineConfig((mine,)), Random(1), UNIX_US)
    engine.start(0)
    while not (said := sent(engine.expire(engine.deadline or 0))) or said[0].sequence < 3:
        pass
    (template,) = of(HelloTemplate, engine.receive(ev.HelloSlotChanged(GROUP, "eth0", True, 0), S))
    parsed = DEFAULT_CODEC.parse(template.source, template.destination, template.payload)
    assert isinstance(parsed, Harp) and parsed.sequence == said[0].sequence
    (news,) = sent(engine.receive(ev.Fenced(True), S))
    assert news.sequence == parsed.sequence + 1
    # Over before the slot told its own number: the engine goes on with its own.
    assert engine.receive(ev.HelloSlotChanged(GROUP, "eth0", False, 0), S) == []
    (hello,) = sent(engine.receive(ev.Fenced(False), S))
    assert hello.sequence == news.sequence + 1


def test_several_groups_live_beside_each_other() -> None:
    groups = (config(0), replace(config(0), group=8, virtual_address=address(9)))
    engine = Engine(EngineConfig(groups), Random(1), UNIX_US)
    engine.start(0)
    assert engine.expire(1) == []
    while any(group.role is not Role.ACTIVE for group in engine.groups.values()):
        assert engine.deadline is not None
        engine.expire(engine.deadline)
    assert min(g.deadline or 0 for g in engine.groups.values()) == engine.deadline
    hold = ev.CommandGiven(8, Command.CHECK, 1)
    answers = engine.receive(hold, engine.deadline or 0)
    assert {e.group for e in answers if hasattr(e, "group")} == {8}


def test_expire_before_the_deadline_does_nothing() -> None:
    net = Net(1)
    assert net.engine(0).expire(0) == []
    assert net.group(0).expire(0) == []


def test_a_time_in_which_nothing_was_due_is_no_pause() -> None:
    net = Net(1)
    net.run(4 * S)
    net.tell(0, ev.LinkChanged("eth0", up=False))
    net.run(3 * S)  # the last announcements of its address
    net.run(50 * S)
    assert not of(Log, net.tell(0, ev.LinkChanged("eth0", up=True)))
    assert net.roles == [Role.ACTIVE]
