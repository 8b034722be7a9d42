"""What every worker begins with, and how harpd looks after it."""

from __future__ import annotations

import errno
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
from tests.daemon.dataplane.test_tun import PLAN
from tests.daemon.dataplane.ticks import Ticks
from tests.daemon.network import entered, home_network
from tests.daemon.site import CARE_OF, HOME

from harp.daemon.dataplane.child import Child
from harp.daemon.dataplane.feed import Report, complete_frame
from harp.daemon.dataplane.leftovers import clean, made_by
from harp.daemon.dataplane.refill import SLICE_US
from harp.daemon.dataplane.switch import Switch
from harp.daemon.dataplane.tun import TunBackend
from harp.daemon.dataplane.worker import WorkerPlan
from harp.daemon.netlink.connection import Netlink, NetlinkError
from harp.engine.effects import PrepareRoute

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root")
S = 1_000_000


def test_a_worker_ends_with_a_harpd_that_dies_while_it_tells_the_plan() -> None:
    mine, theirs = socket.socketpair()
    with theirs:
        worker = subprocess.Popen(
            [
                sys.executable,
                "-c",
                "from harp.daemon.dataplane.worker import begin; begin('harpd-test')",
                str(theirs.fileno()),
            ],
            pass_fds=(theirs.fileno(),),
        )
    mine.sendall(b'{"groups": ')
    mine.close()
    try:
        assert worker.wait(20) == 0
    finally:
        worker.kill()
        worker.wait()


class FakeChild(Child):
    """A worker that dies when it is told to."""

    def __init__(self) -> None:
        self.alive, self.starts, self.refused = True, 0, False
        self.frames: list[bytes] = []
        self._queue = bytearray()
        self.report = Report()

    def put(self, frame: bytes) -> None:
        self.frames.append(frame)

    def pump(self) -> bool:
        return self.alive

    def restart(self) -> int | None:
        self.starts += 1
        if self.refused:
            raise BlockingIOError(11, "no process")
        self.frames.clear()
        self.alive = True
        return -9


class Looked(TunBackend):
    """One with such a worker and no kernel."""

    def __init__(
        self, refill: Callable[[], Iterable[PrepareRoute]], run_dir: Path, switch: Switch
    ) -> None:
        self.said: list[str] = []
        self.child = FakeChild()
        super().__init__(PLAN, (), made_by(PLAN, run_dir), Ticks(), self.said.append, refill)
        self._child, self._switch = self.child, switch


@pytest.fixture
def switch() -> Iterable[Switch]:
    netlink = Netlink()
    made = Switch(PLAN, netlink, print)
    yield made
    made.close()
    netlink.close()


def test_a_worker_that_dies_again_and_again_waits_longer(tmp_path: Path, switch: Switch) -> None:
    plane = Looked(list, tmp_path, switch)
    started: list[int] = []
    for now in range(10 * S, 41 * S, S // 2):
        plane.child.alive, before = False, plane.child.starts
        plane.renew(now)
        if plane.child.starts != before:
            started.append(now // S - 10)
    assert started == [0, 1, 3, 7, 15, 23]
    plane.child.alive = True
    plane.renew(80 * S)
    for now, starts in ((81 * S, 1), (82 * S - 1, 1), (82 * S, 2)):
        plane.child.alive = False
        plane.renew(now)
        assert plane.child.starts == len(started) + starts, "one that lived is no such worker"


def test_a_worker_that_does_not_start_is_one_line_and_tried_again(
    tmp_path: Path, switch: Switch
) -> None:
    route = PrepareRoute(7, HOME, 0, CARE_OF)
    plane = Looked(lambda: [route], tmp_path, switch)
    plane.child.alive, plane.child.refused = False, True
    plane.renew(10 * S)
    assert len(plane.said) == 1 and "no process" in plane.said[0]
    plane.prepare(route)
    assert plane.child.frames == [], "nobody takes it: no queue grows"
    plane.child.refused = False
    plane.renew(11 * S)
    assert len(plane.child.frames) == 2 and plane.status().counters["worker_restarts"] == 1


def test_a_new_worker_is_told_everything_a_slice_at_a_time(tmp_path: Path, switch: Switch) -> None:
    routes = [PrepareRoute(7, HOME, bid, CARE_OF) for bid in range(300)]
    plane = Looked(lambda: routes, tmp_path, switch)
    plane.child.alive = False
    now, told = 10 * S, 0
    while told < len(routes):
        plane.renew(now)
        assert 0 < len(plane.child.frames) - told <= SLICE_US // Ticks.STEP_US
        told = len(plane.child.frames)
        assert plane.deadline is not None and plane.deadline - now <= S // 100
        now = plane.deadline
    plane.renew(now)
    assert plane.child.frames[len(routes) :] == [complete_frame()] and plane.deadline == now + S


def test_a_child_that_does_not_start_can_be_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    child = Child("harp.daemon.dataplane.worker", WorkerPlan((), "harp0"), {})
    os.kill(child.pid, signal.SIGKILL)
    with monkeypatch.context() as patch:
        patch.setattr(sys, "executable", "/nowhere/python")
        for _ in range(2):
            with pytest.raises(FileNotFoundError):
                child.restart()
            assert not child.pump()
    child.restart()
    child.stop()


class Forgetful(Netlink):
    """The kernel says of the first removal that there was nothing."""

    def send(self, requests: Iterable[bytes], acknowledged: int = -1) -> dict[int, tuple[int, str]]:
        return {0: (self.code, "")} | dict(super().send(list(requests), acknowledged))

    code = 0


@pytest.mark.parametrize("code", ["ENOENT", "EPERM"])
def test_only_what_was_removed_is_listed(tmp_path: Path, code: str) -> None:
    with home_network() as (ha, _, _), entered(ha):
        netlink = Forgetful()
        serving = Switch(PLAN, netlink, print)
        serving.set(PLAN.groups[0], True, 0)
        netlink.code = getattr(errno, code)
        made = made_by(PLAN, tmp_path)
        if code == "EPERM":
            with pytest.raises(NetlinkError, match="removing address 2001:db8:1::1"):
                clean(netlink, made)
        else:
            listed = clean(netlink, made)
            assert "address 2001:db8:1::1" not in listed
            assert "rule 11407 to table 11407" in listed
        serving.close()
        netlink.close()
