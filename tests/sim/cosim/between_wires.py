"""Runs in a network namespace of its own: the simulated device between two veths and a pty.

`python between_wires.py PROGRAM`: prints one JSON object with what was seen.
"""

from __future__ import annotations

import json
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from harp.offload.client import Client
from harp.offload.port import open_port
from harp.tables.link import BAUD
from harp.tables.registers import REGISTERS

TYPE = b"\x88\xb5"
"""EtherType of local experiments (IEEE 802)."""
FLOOD = 1000


def make_wires() -> None:
    for line in (
        "ip link set lo up",
        "ip link add net type veth peer name far",
        "ip link add host type veth peer name near",
        *(f"ip link set {name} up" for name in ("net", "far", "host", "near")),
    ):
        subprocess.run(line.split(), check=True)


@contextmanager
def device(program: str, serial: Path) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [program, "net", "near", str(serial)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "running\n"
        yield process
    finally:
        process.terminate()
        process.wait(5)


class Wire:
    """Frames of TYPE on one interface."""

    def __init__(self, name: str) -> None:
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x88B5))
        self._socket.bind((name, 0x88B5))

    def send(self, octets: bytes) -> None:
        self._socket.send(b"\xff" * 6 + b"\x02" * 6 + TYPE + octets)

    def receive(self, timeout_s: float = 5.0) -> bytes | None:
        while select.select([self._socket], [], [], timeout_s)[0]:
            octets, address = self._socket.recvfrom(10_000)
            if address[2] != socket.PACKET_OUTGOING:
                return octets[14:]
        return None


def try_wire(far: Wire, host: Wire) -> dict[str, object]:
    """Sizes both ways, then a flood that must arrive whole."""
    sizes = (46, 100, 1000, 1500)
    same = []
    for size in sizes:
        for source, sink in ((far, host), (host, far)):
            payload = bytes(n % 251 for n in range(size))
            source.send(payload)
            same.append(sink.receive() == payload)
    began = time.monotonic()
    for _ in range(FLOOD):
        far.send(bytes(46))
    arrived = 0
    while arrived < FLOOD and host.receive() is not None:
        arrived += 1
    rate = arrived / (time.monotonic() - began)
    return {"same": same, "arrived": arrived, "frames_per_s": round(rate)}


def try_link(serial: Path) -> dict[str, object]:
    """Identity and every register that can be read, over the pseudo terminal."""
    with Client(open_port(str(serial), BAUD)) as client:
        identity = client.identify()
        read = sum(len(client.read(r.name)) > 0 for r in REGISTERS if r.name != "slot_template")
        return {"identity": str(identity), "read": read, "port": client.read("port", 0)}


def main(program: str) -> dict[str, object]:
    make_wires()
    serial = Path("tty")
    with device(program, serial) as process:
        far, host = Wire("far"), Wire("host")
        seen = {"wire": try_wire(far, host), "link": try_link(serial)}
        process.send_signal(signal.SIGUSR1)
        while serial.is_symlink():
            select.select([], [], [], 0.01)
        far.send(bytes(46))
        seen["pulled"] = {"wire": host.receive() is not None}
        process.send_signal(signal.SIGUSR2)
        while not serial.is_symlink():
            select.select([], [], [], 0.01)
        seen["plugged"] = try_link(serial)
    seen["after"] = {"serial": serial.is_symlink(), "status": process.returncode}
    return seen


if __name__ == "__main__":
    signal.alarm(120)
    print(json.dumps(main(sys.argv[1])))
