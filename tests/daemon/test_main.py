"""How harpd ends when it is its own fault, and what it tells systemd and the log."""

from __future__ import annotations

import asyncio
import errno
import io
import logging
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

import pytest
from tests.daemon.network import until
from tests.daemon.site import GROUP, PEER, daemon_config, group_config

from harp.cli.common import Failure
from harp.daemon import log, main
from harp.daemon import on_role as on_role_module
from harp.daemon.config.model import DaemonConfig, GroupSettings, Policy, Scheduling
from harp.daemon.log import LogObserver, tell
from harp.daemon.notify import Notifier
from harp.daemon.on_role import OnRole
from harp.engine.config import EngineConfig, Protection, Security
from harp.engine.effects import CommandAnswered, Dropped, Level, Log, Role, StateChanged
from harp.engine.events import PeerChanged, PeerDown, PeerLeft, PeerLinkChanged, PeerUp
from harp.tables.reasons import Reason


def _config(directory: Path, **more: Any) -> DaemonConfig:
    made = daemon_config(directory)
    return DaemonConfig(
        **{
            "engine": made.engine,
            "groups": made.groups,
            "state_dir": directory,
            "run_dir": directory,
            "scheduling": Scheduling(Policy.OTHER, lock_memory=False),
            **more,
        }
    )


def test_an_own_fault_is_one_line_and_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(daemon: main.Daemon) -> None:
        raise RuntimeError("no such thing")

    monkeypatch.setattr(main.Daemon, "run", broken)
    with pytest.raises(Failure, match=r"internal fault: RuntimeError: no such thing") as failure:
        main.run(_config(tmp_path), tmp_path / "harpd.toml")
    assert "\n" not in failure.value.message
    fault = tmp_path / "harpd.fault"
    assert "in broken" in fault.read_text()
    assert fault.stat().st_mode & 0o777 == 0o600
    missing = tmp_path / "missing"
    with pytest.raises(Failure, match=r"please report it$"):
        main.run(_config(tmp_path, state_dir=missing), tmp_path / "harpd.toml")


def test_a_kernel_without_policies_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none() -> NoReturn:
        raise OSError(errno.EPROTONOSUPPORT, os.strerror(errno.EPROTONOSUPPORT))

    monkeypatch.setattr(main, "inbound_policies", none)
    config = daemon_config(tmp_path, group_config(Protection(Security.IPSEC)))
    with pytest.raises(Failure, match=r"Protocol not supported; `modprobe xfrm_user`"):
        main._demand_policies(config)


def test_a_fault_in_a_callback_ends_harpd_but_one_of_a_task_does_not(tmp_path: Path) -> None:
    async def scene() -> None:
        daemon = main.Daemon(_config(tmp_path), tmp_path / "harpd.toml")
        stop = daemon._stop
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(daemon._failed)

        async def failing() -> None:
            raise ValueError("an asker's")

        task = asyncio.create_task(failing())
        await asyncio.sleep(0)
        del task
        await asyncio.sleep(0)
        assert not stop.is_set()
        loop.call_soon(_raise)
        await asyncio.wait_for(stop.wait(), 10)
        assert isinstance(daemon._fault, ZeroDivisionError)

    asyncio.run(scene())


def _raise() -> None:
    raise ZeroDivisionError("ours")


@pytest.fixture
def systemd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """Where systemd listens."""
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(tmp_path / "notify"))
        listening.settimeout(10)
        yield listening


def test_systemd_is_told(systemd: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", "2000")
    monkeypatch.setenv("WATCHDOG_PID", str(os.getpid()))

    async def scene() -> None:
        notifier = Notifier()
        notifier.reloading()
        assert systemd.recv(999).startswith(b"RELOADING=1\nMONOTONIC_USEC=")
        notifier.ready("group 7")
        assert systemd.recv(999) == b"READY=1\nSTATUS=group 7"
        notifier.start_watchdog()
        for _ in range(3):
            await asyncio.to_thread(systemd.recv, 999)
        notifier.stopping()
        said = b""
        while said != b"STOPPING=1":
            said = systemd.recv(999)
            assert said in (b"WATCHDOG=1", b"STOPPING=1")
        notifier.close()
        notifier.stopping()  # nobody is there any more

    asyncio.run(scene())


def test_a_systemd_that_does_not_read_is_not_waited_for(systemd: socket.socket) -> None:
    notifier = Notifier()
    told = threading.Thread(target=lambda: [notifier.ready("x") for _ in range(999)], daemon=True)
    told.start()
    told.join(10)
    assert not told.is_alive()
    notifier.close()


def test_another_process_watchdog_is_not_ours(
    systemd: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", "1000")
    monkeypatch.setenv("WATCHDOG_PID", "1")

    async def scene() -> None:
        notifier = Notifier()
        notifier.start_watchdog()
        notifier.stopping()
        assert systemd.recv(999) == b"STOPPING=1"
        notifier.close()

    asyncio.run(scene())


LINES = [
    (StateChanged(GROUP, Role.STANDBY, Role.ACTIVE, "takeover"), "STANDBY → ACTIVE (takeover)"),
    (PeerUp(GROUP, PEER), "ha2 is up"),
    (PeerDown(GROUP, PEER), "ha2 is down: not heard any more"),
    (PeerLeft(GROUP, PEER), "ha2 left: it said so"),
    (PeerChanged(GROUP, PEER, restarted=True), "ha2 was restarted"),
    (PeerChanged(GROUP, PEER), "ha2 says something new"),
    (PeerChanged(GROUP, b"\xfe\x80" + bytes(13) + b"\1"), "fe80::1 says something new"),
    (PeerLinkChanged(GROUP, PEER, "home", False), "ha2 is lost on home"),
    (Dropped(Reason.REPLAY, PEER, GROUP, "x"), "replay from 2001:db8:1::c1 dropped: x"),
    (Log(Level.ERROR, "bad", GROUP), "bad"),
    (CommandAnswered(GROUP, 1, ("held", "auth")), "command refused: held, auth"),
]


@pytest.mark.parametrize(("effect", "line"), LINES)
def test_lines_of_the_log(effect: Any, line: str, caplog: pytest.LogCaptureFixture) -> None:
    observer = LogObserver(EngineConfig(daemon_config(Path()).engine.groups))
    takers = {StateChanged: "role", Dropped: "dropped", Log: "log", CommandAnswered: "answered"}
    with caplog.at_level(logging.DEBUG, "harp"):
        getattr(observer, takers.get(type(effect), "peer"))(effect)
    assert [record.getMessage() for record in caplog.records] == [f"group 7: {line}"]


SCENE = """
from harp.daemon.log import LogWriter, tell
from harp.engine.effects import Level
writer = LogWriter(Level.INFO)
tell(Level.WARNING, "before the thread")
writer.start()
tell(Level.DEBUG, "not wanted")
tell(Level.ERROR, "two\\nlines")
tell(Level.INFO, "100 %s")
writer.close()
"""


@pytest.mark.parametrize(
    ("environment", "lines"),
    [
        (
            {"JOURNAL_STREAM": "1:2"},
            ["<4>before the thread", "<3>two lines", "<6>100 %s"],
        ),
        ({}, ["WARNING before the thread", "ERROR two lines", "INFO 100 %s"]),
    ],
)
def test_lines_reach_stderr_with_their_level(environment: dict[str, str], lines: list[str]) -> None:
    clean = {name: value for name, value in os.environ.items() if name != "JOURNAL_STREAM"}
    done = subprocess.run(
        [sys.executable, "-c", SCENE],
        env={**clean, **environment},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    said = done.stderr.splitlines()
    assert [line[-len(end) :] for line, end in zip(said, lines, strict=True)] == lines


class Stopped(io.StringIO):
    """A terminal that takes nothing until it is let go on."""

    def __init__(self) -> None:
        super().__init__()
        self.goes_on = threading.Event()

    def write(self, text: str) -> int:
        self.goes_on.wait(30)
        return super().write(text)


def test_a_terminal_that_stands_still_fills_no_memory_and_keeps_nobody_from_ending(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(log, "MOST_WAITING", 10)
    monkeypatch.setattr(log, "END_S", 0.01)
    terminal = Stopped()
    writer = log.LogWriter(Level.INFO, terminal)
    writer.start()
    for n in range(100):
        tell(Level.INFO, f"line {n}.")
    assert writer._lines.qsize() <= 10
    writer.close()
    terminal.goes_on.set()
    writer._thread.join(10)
    said = terminal.getvalue().splitlines()
    assert said[0].endswith("line 0.") and len(said) in (11, 12)
    (dropped,) = (line for line in said if "were dropped: nobody took them" in line)
    assert int(dropped.split(" WARNING ")[1].split()[0]) == 100 - (len(said) - 1)


STUCK = """
from harp.daemon import log
from harp.engine.effects import Level
log.END_S = 0.1
writer = log.LogWriter(Level.INFO)
writer.start()
for _ in range(2_000):
    log.tell(Level.INFO, "x" * 200)
writer.close()
"""


def test_a_process_whose_lines_nobody_takes_ends() -> None:
    with subprocess.Popen([sys.executable, "-c", STUCK], stderr=subprocess.PIPE) as process:
        try:
            assert process.wait(30) == 0
        finally:
            process.kill()


def test_a_command_that_does_not_end_keeps_harpd_from_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Neither its memory nor its end; and it does not outlive it."""
    monkeypatch.setattr(on_role_module, "END_S", 0.5)
    pid = tmp_path / "pid"
    command = ("/bin/sh", "-c", f"echo $$ > {pid}; exec sleep 60")
    settings = ((GROUP, GroupSettings("home", on_role=command)),)

    async def scene() -> None:
        on_role = OnRole(_config(tmp_path, groups=settings))
        for _ in range(on_role_module.MOST_WAITING + 3):
            on_role.role(StateChanged(GROUP, Role.INIT, Role.STANDBY, "start"))
        assert on_role._changes.qsize() == on_role_module.MOST_WAITING
        async with asyncio.timeout(20):
            await asyncio.to_thread(until, lambda: pid.exists() and pid.read_text(), "its process")
            await on_role.close()

    asyncio.run(scene())
    assert caplog.messages[:3] == ["on_role: group 7: STANDBY was not told"] * 3
    assert caplog.messages[-1].startswith("on_role: not ended in 0.5 s")
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid.read_text()), 0)


def test_the_command_of_a_role_is_told_in_order(tmp_path: Path) -> None:
    script, told = tmp_path / "on_role", tmp_path / "told"
    script.write_text(f'#!/bin/sh\necho "$@" >> {told}\n')
    script.chmod(0o755)
    settings = ((GROUP, GroupSettings("home", on_role=(str(script), "first"))),)

    async def scene() -> None:
        on_role = OnRole(_config(tmp_path, groups=settings))
        on_role.role(StateChanged(GROUP, Role.INIT, Role.STANDBY, "start"))
        on_role.role(StateChanged(9, Role.INIT, Role.STANDBY, "another group"))
        on_role.role(StateChanged(GROUP, Role.STANDBY, Role.ACTIVE, "takeover"))
        await on_role.close()
        other = ((GROUP, GroupSettings("home", on_role=("/nonexistent",))),)
        on_role = OnRole(_config(tmp_path, groups=settings))
        on_role.reconfigure(_config(tmp_path, groups=other))
        on_role.role(StateChanged(GROUP, Role.INIT, Role.STANDBY, "start"))
        await on_role.close()  # and no more than a line is said
        await OnRole(_config(tmp_path)).close()

    asyncio.run(scene())
    assert told.read_text().splitlines() == [
        "first 7 INIT STANDBY start",
        "first 7 STANDBY ACTIVE takeover",
    ]


def test_a_command_that_cannot_be_run_keeps_no_other_from_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    told = tmp_path / "told"
    settings = (
        (GROUP, GroupSettings("home", on_role=("zero\0octet",))),
        (9, GroupSettings("home", on_role=("/bin/sh", "-c", f": > {told}"))),
    )

    async def scene() -> None:
        on_role = OnRole(_config(tmp_path, groups=settings))
        on_role.role(StateChanged(GROUP, Role.INIT, Role.STANDBY, "start"))
        on_role.role(StateChanged(9, Role.INIT, Role.STANDBY, "start"))
        async with asyncio.timeout(20):
            await on_role.close()

    asyncio.run(scene())
    assert told.exists()
    assert "on_role: zero\0octet: embedded null byte" in caplog.messages


def test_a_line_of_no_group(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "harp"):
        tell(Level.WARNING, "100 % sure")
    assert caplog.messages == ["100 % sure"]
