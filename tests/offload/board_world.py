"""A driver and a board over a line that may hurt, in virtual time; frames on the board's ports."""

from __future__ import annotations

import random
from collections.abc import Callable

from harp.offload.device import Notice, PeerKey, Settings
from harp.offload.driver import Close, Driver
from harp.offload.session import Send
from harp.offload.templates import hello_frame
from harp.tables.codepoints import DEFAULT_CODE_POINTS
from harp.tables.harp_types import HarpType
from harp.tables.link import BAUD
from harp.wire.codec import Codec
from harp.wire.messages import Detection, Harp
from harp_sim.device.board import Board, Departure
from harp_sim.device.hostile import HostileLine
from harp_sim.model.config import Port

MS, S = 1000, 1_000_000
MULTICAST = DEFAULT_CODE_POINTS.multicast_group.packed
CODEC = Codec(DEFAULT_CODE_POINTS)
MAC = b"\x02\0\0\0\0\x01"


def address(n: int) -> bytes:
    return bytes.fromhex("20010db8000100000000000000000000")[:15] + bytes((n,))


def peer(n: int, group: int = 7) -> PeerKey:
    return PeerKey(group, address(n))


def hello(n: int, sequence: int, flags: int = 0x20, lifetime_s: int = 3, group: int = 7) -> bytes:
    """A member's multicast HELLO as a frame without FCS."""
    message = Harp(
        HarpType.HELLO,
        group,
        sequence,
        flags=flags,
        preference=100,
        lifetime_s=lifetime_s,
        interval_ms=100,
        options=(Detection(100_000, 3),),
    )
    header = CODEC.build(address(n), MULTICAST, message)
    frame = bytearray(hello_frame(MAC, address(n), MULTICAST, header))
    frame[54:] = header  # with its own Sequence # and checksum
    return bytes(frame)


class BoardWorld:
    """`notices` has what the driver said; the port is opened again 10 ms after `Close`."""

    def __init__(
        self, settings: Settings | None = None, seed: int = 1, rate: float = 0.0, peers: int = 32
    ) -> None:
        self.rng = random.Random(seed)
        self.rate = rate
        self.now = 5 * S
        self.board: Board | None = Board(peers)
        self.driver = Driver(settings or Settings(lease_ms=100), BAUD, self.rng)
        self.notices: list[Notice] = []
        self.times: list[int] = []
        """When each notice came."""
        self.frames: list[tuple[int, Departure]] = []
        self.on_notice: Callable[[Notice], None] = lambda notice: None
        self._open_at: int | None = self.now
        self._lines()

    def _lines(self) -> None:
        self.up = HostileLine(self.rng, self.rate)
        self.down = HostileLine(self.rng, self.rate)

    def pull(self) -> None:
        """The cable: the port fails, the board runs on alone."""
        self.driver.disconnected("port failed", self.now)
        self._take()
        self._open_at = None
        self._lines()

    def plug(self) -> None:
        self._open_at = self.now

    def power_cycle(self) -> None:
        """The board begins anew behind a port that stays open."""
        assert self.board is not None
        self.board = Board(self.board.registers._peers)

    def arrive(self, frame: bytes, port: Port = Port.NETWORK) -> None:
        assert self.board is not None
        self.board.frame(port, frame, self.now)
        self._collect()

    def run_us(self, us: int) -> None:
        self.run(lambda: False, us)

    def run(self, until: Callable[[], bool], limit_us: int = 20 * S) -> bool:
        """Whether that came true within the limit."""
        end = self.now + limit_us
        self._take()
        while not until():
            board = self.board
            times = (
                self._open_at,
                self.driver.deadline,
                self.up.deadline,
                self.down.deadline,
                board.deadline if board else None,
                end,
            )
            # A line that carries nothing new, and work for the driver, take a moment.
            self.now = max(self.now + 1, min(t for t in times if t is not None))
            if self.now >= end:
                self.now = end
                return False
            if self._open_at is not None and self.now >= self._open_at:
                self._open_at = None
                self.driver.connected(self.now)
                self._take()
            arrived = self.up.arrived(self.now)
            if board:
                board.host_says(arrived, self.now)
                self._collect()
            self.driver.receive(self.down.arrived(self.now), self.now)
            self.driver.expire(self.now)
            self._take()
        return True

    def settle(self) -> None:
        """Until the driver has nothing more to do than to poll."""
        assert self.run(lambda: self.driver.idle), "never idle"

    def seen(self, kind: type) -> list[Notice]:
        return [notice for notice in self.notices if isinstance(notice, kind)]

    def _collect(self) -> None:
        assert self.board is not None
        frames, octets = self.board.take()
        self.frames += [(self.now, frame) for frame in frames]
        self.down.send(octets, self.now)

    def _take(self) -> None:
        self.driver.expire(self.now)
        while out := self.driver.take():
            for one in out:
                match one:
                    case Send():
                        self.up.send(one.octets, self.now)
                    case Close():
                        self._open_at = self.now + 10 * MS
                        self._lines()
                    case _:
                        self.notices.append(one)
                        self.times.append(self.now)
                        self.on_notice(one)
            self.driver.expire(self.now)
