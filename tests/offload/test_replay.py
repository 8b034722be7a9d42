"""A session is recorded and played back to another host, with other numbers."""

from __future__ import annotations

from pathlib import Path

import pytest

from harp.offload.client import Client, DeviceFailed
from harp.offload.device import Attached, PeerChanged, PeerSpec, Settings
from harp.offload.driver import Driver
from harp.offload.frames import Answer, Pushed, Request, encode
from harp.offload.port import PortFailed, RecordedPort, ReplayPort, open_port
from harp.offload.replay import BadRecording, Entry, Recorder, ReplayDevice, parse
from harp.offload.session import Send
from harp.tables.link import BAUD, LinkStatus
from harp.tables.offload import PeerState
from harp_sim.device.board import Board

from .board_world import MS, BoardWorld, S, hello, peer


def recording() -> list[str]:
    """A board with a peer that falls silent."""
    world = BoardWorld()
    recorder, lines = Recorder(world.now), []
    send, receive = world.up.send, world.driver.receive

    def sending(octets: bytes, now: int) -> None:
        lines.extend(recorder.sent(octets, now))
        send(octets, now)

    def receiving(octets: bytes, now: int) -> None:
        lines.extend(recorder.received(octets, now))
        receive(octets, now)

    world.up.send, world.driver.receive = sending, receiving  # type: ignore[method-assign]
    assert world.run(lambda: bool(world.seen(Attached)))
    world.driver.put_peer(PeerSpec(peer(2), True, deadline_us=300 * MS))
    world.settle()
    world.arrive(hello(2, 1))
    assert world.run(lambda: bool(world.seen(PeerChanged)), S)
    world.run_us(50 * MS)
    return lines


def test_played_back_to_another_host() -> None:
    lines = ["# a session", "", *recording()]
    device = ReplayDevice(parse(lines))
    world = BoardWorld(seed=77)
    driver = Driver(Settings(lease_ms=100), BAUD, world.rng)
    now, notices = 0, []
    driver.connected(now)
    asked = False
    while now < 2 * S and not any(isinstance(n, PeerChanged) for n in notices):
        now += 200
        driver.expire(now)
        for out in driver.take():
            if isinstance(out, Send):
                driver.receive(device.receive(out.octets, now), now + 100)
            else:
                notices.append(out)
        driver.receive(device.receive(b"", now), now)
        if not asked and any(isinstance(n, Attached) for n in notices):
            asked = True
            driver.put_peer(PeerSpec(peer(2), True, deadline_us=300 * MS))
    assert PeerChanged(peer(2), PeerState.DOWN) in notices
    assert device.unknown == 0


def test_what_was_not_recorded_is_refused() -> None:
    device = ReplayDevice([])
    answer = Answer(1, 5, LinkStatus.REFUSED, (0, 0))
    assert device.receive(encode(Request(1, 5, 0, 2)), 0) == encode(answer)
    assert device.unknown == 1


def test_an_event_comes_until_it_is_acknowledged() -> None:
    push = Pushed(0x65, 1, 77)
    device = ReplayDevice([Entry(10, push)])
    assert device.receive(b"\0", 100) == b""
    assert device.deadline == 110
    assert device.receive(b"", 110) == encode(push)
    assert device.receive(b"", 111) == b""
    assert device.receive(b"", 20_111) == encode(push)
    device.receive(encode(Request(2, 1, 0x600, 1, (0x65 | 1 << 16,))), 20_112)
    assert device.receive(b"", 50_000) == b"" and device.deadline is None


@pytest.mark.parametrize("line", ["x > 00", "1 = 00", "1 > zz", "1 > 00", "1 >", "-1 > 0000"])
def test_bad_recordings(line: str) -> None:
    with pytest.raises(BadRecording, match="line 2"):
        list(parse(["# first", line]))


class BoardPort:
    """The board in plain Python as a port of the blocking client, in virtual time."""

    def __init__(self, board: Board) -> None:
        self.board, self.now, self.closed = board, 0, False
        self._said = b""

    def clock(self) -> int:
        self.now += 50
        return self.now

    def fileno(self) -> int | None:
        return None

    def read(self) -> bytes:
        self.board.advance(self.now)
        said = self._said + self.board.take()[1]
        self._said = b""
        return said

    def write(self, octets: bytes) -> None:
        self.board.host_says(octets, self.now)
        self._said += self.board.take()[1]

    def close(self) -> None:
        self.closed = True


def test_recorded_and_replayed_through_ports(tmp_path: Path) -> None:
    file = tmp_path / "session"
    inner = BoardPort(Board())
    with Client(RecordedPort(file, inner), clock=inner.clock) as client:
        found = client.identify()
        client.write("peer_timing", 3, deadline_us=1 << 33, late_us=5)
        assert client.read("peer_timing", 3)["deadline_us"] == 1 << 33
        client.kick()
        assert client.wait(60 * MS, lambda: bool(client.events))
    assert inner.closed
    with Client(open_port(f"replay:{file}", BAUD)) as client:
        assert client.identify() == found
        assert client.read("peer_timing", 3)["late_us"] == 5
        with pytest.raises(DeviceFailed, match="refused"):
            client.read("peer_timing", 4)
    assert isinstance(open_port(f"replay:{file}", BAUD), ReplayPort)


@pytest.mark.parametrize(
    "url", ["replay:/no/such", "record:/no/such/dir/x:loop://", "/dev/no-such-tty", "spy", "x://y"]
)
def test_ports_that_cannot_be_opened_say_so_in_one_line(url: str) -> None:
    with pytest.raises(PortFailed) as caught:
        open_port(url, BAUD)
    assert "\n" not in str(caught.value)


def test_an_echo_is_no_device() -> None:
    with (
        Client(open_port("loop://", BAUD)) as client,
        pytest.raises(DeviceFailed, match="noise"),
    ):
        client.identify()
