"""The driver against a board that is the reference model behind its registers."""

from __future__ import annotations

from dataclasses import replace

import pytest

from harp.offload.device import (
    Attached,
    Lost,
    PeerChanged,
    PeerInstalled,
    PeerRejected,
    PeerSpec,
    Refused,
    SequenceMoved,
    Settings,
    SlotKey,
    SlotRejected,
    SlotSpec,
    SlotStarted,
    Unfenced,
    WatchdogFired,
)
from harp.offload.driver import KICKS_A_LEASE
from harp.offload.frames import Answer, Request
from harp.offload.templates import MH_OFFSET, goodbye_of, hello_frame
from harp.tables.link import LinkOp, LinkStatus
from harp.tables.offload import PeerState, SlotFlag, WatchdogAction
from harp.tables.registers import BY_NAME
from harp_sim.device.board import Board, fcs
from harp_sim.device.link_end import LinkEnd
from harp_sim.model.config import Port

from .board_world import MAC, MS, MULTICAST, BoardWorld, S, address, hello, peer

DEADLINE = 300 * MS
HELLO = SlotKey(7, "lan0")
RESIGN = SlotKey(7, "lan0", resign=True)


def watched(n: int, sequence: int = 0, group: int = 7) -> PeerSpec:
    return PeerSpec(peer(n, group), True, deadline_us=DEADLINE, late_us=200 * MS, sequence=sequence)


def slot(key: SlotKey = HELLO, flags: int = 0x20, sequence: int | None = None) -> SlotSpec:
    header = hello(1, 1, flags)[MH_OFFSET:]
    header = goodbye_of(header) if key.resign else header
    frame = hello_frame(MAC, address(1), MULTICAST, header)
    return SlotSpec(key, frame, MH_OFFSET, period_us=20 * MS, sequence=sequence)


def attached(world: BoardWorld) -> BoardWorld:
    assert world.run(lambda: bool(world.seen(Attached)))
    return world


def held(world: BoardWorld, name: str, index: int, field: str) -> int:
    assert world.board is not None
    return world.board.registers.sample(name, index, field)


def test_attach_prepares_then_filters() -> None:
    world = attached(BoardWorld())
    (notice,) = world.seen(Attached)
    assert isinstance(notice, Attached)
    assert (notice.identity.ports, notice.identity.peers, notice.identity.slots) == (2, 32, 8)
    assert not notice.fired
    assert held(world, "sticky", 0, "reset") == 0
    world.driver.put_peer(PeerSpec(peer(9)))
    world.settle()
    assert held(world, "peer", 0, "enable") == 1, "before the filter"
    assert held(world, "control", 0, "filter_enable") == 1
    assert held(world, "guard", 0, "lease_ms") == 100
    assert held(world, "guard_state", 0, "lease") == 1
    assert "gateware 0.0.0" in str(notice.identity)
    world.run_us(2 * S)
    assert world.seen(Lost) == []
    assert world.driver.status().counters["event_reset"] == 1


def test_what_another_host_left_is_gone_before_the_first_kick() -> None:
    world = BoardWorld()
    board = world.board
    assert board is not None
    board.advance(world.now)
    registers = board.registers
    for name, index, word, value in (
        ("slot_template", 20, 0, 7),
        ("slot", 0, 1, 1000),
        ("slot", 0, 0, 100 << 16 | int(SlotFlag.ENABLE)),
        ("peer", 3, 4, 1 << 31),
        ("mh_type", 5, 0, 0),
        ("control", 0, 0, 1),
    ):
        assert not registers.write(BY_NAME[name].address(index) + word, value)
    attached(world)
    world.settle()
    assert [d for _, d in world.frames if d.port is Port.NETWORK] == [], "no frame of the dead host"
    assert held(world, "peer", 3, "enable") == 0
    assert held(world, "mh_type", 5, "known") == 1


def test_silence_is_told_with_the_devices_own_view() -> None:
    world = attached(BoardWorld())
    world.driver.put_peer(watched(2))
    world.settle()
    assert world.seen(PeerInstalled) == [PeerInstalled(peer(2))]
    for n in range(1, 20):
        world.arrive(hello(2, n))
        world.run_us(100 * MS)
    assert world.seen(PeerChanged) == []
    heard = world.now - 100 * MS
    assert world.run(lambda: bool(world.seen(PeerChanged)), S)
    assert world.seen(PeerChanged) == [PeerChanged(peer(2), PeerState.DOWN)]
    assert DEADLINE <= world.now - heard < DEADLINE + 2 * MS
    world.arrive(hello(2, 4000))
    assert world.run(lambda: len(world.seen(PeerChanged)) == 2, S)
    assert world.seen(PeerChanged)[1] == PeerChanged(peer(2), PeerState.UP)
    moved = [n for n in world.seen(SequenceMoved) if isinstance(n, SequenceMoved)]
    assert moved[-1] == SequenceMoved(peer(2), True, 4000)
    world.arrive(hello(2, 4001, lifetime_s=0))
    assert world.run(lambda: len(world.seen(PeerChanged)) == 3, S)
    assert world.seen(PeerChanged)[2] == PeerChanged(peer(2), PeerState.LEFT)


def test_a_peer_that_is_only_known_passes_and_is_not_watched() -> None:
    world = attached(BoardWorld())
    world.driver.put_peer(PeerSpec(peer(2)))
    world.settle()
    before = len(world.frames)
    for n in range(1, 60):
        world.arrive(hello(2, n))
        world.run_us(10 * MS)
    assert len([d for _, d in world.frames[before:] if d.port is Port.HOST]) == 59
    assert world.seen(PeerChanged) == []


def test_a_peer_that_is_to_be_watched_while_it_is_made_known() -> None:
    """What is confirmed is what was asked for last, and it is what the board does."""
    world = attached(BoardWorld())
    world.driver.put_peer(PeerSpec(peer(2)))
    world.run_us(100)
    world.driver.put_peer(watched(2))
    world.settle()
    assert world.seen(PeerInstalled) == [PeerInstalled(peer(2))]
    assert held(world, "peer", 0, "authenticate") == 0
    world.driver.put_peer(PeerSpec(peer(2)))
    world.settle()
    assert held(world, "peer", 0, "authenticate") == 1
    world.run_us(S)
    assert world.seen(PeerChanged) == [], "nobody watches it any more"


@pytest.mark.parametrize("rate", [0.0, 0.002])
def test_a_burst_of_registrations_all_arrive(rate: float) -> None:
    """128 add-or-updates of 32 peers, the last of each peer counts."""
    world = attached(BoardWorld(Settings(lease_ms=200), seed=4, rate=rate))
    for round_ in range(4):
        for n in range(32):
            spec = watched(n + 10)
            deadline = DEADLINE + round_ * MS
            world.driver.put_peer(PeerSpec(spec.key, True, deadline_us=deadline, sequence=9))
    world.settle()
    assert {n.key for n in world.seen(PeerInstalled)} == {peer(n + 10) for n in range(32)}
    rows = {held(world, "peer", n, "address") for n in range(32)}
    assert rows == {int.from_bytes(address(n + 10), "little") for n in range(32)}
    for n in range(32):
        assert held(world, "peer_timing", n, "deadline_us") == DEADLINE + 3 * MS
        assert held(world, "peer_state", n, "state") == PeerState.UP


def test_a_registration_that_fails_is_said_and_leaves_the_others() -> None:
    world = attached(BoardWorld(peers=3))
    for n in range(5):
        world.driver.put_peer(watched(n + 10))
    world.settle()
    rejected = [n.key for n in world.seen(PeerRejected) if isinstance(n, PeerRejected)]
    assert rejected == [peer(13), peer(14)]
    world.driver.delete_peer(peer(10))
    world.driver.put_peer(watched(14))
    world.settle()
    assert PeerInstalled(peer(14)) in world.notices


def test_deletes_all_arrive_at_the_end() -> None:
    world = attached(BoardWorld())
    for n in range(32):
        world.driver.put_peer(watched(n + 10))
    world.driver.put_slot(slot())
    world.driver.arm(True)
    world.settle()
    assert held(world, "guard", 0, "armed") == 1
    world.driver.leave()
    assert world.run(lambda: world.driver.phase == "closed", S)
    assert not any(held(world, "peer", n, "enable") for n in range(32))
    assert not any(held(world, "slot", n, "flags") for n in range(8))
    assert held(world, "guard", 0, "armed") == 0
    assert held(world, "control", 0, "filter_enable") == 0
    assert world.seen(Lost) == [], "it was meant"


def test_reading_counters_never_disturbs() -> None:
    world = attached(BoardWorld())
    world.driver.put_peer(watched(2))
    world.settle()
    for n in range(1, 50):
        world.arrive(hello(2, n))
        world.run_us(50 * MS)
    counters = world.driver.status().counters
    assert counters["reason_frames_heartbeat"] > 30
    assert counters["network_rx_frames"] >= 40
    assert counters["link_retries"] == 0
    assert world.seen(Lost) == [] and world.seen(PeerChanged) == []


def test_a_slot_sends_and_is_changed_in_place() -> None:
    world = attached(BoardWorld())
    world.driver.put_slot(slot(sequence=1000))
    world.settle()
    assert world.seen(SlotStarted) == [SlotStarted(HELLO)]
    world.run_us(100 * MS)
    sent = [d.octets for _, d in world.frames if d.port is Port.NETWORK]
    numbers = [int.from_bytes(f[MH_OFFSET + 8 : MH_OFFSET + 10], "big") for f in sent]
    assert numbers == list(range(1001, 1001 + len(numbers))) and len(numbers) >= 4
    asked = world.board.end.executed if world.board else 0
    world.driver.put_slot(slot(flags=0xA0))
    world.settle()
    assert world.board is not None
    assert world.board.end.executed - asked <= 8, "only what changed, between kicks and polls"
    world.run_us(50 * MS)
    last = [d.octets for _, d in world.frames if d.port is Port.NETWORK][-1]
    assert last[MH_OFFSET + 11] == 0xA0
    assert int.from_bytes(last[MH_OFFSET + 8 : MH_OFFSET + 10], "big") > numbers[-1]
    for n in range(9):
        world.driver.put_slot(slot(SlotKey(7, f"lan{n + 1}")))
    world.settle()
    assert len(world.seen(SlotRejected)) == 2


def test_a_slot_with_other_words_stands_still_before_anything_else_is_done() -> None:
    """offload.md §4: its old words may count on for some periods, and no longer."""
    world = attached(BoardWorld())
    world.driver.put_slot(slot(flags=0x80, sequence=5))
    world.settle()
    for n in range(2, 30):
        world.driver.put_peer(watched(n))
    world.run_us(MS)
    assert not world.driver.idle
    for flags in (0x20, 0xA0, 0x20):
        world.driver.put_slot(slot(flags=flags, sequence=20))
        asked = world.now
        assert world.run(lambda: not held(world, "slot", 0, "flags"), S)
        assert world.now - asked < 500, "not behind the program under way"
        assert world.run(lambda: bool(held(world, "slot", 0, "flags")), S)
        assert world.now - asked < 3 * MS, "and says the new before peers have their turn"
        world.run_us(777)
    assert len(world.seen(PeerInstalled)) < 20


def test_counters_never_fall_back() -> None:
    world = attached(BoardWorld())
    world.driver.put_peer(watched(2))
    world.settle()
    for n in range(5):
        world.arrive(hello(2, n + 1))
    world.run_us(2 * S)
    before = dict(world.driver.status().counters)
    assert before["event_reset"] == 1 and before["network_rx_frames"] >= 5
    world.pull()
    for _ in range(2):
        now = world.driver.status().counters
        assert all(now[name] >= value for name, value in before.items())
        world.plug()
        world.run_us(2 * S)


def test_a_silent_host_loses_its_lease_then_the_watchdog_says_goodbye() -> None:
    """The host's own clock is the first to say so: it counts from when the kick was sent."""
    world = attached(BoardWorld())
    world.driver.put_slot(slot(flags=0xA0, sequence=50))
    world.driver.put_slot(slot(RESIGN))
    world.driver.arm(True)
    world.settle()
    world.run_us(200 * MS)
    board, world.board = world.board, None
    assert world.run(lambda: bool(world.seen(Lost)), S)
    (lost,) = world.seen(Lost)
    assert isinstance(lost, Lost) and lost.sequences[HELLO] >= 55
    gone = world.now
    assert board is not None
    assert board.registers.sample("guard_state", 0, "fired") == 0, "the host is earlier"
    board.advance(world.now + 100 * MS)
    frames, _ = board.take()
    goodbyes = [f.octets for f in frames if f.octets[MH_OFFSET + 14 : MH_OFFSET + 16] == b"\0\0"]
    assert len(goodbyes) == 3
    assert board.registers.sample("guard_state", 0, "fenced") == 1
    board.frame(Port.HOST, hello(1, 9, 0xA0), world.now + 101 * MS)
    assert board.take()[0] == [], "fenced"
    world.board, world.now = board, gone + 102 * MS
    assert world.run(lambda: len(world.seen(Attached)) == 2, S)
    again = world.seen(Attached)[1]
    assert isinstance(again, Attached) and again.fired
    world.driver.put_slot(slot())
    world.driver.unfence()
    assert world.run(lambda: bool(world.seen(Unfenced)), S)
    assert held(world, "guard_state", 0, "fenced") == 0


@pytest.mark.parametrize("before_us", [0, 1_200, 3_000])
def test_a_watchdog_that_fires_while_the_host_comes_back_is_told(before_us: int) -> None:
    """Its lease may end between any two requests, until it is disarmed."""
    world = attached(BoardWorld())
    world.driver.arm(True)
    world.settle()
    world.pull()
    world.run_us(held(world, "guard_state", 0, "lease_left_us") - before_us)
    world.notices.clear()
    world.plug()
    assert world.run(lambda: bool(world.seen(Attached)))
    (notice,) = world.seen(Attached)
    assert isinstance(notice, Attached)
    assert notice.fired == bool(held(world, "guard_state", 0, "fired"))
    if before_us != 1_200:  # which may be told either way
        assert notice.fired == (before_us == 0)


def test_the_watchdog_by_the_host_port() -> None:
    world = attached(BoardWorld(Settings(lease_ms=100, host_link_grace_us=50 * MS)))
    world.driver.arm(True)
    world.settle()
    assert world.board is not None
    world.board.link(Port.HOST, False, world.now)
    assert world.run(lambda: bool(world.seen(WatchdogFired)), S)


def test_kicks_come_in_time_however_much_is_programmed() -> None:
    world = attached(BoardWorld(Settings(lease_ms=20)))
    for n in range(32):
        world.driver.put_peer(watched(n + 10))
    for n in range(8):
        world.driver.put_slot(slot(SlotKey(7, f"lan{n}")))
    world.settle()
    world.run_us(S)
    assert world.seen(Lost) == []
    assert KICKS_A_LEASE >= 3


def test_pulled_and_plugged_a_hundred_times() -> None:
    world = attached(BoardWorld(seed=9, rate=0.0005))
    for n in range(100):
        world.driver.put_peer(watched(20 + n % 3))
        world.run_us(world.rng.randrange(300 * MS))
        world.pull()
        world.run_us(world.rng.randrange(50 * MS))
        world.plug()
        before = len(world.seen(Attached))
        assert world.run(lambda b=before: len(world.seen(Attached)) > b, 5 * S), n
    world.driver.put_peer(watched(30))
    world.settle()
    assert sum(held(world, "peer", n, "enable") for n in range(32)) == 1, "only what is wanted now"


def test_a_power_cycle_behind_an_open_port_is_noticed_and_all_is_written_again() -> None:
    world = attached(BoardWorld())
    world.driver.put_peer(watched(2))
    world.settle()
    world.power_cycle()
    assert world.run(lambda: len(world.seen(Attached)) == 2, 2 * S)
    (lost,) = world.seen(Lost)
    assert isinstance(lost, Lost) and "reset" in lost.reason


@pytest.mark.parametrize("status", [LinkStatus.REFUSED, LinkStatus.MALFORMED])
def test_a_kick_that_is_not_done_is_no_lease(
    monkeypatch: pytest.MonkeyPatch, status: LinkStatus
) -> None:
    """Whoever takes over counts on from the last Sequence # that the board did say."""
    world = attached(BoardWorld())
    world.driver.put_slot(slot(sequence=500))
    world.run_us(S)
    do = LinkEnd._do

    def grudging(end: LinkEnd, request: Request) -> Answer:
        answer = do(end, request)
        if request.op != LinkOp.KICK:
            return answer
        return replace(answer, status=status, words=(0,) * 4 * (status is LinkStatus.REFUSED))

    monkeypatch.setattr(LinkEnd, "_do", grudging)
    assert world.run(lambda: bool(world.seen(Lost)), 100 * MS)
    (lost,) = world.seen(Lost)
    assert isinstance(lost, Lost) and "refuses" in lost.reason
    assert lost.sequences[HELLO] > 500


class Impostor:
    """Another device on the port."""

    def __init__(self, world: BoardWorld, octets: bytes) -> None:
        self.world, self.octets = world, octets

    deadline = None

    def host_says(self, octets: bytes, now: int) -> None:
        self.said = self.octets if octets else b""

    def take(self) -> tuple[list[object], bytes]:
        return [], self.said


def refusal(world: BoardWorld) -> str:
    assert world.run(lambda: bool(world.seen(Refused)), 10 * S)
    notice = world.seen(Refused)[0]
    assert isinstance(notice, Refused)
    assert "\n" not in notice.reason
    assert world.seen(Attached) == []
    return notice.reason


def test_refused_wrong_map_version() -> None:
    world = BoardWorld()
    world.board = Board(map_version=77)
    assert "version 77" in refusal(world)


def test_refused_wrong_magic() -> None:
    world = BoardWorld()
    assert world.board is not None
    world.board.registers.held["magic", 0, "value"] = 0x12345678
    assert "0x12345678" in refusal(world)


def test_refused_silence_noise_and_a_modem() -> None:
    world = BoardWorld()
    world.board = None
    assert "no answer" in refusal(world) and "wrong port" in refusal(world)
    for octets in (b"OK\r\n\0", bytes(range(256)), b"AT\0"):
        world = BoardWorld()
        world.board = Impostor(world, octets)  # type: ignore[assignment]
        assert "noise" in refusal(world)


def test_refused_a_lease_too_short_for_the_line() -> None:
    world = BoardWorld(Settings(lease_ms=20))
    slow = world.down.send
    world.down.send = lambda octets, now: slow(octets, now + 16 * MS)  # type: ignore[method-assign]
    assert "round trips" in refusal(world) and "latency_timer" in refusal(world)


@pytest.mark.parametrize("seed", range(4))
def test_whatever_the_wire_does_the_last_word_is_the_devices(seed: int) -> None:
    """Peers come and go over a line with faults: what was told last is what the device shows."""
    world = attached(BoardWorld(Settings(lease_ms=200), seed=seed, rate=0.002))
    told: dict[object, PeerState] = {}

    def note(notice: object) -> None:
        match notice:
            case PeerInstalled(key):
                told[key] = PeerState.UP
            case PeerChanged(key, state):
                told[key] = state
            case Attached():
                told.clear()
                for n in range(4):
                    world.driver.put_peer(watched(n + 10))

    world.on_notice = note
    note(world.seen(Attached)[0])
    sequence = [0] * 4
    for _ in range(300):
        n = world.rng.randrange(4)
        sequence[n] += 1
        world.arrive(hello(n + 10, sequence[n], lifetime_s=world.rng.choice((3, 3, 3, 3, 0))))
        world.run_us(world.rng.randrange(150 * MS))
    for _ in range(2):
        world.run_us(3 * S)
    assert told == {peer(n + 10): PeerState.DOWN for n in range(4)} | {
        key: state for key, state in told.items() if state is PeerState.LEFT
    }
    assert len(world.notices) > 100


def test_frames_of_the_board_have_a_good_fcs() -> None:
    assert fcs(b"123456789") == (0xCBF43926).to_bytes(4, "little")
    assert WatchdogAction.RESIGN_FENCE == 0
