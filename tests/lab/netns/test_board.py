"""A daemon and its simulated board: what is read, refused, lost and left behind.

One laboratory for all, in the order of the file: three daemons, ha1 behind its board.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
import tty
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from harp.cli.common import Failure
from harp.daemon.control.protocol import Question
from harp.lab.netns import board, plan
from harp.lab.netns.flood import FloodProcess
from harp.lab.netns.lab import Lab
from harp.lab.netns.member import TERMINAL, Settings
from harp.lab.netns.pause import pause
from harp.lab.netns.scenarios.board import BOARDED, Others, make_active, wait_usable
from harp.lab.netns.timeline import Timeline
from harp.offload.client import Client
from harp.offload.port import open_port
from harp.tables.link import BAUD
from harp.tables.offload import PEERS, SLOTS
from harp_sim.device.board import Board
from harp_sim.device.run import RealTime

pytestmark = [
    pytest.mark.xdist_group("netns"),
    pytest.mark.usefixtures("netns"),
    pytest.mark.skipif(board.why_not() is not None, reason=str(board.why_not())),
]
READINGS = 300


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab(Settings(hello_ms=50, boards=(BOARDED,)), Timeline()) as made:
        made.start()
        made.settle()
        wait_usable(made)
        yield made


def silent(lab: Lab, others: Others) -> None:
    """Nobody changed its role or missed anybody."""
    for name, events in others.since().items():
        told = [e for e in events if e["kind"] == "role" or e.get("change") in ("down", "left")]
        assert told == [], (name, told, lab.boards[BOARDED].late())


def test_reading_counters_never_disturbs_a_healthy_link(lab: Lab) -> None:
    make_active(lab, BOARDED)
    others = Others(lab, but=())
    with lab.control(BOARDED) as control:
        before = control.offload()["counters"]
        for _ in range(READINGS):
            found = control.offload()
            assert found["attached"]
        pause(1.0)
        after = control.offload()["counters"]
    assert after["reason_frames_heartbeat"] > before["reason_frames_heartbeat"]
    assert after["link_bad_frames"] == before["link_bad_frames"] == 0
    silent(lab, others)


def test_the_board_as_an_operator_reads_it(lab: Lab) -> None:
    words = ("-m", "harp.cli.harpctl", "--socket", lab.members[BOARDED].control, "offload")
    done = subprocess.run((sys.executable, *words), capture_output=True, text=True, check=True)
    first, *rows = done.stdout.splitlines()
    assert first.startswith(f"offload: sim:{terminal(lab)} attached, gateware ")
    end = next(n for n, row in enumerate(rows) if row.endswith("; --json has them all"))
    shown = {tuple(row.split()[:-1]): int(row.split()[-1]) for row in rows[1:end]}
    assert shown["verdict", "heartbeat"] >= shown["outcome", "absorb"] > 0
    assert shown["serial", "link", "round_trip_us"] > 0
    assert all(shown.values())


def test_a_flood_beyond_the_limit_is_refused(lab: Lab) -> None:
    with pytest.raises(Failure, match=r"^2,001 frames/s are too many .* at most 2,000$"):
        FloodProcess(lab.world, BOARDED, 2001, 1.0, seed=1)


def test_a_lost_link_is_shown_to_the_host(lab: Lab) -> None:
    make_active(lab, plan.MEMBERS[1])
    lab.world.cut(BOARDED)
    until(lambda: "NO-CARRIER" in link(lab), "the member's interface keeps its carrier")
    lab.world.mend(BOARDED)
    until(lambda: "NO-CARRIER" not in link(lab), "the carrier is not back")
    lab.settle()


def link(lab: Lab) -> str:
    return lab.world.run(BOARDED, "ip", "link", "show", plan.HOME).stdout


def test_deletes_on_shutdown_all_arrive(lab: Lab) -> None:
    """The board is left as a plain wire that knows nobody: every row is read."""
    make_active(lab, BOARDED)
    lab.stop(BOARDED)
    assert lab.members[BOARDED].ended() == 0
    with Client(open_port(str(terminal(lab)), BAUD)) as client:
        assert client.identify()
        assert not any(client.read("slot", n)["flags"] for n in range(SLOTS))
        assert not any(client.read("peer", n)["enable"] for n in range(PEERS))
        assert client.read("guard")["armed"] == client.read("control")["filter_enable"] == 0
        state = client.read("guard_state")
        assert (state["lease"], state["fired"], state["fenced"]) == (0, 0, 0)
    until(lambda: lab.observer.actives(200_000_000) != [BOARDED], "nobody took over")
    assert lab.observer.two_actives() == []


class Fake:
    """Something else behind the terminal that harpd opens."""

    def __init__(self, answer: Callable[[bytes], bytes]) -> None:
        self.master, self._slave = os.openpty()
        tty.setraw(self._slave)
        os.set_blocking(self.master, False)
        self.path = os.ttyname(self._slave)
        self._answer, self._stop = answer, threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        while not self._stop.wait(0.002):
            try:
                octets = os.read(self.master, 4096)
            except BlockingIOError:
                octets = b""
            try:
                os.write(self.master, self._answer(octets))
            except BlockingIOError:
                continue

    def end(self) -> None:
        self._stop.set()
        self._thread.join()
        os.close(self.master)
        os.close(self._slave)


class Twin:
    """The board in plain Python, changed."""

    def __init__(self, twin: Board) -> None:
        self._runner = RealTime(twin, {})
        self.path = self._runner.terminal.path
        self._thread = threading.Thread(target=self._runner.run)
        self._thread.start()

    def end(self) -> None:
        self._runner.stop()
        self._thread.join()


def wrong_magic() -> Twin:
    twin = Board()
    twin.registers.held["magic", 0, "value"] = 0x12345678
    return Twin(twin)


FAKES: dict[str, tuple[Callable[[], Fake | Twin], str]] = {
    "another map": (lambda: Twin(Board(map_version=77)), "its register map has version 77"),
    "another magic": (wrong_magic, "another device answers: magic 0x12345678"),
    "noise": (lambda: Fake(lambda _: os.urandom(40)), "noise instead of an answer"),
    "a modem": (lambda: Fake(lambda said: b"OK\r\n\0" if said else b""), "noise instead of"),
    "an echo": (lambda: Fake(lambda said: said), "noise instead of an answer"),
    "nobody": (lambda: Fake(lambda _: b""), "no answer"),
}


@pytest.mark.parametrize("name", FAKES)
def test_what_is_no_board_is_refused_in_one_line(lab: Lab, name: str) -> None:
    """The group goes on without it; the daemon says so once, however often it tries."""
    make, text = FAKES[name]
    with behind(lab, make()):
        if lab.members[BOARDED].running:
            lab.stop(BOARDED)
            lab.members[BOARDED].ended()
        lab.start(BOARDED)
        until(lambda: refusals(lab), "nothing was said of it")
        pause(1.0)
        (line,) = refusals(lab)
        assert line.startswith(f"offload not used: sim:{terminal(lab)}: ") and text in line
        with lab.control(BOARDED) as control:
            status = control.offload()
        assert not status["attached"] and status["detail"]
        assert lab.settle()


def test_the_right_one_is_taken_without_a_restart(lab: Lab) -> None:
    others = Others(lab, but=())
    wait_usable(lab)
    lab.settle()
    silent(lab, others)


def refusals(lab: Lab) -> list[str]:
    return [line for line in warnings(lab) if line.startswith("offload")]


def warnings(lab: Lab) -> list[str]:
    with lab.control(BOARDED) as control:
        events: list[dict[str, Any]] = control.call(Question.EVENTS)["events"]
    logged = lab.members[BOARDED].said()
    begin = max(n for n, line in enumerate(logged) if " started: " in line)
    texts = [line.partition(" WARNING ")[2] for line in logged[begin:] if " WARNING " in line]
    return [*texts, *(e["text"] for e in events if e["kind"] == "log" and e["text"] not in texts)]


@contextmanager
def behind(lab: Lab, fake: Fake | Twin) -> Iterator[None]:
    """Harpd's terminal is that of a fake for a while."""
    lab.boards[BOARDED].pull()
    place = terminal(lab)
    place.symlink_to(fake.path)
    try:
        yield
    finally:
        place.unlink()
        fake.end()
        lab.boards[BOARDED].plug()


def terminal(lab: Lab) -> Path:
    return lab.members[BOARDED].directory / TERMINAL


def until(true: Callable[[], object], otherwise: str, limit_s: float = 10.0) -> None:
    end = time.monotonic() + limit_s
    while not true():
        assert time.monotonic() < end, otherwise
        pause(0.02)
