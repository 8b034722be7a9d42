"""One home agent of the laboratory: a `harpd` in its namespace, its configuration, its end.

Ref: sd_notify(3) (readiness), kill(2), proc(5), chrt(1)
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from harp.cli.common import Failure
from harp.lab.netns import plan
from harp.lab.netns.namespaces import start_time
from harp.lab.netns.privilege import may_be_real_time
from harp.lab.netns.world import World
from harp.tables.simulated import MIN_LEASE_MS, SCHEME

GUARD = "harpd-guard"
"""Name of the process that withdraws when harpd dies (harp.md §9)."""
START_S = 60.0
"""Longest start: an interpreter on a busy machine that compiles every module first."""
AT_ONCE = ("chrt", "--reset-on-fork", "--fifo", "1")
"""As harpd's unit has it (CPUSchedulingPolicy=): real-time from the first instruction on, since
half a second of imports lasts long on a busy machine; behind all that runs already."""
STOP_S = 10.0
TERMINAL = "board"
"""In a member's directory: the serial port of its simulated board."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What the members of a group are told; `toml` makes the file of one."""

    hello_ms: int = 10
    multiplier: int = 3
    mode: str = "virtual"
    guard: bool = True
    journal: bool = True
    journal_sync: bool = False
    data_plane: str = "auto"
    durability: str = "standby"
    auth: str = ""
    """`sign`, `permissive` or `enforce`: psk; empty: unprotected."""
    ipsec: bool = False
    """HARP in ESP, whose policies and keys are made by somebody else; not with `auth`."""
    keys: tuple[tuple[int, Path], ...] = ()
    """(SPI, file of the key); the first signs."""
    preempt: bool = False
    log_level: str = "info"
    boards: tuple[str, ...] = ()
    """Members behind a simulated board."""

    def toml(self, member: str, directory: Path) -> str:
        """The configuration of one member, its files under `directory`."""
        lines = [
            "[daemon]",
            f'state_dir = "{directory / "state"}"',
            f'run_dir = "{directory}"',
            f'log_level = "{self.log_level}"',
            f'data_plane = "{self.data_plane}"',
            'metrics_listen = ""',
            f"journal = {_toml(self.journal)}",
            f"guard = {_toml(self.guard)}",
            "[control]",
            f'socket = "{directory / "control"}"',
            "[filter]",
            "enabled = true",
            *self._board(member, directory),
            *self._group(member),
        ]
        return "\n".join(lines) + "\n"

    def _group(self, member: str) -> list[str]:
        lines = [
            "[[group]]",
            f"id = {plan.GROUP}",
            f'me = "{member}"',
            f'mode = "{self.mode}"',
            f'home_prefixes = ["{plan.HOME_PREFIX}"]',
            f"preference = {plan.PREFERENCES[member]}",
            f"hello_interval_ms = {self.hello_ms}",
            f"multiplier = {self.multiplier}",
            f"preempt = {_toml(self.preempt)}",
            *self._protection(),
        ]
        if self.mode == "virtual":
            lines.append(f'virtual_address = "{plan.VIRTUAL}"')
        for spi, file in self.keys:
            lines += ["[[group.key]]", f"spi = {spi}", f'file = "{file}"']
        lines += ["[[group.link]]", f'interface = "{plan.HOME}"']
        lines.append(f"slots = {_toml(member in self.boards)}")
        for name, port in plan.HOME_PORTS.items():
            lines += ["[[group.member]]", f'name = "{name}"', f'addresses = ["{port.address}"]']
        lines += [
            "[group.sync]",
            f'durability = "{self.durability}"',
            f"journal_sync = {_toml(self.journal_sync)}",
            "[group.home_agent]",
            "dad = false",
            "max_lifetime_s = 3600",
        ]
        return lines

    def _board(self, member: str, directory: Path) -> list[str]:
        if member not in self.boards:
            return []
        device = f"{SCHEME}{directory / TERMINAL}"
        return ["[offload]", f'device = "{device}"', f"lease_ms = {MIN_LEASE_MS}"]

    def _protection(self) -> list[str]:
        if self.ipsec:
            return ['security = "ipsec"']
        if not self.auth:
            return ['security = "none"', "insecure = true"]
        return ['security = "psk"', f'auth = "{self.auth}"', f"signing_spi = {self.keys[0][0]}"]


def _environment(world: World) -> dict[str, str]:
    """Daemons start many times: their modules are compiled once."""
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    cache = world.namespaces.directory.parent / "bytecode"
    return kept | {"PYTHONUNBUFFERED": "1", "PYTHONPYCACHEPREFIX": str(cache)}


def _toml(value: bool) -> str:
    return "true" if value else "false"


class Member:
    """A home agent's daemon."""

    module = "harp.cli.harpd"
    """Program that is run."""

    def __init__(self, name: str, world: World, settings: Settings) -> None:
        self.name = name
        self.settings = settings
        self.directory = world.namespaces.directory / name
        self.directory.mkdir()
        self.log = self.directory / "log"
        self._world = world
        self._process: subprocess.Popen[bytes] | None = None
        self._ready: socket.socket | None = None

    @property
    def control(self) -> Path:
        """Its control socket."""
        return self.directory / "control"

    @property
    def pid(self) -> int:
        """Process id of harpd."""
        assert self._process is not None, f"{self.name} does not run"
        return self._process.pid

    @property
    def running(self) -> bool:
        """It has been started and has not ended."""
        return self._process is not None and self._process.poll() is None

    def configure(self, settings: Settings) -> None:
        """Writes its configuration."""
        self.settings = settings
        self._file.write_text(settings.toml(self.name, self.directory), "utf-8")

    def reload(self, settings: Settings) -> None:
        """Gives a running daemon another configuration (SIGHUP)."""
        self.configure(settings)
        self.signal(signal.SIGHUP)

    def start(self) -> None:
        """Starts harpd; `wait_ready` waits until it serves."""
        self.configure(self.settings)
        place = self.directory / "notify"
        place.unlink(missing_ok=True)
        self._ready = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._ready.bind(str(place))
        environment = _environment(self._world) | {"NOTIFY_SOCKET": str(place)}
        command: tuple[str, ...] = (sys.executable, "-m", self.module, "-c", str(self._file))
        if may_be_real_time():
            command = (*AT_ONCE, *command)
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self._world.command(self.name, *command),
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment,
            )  # fmt: skip

    def wait_ready(self) -> None:
        """Waits for `READY=1`. Failure has the daemon's last words."""
        assert self._ready is not None
        until = time.monotonic() + START_S
        with self._ready:
            self._ready.settimeout(0.05)
            while time.monotonic() < until and self.running:
                try:
                    if b"READY=1" in self._ready.recv(4096).split(b"\n"):
                        return
                except TimeoutError:
                    continue
        state = "did not become ready" if self.running else "ended"
        raise Failure(f"harpd of {self.name} {state}: {self.last_words()}")

    def signal(self, number: int) -> None:
        """Sends a signal to harpd, not to its children."""
        os.kill(self.pid, number)

    def ended(self) -> int:
        """Waits for its end; returns the exit status, negative: the signal."""
        assert self._process is not None
        try:
            return self._process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            raise Failure(f"harpd of {self.name} did not end in {STOP_S:.0f} s") from None

    def end(self) -> None:
        """Kills it and what it left, if anything runs."""
        children = self.children() if self.running else {}
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        for pid, (_, started) in children.items():
            if start_time(pid) == started:
                os.kill(pid, signal.SIGKILL)

    def children(self) -> dict[int, tuple[str, int | None]]:
        """Its child processes: id → name, start time."""
        found = {}
        for thread in Path(f"/proc/{self.pid}/task").glob("*/children"):
            for word in thread.read_text("utf-8").split():
                name = Path(f"/proc/{word}/comm").read_text("utf-8").strip()
                found[int(word)] = (name, start_time(int(word)))
        return found

    def processor_s(self) -> float:
        """Processor time that harpd has used, without its children."""
        fields = Path(f"/proc/{self.pid}/stat").read_text("utf-8").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def said(self) -> list[str]:
        """Lines of its log."""
        if not self.log.exists():
            return []
        return self.log.read_text("utf-8", errors="replace").splitlines()

    def last_words(self, lines: int = 3) -> str:
        """End of its log, in one line."""
        return " / ".join(self.said()[-lines:]) or "it said nothing"

    @property
    def _file(self) -> Path:
        return self.directory / "harpd.toml"
