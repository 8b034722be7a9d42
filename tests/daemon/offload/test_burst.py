"""harpd as a process, with as many peers as a board has room for: all registered, at each plug.

The board is the one in plain Python, between two veth pairs in a namespace of the test's own.
"""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.daemon.network import entered, ip, namespace, until

from harp.offload.templates import MH_OFFSET, hello_frame
from harp.tables.codepoints import DEFAULT_CODE_POINTS
from harp.tables.harp_types import HarpType
from harp.tables.offload import PEERS
from harp.wire.codec import Codec
from harp.wire.messages import Detection, Harp
from harp_sim.device.board import Board
from harp_sim.device.run import Interface, RealTime
from harp_sim.model.config import Port

pytestmark = [
    pytest.mark.skipif("HARP_VERIFY" not in os.environ, reason="make verify: runs for a minute"),
    pytest.mark.skipif(os.geteuid() != 0, reason="makes a network namespace: root"),
]

GROUP, INTERVAL_MS, MULTIPLIER = 7, 500, 6
MULTICAST = DEFAULT_CODE_POINTS.multicast_group.packed
CODEC = Codec(DEFAULT_CODE_POINTS)
CONFIG = """
[daemon]
state_dir = "{directory}/state"
run_dir = "{directory}/run"
metrics_listen = ""
log_level = "info"
[control]
socket = "{directory}/run/control"
[offload]
device = "sim:{directory}/board"
lease_ms = 200
[[group]]
id = 7
me = "ha33"
virtual_address = "2001:db8:1::ffff"
home_prefixes = ["2001:db8:1::/64"]
hello_interval_ms = {interval}
multiplier = {multiplier}
security = "none"
insecure = true
[[group.link]]
interface = "home"
"""
MEMBER = """
[[group.member]]
name = "ha{n}"
addresses = ["2001:db8:1::{n:x}"]
"""


def address(n: int) -> bytes:
    return bytes.fromhex("20010db80001000000000000") + n.to_bytes(4, "big")


class Peers:
    """All the other members, as their HELLOs on the wire: said by one thread."""

    def __init__(self, interface: str) -> None:
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
        self._socket.bind((interface, 0))
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        sequence = 0
        while not self._stop.wait(INTERVAL_MS / 1000):
            sequence += 1
            for n in range(1, PEERS + 1):
                self._socket.send(_hello(n, sequence))

    def close(self) -> None:
        self._stop.set()
        self._thread.join()
        self._socket.close()


def _hello(n: int, sequence: int) -> bytes:
    message = Harp(
        HarpType.HELLO,
        GROUP,
        sequence,
        flags=0x20,
        lifetime_s=10,
        interval_ms=INTERVAL_MS,
        options=(Detection(1000 * INTERVAL_MS, MULTIPLIER),),
    )
    header = CODEC.build(address(n), MULTICAST, message)
    frame = hello_frame(b"\x02\0\0\0\1" + bytes((n,)), address(n), MULTICAST, header)
    return frame[:MH_OFFSET] + header


@contextlib.contextmanager
def plugged(netns: str, link: Path) -> Iterator[Board]:
    """A board with power, and its serial link at `link`; then neither."""
    with entered(netns):
        ports = {Port.NETWORK: Interface("network"), Port.HOST: Interface("host")}
    board = Board()
    runner = RealTime(board, ports)
    thread = threading.Thread(target=runner.run)
    thread.start()
    link.symlink_to(runner.terminal.path)
    try:
        yield board
    finally:
        link.unlink()
        runner.stop()
        thread.join()


@contextlib.contextmanager
def running(netns: str, directory: Path) -> Iterator[None]:
    """The daemon, with its log in `directory`."""
    text = CONFIG.format(directory=directory, interval=INTERVAL_MS, multiplier=MULTIPLIER)
    text += "".join(MEMBER.format(n=n) for n in range(1, PEERS + 2))
    (directory / "harpd.toml").write_text(text)
    command = [sys.executable, "-m", "harp.cli.harpd", "-c", str(directory / "harpd.toml")]
    with (directory / "log").open("wb") as log:
        process = subprocess.Popen(["ip", "netns", "exec", netns, *command], stderr=log)
    try:
        yield
    finally:
        process.terminate()
        process.wait(30)


def watched(board: Board) -> set[bytes]:
    """Peers whose deadline the board keeps."""
    peers = [peer for peer in board.model.config.peers if peer is not None]
    return {p.source for p in peers if p.deadline_us == 1000 * INTERVAL_MS * MULTIPLIER}


def test_every_registration_of_a_burst_arrives_at_each_plug(tmp_path: Path) -> None:
    """Each is 32 peers that are known, then 32 that are watched: 128 registrations in all. The
    second board is another that knows nobody."""
    link, everyone = tmp_path / "board", {address(n) for n in range(1, PEERS + 1)}
    with contextlib.ExitStack() as stack:
        netns = stack.enter_context(namespace("burst"))
        for one, other in (("home", "host"), ("network", "far")):
            ip("-n", netns, "link", "add", one, "type", "veth", "peer", "name", other)
            for name in (one, other):
                ip("-n", netns, "link", "set", name, "up")
        ip("-n", netns, "addr", "add", "2001:db8:1::21/64", "dev", "home", "nodad")
        with entered(netns):
            peers = Peers("far")
        stack.callback(peers.close)
        stack.enter_context(running(netns, tmp_path))
        log = tmp_path / "log"
        until(lambda: "started: group" in log.read_text(), "harpd runs", 120)
        for n in range(2):
            with plugged(netns, link) as board:
                until(lambda: watched(board) == everyone, f"all registered, plug {n}", 60)
