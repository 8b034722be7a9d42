"""A guard of this process: how it is armed, fed, replaced, started and ended."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from tests.daemon.network import entered, namespace, until
from tests.daemon.site import GROUP, OWN, VIRTUAL, daemon_config, group_config, psk

from harp.cli.common import Failure
from harp.daemon.clock import SystemClock
from harp.daemon.config.model import DaemonConfig
from harp.daemon.guard import guard as module
from harp.daemon.guard.guard import Guard
from harp.daemon.guard.process import Watch, _sender
from harp.daemon.guard.shared import Shared, make_memory
from harp.daemon.sockets.quiet import CS6
from harp.engine.effects import SendPacket, SetServing
from harp.engine.events import HelloSlotChanged
from harp.tables.codepoints import DEFAULT_CODE_POINTS
from harp.tables.harp_types import HarpType
from harp.wire.codec import DEFAULT_CODEC
from harp.wire.messages import Harp

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root")
INTERVAL_US = 2_000_000
"""A test that is not run for six seconds is no silence yet."""
LATER_US = 2_000_000
"""Past the time at which the guard is looked after."""
CLOCK = SystemClock()
MULTICAST = DEFAULT_CODE_POINTS.multicast_group.packed


def config_of(run_dir: Path, spi: int = 256, interval_us: int = INTERVAL_US) -> DaemonConfig:
    return daemon_config(run_dir, group_config(psk(spi), interval_us))


@contextmanager
def guarded(config: DaemonConfig) -> Iterator[tuple[Guard, list[str]]]:
    """A guard in a namespace of its own, and what it complains of."""
    said: list[str] = []
    guard = Guard(config, lambda event: said.append(str(event)), lambda _, text: said.append(text))
    with namespace("guarded") as name, entered(name):
        guard.open()
        try:
            yield guard, said
        finally:
            guard.close()


def process_of(guard: Guard) -> subprocess.Popen[bytes]:
    assert guard._process is not None
    return guard._process


def shared_of(guard: Guard) -> Shared:
    assert guard._shared is not None
    return guard._shared


def coming_of(guard: Guard) -> subprocess.Popen[bytes]:
    assert guard._coming is not None
    return guard._coming.process


def took_over(guard: Guard, process: subprocess.Popen[bytes]) -> bool:
    guard.feed(CLOCK.now_us())
    return guard._process is process


def test_the_old_guard_watches_until_the_new_one_does(tmp_path: Path) -> None:
    with guarded(config_of(tmp_path)) as (guard, said):
        old = process_of(guard)
        guard.reconfigure(config_of(tmp_path, 257))
        first = coming_of(guard)
        os.kill(first.pid, signal.SIGSTOP)
        guard.feed(CLOCK.now_us() + LATER_US)
        assert old.poll() is None and guard.status().running
        guard.reconfigure(config_of(tmp_path, 258))
        assert first.poll() is not None, "its keys are old before it watched"
        assert old.poll() is None
        second = coming_of(guard)
        until(lambda: took_over(guard, second), "it watches")
        assert old.poll() is not None and second.poll() is None
        assert said == []


def test_a_new_guard_that_dies_at_its_start_leaves_the_old_one(tmp_path: Path) -> None:
    with guarded(config_of(tmp_path)) as (guard, said):
        old = process_of(guard)
        guard.reconfigure(config_of(tmp_path, 257))
        coming_of(guard).kill()
        until(lambda: took_over(guard, old) and said, "noticed")
        assert "it ended before it watched" in said[0] and old.poll() is None
        guard.feed(CLOCK.now_us() + LATER_US)
        second = coming_of(guard)
        until(lambda: took_over(guard, second), "tried again")


def test_a_guard_that_hangs_is_replaced(tmp_path: Path) -> None:
    with guarded(config_of(tmp_path)) as (guard, said):
        old = process_of(guard)
        os.kill(old.pid, signal.SIGSTOP)
        guard.feed(CLOCK.now_us() + LATER_US)
        assert said == [] and guard._coming is None, "it may be slow"
        guard.feed(CLOCK.now_us() + module._HUNG_US + 2 * LATER_US)
        assert said == ["the guard does not run any more: starting another"]
        second = coming_of(guard)
        until(lambda: took_over(guard, second), "it watches")
        assert old.returncode == -signal.SIGKILL
        guard.feed(CLOCK.now_us() + 2 * LATER_US)
        assert guard._coming is None and len(said) == 1


def test_a_reload_that_changes_nothing_starts_nothing(tmp_path: Path) -> None:
    with guarded(config_of(tmp_path)) as (guard, _):
        for same in (config_of(tmp_path), replace(config_of(tmp_path), metrics_listen="")):
            guard.reconfigure(same)
            assert guard._coming is None


def test_arming_is_a_feed(tmp_path: Path) -> None:
    """A guard that wakes up between the new limit and the next feed sees no silence."""
    with guarded(config_of(tmp_path)) as (guard, said):
        shared = shared_of(guard)
        guard.feed(1)  # in the morning
        guard.serving(SetServing(GROUP, True, VIRTUAL))
        for _ in range(2):
            until(partial(_beats, shared, shared.beat_us), "it looked")
        assert shared.fired == 0 and said == []


def _beats(shared: Shared, before: int) -> bool:
    return shared.beat_us != before


def test_the_limit_never_comes_before_its_feed(tmp_path: Path) -> None:
    """The order in which both are written, and the other one in which they are read."""
    order: list[str] = []

    class Recorded(Shared):
        def __setattr__(self, name: str, value: object) -> None:
            order.append(name)
            super().__setattr__(name, value)

        def __getattribute__(self, name: str) -> object:
            if name in ("fed_us", "limit_us"):
                order.append(name)
            return super().__getattribute__(name)

    with guarded(config_of(tmp_path)) as (guard, _):
        plain, recorded = shared_of(guard), Recorded(guard._memory, guard._setup.slots)
        order.clear()
        guard._shared = recorded
        guard.serving(SetServing(GROUP, True, VIRTUAL))
        guard._shared = plain
        assert order == ["fed_us", "limit_us"]
        order.clear()
        assert recorded.fed_and_limit() == plain.fed_and_limit()
        assert order == ["limit_us", "fed_us"]
        recorded.close()


def test_a_guard_never_sleeps_for_longer_than_a_limit(tmp_path: Path) -> None:
    """It may be set while it sleeps."""
    config = config_of(tmp_path, interval_us=10_000)
    setup = Guard(config, print)._setup
    memory = make_memory(setup.slots)
    shared = Shared(memory, setup.slots)
    with namespace("asleep") as name, entered(name):
        watch = Watch(setup, shared)
        wake = watch._wake_us()
        watch._netlink.close()
        watch._out.close()
    assert wake <= CLOCK.now_us() + config.engine.groups[0].detection_us
    shared.close()
    os.close(memory)


def test_where_a_board_speaks_the_guard_says_no_goodbye(tmp_path: Path) -> None:
    """Its slot would contradict one until the lease is over."""
    with guarded(config_of(tmp_path)) as (guard, _):
        shared = shared_of(guard)
        for link in ("home", "other"):
            guard.sent(hello(link))
        board = partial(HelloSlotChanged, GROUP, "home", sequence=1)
        guard.slot(board(running=True))
        guard.sent(hello("home"))
        assert [each.link for each in shared.hellos()] == ["other"]
        guard.slot(board(running=False))
        guard.sent(hello("home"))
        assert sorted(each.link for each in shared.hellos()) == ["home", "other"]


def hello(link: str) -> SendPacket:
    message = Harp(HarpType.HELLO, GROUP, 1)
    mh = DEFAULT_CODEC.build(OWN, MULTICAST, message)
    return SendPacket(OWN, MULTICAST, mh, link, group=GROUP)


def test_no_key_stands_in_what_a_guard_is_told_as_text(tmp_path: Path) -> None:
    setup = module._setup_of(config_of(tmp_path))
    (group,) = setup.groups
    assert group.key and group.key not in repr(setup)


def test_goodbyes_have_the_class_of_hellos() -> None:
    with namespace("sending") as name, entered(name), _sender() as sender:
        assert sender.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_TCLASS) == CS6
        assert sender.getsockopt(socket.SOL_SOCKET, socket.SO_PRIORITY) == 6


@pytest.mark.parametrize(
    ("python", "why"), [("/nowhere/python", "No such file"), ("/bin/true", "it ended before")]
)
def test_a_guard_that_does_not_start_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, python: str, why: str
) -> None:
    monkeypatch.setattr(sys, "executable", python)
    with pytest.raises(Failure, match=why) as failure:
        Guard(config_of(tmp_path), print).open()
    assert "guard = false" in str(failure.value)


def test_a_guard_that_hangs_does_not_hold_up_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_END_S", 0.01)
    with guarded(config_of(tmp_path)) as (guard, _):
        process = process_of(guard)
        os.kill(process.pid, signal.SIGSTOP)
        guard.close()
        assert process.returncode == -signal.SIGKILL
