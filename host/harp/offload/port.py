"""The port of a device by its URL: pyserial's own, a simulated board's, and recordings.

`sim:PATH` is the pseudo terminal of a simulated board (`harp_sim.cosim`), like any serial port;
`record:FILE:URL` opens URL and writes the session to FILE; `replay:FILE` plays one back.
Ref: pyserial, "URL handlers"; FTDI AN232B-04 (latency timer)
"""

from __future__ import annotations

import contextlib
import os
import re
import threading
import time
from pathlib import Path
from typing import Any, Protocol

import serial

from harp.offload.replay import BadRecording, Recorder, ReplayDevice, parse
from harp.tables.simulated import SCHEME

_SYS = Path("/sys/bus/usb-serial/devices")
_PYSERIAL = re.compile(r"\[Errno \d+\] |could not open port \S+: |: '[^']+'$")
FTDI_LATENCY_MS = 1
"""More than this keeps octets waiting in the adapter."""


class PortFailed(Exception):
    """The port cannot be opened, or was lost; one line."""


def device_of(url: str) -> str:
    """What pyserial is to open: `serial:///dev/ttyUSB1` is the device itself, `sim:PATH` the
    pseudo terminal."""
    return url.removeprefix("serial://").removeprefix(SCHEME)


def latency_warning(url: str) -> str | None:
    """What to do where an FTDI adapter would hold octets back; None: nothing to say."""
    name = Path(os.path.realpath(device_of(url))).name
    timer = _SYS / name / "latency_timer"
    try:
        latency_ms = int(timer.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None
    if latency_ms <= FTDI_LATENCY_MS:
        return None
    return (
        f"{name} holds octets for up to {latency_ms} ms: "
        f"echo {FTDI_LATENCY_MS} > {timer} makes the offload faster"
    )


class Port(Protocol):
    """An open port; reads never wait. Every method but `close` may raise PortFailed.

    One thread may read while another writes."""

    def fileno(self) -> int | None:
        """For a loop; None: it has to be asked from time to time."""

    def read(self) -> bytes:
        """What has come."""

    def write(self, octets: bytes) -> None:
        """What the port does not take at once is lost, and repeated."""

    def close(self) -> None:
        """Gives it back, whatever state it is in."""


def open_port(url: str, baud: int) -> Port:
    """Raises PortFailed."""
    kind, _, rest = url.partition(":")
    if kind == "replay":
        return ReplayPort(Path(rest))
    if kind == "record":
        file, _, inner = rest.partition(":")
        return RecordedPort(Path(file), open_port(inner, baud))
    return SerialPort(url, baud)


def _now_us() -> int:
    return time.monotonic_ns() // 1000


class RecordedPort:
    """Another port, and a file with what passes."""

    def __init__(self, file: Path, port: Port) -> None:
        """Raises PortFailed."""
        self._port, self._recorder = port, Recorder(_now_us())
        self._one_line = threading.Lock()
        try:
            self._file = file.open("a", encoding="ascii")
        except OSError as error:
            port.close()
            raise PortFailed(f"{file}: {_line(error)}") from None

    def fileno(self) -> int | None:
        """That of the port."""
        return self._port.fileno()

    def read(self) -> bytes:
        """What has come."""
        octets = self._port.read()
        self._keep(self._recorder.received(octets, _now_us()))
        return octets

    def write(self, octets: bytes) -> None:
        """Sends."""
        self._keep(self._recorder.sent(octets, _now_us()))
        self._port.write(octets)

    def _keep(self, lines: list[str]) -> None:
        try:
            with self._one_line:
                self._file.writelines(f"{line}\n" for line in lines)
        except OSError as error:
            raise PortFailed(f"{self._file.name}: {_line(error)}") from None

    def close(self) -> None:
        """Gives both back."""
        self._port.close()
        with contextlib.suppress(OSError):
            self._file.close()


class ReplayPort:
    """A recorded session in place of a device."""

    def __init__(self, file: Path) -> None:
        """Raises PortFailed."""
        try:
            lines = file.read_text(encoding="ascii").splitlines()
            self._device = ReplayDevice(parse(lines))
        except (OSError, UnicodeDecodeError, BadRecording) as error:
            raise PortFailed(f"{file}: {_line(error)}") from None
        self._said = bytearray()

    def fileno(self) -> int | None:
        """It has none."""
        return None

    def read(self) -> bytes:
        """What is due."""
        octets = bytes(self._said) + self._device.receive(b"", _now_us())
        self._said.clear()
        return octets

    def write(self, octets: bytes) -> None:
        """Answered at the next `read`."""
        self._said += self._device.receive(octets, _now_us())

    def close(self) -> None:
        """Nothing is open."""


class SerialPort:
    """A serial port of this machine, or what pyserial calls one."""

    def __init__(self, url: str, baud: int) -> None:
        """Raises PortFailed."""
        try:
            # Locked before its settings change: two hosts on one board would both kick it. What is
            # no device of this machine (`socket://`) takes the word and locks nothing.
            self._serial: Any = serial.serial_for_url(
                device_of(url), baudrate=baud, timeout=0, write_timeout=0, exclusive=True
            )
            if self.fileno() is None:
                self._serial.write_timeout = None  # `loop://` would take nothing
            self._serial.reset_input_buffer()
        except (serial.SerialException, OSError, ValueError) as error:
            raise PortFailed(f"{url}: {_line(error)}") from None

    def fileno(self) -> int | None:
        """None for `loop://` and its like."""
        try:
            descriptor: int = self._serial.fileno()
        except (AttributeError, OSError, ValueError):
            return None
        return descriptor

    def read(self) -> bytes:
        """What has come. Raises PortFailed."""
        try:
            octets: bytes = self._serial.read(4096)
        except (serial.SerialException, OSError, TypeError) as error:
            raise PortFailed(_line(error)) from None
        return octets

    def write(self, octets: bytes) -> None:
        """Raises PortFailed. What the port does not take at once is lost, and repeated."""
        try:
            self._serial.write(octets)
        except serial.SerialTimeoutException:
            return
        except (serial.SerialException, OSError) as error:
            raise PortFailed(_line(error)) from None

    def close(self) -> None:
        """Gives it back, whatever state it is in."""
        with contextlib.suppress(serial.SerialException, OSError):
            self._serial.close()


def _line(error: Exception) -> str:
    """In pyserial's words, without numbers, and without the port, which stands before them."""
    words = _PYSERIAL.sub("", " ".join(str(error).split()))
    return words or type(error).__name__
