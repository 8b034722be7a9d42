"""Whole processes: three harpd in namespaces on one bridge; each is what a router runs."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from tests.daemon.network import ip, namespace, until

from harp.daemon.control.client import ControlClient
from harp.engine.journal import split

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root")

VIRTUAL = "2001:db8:1::1"
NAMES = ("ha1", "ha2", "ha3")
CONFIG = """
[daemon]
state_dir = "{directory}/state"
run_dir = "{directory}/run"
metrics_listen = ""
log_level = "info"
{daemon}
[control]
socket = "{directory}/run/control"
[[group]]
id = 7
me = "{name}"
virtual_address = "2001:db8:1::1"
home_prefixes = ["2001:db8:1::/64"]
preference = {preference}
hello_interval_ms = 20
init_wait_ms = 200
security = "none"
insecure = true
[[group.link]]
interface = "home"
[[group.member]]
name = "ha1"
addresses = ["2001:db8:1::a1"]
[[group.member]]
name = "ha2"
addresses = ["2001:db8:1::a2"]
[[group.member]]
name = "ha3"
addresses = ["2001:db8:1::a3"]
"""


BREAKS = """
import signal
from harp.cli.harpd import main
from harp.engine.engine import Engine

def fail(*_):
    raise ZeroDivisionError("broken by a test")

def break_down(*_):
    Engine.expire = Engine.receive = fail

signal.signal(signal.SIGUSR1, break_down)
main()
"""
"""harpd whose engine raises from SIGUSR1 on."""


class Member:
    """One harpd: its namespace, its files, its process."""

    def __init__(self, number: int, netns: str, directory: Path) -> None:
        self.number, self.netns, self.directory = number, netns, directory
        self.program = ["-m", "harp.cli.harpd"]
        self.file, self.log_file = directory / "harpd.toml", directory / "log"
        self.process: subprocess.Popen[bytes] | None = None
        self._notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._notify.bind(str(directory / "notify"))
        self._notify.settimeout(60)
        self.write()

    def write(self, daemon: str = "", **changes: str) -> None:
        """The configuration, with other words in place of some."""
        text = CONFIG.format(
            directory=self.directory,
            name=f"ha{self.number}",
            preference=400 - 100 * self.number,
            daemon=daemon,
        )
        for old, new in changes.items():
            text = re.sub(rf"(?m)^{old} = .*$", f"{old} = {new}", text)
        self.file.write_text(text)

    def start(self) -> Member:
        """Runs it; back when it said READY."""
        self.launch()
        self.told("READY=1")
        return self

    def launch(self) -> None:
        """Runs it."""
        environment = {**os.environ, "NOTIFY_SOCKET": str(self.directory / "notify")}
        with self.log_file.open("ab") as log:
            self.process = subprocess.Popen(
                ["ip", "netns", "exec", self.netns, *self.command()],
                stderr=log,
                env=environment,
                start_new_session=True,
            )

    def command(self, *more: str) -> list[str]:
        """Its command line."""
        return [sys.executable, *self.program, "-c", str(self.file), *more]

    def fails(self, *more: str) -> str:
        """Runs it to its failure: the one line that it says."""
        done = subprocess.run(
            ["ip", "netns", "exec", self.netns, *self.command(*more)],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 1, done
        lines = [line for line in done.stderr.splitlines() if line.startswith("harpd: ")]
        assert len(lines) == 1 and "Traceback" not in done.stderr
        return lines[0]

    def told(self, what: str) -> str:
        """The next message to systemd that says so."""
        while True:
            message = self._notify.recv(4096).decode()
            if what in message:
                return message

    def send(self, number: int) -> None:
        """A signal."""
        assert self.process is not None
        self.process.send_signal(number)

    def ended(self) -> int:
        """Its exit status."""
        assert self.process is not None
        return self.process.wait(timeout=30)

    @property
    def log(self) -> str:
        """All that it said."""
        return self.log_file.read_text()

    def until_said(self, what: str) -> None:
        """A line of the log has it."""
        until(lambda: what in self.log, f"{what!r} in {self.log}")

    def status(self) -> dict[str, object]:
        """Of the group, through the control socket."""
        with ControlClient(self.directory / "run" / "control") as client:
            groups = client.call("status")["groups"]
        assert isinstance(groups, list)
        group: dict[str, object] = groups[0]
        return group

    def has_virtual(self) -> bool:
        """Whether the virtual address is on its interface."""
        command = ["ip", "-n", self.netns, "-6", "-o", "addr", "show", "to", VIRTUAL]
        return bool(subprocess.run(command, capture_output=True, check=True).stdout)

    def close(self) -> None:
        """Whatever it does."""
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self._notify.close()


class Site:
    """Three of them on a bridge."""

    def __init__(self, stack: ExitStack, directory: Path) -> None:
        self.bridge = stack.enter_context(namespace("bridge"))
        ip("-n", self.bridge, "link", "add", "br0", "type", "bridge", "mcast_snooping", "0")
        ip("-n", self.bridge, "link", "set", "br0", "up")
        self.members = [self._member(number, stack, directory) for number in (1, 2, 3)]

    def _member(self, number: int, stack: ExitStack, directory: Path) -> Member:
        netns = stack.enter_context(namespace(f"ha{number}"))
        self.plug(number, netns)
        own = directory / f"ha{number}"
        own.mkdir()
        member = Member(number, netns, own)
        stack.callback(member.close)
        return member

    def plug(self, number: int, netns: str) -> None:
        """Its interface, with its address."""
        end = ("name", "home", "netns", netns)
        ip("-n", self.bridge, "link", "add", f"ha{number}", "type", "veth", "peer", *end)
        ip("-n", self.bridge, "link", "set", f"ha{number}", "master", "br0", "up")
        ip("-n", netns, "link", "set", "home", "up")
        ip("-n", netns, "addr", "add", f"2001:db8:1::a{number}/64", "dev", "home", "nodad")

    def active(self, *among: Member) -> Member:
        """The one with the address, when there is exactly one."""
        found: list[Member] = []

        def one() -> bool:
            found[:] = [member for member in among or self.members if member.has_virtual()]
            return len(found) == 1

        until(one, "one active")
        return found[0]


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with ExitStack() as stack:
        yield Site(stack, tmp_path)


def test_a_group_forms_and_survives(site: Site) -> None:
    """Kill -9, a clean stop, and the one that was killed comes back."""
    for member in site.members:
        member.launch()
    for member in site.members:
        member.told("READY=1")
    first = site.active()
    for member in site.members:
        _hears(member, 2)
    first.send(signal.SIGKILL)
    first.ended()
    rest = [member for member in site.members if member is not first]
    second = site.active(*rest)
    until(lambda: not first.has_virtual(), "the guard withdrew")
    second.send(signal.SIGTERM)
    third = next(member for member in rest if member is not second)
    assert site.active(third) is third
    assert second.ended() == 0
    assert not second.has_virtual()
    assert "left: it said so" in third.log
    first.start()
    until(lambda: _up(first) == [f"ha{third.number}"], "it hears the active")
    assert first.status()["role"] in ("INIT", "STANDBY")
    for member in (first, third):
        member.send(signal.SIGINT)
        assert member.ended() == 0
        assert "Traceback" not in member.log
    for member in site.members:
        _assert_nothing_left(member)


def _hears(member: Member, count: int) -> None:
    until(lambda: len(_up(member)) == count, f"ha{member.number} hears {count}")


def _up(member: Member) -> list[str]:
    peers = member.status()["peers"]
    assert isinstance(peers, list)
    return [str(peer["name"]) for peer in peers if peer["up"]]


def _assert_nothing_left(member: Member) -> None:
    for command in (
        ["ip", "-n", member.netns, "-6", "rule", "show", "pref", "11407"],
        ["ip", "-n", member.netns, "-6", "route", "show", "table", "all", "proto", "114"],
        ["ip", "netns", "exec", member.netns, "nft", "list", "tables"],
    ):
        left = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        assert left.strip() == "", command


def test_a_fault_of_its_own_ends_it_with_a_goodbye(site: Site) -> None:
    member, other = site.members[:2]
    member.program = ["-c", BREAKS]
    member.start()
    until(member.has_virtual, "it serves")
    other.start()
    until(lambda: _up(other) == ["ha1"], "the other hears it")
    member.send(signal.SIGUSR1)
    assert member.ended() == 1
    assert not member.has_virtual()
    other.until_said("ha1 left: it said so")
    assert "internal fault: ZeroDivisionError: broken by a test" in member.log
    assert site.active(other) is other
    _assert_nothing_left(member)


def test_undo_withdraws_what_a_dead_one_left(site: Site) -> None:
    member = site.members[0]
    member.write(daemon="guard = false")
    member.start()
    until(member.has_virtual, "it serves")
    assert "harpd runs already" in member.fails("--undo")
    assert "harpd runs already" in member.fails()
    member.send(signal.SIGKILL)
    member.ended()
    assert member.has_virtual()
    subprocess.run(
        ["ip", "netns", "exec", member.netns, *member.command("--undo")], check=True, timeout=60
    )
    assert not member.has_virtual()
    _assert_nothing_left(member)


def test_what_is_missing_is_one_line(site: Site) -> None:
    member = site.members[0]
    member.write(interface='"nowhere"')
    assert "interface nowhere: there is none" in member.fails()
    member.write()
    ip("-n", member.netns, "addr", "del", "2001:db8:1::a1/64", "dev", "home")
    assert "ip address add 2001:db8:1::a1/64 dev home" in member.fails()
    member.write(state_dir='"/proc/nowhere"')
    ip("-n", member.netns, "addr", "add", "2001:db8:1::a1/64", "dev", "home", "nodad")
    assert "set daemon.state_dir" in member.fails()
    _assert_nothing_left(member)
    member.file.write_text("[daemon\n")
    assert "not TOML" in member.fails()


def test_a_reload_takes_what_it_can_and_says_the_rest(site: Site) -> None:
    member = site.members[0].start()
    until(member.has_virtual, "it serves")
    member.write(daemon="journal = false", log_level='"debug"')
    member.send(signal.SIGHUP)
    assert "MONOTONIC_USEC=" in member.told("RELOADING=1")
    member.told("READY=1")
    member.until_said('reload: log_level: "info" → "debug"')
    member.until_said("(at the next start)")
    member.write(preference="777")
    member.send(signal.SIGHUP)
    until(lambda: member.status()["preference"] == 777, "the new preference")
    member.file.write_text("[[group]]\nid = 700\n")
    member.send(signal.SIGHUP)
    member.until_said("; going on as before")
    assert member.status()["role"] == "ACTIVE" and member.has_virtual()
    member.send(signal.SIGTERM)
    member.told("STOPPING=1")
    assert member.ended() == 0


def test_an_interface_that_is_removed_and_comes_back(site: Site) -> None:
    member, other = site.members[:2]
    member.launch()
    other.start()
    member.told("READY=1")
    until(lambda: len(_up(member)) == 1 and len(_up(other)) == 1, "both hear each other")
    ip("-n", member.netns, "link", "del", "home")
    member.until_said("interface home: there is no such interface")
    assert site.active(other) is other
    site.plug(1, member.netns)
    member.until_said("interface home: usable")
    until(lambda: len(_up(member)) == 1 and len(_up(other)) == 1, "both hear each other again")
    site.active()
    assert member.status()["links"] == [{"name": "home", "up": True, "slot": False}]
    for each in (member, other):
        each.send(signal.SIGTERM)
        assert each.ended() == 0
        assert "Traceback" not in each.log


def test_a_full_disk_stops_nothing(site: Site, tmp_path: Path) -> None:
    member = site.members[0]
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "none", disk], check=True)
    try:
        with contextlib.suppress(OSError), (disk / "filler").open("wb", buffering=0) as file:
            while True:
                file.write(bytes(4096))
        member.write(state_dir=f'"{disk}"')
        member.start()
        member.until_said("No space left on device: bindings are kept in memory only")
        until(member.has_virtual, "it serves all the same")
        (disk / "filler").unlink()
        member.until_said("group-7.journal: written again")
        member.send(signal.SIGTERM)
        assert member.ended() == 0
        assert "Traceback" not in member.log
        assert split((disk / "group-7.journal").read_bytes()).records
    finally:
        subprocess.run(["umount", disk], check=True)
