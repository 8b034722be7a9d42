"""The board in plain Python, in real time: a pseudo terminal and two interfaces.

    python -m harp_sim.device --link /run/harp/board --network veth1 --host veth2

`--link` becomes a symbolic link to the pseudo terminal that harpd opens; without interfaces there
are no frames, only the serial link. Needs CAP_NET_RAW for the interfaces. Whoever sends into the
veth pairs must compute its checksums itself (ethtool -K … tx off).

Limits: one thread of Python: some thousand frames a second, events within a millisecond or two;
slots leave as late as the machine wakes up. Ref: packet(7), pty(7); offload.md §7
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import struct
import termios
import time
import tty
from pathlib import Path

from harp.tables.offload import MAX_FRAME_OCTETS
from harp_sim.device.board import Board
from harp_sim.model.config import Port

_ETH_P_ALL = 3
_SOL_PACKET, _ADD_MEMBERSHIP, _IGNORE_OUTGOING, _PROMISCUOUS = 263, 1, 23, 1
_IN_A_ROW = 64
"""Frames of one port before the others have their turn."""


class Interface:
    """One of the board's ports on a network interface of this machine."""

    def __init__(self, name: str) -> None:
        """Raises OSError."""
        self.name = name
        self._socket = socket.socket(
            socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_NONBLOCK, socket.htons(_ETH_P_ALL)
        )
        self._socket.bind((name, _ETH_P_ALL))
        self._socket.setsockopt(_SOL_PACKET, _IGNORE_OUTGOING, 1)
        member = struct.pack("iHH8s", socket.if_nametoindex(name), _PROMISCUOUS, 0, b"")
        self._socket.setsockopt(_SOL_PACKET, _ADD_MEMBERSHIP, member)

    def fileno(self) -> int:
        """For epoll."""
        return self._socket.fileno()

    def read(self) -> bytes | None:
        """A frame without FCS; None: none waits, or the interface is down."""
        try:
            return self._socket.recv(MAX_FRAME_OCTETS)
        except OSError:
            return None

    def write(self, frame: bytes) -> None:
        """What a down interface does not take is lost, as on a wire."""
        with contextlib.suppress(OSError):
            self._socket.send(frame)

    def close(self) -> None:
        """Gives the socket back."""
        self._socket.close()


class Terminal:
    """The serial link as a pseudo terminal; whoever opens `path` is the host."""

    def __init__(self) -> None:
        self.master, self._slave = os.openpty()
        tty.setraw(self._slave)
        # The slave stays open here, so that a host that closes it is no end of file.
        os.set_blocking(self.master, False)
        self.path = os.ttyname(self._slave)

    def read(self) -> bytes:
        """Octets of the host."""
        try:
            return os.read(self.master, 65536)
        except OSError:
            return b""

    def write(self, octets: bytes) -> None:
        """What nobody reads is lost, as on a serial line."""
        try:
            os.write(self.master, octets)
        except BlockingIOError:
            with contextlib.suppress(termios.error):
                termios.tcflush(self.master, termios.TCIOFLUSH)

    def close(self) -> None:
        """Hangs up."""
        os.close(self.master)
        os.close(self._slave)


class RealTime:
    """Runs a board until `stop`."""

    def __init__(self, board: Board, interfaces: dict[Port, Interface]) -> None:
        self.terminal = Terminal()
        self._board, self._interfaces = board, interfaces
        self._running = True
        self._stop_read, self._stop_write = os.pipe()
        os.set_blocking(self._stop_write, False)

    def stop(self) -> None:
        """From any thread, or a signal handler."""
        self._running = False
        with contextlib.suppress(OSError):
            os.write(self._stop_write, b"x")

    def run(self) -> None:
        """Until `stop`; then everything is closed."""
        with select.epoll() as poll:
            ports = {interface.fileno(): port for port, interface in self._interfaces.items()}
            for descriptor in (self.terminal.master, self._stop_read, *ports):
                poll.register(descriptor, select.EPOLLIN)
            while self._running:
                ready = poll.poll(self._patience_s())
                self._board.advance(_now_us())
                for descriptor, _ in ready:
                    if descriptor == self.terminal.master:
                        self._board.host_says(self.terminal.read(), _now_us())
                    elif descriptor in ports:
                        self._frames(ports[descriptor])
                self._send()
        self.terminal.close()
        for interface in self._interfaces.values():
            interface.close()
        os.close(self._stop_read)
        os.close(self._stop_write)

    def _patience_s(self) -> float:
        due = self._board.deadline
        return 1.0 if due is None else max(0.0, min(1.0, (due - _now_us()) / 1e6))

    def _frames(self, port: Port) -> None:
        for _ in range(_IN_A_ROW):
            frame = self._interfaces[port].read()
            if frame is None:
                return
            self._board.frame(port, frame, _now_us())

    def _send(self) -> None:
        frames, octets = self._board.take()
        for frame in frames:
            interface = self._interfaces.get(frame.port)
            if interface is not None:
                interface.write(frame.octets)
        if octets:
            self.terminal.write(octets)


def _now_us() -> int:
    return time.monotonic_ns() // 1000


def serve(link: Path | None, network: str, host: str) -> None:
    """Until SIGTERM or SIGINT. Raises OSError."""
    names = {Port.NETWORK: network, Port.HOST: host}
    interfaces = {port: Interface(name) for port, name in names.items() if name}
    runner = RealTime(Board(), interfaces)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: runner.stop())
    if link is not None:
        link.unlink(missing_ok=True)
        link.symlink_to(runner.terminal.path)
    print(runner.terminal.path, flush=True)
    try:
        runner.run()
    finally:
        if link is not None:
            link.unlink(missing_ok=True)
