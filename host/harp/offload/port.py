"""The serial port of a device, by pyserial's URLs.

Ref: pyserial, "URL handlers"; FTDI AN232B-04 (latency timer)
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Any

import serial

_SYS = Path("/sys/bus/usb-serial/devices")
FTDI_LATENCY_MS = 1
"""More than this keeps octets waiting in the adapter."""


class PortFailed(Exception):
    """The port cannot be opened, or was lost; one line."""


def device_of(url: str) -> str:
    """What pyserial is to open: `serial:///dev/ttyUSB1` is the device itself."""
    return url.removeprefix("serial://")


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


class Port:
    """An open port; reads never wait."""

    def __init__(self, url: str, baud: int) -> None:
        """Raises PortFailed."""
        try:
            # Exclusive where there is a device: two hosts on one board would both kick it.
            self._serial: Any = serial.serial_for_url(
                device_of(url), baudrate=baud, timeout=0, write_timeout=0, exclusive=None
            )
            with contextlib.suppress(AttributeError, ValueError, OSError):
                self._serial.exclusive = True
            self._serial.reset_input_buffer()
        except (serial.SerialException, OSError, ValueError) as error:
            raise PortFailed(f"{url}: {_line(error)}") from None

    def fileno(self) -> int | None:
        """For a loop; None: it has to be asked from time to time (`loop://`)."""
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
    return " ".join(str(error).split()) or type(error).__name__
