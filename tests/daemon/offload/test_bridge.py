"""Engines, bridge, driver and board together: hand-over, silence, pulled cables, killed daemons."""

from __future__ import annotations

import pytest

from harp.daemon.offload.bridge import OFFLOAD
from harp.engine.effects import Role
from harp.engine.events import (
    Command,
    CommandGiven,
    HelloSlotChanged,
    LinkChanged,
    PeerDown,
    PeerLeft,
    PeerReport,
    PeerReported,
    StopRequested,
)
from harp.offload.device import PeerChanged, PeerKey, SlotKey, SlotMoved, SlotStopped
from harp.offload.templates import MH_OFFSET, says_active, sequence_of
from harp.tables.harp_types import HarpType
from harp.tables.icmpv6 import NEIGHBOR_ADVERTISEMENT, NEXT_HEADER
from harp.tables.offload import PeerState
from harp_sim.build import Draft

from .group_world import GROUP, LINK, MS, GroupWorld, S, address, options, standby_first

DETECTION = 150 * MS
TYPE_AT = 10
"""Octet of a HARP message with its type (harp.md §2)."""


def settled(**settings: object) -> GroupWorld:
    """Member 0 is active, its board attached; some seconds have passed."""
    world = GroupWorld(**settings)  # type: ignore[arg-type]
    assert world.run(lambda: world.members[0].serving, 20 * S)
    assert world.run(lambda: world.driver.idle, 5 * S)
    world.run_us(3 * S)
    return world


def advertisement(target: bytes) -> bytes:
    """A frame of member 0."""
    payload = bytes((NEIGHBOR_ADVERTISEMENT, 0, 0, 0, 0x60, 0, 0, 0)) + target
    return Draft(address(1), address(2), payload, last=NEXT_HEADER).octets()


def test_the_board_watches_absorbs_and_sends() -> None:
    world = settled()
    first, second = world.members[0], world.members[1]
    assert world.problems == []
    group = first.engine.groups[GROUP]
    assert not any(link.deadline for peer in group.peers for link in peer.links), "none of its own"
    heard, sent = first.heard, world.board.registers.sent[0]
    others = second.heard
    world.run_us(10 * S)
    # 2 peers x 20 HELLOs/s x 10 s = 400, of which one in 64 passes; digests pass as news.
    assert first.heard - heard < 40
    assert world.board.registers.sent[0] - sent >= 200
    assert second.heard - others >= 390
    assert world.members[0].downs() == world.members[1].downs() == []
    assert world.board.model.guard.armed


def test_a_silent_peer_is_told_by_the_board() -> None:
    world = settled()
    world.members[2].alive = False
    killed = world.now
    assert world.run(lambda: bool(world.members[0].downs()), S)
    assert DETECTION - 60 * MS < world.now - killed < DETECTION + 10 * MS
    assert world.members[0].downs() == [PeerDown(GROUP, address(3))]
    world.members[2].alive = True
    world.members[2].start()
    assert world.run(
        lambda: world.members[0].engine.groups[GROUP].peers.peers[address(3)].up, 5 * S
    )


def test_pulled_on_a_standby_nothing_happens() -> None:
    world = settled()
    standby_first(world)
    active = next(m for m in world.members if m.serving)
    since = world.now
    for n in range(20):
        world.pull()
        world.run_us(world.rng.randrange(50 * MS, 600 * MS))
        world.plug()
        world.run_us(world.rng.randrange(50 * MS, 600 * MS))
        assert world.members[0].role is Role.STANDBY and active.serving, n
    assert not any(m.downs(since) for m in world.members)
    assert not world.two_active
    assert not [role for at, role in active.roles if at >= since]


def test_software_detects_while_the_board_is_away() -> None:
    world = settled()
    standby_first(world)
    world.pull()
    world.run_us(2 * S)
    assert world.members[0].downs() == []
    other = next(m for m in world.members[1:] if not m.serving)
    other.alive = False
    killed = world.now
    assert world.run(lambda: bool(world.members[0].downs(killed)), S)
    assert world.now - killed < DETECTION + 10 * MS


@pytest.mark.parametrize("seed", range(2))
def test_pulled_on_the_active_one_takeover_and_never_two(seed: int) -> None:
    world = settled(seed=seed)
    for _ in range(4):
        since = world.now
        world.pull()
        assert world.run(lambda: any(m.serving for m in world.members[1:]), 5 * S)
        assert not world.members[0].serving
        world.run_us(world.rng.randrange(500 * MS))
        took = [r for m in world.members for at, r in m.roles if at >= since and r is Role.ACTIVE]
        assert took == [Role.ACTIVE], "one takeover"
        world.plug()
        assert world.run(lambda: not world.bridge.fenced, 10 * S)
        world.run_us(2 * S)
        # Back to member 0 by a planned way: the others restart one after the other.
        for member in world.members[1:]:
            member.alive = member.serving = False
        assert world.run(lambda: world.members[0].serving, 20 * S)
        for member in world.members[1:]:
            member.__init__(world, member.index)  # type: ignore[misc]
            member.start()
        world.run_us(5 * S)
    assert not world.two_active


def test_a_killed_daemon_is_resigned_and_fenced_then_unfenced() -> None:
    world = settled()
    killed = world.now
    world.kill()
    assert world.run(
        lambda: any(isinstance(e, PeerLeft) and at >= killed for at, e in world.members[1].peers), S
    )
    assert world.now - killed <= world.lease_us + 5 * MS, "the board said goodbye"
    assert world.run(lambda: world.board.model.guard.fenced, S)
    blocks = world.board.model.guard.blocks
    assert blocks(advertisement(address(0x100))) and blocks(advertisement(address(0xABC)))
    assert not blocks(advertisement(address(1))), "who is fenced can still be reached"
    assert world.run(lambda: any(m.serving for m in world.members[1:]), S)
    world.restart()
    assert world.run(lambda: world.bridge.fenced, 2 * S)
    group = world.members[0].engine.groups[GROUP]
    assert group.roles.preference == 0
    assert world.run(lambda: not world.bridge.fenced, 5 * S)
    assert not world.board.model.guard.fenced
    assert group.roles.preference == 300
    world.run_us(3 * S)
    assert world.members[0].role is Role.STANDBY
    assert not world.two_active


def test_no_kick_is_answered_any_more() -> None:
    """The host withdraws by its own clock, before the board's lease is over."""
    world = settled()
    world.up.send = lambda octets, now: None  # type: ignore[method-assign]
    cut = world.now
    assert world.run(lambda: not world.members[0].serving, S)
    assert not world.board.model.guard.fired, "the host was first"
    assert world.now - cut <= world.lease_us
    assert world.run(lambda: any(m.serving for m in world.members[1:]), 2 * S)
    assert not world.two_active


def test_a_failed_registration_leaves_detection_in_software() -> None:
    world = settled(board_peers=1)
    assert any("watches no peer" in problem for problem in world.problems)
    world.run_us(5 * S)
    assert world.members[0].downs() == []
    world.members[2].alive = False
    killed = world.now
    assert world.run(lambda: bool(world.members[0].downs()), S)
    assert world.now - killed < DETECTION + 10 * MS


def test_a_board_that_takes_too_long_leaves_detection_in_software() -> None:
    """Answers to anything but kicks and reads stop at the hand-over: nobody is left unwatched."""
    world = GroupWorld()
    world.board.registers.refuses = lambda name, index, fields: name == "peer_timing"  # type: ignore[method-assign]
    assert world.run(lambda: bool(world.problems), 10 * S)
    assert world.run(lambda: world.members[0].serving, 20 * S)
    world.run_us(2 * S)
    world.members[2].alive = False
    assert world.run(lambda: bool(world.members[0].downs()), S)


@pytest.mark.parametrize("down_us", [2 * S, 0])
def test_a_standby_whose_link_is_down_is_not_there(down_us: int) -> None:
    """Its slot would say that it is; with the link it sends again."""
    world = settled()
    standby_first(world)
    heard = said(world)
    since = world.now
    for up, us in ((False, down_us), (True, 3 * S)):
        world.members[0].give(LinkChanged(LINK, up))
        world._say(world.bridge.link(LINK, up))
        if not up and us:
            world.run_us(100 * MS)
            heard.clear()
        world.run_us(us)
        if not up and us:
            assert not heard
    assert len([1 for _, _, by_slot in heard if by_slot]) > 40
    assert world.bridge.sends and not world.bridge.fenced
    downs = [m.downs(since) for m in world.members[1:] if m.serving]
    assert downs == [[PeerDown(GROUP, address(1))] if down_us else []]
    assert world.members[0].role is Role.STANDBY and not world.two_active


def test_what_a_board_says_of_a_link_that_software_watches_again_counts_no_more() -> None:
    """Else its "down" would hold for ever, whatever HELLOs come."""
    world = settled()
    bridge, engine = world.bridge, world.members[0].engine
    key = PeerKey(GROUP, address(2))
    (told,) = bridge.notice(PeerChanged(key, PeerState.UP), world.now)
    assert told == PeerReported(GROUP, address(2), LINK, OFFLOAD, PeerReport.UP)
    bridge._handing[key] = world.now  # it was too slow
    world._say(bridge.expire(world.now))
    world._say(bridge.notice(PeerChanged(key, PeerState.DOWN), world.now))
    world.run_us(2 * S)
    assert engine.groups[GROUP].peers.peers[address(2)].up
    assert world.members[0].downs() == []


def test_sequences_go_on_when_the_slot_is_gone() -> None:
    """offload.md §4: at last + ceil(2 x lease / period) + 4; no HELLO of ours is a replay."""
    world = settled()
    standby_first(world)
    last = world.driver.sequences()[SlotKey(GROUP, LINK)]
    assert last > 30
    dropped = world.members[1].engine.groups[GROUP].counters["replay"]
    world.pull()
    world.run_us(3 * S)
    world.plug()
    world.run_us(3 * S)
    after = world.members[1].engine.groups[GROUP].counters["replay"]
    # For the rest of its lease the slot still sends: those are old for the others.
    assert after - dropped <= 2 + world.lease_us // (45 * MS)
    assert not any(m.downs() for m in world.members[1:] if m.serving)


def test_a_power_cycle_is_no_event_for_the_group() -> None:
    world = settled()
    standby_first(world)
    since = world.now
    world.power_cycle()
    world.run_us(5 * S)
    assert world.driver.phase == "attached"
    assert not any(m.downs(since) for m in world.members)


def test_a_hostile_line_changes_no_role() -> None:
    world = settled(seed=5, rate=0.0005)
    standby_first(world)
    since = world.now
    world.run_us(10 * S)
    assert not any(m.downs(since) for m in world.members)
    assert not world.two_active


def said(world: GroupWorld) -> list[tuple[int, bool, bool]]:
    """Multicast HELLOs of member 0 that reach the wire: Sequence #, flag A, said by the slot."""
    heard: list[tuple[int, bool, bool]] = []
    carry, board = world._carry, world.board.registers
    seen = [board.sent[0]]

    def listen(sender: int, frame: bytes) -> None:
        payload = frame[MH_OFFSET:]
        if sender == 0 and frame[0] & 1 and payload[TYPE_AT] == HarpType.HELLO:
            by_slot = board.sent[0] != seen[0]
            heard.append((sequence_of(payload), says_active(payload), by_slot))
        seen[0] = board.sent[0]
        carry(sender, frame)

    world._carry = listen  # type: ignore[method-assign]
    return heard


def test_news_is_said_by_the_engine_and_the_slot_counts_on_above_it() -> None:
    """harp.md §2.1: what a slot still says of before is older: nobody believes it."""
    world = settled()
    heard = said(world)
    world.run_us(S)
    assert heard and all(active and by_slot for _, active, by_slot in heard)
    world.members[0].give(CommandGiven(GROUP, Command.SWITCHBACK, 1))
    assert world.run(lambda: not world.members[0].serving, 5 * S)
    world.run_us(2 * S)
    first = next(n for n, (_, active, _) in enumerate(heard) if not active)
    news, _, by_slot = heard[first]
    assert not by_slot, "at once, not when the slot has been rewritten"
    assert news > max(sequence for sequence, _, _ in heard[:first])
    after = heard[first + 1 :]
    assert all(sequence < news for sequence, active, _ in after if active)
    slot = [sequence for sequence, active, by_slot in after if by_slot and not active]
    assert len(slot) > 20 and slot == sorted(slot) and slot[0] > news
    assert not any(m.downs() for m in world.members[1:])


def test_on_a_slow_link_an_old_slot_never_counts_up_to_the_news() -> None:
    """A round trip as long as kicks are apart, and the others' news as events all the while: the
    slot stands still in time all the same."""
    world = settled()
    heard = said(world)
    for line in (world.up, world.down):
        send = line.send
        line.send = lambda octets, now, send=send: send(octets, now + 20 * MS)  # type: ignore[misc]
    world.run_us(500 * MS)
    world.members[0].give(CommandGiven(GROUP, Command.SWITCHBACK, 1))
    assert world.run(lambda: not world.members[0].serving, 5 * S)
    withdrawn = world.now
    world.run_us(2 * S)
    first = next(n for n, (_, active, _) in enumerate(heard) if not active)
    news = heard[first][0]
    assert all(sequence < news for sequence, active, _ in heard[first + 1 :] if active)
    assert world.members[0].role is Role.STANDBY
    assert not [role for at, role in world.members[0].roles if at > withdrawn]
    assert not world.two_active


def test_a_slot_that_is_refused_leaves_the_hellos_to_the_host_and_detection_to_the_board() -> None:
    world = GroupWorld()
    world.board.registers.refuses = (  # type: ignore[method-assign]
        lambda name, index, fields: name == "slot" and bool(fields.get("length"))
    )
    heard = said(world)
    assert world.run(lambda: world.members[0].serving, 20 * S)
    world.run_us(3 * S)
    assert any("no HELLO by the board" in problem for problem in world.problems)
    assert heard and not any(by_slot for _, _, by_slot in heard)
    assert world.board.registers.sent == [0] * 8
    group = world.members[0].engine.groups[GROUP]
    assert not any(link.deadline for peer in group.peers for link in peer.links), (
        "the board watches"
    )
    assert not any(m.downs() for m in world.members)


@pytest.mark.parametrize(("last", "above"), [(1, 11), (65_525, 65_535), (65_526, 1), (65_535, 10)])
def test_the_engine_counts_above_a_slot_and_past_0(last: int, above: int) -> None:
    """offload.md §4: last + ceil(2 x lease / period) + 4, here 10; after 65535 comes 1."""
    world = settled()
    assert world.lease_us == 150 * MS
    event = world.bridge.notice(SlotMoved(SlotKey(GROUP, LINK), last), world.now)
    assert event == [HelloSlotChanged(GROUP, LINK, running=True, sequence=above)]


def test_a_slot_that_never_sent_gives_back_the_number_of_the_engine() -> None:
    world = settled()
    world.bridge.rest()
    stopped = SlotStopped(SlotKey(GROUP, LINK), 0)
    event = world.bridge.notice(stopped, world.now)
    assert event == [HelloSlotChanged(GROUP, LINK, running=False, sequence=0)]
    assert not world.bridge.sends
    assert world.bridge.notice(stopped, world.now) == [], "once"


def test_an_interface_without_an_address_leaves_the_hellos_to_the_host() -> None:
    world = GroupWorld()
    world.bridge._mac_of = lambda link: None
    assert world.run(lambda: world.members[0].serving, 20 * S)
    world.run_us(3 * S)
    assert any("no Ethernet address" in problem for problem in world.problems)
    assert world.board.registers.sent == [0] * 8
    assert not any(m.downs() for m in world.members)


def test_without_a_filter() -> None:
    world = GroupWorld(offload=options(filter=False))
    assert world.run(lambda: world.members[0].serving, 20 * S)
    world.run_us(2 * S)
    assert not world.board.model.config.filter_enable
    assert world.members[0].downs() == []


def test_a_goodbye_is_the_last_that_is_heard() -> None:
    """The order of a stop: slots, goodbye, and at the end the board as a whole."""
    world = settled()
    world.bridge.rest()
    assert world.run(lambda: not world.bridge.sends, 100 * MS)
    stopped = world.now
    world.members[0].give(StopRequested())
    world.members[0].alive = False
    world.run_us(100 * MS)
    world.driver.leave()
    world.run_us(S)
    gone = PeerLeft(GROUP, address(1))
    for member in world.members[1:]:
        assert [e for at, e in member.peers if at >= stopped] == [gone]
    assert not world.two_active
