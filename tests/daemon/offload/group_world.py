"""Three members of a group on one wire in virtual time; a board stands before the first.

Engines, bridge, driver and link are the real ones; the board is the reference model behind its
registers. Frames take 50 µs on the wire, octets of the serial link 10 µs each.
"""

from __future__ import annotations

import heapq
import itertools
import random
from collections.abc import Callable
from dataclasses import replace

from harp.daemon.config.model import DaemonConfig, OffloadSettings
from harp.daemon.offload.bridge import Bridge
from harp.daemon.offload.layout import lanes, settings
from harp.engine.config import (
    EngineConfig,
    GroupConfig,
    LinkConfig,
    MemberConfig,
    Prefix,
    Protection,
    Security,
)
from harp.engine.effects import (
    Effect,
    HelloTemplate,
    Role,
    SendPacket,
    SetServing,
    StateChanged,
    WatchPeer,
)
from harp.engine.engine import Engine
from harp.engine.events import Event, PacketReceived, PeerDown, PeerLeft, PeerUp
from harp.offload.driver import Close, Driver
from harp.offload.session import Send
from harp.offload.templates import ETHERTYPE_IPV6, MH_OFFSET, multicast_mac
from harp.tables.link import BAUD
from harp.tables.mh import NEXT_HEADER
from harp_sim.device.board import Board
from harp_sim.device.hostile import HostileLine
from harp_sim.model.config import Port

MS, S = 1000, 1_000_000
GROUP, LINK = 7, "home"
WIRE_US = 50
UNIX_US = 1_700_000_000 * S
REOPEN_US = 200 * MS


def address(n: int) -> bytes:
    """Of member n; 0x100: the virtual one."""
    return bytes.fromhex("20010db80001000000000000") + n.to_bytes(4, "big")


def mac(n: int) -> bytes:
    return b"\x02\0\0\0\0" + bytes((n,))


def config(member: int, hello_interval_us: int = 50 * MS, slots: bool = True) -> EngineConfig:
    members = tuple(MemberConfig(f"ha{n + 1}", (address(n + 1),)) for n in range(3))
    group = GroupConfig(
        GROUP,
        (LinkConfig(LINK, slots=slots and member == 0),),
        members,
        member,
        preference=300 - 100 * member,
        virtual_address=address(0x100),
        home_prefixes=(Prefix(address(0)[:8] + bytes(8), 64),),
        hello_interval_us=hello_interval_us,
        protection=Protection(Security.NONE, insecure=True),
    )
    return EngineConfig((group,))


def frame_of(packet: SendPacket, sender: int) -> bytes:
    """The packet as an Ethernet frame without FCS."""
    destination = packet.destination
    to = multicast_mac(destination) if destination[0] == 0xFF else mac(destination[-1])
    header = b"\x60\0\0\0" + len(packet.payload).to_bytes(2, "big")
    header += bytes((packet.protocol, packet.hop_limit)) + packet.source + destination
    return to + mac(sender + 1) + ETHERTYPE_IPV6 + header + packet.payload


class Member:
    """One engine, and what it said."""

    def __init__(self, world: GroupWorld, index: int) -> None:
        self.world, self.index = world, index
        # A restart later has a greater Restart Counter.
        self.engine = Engine(config(index, world.hello_us), world.rng, UNIX_US + world.now)
        self.serving = False
        self.roles: list[tuple[int, Role]] = []
        self.peers: list[tuple[int, object]] = []
        self.heard = 0
        """HARP messages that reached the engine."""
        self.alive = True

    @property
    def role(self) -> Role:
        return self.engine.groups[GROUP].role

    def downs(self, since: int = 0) -> list[object]:
        return [e for at, e in self.peers if isinstance(e, PeerDown) and at >= since]

    def start(self) -> None:
        self.do(self.engine.start(self.world.now))

    def give(self, event: Event) -> None:
        if self.alive:
            self.do(self.engine.receive(event, self.world.now))

    def packet(self, octets: bytes) -> None:
        """A frame reached this member's port."""
        if octets[20] != NEXT_HEADER or not self.alive:
            return
        length = int.from_bytes(octets[18:20], "big")
        payload = octets[MH_OFFSET : MH_OFFSET + length]
        self.heard += 1
        self.give(PacketReceived(octets[22:38], octets[38:54], payload, octets[21], LINK))

    def do(self, effects: list[Effect]) -> None:
        world = self.world
        for effect in effects:
            match effect:
                case SendPacket():
                    world.sent(self, frame_of(effect, self.index))
                case SetServing():
                    self.serving = effect.serving
                    world.check()
                    if self.index == 0:
                        world.bridge.active(GROUP, effect.serving)
                case StateChanged():
                    self.roles.append((world.now, effect.new))
                case PeerUp() | PeerDown() | PeerLeft():
                    self.peers.append((world.now, effect))
                case WatchPeer() if self.index == 0:
                    world.bridge.watch(effect, world.now)
                case HelloTemplate() if self.index == 0:
                    world._say(world.bridge.template(effect))
                case _:
                    pass


class GroupWorld:
    """`run` lets time pass; `pull`, `plug`, `kill`, `restart` do what they say to member 0."""

    def __init__(
        self,
        seed: int = 1,
        hello_us: int = 50 * MS,
        board_peers: int = 32,
        rate: float = 0.0,
        offload: OffloadSettings | None = None,
    ) -> None:
        self.rng = random.Random(seed)
        self.now, self.hello_us, self.rate = 5 * S, hello_us, rate
        self.board = Board(board_peers)
        self.two_active: list[int] = []
        self._arrivals: list[tuple[int, int, int, bytes]] = []
        self._order = itertools.count()
        self._offload = offload or OffloadSettings(device="test")
        self._events: list[Event] = []
        self.problems: list[str] = []
        self.members: list[Member] = []
        self._host()
        self.members = [Member(self, n) for n in range(3)]
        for member in self.members:
            member.start()

    def _host(self) -> None:
        """Member 0's bridge and driver, as harpd makes them."""
        whole = DaemonConfig(config(0, self.hello_us), offload=self._offload)
        through = lanes(whole)
        wanted = settings(whole, through)
        self.driver = Driver(wanted, BAUD, self.rng)
        self.bridge = Bridge(through, self.driver, wanted.lease_ms * MS, lambda link: mac(1))
        self.lease_us = wanted.lease_ms * MS
        self._open_at: int | None = self.now
        self._lines()

    def _lines(self) -> None:
        self.up = HostileLine(self.rng, self.rate)
        self.down = HostileLine(self.rng, self.rate)

    # What happens to member 0

    def pull(self) -> None:
        self._open_at = None
        self.driver.disconnected("pulled", self.now)
        self._drive()
        self._open_at = None
        self._lines()

    def plug(self) -> None:
        self._open_at = self.now

    def kill(self) -> None:
        """SIGKILL: nothing is said any more; the kernel closes the port."""
        self.members[0].alive = self.members[0].serving = False
        self._open_at = None
        self.driver = Driver(self.driver._settings, BAUD, self.rng)
        self._lines()

    def restart(self) -> None:
        self._host()
        self.members[0] = Member(self, 0)
        self.members[0].start()

    def power_cycle(self) -> None:
        self.board = Board(self.board.registers._peers)

    # The wire

    def sent(self, member: Member, frame: bytes) -> None:
        if member.index == 0:
            self.board.frame(Port.HOST, frame, self.now)
            self._collect()
        else:
            self._carry(member.index, frame)

    def _carry(self, sender: int, frame: bytes) -> None:
        for n in range(3):
            to_it = frame[0] & 1 or frame[:6] == mac(n + 1)
            if n != sender and to_it:
                at = self.now + WIRE_US
                heapq.heappush(self._arrivals, (at, next(self._order), n, frame))

    def _arrive(self) -> None:
        while self._arrivals and self._arrivals[0][0] <= self.now:
            _, _, n, frame = heapq.heappop(self._arrivals)
            if n == 0:
                self.board.frame(Port.NETWORK, frame, self.now)
                self._collect()
            else:
                self.members[n].packet(frame)

    def _collect(self) -> None:
        frames, octets = self.board.take()
        for frame in frames:
            if frame.port is Port.HOST:
                self.members[0].packet(frame.octets)
            else:
                self._carry(0, frame.octets)
        self.down.send(octets, self.now)

    def check(self) -> None:
        """Never two that serve."""
        if sum(m.serving for m in self.members if m.alive) > 1:
            self.two_active.append(self.now)

    # Time

    def run_us(self, us: int) -> None:
        self.run(lambda: False, us)

    def run(self, until: Callable[[], bool], limit_us: int = 20 * S) -> bool:
        end = self.now + limit_us
        while not until():
            times = [
                end,
                self._open_at,
                self.driver.deadline,
                self.bridge.deadline,
                self.up.deadline,
                self.down.deadline,
                self.board.deadline,
                self._arrivals[0][0] if self._arrivals else None,
                *(m.engine.deadline for m in self.members if m.alive),
            ]
            self.now = max(self.now + 1, min(t for t in times if t is not None))
            if self.now >= end:
                self.now = end
                return False
            self._step()
        return True

    def _step(self) -> None:
        self._arrive()
        if self._open_at is not None and self.now >= self._open_at:
            self._open_at = None
            self.driver.connected(self.now)
        self.board.host_says(self.up.arrived(self.now), self.now)
        self._collect()
        self.driver.receive(self.down.arrived(self.now), self.now)
        self._drive()
        for member in self.members:
            deadline = member.engine.deadline
            if member.alive and deadline is not None and deadline <= self.now:
                member.do(member.engine.expire(self.now))
        self._drive()

    def _drive(self) -> None:
        """As `shell.SerialOffload` does."""
        self._say(self.bridge.expire(self.now))
        self.driver.expire(self.now)
        while out := self.driver.take():
            for one in out:
                match one:
                    case Send():
                        self.up.send(one.octets, self.now)
                    case Close():
                        self._open_at = self.now + REOPEN_US
                        self._lines()
                    case _:
                        self._say(self.bridge.notice(one, self.now))
            self.driver.expire(self.now)
        self.problems += self.bridge.problems
        self.bridge.problems.clear()

    def _say(self, events: list[Event]) -> None:
        for event in events:
            self.members[0].give(event)


def standby_first(world: GroupWorld) -> None:
    """Makes another member the active: member 0 is held back by a restart."""
    world.kill()
    assert world.run(lambda: any(m.serving for m in world.members[1:]), 20 * S)
    world.run_us(S)  # no process is there again before its goodbyes are over
    world.restart()
    assert world.run(lambda: world.members[0].role is Role.STANDBY, 20 * S)
    world.run_us(3 * S)


def options(**changes: object) -> OffloadSettings:
    return replace(OffloadSettings(device="test"), **changes)  # type: ignore[arg-type]
