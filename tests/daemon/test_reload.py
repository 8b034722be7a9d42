"""A reload takes all that it can, or nothing; the loop waits for no program meanwhile."""

from __future__ import annotations

import asyncio
import logging
import shutil
import subprocess
import threading
from collections.abc import Callable, Coroutine
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
from tests.daemon.site import daemon_config

from harp.cli.common import Failure
from harp.daemon import reload as reload_module
from harp.daemon.config.model import DaemonConfig, FilterSettings
from harp.daemon.filter import nft
from harp.daemon.filter.ruleset import Filter
from harp.daemon.log import LOGGER
from harp.daemon.reload import Reload
from harp.daemon.taken import Taken
from harp.engine.config import EngineConfig


class Noting:
    """Any part: notes what it is asked for."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def __getattr__(self, name: str) -> Any:
        if name in ("parts", "on_role", "guard"):
            return self

        def note(*_: object) -> None:
            self.notes.append(name)

        return note


class Rules:
    """An `NftFilter` whose program ends when the loop had a turn."""

    def __init__(self) -> None:
        self.turn = threading.Event()
        self.taken: list[Filter] = []

    def replace(self, rules: Filter) -> None:
        """On a thread."""
        assert self.turn.wait(20)
        self.taken.append(rules)


def _taken(part: Noting, rules: Rules | None = None) -> Taken:
    return Taken(*cast(Any, (part, rules, part, part)), mip6=True)


def _two_groups() -> DaemonConfig:
    config = daemon_config(Path("/nonexistent"))
    (group,) = config.engine.groups
    other = replace(group, group=group.group + 1)
    return replace(config, engine=EngineConfig((group, other)))


def test_a_later_group_that_is_refused_leaves_the_earlier_one_alone() -> None:
    old = _two_groups()
    first, second = old.engine.groups
    fixed = replace(second, group=second.group, links=(replace(second.links[0], slots=True),))
    groups = (replace(first, preference=first.preference + 1), fixed)
    new = replace(old, engine=EngineConfig(groups))
    part = Noting()
    with pytest.raises(Failure, match=r"^group 8: links is fixed while the group runs$"):
        asyncio.run(_taken(part)(old, new))
    assert part.notes == []


def test_what_is_right_is_taken_by_each_group() -> None:
    old = _two_groups()
    groups = tuple(replace(each, preference=each.preference + 1) for each in old.engine.groups)
    part = Noting()
    asyncio.run(_taken(part)(old, replace(old, engine=EngineConfig(groups))))
    assert part.notes == ["reconfigure"] * 4  # on_role, two groups, the guard


def test_the_loop_goes_on_while_the_filter_is_replaced() -> None:
    old = daemon_config(Path("/nonexistent"))
    rules = Rules()

    async def scene() -> None:
        asyncio.get_running_loop().call_soon(rules.turn.set)
        await _taken(Noting(), rules)(old, replace(old, filter=FilterSettings(peer_rate=9)))

    asyncio.run(scene())
    assert len(rules.taken) == 1


def test_a_program_that_hangs_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def hang(command: list[str], **_: object) -> None:
        raise subprocess.TimeoutExpired(command, 10)

    monkeypatch.setattr(subprocess, "run", hang)
    monkeypatch.setattr(shutil, "which", lambda *_, **__: "/usr/sbin/nft")
    with pytest.raises(Failure, match=r"nft took longer than 30 s$"):
        nft.remove()


def _signalled(
    monkeypatch: pytest.MonkeyPatch, take: Callable[..., Coroutine[Any, Any, None]]
) -> tuple[DaemonConfig, list[Exception]]:
    """What harpd runs with after two SIGHUP with other rates, and its faults."""
    old = daemon_config(Path("/nonexistent"))
    new = replace(old, filter=FilterSettings(peer_rate=9))
    monkeypatch.setattr(reload_module, "load", lambda _: new)

    async def scene() -> tuple[DaemonConfig, list[Exception]]:
        faults: list[Exception] = []
        reload = Reload(Path("/nonexistent"), old, take, cast(Any, Noting()), faults.append)
        reload.on_signal()
        reload.on_signal()
        await reload.close()
        return reload.config, faults

    return asyncio.run(scene())


def test_reloads_come_one_after_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    notes: list[str] = []

    async def take(*_: object) -> None:
        notes.append("begin")
        await asyncio.sleep(0)
        notes.append("end")

    config, faults = _signalled(monkeypatch, take)
    assert config.filter.peer_rate == 9 and not faults
    assert notes == ["begin", "end"] * 2


def test_the_file_is_read_beside_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keys of a million mobile nodes take longer than a detection time."""
    old = daemon_config(Path("/nonexistent"))
    turned = threading.Event()

    def slow(_: Path) -> DaemonConfig:
        assert turned.wait(10), "the loop stood still"
        return old

    async def take(*_: object) -> None:
        pass

    async def scene() -> None:
        reload = Reload(Path("/nonexistent"), old, take, cast(Any, Noting()), lambda _: None)
        asyncio.get_running_loop().call_soon(turned.set)
        await reload()

    monkeypatch.setattr(reload_module, "load", slow)
    asyncio.run(scene())


@pytest.mark.parametrize(
    ("error", "line"),
    [(Failure("no room"), "reload: no room; going on as before"), (ZeroDivisionError(), "reload")],
)
def test_a_reload_that_fails_is_told_and_only_a_fault_of_ours_ends_harpd(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, error: Exception, line: str
) -> None:
    async def take(*_: object) -> None:
        raise error

    with caplog.at_level(logging.ERROR, LOGGER.name):
        config, faults = _signalled(monkeypatch, take)
    assert config.filter == FilterSettings()
    assert caplog.messages == [line] * 2
    assert faults == ([] if isinstance(error, Failure) else [error] * 2)
