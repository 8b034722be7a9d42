"""A harpd without network: real engine, runtime and control socket, silent parts.

As a program (`python living.py SOCKET [BINDINGS] [GROUPS]`) it is a process that `harpctl` asks;
it prints one line when it listens.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from ipaddress import IPv6Address
from pathlib import Path
from random import Random

from harp.daemon.absent import NoGuard, NoJournal, NoOffload
from harp.daemon.clock import SystemClock
from harp.daemon.config.difference import Difference
from harp.daemon.config.model import ControlSettings
from harp.daemon.control.answers import Answers, FilterCounts, Reload
from harp.daemon.control.events import EventLog
from harp.daemon.control.server import Control
from harp.daemon.parts import DataPlaneStatus, Observer, Parts
from harp.daemon.runtime import Runtime
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
    AnnounceNeighbor,
    PrepareRoute,
    PrepareRoutes,
    RemoveRoute,
    SendPacket,
    SendParameterProblem,
    SetServing,
    StartDad,
)
from harp.engine.engine import Engine
from harp.tables.mh import BuFlag
from harp.wire.messages import BindingCache, BindingIdentifier, MobileNetworkPrefix, SyncPosition

HOUR_S = 3600
SINCE = datetime(2026, 1, 2, 3, 4, 5, 678_000, tzinfo=UTC)


def octets(text: str) -> bytes:
    return IPv6Address(text).packed


def group_config(group: int = 7, *, lonely: bool = False) -> GroupConfig:
    """`lonely`: takes over after 1 ms, since nobody is heard; else stays INIT."""
    prefix = f"2001:db8:{group:x}"
    return GroupConfig(
        group,
        (LinkConfig("home"),),
        (
            MemberConfig("ha1", (octets(f"{prefix}::1"),)),
            MemberConfig("ha2", (octets(f"{prefix}::2"),)),
        ),
        0,
        virtual_address=octets(f"{prefix}::100"),
        home_prefixes=(Prefix(octets(f"{prefix}::"), 64),),
        hello_interval_us=1_000_000,
        init_wait_us=1_000 if lonely else HOUR_S * 1_000_000,
        protection=Protection(Security.NONE, insecure=True),
    )


class Mute:
    """Sender, listener, data plane and announcer that do nothing."""

    name = "mute"

    @property
    def counters(self) -> dict[str, int]:
        return {"x": 1}

    deadline: int | None = None

    def open(self) -> None: ...

    def send(self, packet: SendPacket) -> None: ...

    def parameter_problem(self, problem: SendParameterProblem) -> None: ...

    def serving(self, serving: SetServing) -> None: ...

    def lost(self) -> dict[str, int]:
        return {"members": 0, "mobility": 3, "discovery": 0}

    def serve(self, serving: SetServing) -> None: ...

    def prepare(self, route: PrepareRoute) -> None: ...

    def prepare_many(self, routes: PrepareRoutes) -> None: ...

    def remove(self, route: RemoveRoute) -> None: ...

    def renew(self, now_us: int) -> None: ...

    def link_changed(self) -> None: ...

    def announce(self, neighbor: AnnounceNeighbor) -> None: ...

    def start_dad(self, dad: StartDad) -> None: ...

    def status(self) -> DataPlaneStatus:
        return DataPlaneStatus(self.name)

    def close(self) -> None: ...


@dataclass(frozen=True)
class Living:
    """What runs."""

    runtime: Runtime
    parts: Parts
    events: EventLog
    socket: Path
    control: Control

    def fill(self, count: int, group: int = 7) -> None:
        """Plain bindings, and one with a Binding Identifier and a prefix."""
        store, now = self.runtime.engine.groups[group].store, self.runtime.clock.now_us()
        base = int.from_bytes(octets("2001:db8:7::1:0"))
        care_of, position = octets("2001:db8:99::1"), SyncPosition(1, 1)
        flags = BuFlag.HOME_REGISTRATION | BuFlag.ACKNOWLEDGE
        for number in range(count - 1):
            home = (base + number).to_bytes(16)
            store.apply((BindingCache(home, care_of, flags, 5, HOUR_S), ()), position, now)
        home = octets("2001:db8:7::beef")
        rich = (
            BindingIdentifier(9),
            MobileNetworkPrefix(56, octets("2001:db8:1000::")),
        )
        store.apply((BindingCache(home, care_of, flags, 6, HOUR_S), rich), position, now)


def broken(fault: Exception) -> None:
    """No engine here raises."""
    raise AssertionError("the engine failed") from fault


async def nothing_changed() -> Difference:
    """A reload of the same file."""
    return Difference(())


@asynccontextmanager
async def living(
    socket: Path,
    *,
    groups: tuple[int, ...] = (7,),
    lonely: bool = False,
    settings: ControlSettings | None = None,
    reload: Reload = nothing_changed,
    filter_counts: FilterCounts | None = None,
    observers: Callable[[EngineConfig], tuple[Observer, ...]] = lambda _: (),
) -> AsyncIterator[Living]:
    """A running one."""
    config = EngineConfig(tuple(group_config(each, lonely=lonely) for each in groups))
    clock = SystemClock()
    runtime = Runtime(Engine(config, Random(1), clock.offset_us()), clock, broken)
    events = EventLog(config, lambda: SINCE)
    mute = Mute()
    parts = Parts(
        listener=mute,
        sender=mute,
        data_plane=mute,
        announcer=mute,
        journal=NoJournal(runtime.deliver),
        guard=NoGuard(),
        offload=NoOffload(),
        observers=(events, *observers(config)),
    )
    more = () if filter_counts is None else (filter_counts,)
    answers = Answers(runtime, parts, events, reload, Path("/etc/harp/harpd.toml"), *more)
    chosen = replace(settings or ControlSettings(), socket=socket)
    control = Control(chosen, answers, events)
    runtime.start(parts, (), ())
    await control.open()
    try:
        yield Living(runtime, parts, events, socket, control)
    finally:
        await control.close()
        runtime.stop()


async def _main(socket: Path, bindings: int, groups: int) -> None:
    async with living(socket, groups=tuple(range(7, 7 + groups)), lonely=True) as here:
        if bindings:
            here.fill(bindings)
        print("listening", flush=True)
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    numbers = [int(each) for each in sys.argv[2:]]
    asyncio.run(_main(Path(sys.argv[1]), *(numbers + [0, 1][len(numbers) :])))
