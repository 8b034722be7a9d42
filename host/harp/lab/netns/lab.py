"""The whole laboratory: network, home agents, mobile node, correspondent, observer.

What a scenario talks to: it starts members, breaks things, waits for what the wire shows.
"""

from __future__ import annotations

import signal
import time
from contextlib import ExitStack
from functools import partial
from ipaddress import IPv6Address
from pathlib import Path
from random import Random
from types import TracebackType
from typing import Any

from harp.cli.common import Failure
from harp.lab.netns import plan
from harp.lab.netns.board import Board, Building, check_hellos
from harp.lab.netns.capture import Observer
from harp.lab.netns.control import Control
from harp.lab.netns.history import as_rows
from harp.lab.netns.load_process import LoadProcess
from harp.lab.netns.member import TERMINAL, Member, Settings
from harp.lab.netns.mobile import MobileStation
from harp.lab.netns.node import MobileNode, NodeConfig
from harp.lab.netns.pause import pause
from harp.lab.netns.pings import Pinger
from harp.lab.netns.threads import blunt, sharpen
from harp.lab.netns.timeline import NS_PER_MS, NS_PER_S, Timeline
from harp.lab.netns.world import CN, World

SETTLE_S = 15.0
"""Longest wait for one active and everybody synchronised."""
STEADY_HELLOS = 10
"""HELLO intervals that it must last."""
WALKER = 0xFFFF
"""Number of the mobile node that has a TUN device: none of the load generator's first nodes."""


class Lab:
    """A context manager; nothing of it outlives it."""

    def __init__(self, settings: Settings, timeline: Timeline, *, seed: int = 1) -> None:
        self.settings = settings
        self.timeline = timeline
        self.rng = Random(seed)
        self.seed = seed
        self.pingers: list[Pinger] = []
        self._stack = ExitStack()
        self._begin_ns = time.time_ns()

    def __enter__(self) -> Lab:
        with ExitStack() as stack:
            program = self._program(stack)
            self.world = stack.enter_context(World(self.settings.boards))
            detection_ns = self.settings.multiplier * self.interval_ns
            watched = Observer(self.world, self.timeline, detection_ns)
            self.observer = stack.enter_context(watched)
            self.members = {name: Member(name, self.world, self.settings) for name in plan.MEMBERS}
            self.boards = {name: self._board(name, program) for name in self.settings.boards}
            for board in self.boards.values():
                stack.callback(board.end)
            for member in self.members.values():
                stack.callback(member.end)
            sharpen()
            stack.callback(blunt)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.observer.mute()
        self._stack.close()

    def _program(self, stack: ExitStack) -> Path | None:
        """That of a simulated board, where one is wanted."""
        if not self.settings.boards:
            return None
        check_hellos(self.settings.hello_ms, self.settings.multiplier)
        building = Building()
        stack.callback(building.end)
        return building.program(self._note)

    def _note(self, line: str) -> None:
        self.timeline.add("lab", line)

    def _board(self, name: str, program: Path | None) -> Board:
        assert program is not None
        return Board(name, self.world, program, self.members[name].directory / TERMINAL)

    def history(self) -> dict[str, Any]:
        """Rows for the report's plots."""
        heard, seen = self.observer.heard, self.observer.seen
        end_ns = time.time_ns()
        return as_rows(self.timeline, heard, seen, self.pingers, self._begin_ns, end_ns)

    def logs(self, lines: int = 200) -> dict[str, list[str]]:
        """The end of what each daemon said, and of how late a simulated board was."""
        logs = {name: member.said()[-lines:] for name, member in self.members.items()}
        boards = {f"the board of {n}": b.late()[-lines:] for n, b in self.boards.items()}
        return logs | {name: late for name, late in boards.items() if late}

    # Home agents

    def start(self, *names: str) -> None:
        """Starts members, all by default, at once; returns when each says that it is ready."""
        names = names or tuple(self.members)
        for name in names:
            self.members[name].start()
            self.timeline.add(name, "is started", "action")
        for name in names:
            self.members[name].wait_ready()

    def running(self) -> list[str]:
        """Members whose daemon runs."""
        return [name for name, member in self.members.items() if member.running]

    def settle(self, timeout_s: float = SETTLE_S) -> str:
        """Waits for one active and everybody synchronised, for a while; returns the active.

        Failure tells what the wire shows instead."""
        until = time.monotonic() + timeout_s
        try_s = max(0.5, 2 * STEADY_HELLOS * self.interval_ns / NS_PER_S)
        while time.monotonic() < until:
            if self.observer.wait(partial(self._settled_since, time.time_ns()), try_s):
                actives = self.observer.actives(self._recent_ns)
                if len(actives) == 1:
                    return actives[0]
        raise Failure(
            f"no one active with synchronised standbys in {timeout_s:.0f} s: {self.shown()}"
        )

    def shown(self) -> str:
        """What each member said last, in words."""
        return ", ".join(
            f"{name} {'active' if heard.active else 'standby'}"
            f"{'' if heard.synchronised else ', not synchronised'}"
            if heard.last_ns
            else f"{name} silent"
            for name, heard in self.observer.heard.items()
        )

    def control(self, name: str) -> Control:
        """A connection to a member's daemon; to be closed."""
        return Control(self.members[name].control)

    def kill(self, name: str) -> int:
        """Ends a daemon with SIGKILL; returns when, in ns."""
        at_ns = time.time_ns()
        self.members[name].signal(signal.SIGKILL)
        self.timeline.add(name, "daemon is killed (SIGKILL)", "action", at_ns)
        return at_ns

    def stop(self, name: str) -> int:
        """Asks a daemon to end (SIGTERM); returns when, in ns."""
        at_ns = time.time_ns()
        self.members[name].signal(signal.SIGTERM)
        self.timeline.add(name, "daemon is asked to stop (SIGTERM)", "action", at_ns)
        return at_ns

    def cut(self, name: str) -> int:
        """Pulls a member's cable; returns when, in ns."""
        at_ns = time.time_ns()
        self.world.cut(name)
        self.timeline.add(name, "cable is pulled", "action", at_ns)
        return at_ns

    def pull(self, name: str) -> int:
        """Pulls the serial cable of a member's board; returns when, in ns."""
        at_ns = time.time_ns()
        self.timeline.add(name, "serial cable of its board is pulled", "action", at_ns)
        self.boards[name].pull()
        return at_ns

    def plug(self, name: str) -> None:
        """Puts the serial cable back."""
        self.boards[name].plug()
        self.timeline.add(name, "serial cable is back", "action")

    def mend(self, name: str) -> None:
        """Puts the cable back."""
        self.world.mend(name)
        self.timeline.add(name, "cable is back", "action")

    # Mobile nodes and correspondent

    def walk(self, *agents: IPv6Address) -> MobileStation:
        """A mobile node that registers, with the virtual address unless told otherwise."""
        addresses = tuple(address.packed for address in agents or (plan.VIRTUAL,))
        config = NodeConfig(plan.home_address(WALKER), addresses, first_wait_us=200_000)
        node = MobileNode(config, plan.care_of_address(WALKER), self.rng)
        station = MobileStation(self.world, node)
        station.register()
        self._stack.enter_context(station)
        self.timeline.add("mn", "registers its care-of address", "action")
        return station

    def ping(self, target: IPv6Address, rate: int = 1000) -> Pinger:
        """Pings from the correspondent until the end."""
        pinger = Pinger(self.world, CN, target, rate)
        self._stack.enter_context(pinger)
        self.pingers.append(pinger)
        return pinger

    def load(self, nodes: int, agent: IPv6Address = plan.VIRTUAL) -> LoadProcess:
        """A load generator until the end."""
        made = LoadProcess(self.world, nodes, agent.packed, seed=self.seed)
        self._stack.enter_context(made)
        return made

    def fill(self, load: LoadProcess, rate: int, timeout_s: float) -> float:
        """Registers every node of a load generator; returns the seconds it took."""
        begin = time.monotonic()
        load.start(rate, filling=True)
        while load.report()["filled"] < load.nodes:
            if time.monotonic() - begin > timeout_s:
                raise Failure(f"{load.nodes} registrations in {timeout_s:.0f} s: {load.report()}")
            pause(0.05)
        load.stop()
        took_s = time.monotonic() - begin
        self.timeline.add("mn", f"{load.nodes} mobile nodes are registered", "traffic")
        return took_s

    @property
    def interval_ns(self) -> int:
        """HELLO interval."""
        return self.settings.hello_ms * NS_PER_MS

    @property
    def _recent_ns(self) -> int:
        return max(self.settings.multiplier * self.interval_ns, NS_PER_S // 10)

    def _settled_since(self, since_ns: int) -> bool:
        """Everybody who runs has said for long enough what a settled group says."""
        if time.time_ns() - since_ns < STEADY_HELLOS * self.interval_ns:
            return False
        heard = {name: self.observer.heard[name] for name in self.running()}
        changed = [
            s for s in self.observer.since(since_ns) if s.what[0] in "AS" or s.what == "left"
        ]
        if changed or not heard:
            return False
        fresh = all(h.last_ns >= since_ns and h.synchronised for h in heard.values())
        return fresh and sum(h.active for h in heard.values()) == 1


def home_of(number: int = WALKER) -> IPv6Address:
    """Home address of a mobile node."""
    return IPv6Address(plan.home_address(number))
