"""One harpd a directory; scheduling that is asked for and perhaps refused."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from harp.cli.common import Failure
from harp.daemon.privileges import single_instance

SCENE = """
import os, subprocess, threading
from harp.daemon.config.model import Policy, Scheduling
from harp.daemon import privileges
if {drop}:
    os.setgid(65534); os.setuid(65534)
print(len(privileges.apply(Scheduling(Policy.FIFO, 7, lock_memory={lock}))))
seen = []
def look():
    before = os.sched_getscheduler(0)
    privileges.as_the_loop()
    seen.append((before, os.sched_getscheduler(0) & ~os.SCHED_RESET_ON_FORK,
                 os.sched_getparam(0).sched_priority))
thread = threading.Thread(target=look)
thread.start(); thread.join()
print(*seen[0])
told = subprocess.check_output((*privileges.at_once(), "chrt", "--pid", "0"), text=True)
print(*(line.split()[-1] for line in told.splitlines()))
"""


def _play(*, drop: bool, lock: bool) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", SCENE.format(drop=drop, lock=lock)],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return done.stdout.splitlines()


@pytest.mark.skipif(os.geteuid() != 0, reason="real-time scheduling needs root")
def test_threads_are_ordinary_until_they_ask() -> None:
    said = _play(drop=False, lock=True)
    assert said[:2] == ["0", f"{os.SCHED_OTHER} {os.SCHED_FIFO} 7"]
    assert said[2] == "SCHED_FIFO 1", "a program that is started at once"


@pytest.mark.skipif(os.geteuid() != 0, reason="gives privileges up")
def test_what_is_not_permitted_is_one_line_and_no_end() -> None:
    said = _play(drop=True, lock=False)
    assert said == ["1", f"{os.SCHED_OTHER} {os.SCHED_OTHER} 0", "SCHED_OTHER 0"]


@pytest.mark.skipif(os.geteuid() != 0, reason="gives privileges up")
def test_who_is_real_time_and_may_make_nobody_else_so_starts_programs_as_they_are() -> None:
    """As by a unit with CPUSchedulingPolicy= and without LimitRTPRIO=."""
    scene = """
import os, resource
from harp.daemon import privileges
os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(7))
limits = [privileges.at_once()[1:]]
resource.setrlimit(resource.RLIMIT_RTPRIO, (0, 0))
os.setgid(65534); os.setuid(65534)
print(limits, privileges.at_once())
"""
    said = subprocess.check_output([sys.executable, "-c", scene], text=True)
    assert said == "[('--fifo', '1')] ()\n"


def test_a_second_harpd_is_told_of_the_first(tmp_path: Path) -> None:
    with single_instance(tmp_path / "run"):
        with pytest.raises(Failure, match=rf"harpd runs already \(process {os.getpid()}\)"):
            with single_instance(tmp_path / "run"):
                raise AssertionError("two at once")
    with single_instance(tmp_path / "run"):
        pass


def test_a_run_directory_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(Failure, match=r"Not a directory; set daemon\.run_dir"):
        with single_instance(tmp_path / "file" / "run"):
            raise AssertionError("no directory")
