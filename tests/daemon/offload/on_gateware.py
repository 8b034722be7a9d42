"""Runs in a network namespace of its own: the shell on the gateware, simulated between two veths.

`python on_gateware.py PROGRAM` (of `harp_sim.cosim`): prints one JSON object with what was seen.
"""

from __future__ import annotations

import asyncio
import json
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from harp.daemon.clock import SystemClock
from harp.daemon.config.model import DaemonConfig, OffloadSettings
from harp.daemon.offload.bridge import Bridge
from harp.daemon.offload.layout import lanes, settings
from harp.daemon.offload.shell import SerialOffload
from harp.engine.config import (
    EngineConfig,
    GroupConfig,
    LinkConfig,
    MemberConfig,
    Protection,
    Security,
)
from harp.engine.effects import HelloTemplate, Level, WatchPeer
from harp.engine.events import (
    DetectorAttached,
    DetectorLost,
    Event,
    Fenced,
    HelloSlotChanged,
    PeerReported,
    SequenceSeen,
)
from harp.offload.driver import Driver
from harp.offload.templates import MH_OFFSET, hello_frame
from harp.tables.codepoints import DEFAULT_CODE_POINTS
from harp.tables.harp_types import HarpType
from harp.wire.codec import Codec
from harp.wire.messages import Detection, Harp

GROUP, LINK = 7, "home"
INTERVAL_S, DEADLINE_US = 0.05, 150_000
MULTICAST = DEFAULT_CODE_POINTS.multicast_group.packed
CODEC = Codec(DEFAULT_CODE_POINTS)
EVERYTHING = 3
"""ETH_P_ALL."""


def address(n: int) -> bytes:
    return bytes.fromhex("20010db80001000000000000000000") + bytes((n,))


def group() -> EngineConfig:
    members = tuple(MemberConfig(f"ha{n}", (address(n),)) for n in (1, 2, 3))
    return EngineConfig(
        (
            GroupConfig(
                GROUP,
                (LinkConfig(LINK, slots=True),),
                members,
                0,
                virtual_address=address(0xFE),
                hello_interval_us=round(INTERVAL_S * 1e6),
                protection=Protection(Security.NONE, insecure=True),
            ),
        )
    )


def header(n: int, sequence: int, flags: int = 0x20) -> bytes:
    options = (Detection(round(INTERVAL_S * 1e6), 3),)
    message = Harp(
        HarpType.HELLO,
        GROUP,
        sequence,
        flags=flags,
        lifetime_s=3,
        interval_ms=50,
        options=options,
    )
    return CODEC.build(address(n), MULTICAST, message)


def make_wires() -> None:
    for line in (
        "ip link set lo up",
        "ip link add net type veth peer name far",
        "ip link add host type veth peer name near",
        *(f"ip link set {name} up" for name in ("net", "far", "host", "near")),
    ):
        subprocess.run(line.split(), check=True)


class Wire:
    """MH frames on one interface."""

    def __init__(self, name: str) -> None:
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(EVERYTHING))
        self._socket.bind((name, EVERYTHING))
        self._socket.setblocking(False)
        self.seen: list[tuple[float, bytes]] = []

    def drain(self) -> None:
        while True:
            try:
                octets, where = self._socket.recvfrom(10_000)
            except BlockingIOError:
                return
            if where[2] != socket.PACKET_OUTGOING and octets[20:21] == b"\x87":
                self.seen.append((time.monotonic(), octets))

    def hello(self, n: int, sequence: int) -> None:
        mh = header(n, sequence)
        frame = hello_frame(b"\x02\0\0\0\0" + bytes((n,)), address(n), MULTICAST, mh)
        self._socket.send(frame[:MH_OFFSET] + mh)


class Story:
    """What happens, one step after the other."""

    def __init__(self, url: str, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.far, self.host = Wire("far"), Wire("host")
        self.events: list[tuple[float, Event]] = []
        self.said: list[str] = []
        offload = OffloadSettings(device=url, lease_us=200_000)
        whole = DaemonConfig(group(), offload=offload)
        through = lanes(whole)
        wanted = settings(whole, through)
        driver = Driver(wanted, offload.baud, random.Random(1))
        self.bridge = Bridge(
            through, driver, wanted.lease_ms * 1000, lambda link: b"\x02" + bytes(5)
        )
        self.shell = SerialOffload(
            url, offload.baud, driver, self.bridge, self.deliver, SystemClock(), self.tell
        )
        self.sequence = 0
        self.speaks = True
        self._tasks: list[asyncio.Task[None]] = []

    def tell(self, level: Level, text: str) -> None:
        self.said.append(text)

    def deliver(self, event: Event) -> None:
        """As an engine would answer."""
        self.events.append((time.monotonic(), event))
        match event:
            case DetectorAttached():
                for n in (2, 3):
                    late_us = DEADLINE_US * 2 // 3
                    self.shell.watch(
                        WatchPeer(
                            GROUP,
                            address(n),
                            LINK,
                            DEADLINE_US * (1 if n == 2 else 100),
                            late_us,
                            self.sequence,
                        )
                    )
            case HelloSlotChanged(running=True, sequence=0):
                self.say(0x20)
            case Fenced(True):
                self.shell.active(GROUP, False)
                self.say(0x20)
            case _:
                pass

    def say(self, flags: int) -> None:
        mh = header(1, 100, flags)
        self.shell.template(HelloTemplate(GROUP, LINK, address(1), MULTICAST, mh))

    def had(self, kind: type) -> list[Event]:
        return [event for _, event in self.events if isinstance(event, kind)]

    async def until(self, true: Callable[[], bool], limit_s: float = 20.0) -> float:
        """How long it took, s."""
        loop, done, begin = asyncio.get_running_loop(), asyncio.Event(), time.monotonic()

        def look() -> None:
            self.far.drain()
            self.host.drain()
            if true():
                done.set()
            else:
                loop.call_later(0.002, look)

        look()
        async with asyncio.timeout(limit_s):
            await done.wait()
        return round(time.monotonic() - begin, 4)

    async def beat(self) -> None:
        while True:
            await asyncio.sleep(INTERVAL_S)
            if self.speaks:
                self.sequence += 1
                self.far.hello(2, self.sequence)

    async def run(self) -> dict[str, object]:
        await self.shell.open()
        seen: dict[str, object] = {}
        seen["attach_s"] = await self.until(lambda: bool(self.had(DetectorAttached)))
        self._tasks.append(asyncio.create_task(self.beat()))
        await self.until(lambda: self.sequence > 60)
        seen["false_reports"] = len(self.reported("down"))
        seen["heartbeats"], seen["passed"] = self.sequence, len(self.host.seen)
        seen["slot_frames"] = len(self.far.seen)
        numbers = [int.from_bytes(f[MH_OFFSET + 8 : MH_OFFSET + 10]) for _, f in self.far.seen]
        seen["slot_in_order"] = numbers == list(range(101, 101 + len(numbers)))
        seen["sequences_told"] = len(self.had(SequenceSeen)) > 0
        seen["silence_s"] = await self.silence()
        seen |= await self.pulled()
        seen |= await self.killed()
        await self.shell.close()
        seen["status"] = self.shell.status().counters["link_bad_frames"]
        for task in self._tasks:
            task.cancel()
        return seen

    async def silence(self) -> float:
        """From the last HELLO to the report."""
        self.speaks = False
        last = time.monotonic()
        await self.until(lambda: bool(self.reported("down")))
        took = self.reported("down")[0]
        self.speaks = True
        await self.until(lambda: bool(self.reported("up")))
        return round(took - last, 4)

    def reported(self, state: str) -> list[float]:
        """When a peer was said to be so."""
        return [t for t, e in self.events if isinstance(e, PeerReported) and e.state == state]

    async def pulled(self) -> dict[str, object]:
        """The serial cable of a standby: software watches, then the board again."""
        self.process.send_signal(signal.SIGUSR1)
        lost = await self.until(lambda: bool(self.had(DetectorLost)))
        self.process.send_signal(signal.SIGUSR2)
        again = await self.until(lambda: len(self.had(DetectorAttached)) == 2)
        return {"lost_s": lost, "again_s": again, "fenced_as_standby": len(self.had(Fenced))}

    async def killed(self) -> dict[str, object]:
        """Kicks end while active: goodbye by the board, then the fence, then unfenced."""
        self.shell.active(GROUP, True)
        self.say(0xA0)
        await self.until(lambda: self.far.seen[-1][1][MH_OFFSET + 11] == 0xA0)
        count = len(self.far.seen)
        await asyncio.sleep(0.1)
        self.process.send_signal(signal.SIGUSR1)

        def goodbyes() -> int:
            frames = [f for _, f in self.far.seen[count:]]
            return sum(f[MH_OFFSET + 14 : MH_OFFSET + 16] == b"\0\0" for f in frames)

        # Of three, a simulation slower than time may send fewer: they fall together.
        resigned = await self.until(lambda: goodbyes() > 0)
        withdrew = self.had(Fenced)
        self.process.send_signal(signal.SIGUSR2)
        unfenced = await self.until(lambda: len(self.had(Fenced)) == 2)
        return {"resigned_s": resigned, "fenced": len(withdrew), "unfenced_s": unfenced}


def main(program: str) -> dict[str, object]:
    make_wires()
    serial = Path("tty").absolute()
    process = subprocess.Popen(
        [program, "net", "near", str(serial)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "running\n"
        story = Story(str(serial), process)
        try:
            return asyncio.run(story.run())
        except TimeoutError:
            return {
                "failed": story.said,
                "status": str(story.shell.status()),
                "events": [str(e) for _, e in story.events][-20:],
            }
    finally:
        process.terminate()
        process.wait(5)


if __name__ == "__main__":
    signal.alarm(200)
    print(json.dumps(main(sys.argv[1])))
