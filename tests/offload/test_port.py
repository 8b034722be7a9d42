"""Ports: one host a device, URLs of any kind, recordings on a disk that is full."""

from __future__ import annotations

import os
import pty
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from harp.offload.frames import Request, encode
from harp.offload.port import PortFailed, RecordedPort, SerialPort, open_port
from harp.tables.link import BAUD, LinkOp


@pytest.fixture
def terminal() -> Iterator[str]:
    ours, theirs = pty.openpty()
    yield os.ttyname(theirs)
    os.close(ours)
    os.close(theirs)


def test_a_device_has_one_host(terminal: str) -> None:
    first = open_port(terminal, BAUD)
    with pytest.raises(PortFailed, match="exclusively lock") as refused:
        open_port(terminal, BAUD)
    assert "\n" not in str(refused.value)
    first.close()
    open_port(terminal, BAUD).close()


def test_a_device_that_is_not_there_is_named_once() -> None:
    with pytest.raises(PortFailed) as refused:
        open_port("/dev/nowhere", BAUD)
    assert str(refused.value) == "/dev/nowhere: No such file or directory"


def test_a_url_that_is_no_device_opens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        open_port(f"socket://127.0.0.1:{server.getsockname()[1]}", BAUD).close()
    open_port("loop://", BAUD).close()


def test_a_recording_that_finds_no_room_is_a_failed_port() -> None:
    """Whether the disk is full is known when the file's buffer is written, not before."""
    port = RecordedPort(Path("/dev/full"), SerialPort("loop://", BAUD))
    request = encode(Request(LinkOp.READ, 1, 0, 1))
    with pytest.raises(PortFailed, match="/dev/full"):
        for _ in range(10_000):
            port.write(request)
            port.read()
    port.close()
