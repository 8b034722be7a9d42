"""Network namespaces: made, entered, removed; leftovers of a laboratory that died are found.

Ref: network_namespaces(7), setns(2), ip-netns(8)

A laboratory's namespaces share a prefix. Its directory under `/run/harp-lab` holds the marker: who
made them, as process id and start time. Whose maker is gone is removed; nothing else is touched.
"""

from __future__ import annotations

import ctypes
import itertools
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec

from harp.cli.common import Failure

LABS = Path("/run/harp-lab")
"""One directory a laboratory."""
NAMESPACES = Path("/run/netns")
MARKER = "marker.json"
OWN_NET = Path("/proc/thread-self/ns/net")
_numbers = itertools.count()
_CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)


def ip(*arguments: str, stdin: str | None = None) -> None:
    """Runs `ip`; Failure tells what it said."""
    done = subprocess.run(
        ("ip", *arguments), input=stdin, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise Failure(f"ip {' '.join(arguments)}: {done.stderr.strip() or done.returncode}")


@contextmanager
def entered(name: str) -> Iterator[None]:
    """The calling thread is in namespace `name`: sockets made now stay there for their life."""
    with OWN_NET.open("rb") as home, (NAMESPACES / name).open("rb") as there:
        _setns(there.fileno())
        try:
            yield
        finally:
            _setns(home.fileno())


def _setns(descriptor: int) -> None:
    if _libc.setns(descriptor, _CLONE_NEWNET):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def start_time(pid: int) -> int | None:
    """Start of a process in clock ticks since boot: with its id unique; None: it is gone."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text("utf-8")
    except OSError:
        return None
    # The command's name may hold anything, but ends with the last parenthesis (proc(5)).
    return int(text.rpartition(")")[2].split()[19])


class Namespaces:
    """The namespaces of one laboratory and its directory."""

    def __init__(self, nodes: Sequence[str], root: Path = LABS) -> None:
        self.prefix = f"harp{os.getpid()}-{next(_numbers)}"
        self.directory = root / self.prefix
        self._nodes = tuple(nodes)

    def name(self, node: str) -> str:
        """Name of a node's namespace, as `ip netns` has it."""
        return f"{self.prefix}-{node}"

    def make(self) -> None:
        """Directory and marker first: what dies half-way is found too."""
        self.directory.mkdir(parents=True)
        names = [self.name(node) for node in self._nodes]
        marker = _Marker(os.getpid(), start_time(os.getpid()), names)
        (self.directory / MARKER).write_bytes(msgspec.json.encode(marker))
        for name in names:
            ip("netns", "add", name)

    def remove(self) -> None:
        """Removes all, processes in them included."""
        _remove(self.directory)


def remove_leftovers(root: Path = LABS) -> list[str]:
    """Removes laboratories whose maker is gone; returns their prefixes."""
    gone = []
    for directory in sorted(root.glob("*")) if root.is_dir() else ():
        marker = _marker(directory)
        if marker is not None and start_time(marker.pid) != marker.start:
            _remove(directory)
            gone.append(directory.name)
    return gone


@dataclass(frozen=True, slots=True)
class _Marker:
    """Who made a laboratory, and what."""

    pid: int
    start: int | None
    namespaces: list[str]


def _marker(directory: Path) -> _Marker | None:
    """None: not a laboratory, or one whose marker is still being written: left alone."""
    try:
        return msgspec.json.decode((directory / MARKER).read_bytes(), type=_Marker)
    except (OSError, msgspec.DecodeError):
        return None


def _remove(directory: Path) -> None:
    marker = _marker(directory)
    for name in marker.namespaces if marker else ():
        _end_processes(name)
        if (NAMESPACES / name).exists():
            ip("netns", "del", name)
    shutil.rmtree(directory, ignore_errors=True)


def _end_processes(name: str) -> None:
    """Kills what still runs in a namespace of ours."""
    try:
        inode = (NAMESPACES / name).stat().st_ino
    except OSError:
        return
    for entry in Path("/proc").iterdir():
        if not entry.name.isdecimal() or int(entry.name) == os.getpid():
            continue
        try:
            if (entry / "ns/net").stat().st_ino == inode:
                os.kill(int(entry.name), signal.SIGKILL)
        except OSError:
            continue
