"""A board's top under test: PHYs, their management and the serial link, from power-up on.

The host's side is the host's own code: a `Client` on a port of octets. It blocks; `host` runs it in
a thread that goes on only while the simulation stands still (cocotb's bridge), so runs repeat.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import cocotb
from cocotb.clock import Clock
from cocotb.task import bridge, resume
from cocotb.triggers import RisingEdge, Timer
from cocotb.utils import get_sim_time
from cocotbext.uart import UartSink, UartSource

from harp.offload.client import Client
from harp_boards.board import Board
from harp_gateware.mac.phys import (
    BASIC_CONTROL,
    BASIC_STATUS,
    PHY_IDENTIFIER_1,
    PHY_IDENTIFIER_2,
    Phy,
)
from harp_sim.pins.line import Collector, Line, Taken, chunks
from harp_sim.pins.mdio import Wire
from harp_sim.pins.verilog import simulated

LINE_PS = 4_000
"""A nibble at 1000 Mb/s."""
STEP_NS = 160
"""Between two looks at the PHYs' queues: less than a chunk takes on the line."""
TURN_US = 20
"""How long the host's port waits for an octet."""
SETTLE_NS = 12_000
"""Two whole buffers are sent in less than 160 µs; nothing moves for so long: nothing comes."""
UP = 0b1101
"""In-band: link, 1000 Mb/s, full duplex (RGMII 2.0 §3.4.1)."""
STATUS_UP = {"88E1512": {17: 0xAC00}, "B50612D": {0x19: 0x8704}, "KSZ9031": {1: 0x796D, 0x1F: 0x48}}
"""Registers of a PHY whose link is up at 1000 Mb/s, full duplex."""
STATUS_HUNDRED = {
    "88E1512": {17: 0x6C00},
    "B50612D": {0x19: 0x8504},
    "KSZ9031": {1: 0x796D, 0x1F: 0x28},
}
POWERED_DOWN, LOOPBACK_BIT = 1 << 11, 1 << 14
"""Bits of the basic control register (IEEE 802.3 §22.2.4.1)."""
DELAYS = {"88E1512": (21, 1 << 5), "B50612D": (0x18, 1 << 8)}
"""Register and bit that make a PHY delay what is received; others do it by themselves."""
EYE = (0, 60)
"""Steps of 25 ps: a nibble stands for 4 ns, and the PHY's delay puts the edge in its middle."""
T = TypeVar("T")


class Phys(Wire):
    """The PHYs of a bus, each with a partner; one without power shows no link."""

    def __init__(self, phy: Phy, addresses: tuple[int, ...]) -> None:
        super().__init__({address: _registers(phy) for address in addresses})
        self._shown = frozenset(STATUS_UP[phy.name])

    def read(self, phy: int, register: int) -> int:
        """A link is shown only by one that has power."""
        off = self.registers[phy].get(BASIC_CONTROL, 0) & POWERED_DOWN
        return 0 if off and register in self._shown else super().read(phy, register)


class Port:
    """One PHY with its line."""

    def __init__(self, dut: Any, number: int) -> None:
        self._dut, self._number = dut, number
        self.to_play: deque[int] = deque()
        self.taken: list[Taken] = []
        self.stamps: list[int] = []
        """When each frame's preamble began at the pins, ps."""
        self.moved = 0
        self._collector = Collector()
        self._push = self._pop = self._stamp_pop = self._eye = 0
        self._loop = False
        for name in (
            "stopped",
            "cut",
            "loop",
            "eye",
            "push",
            "chunk",
            "stamp_pop",
            "pop",
            "by_hand",
        ):
            self.set(name, 0)
        self.set("by_hand", 0)
        self.set("status", UP)

    def set(self, name: str, value: int) -> None:
        """An input of the PHY."""
        getattr(self._dut, f"{name}_{self._number}").value = value

    def get(self, name: str) -> int:
        """An output of it."""
        return int(getattr(self._dut, f"{name}_{self._number}").value)

    def clock(self, ppm: float) -> None:
        """The partner's clock."""
        steps = round(LINE_PS * 10 / (1 + ppm * 1e-6) / 2) * 2
        Clock(getattr(self._dut, f"clk_phy_{self._number}"), steps / 10, unit="ps").start()

    def play(self, lines: Iterable[Line]) -> None:
        """Queues frames."""
        for line in lines:
            self.to_play.extend(chunks(line))

    def eye(self, steps: tuple[int, int] | None) -> None:
        """First and last delay of the pins at which nibbles are right; None: at none."""
        value = 1 << 14 | steps[1] << 7 | steps[0] if steps else 0
        if value != self._eye:
            self._eye = value
            self.set("eye", value)

    def loop(self, on: bool) -> None:
        """The PHY's own loopback."""
        if on != self._loop:
            self._loop = on
            self.set("loop", on)

    def move(self) -> bool:
        """One chunk each way."""
        flags = self.get("flags")
        assert not flags >> 4, f"port {self._number}: clock pin or queues, flags {flags:#x}"
        moved = False
        if self.to_play and flags >> 2 & 1:
            self.set("chunk", self.to_play.popleft())
            self._push ^= 1
            self.set("push", self._push)
            moved = True
        if flags >> 1 & 1:
            self.stamps.append(self.get("stamp"))
            self._stamp_pop ^= 1
            self.set("stamp_pop", self._stamp_pop)
        if flags & 1:
            frame = self._collector.chunk(self.get("taken"))
            if frame is not None:
                self.taken.append(frame)
            self._pop ^= 1
            self.set("pop", self._pop)
            moved = True
        return moved or not flags >> 3 & 1


class Serial:
    """The serial pins as a port that the host's code can open; used in a `host` thread only."""

    def __init__(self, dut: Any, baud: int) -> None:
        self._source = UartSource(dut.uart_rx, baud=baud)
        self._sink = UartSink(dut.uart_tx, baud=baud)
        self._source.log.setLevel("WARNING")
        self._sink.log.setLevel("WARNING")

    def fileno(self) -> int | None:
        """There is none."""
        return None

    def read(self) -> bytes:
        """What has come, or comes within TURN_US."""
        octets: bytes = resume(self._read)()
        return octets

    async def _read(self) -> bytes:
        if self._sink.empty():
            await self._sink.wait(TURN_US, "us")
        return bytes(self._sink.read_nowait())

    def write(self, octets: bytes) -> None:
        """Sends."""
        resume(self._write)(octets)

    async def _write(self, octets: bytes) -> None:
        await self._source.write(octets)

    def close(self) -> None:
        """Nothing to give back."""


class Bench:
    """A board with its PHYs. `ppm`: of each partner's clock against the board's."""

    def __init__(self, dut: Any, name: str, baud: int, ppm: tuple[float, ...] = (0, 0)) -> None:
        self.dut = dut
        self.board: Board = simulated(name)
        self.ports = [Port(dut, n) for n in range(self.board.ports)]
        self.wires = [Phys(bus.phy, bus.addresses) for bus in self.board.buses]
        self.eye = EYE
        """Of both ports, while the PHY delays."""
        self.rng = random.Random(cocotb.RANDOM_SEED)
        self._ppm, self._baud = ppm, baud
        for n in range(len(self.wires)):
            getattr(dut, f"mdio_drive_{n}").value = 0
            getattr(dut, f"mdio_value_{n}").value = 1

    async def start(self, *, link: bool = True, core_alone: bool = False) -> None:
        """Power, clocks, the PLL's lock; with `link`, until both links are up.

        `core_alone`: no clock but the core's runs, which saves time where no frame is sent."""
        dut = self.dut
        dut.lock.value = 0
        dut.uart_rx.value = 1
        Clock(dut.clk_core, 10**12 // self.board.pll.core_hz // 2 * 2, unit="ps").start()
        if not core_alone:
            Clock(dut.clk_line, LINE_PS, unit="ps").start()
            for port, ppm in zip(self.ports, self._ppm, strict=False):
                port.clock(ppm)
            for n, wire in enumerate(self.wires):
                cocotb.start_soon(self._manage(n, wire))
            cocotb.start_soon(self._pump())
        self.serial = Serial(dut, self._baud)
        await Timer(100, "ns")
        dut.lock.value = 1
        if link:
            await self.host(lambda client: self.wait_for_links(client))

    def wait_for_links(self, client: Client, ports: tuple[int, ...] = ()) -> None:
        """Until these ports', or all, are up; in a `host` thread."""
        for n in ports or range(self.board.ports):
            for _ in range(40):
                state = client.read("port_state", n)
                if state["link"]:
                    break
            else:
                raise AssertionError(f"port {n}: {state}")

    def _place(self, port: int) -> tuple[int, int]:
        """Bus and address of a port's PHY."""
        places = [(n, a) for n, bus in enumerate(self.board.buses) for a in bus.addresses]
        return places[port]

    def registers(self, port: int) -> dict[int, int]:
        """Of a port's PHY."""
        bus, address = self._place(port)
        return self.wires[bus].registers.get(address, {})

    def writes(self, port: int) -> list[tuple[int, int, int]]:
        """To a port's PHY so far: address, register, value."""
        bus, address = self._place(port)
        return [write for write in self.wires[bus].writes if write[0] == address]

    def vanish(self, port: int) -> None:
        """The PHY answers nothing, until `reset_phy`."""
        bus, address = self._place(port)
        del self.wires[bus].registers[address]

    def reset_phy(self, port: int) -> None:
        """Its registers are what they are after power-up, link up."""
        bus, address = self._place(port)
        registers = self.wires[bus].registers
        registers[address] = _registers(self.board.buses[bus].phy)

    def link(self, port: int, up: bool, *, hundred: bool = False) -> None:
        """What a PHY says of its link, in its registers and in-band."""
        phy = self.board.buses[self._place(port)[0]].phy
        link_up = (STATUS_HUNDRED if hundred else STATUS_UP)[phy.name]
        self.registers(port).update(link_up if up else dict.fromkeys(link_up, 0))
        self.ports[port].set("status", UP if up else 0)

    async def host(self, work: Callable[[Client], T]) -> T:
        """Runs blocking code with a client of the board's serial link."""

        def thread() -> T:
            with Client(self.serial, self._baud, clock=_sim_us) as client:
                return work(client)

        return await bridge(thread)()

    async def settle(self) -> None:
        """Until everything queued has been played and nothing has come out for long enough."""
        quiet_ns = 0
        while quiet_ns < SETTLE_NS:
            before = [port.moved for port in self.ports]
            await Timer(STEP_NS, "ns")
            same = before == [port.moved for port in self.ports]
            quiet_ns = quiet_ns + STEP_NS if same else 0

    def _follow(self) -> None:
        """What the PHYs' registers do to their pins."""
        for number, port in enumerate(self.ports):
            phy, held = self.board.buses[self._place(number)[0]].phy, self.registers(number)
            register, bit = DELAYS.get(phy.name, (PHY_IDENTIFIER_2, 0))
            port.eye(self.eye if held.get(register, 0) & bit or not bit else None)
            port.loop(bool(held.get(BASIC_CONTROL, 0) & LOOPBACK_BIT))

    async def _pump(self) -> None:
        while True:
            for port in self.ports:
                port.moved += port.move()
            await Timer(STEP_NS, "ns")

    async def _manage(self, n: int, wire: Wire) -> None:
        """The PHYs' side of MDC and MDIO."""
        mdc, line = (getattr(self.dut, f"{name}_{n}") for name in ("mdc", "mdio"))
        drive, value = (getattr(self.dut, f"mdio_{name}_{n}") for name in ("drive", "value"))
        while True:
            await RisingEdge(mdc)
            wire.rising(int(line.value))
            self._follow()
            await Timer(20, "ns")
            drive.value = int(wire.driving)
            value.value = wire.drives


def _registers(phy: Phy) -> dict[int, int]:
    """After power-up, with a partner."""
    identity = {
        PHY_IDENTIFIER_1: phy.identity >> 16,
        PHY_IDENTIFIER_2: phy.identity & 0xFFFF,
        BASIC_STATUS: 0x7949,
    }
    return identity | STATUS_UP[phy.name]


def _sim_us() -> int:
    return int(get_sim_time("us"))
