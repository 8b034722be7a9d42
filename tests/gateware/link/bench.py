"""The gateware's link with a register bank behind it, and the host's own session in front.

One clock is US_A_CLOCK µs of the session's time, so that its waits are short in clocks. Octets go
in one every OCTET_CLOCKS.
"""

from __future__ import annotations

import random
from typing import Any

from amaranth import Elaboratable, Module
from amaranth.lib.wiring import connect
from amaranth.sim import Simulator

from harp.offload.session import Answered, Ask, Occurred, Over, Send, Session
from harp.tables.register_schema import WORD_BITS, Access, Home, Register
from harp.tables.registers import REGISTERS
from harp_gateware.layouts import RAM_RESPONSE
from harp_gateware.link.octet_link import OctetLink
from harp_gateware.params import CoreParams
from harp_gateware.register_bank import RegisterBank
from harp_sim.device.hostile import HostileLine
from harp_sim.device.registers import units_of

US_A_CLOCK = 4
OCTET_CLOCKS = 20
OCTET_US = US_A_CLOCK * OCTET_CLOCKS
BAUD = 10_000_000 // OCTET_US
ANSWER_BITS = RAM_RESPONSE["data"].width


class Device(Elaboratable):
    """Link and bank; RO flops show constants."""

    def __init__(self, registers: tuple[Register, ...]) -> None:
        self.registers = registers
        self.link = OctetLink()
        self.bank = RegisterBank(CoreParams(), registers)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.link, m.submodules.bank = self.link, self.bank
        connect(m, self.link.o_request, self.bank.i_request)
        connect(m, self.bank.o_response, self.link.i_response)
        for register in self.registers:
            for field in register.fields:
                if register.home is Home.FLOPS and field.access is Access.RO and field.reset:
                    port = getattr(self.bank, f"{register.name}__{field.name}")
                    m.d.comb += port.eq(field.reset)
        return m


class Bench:
    """Runs a script of requests; `heard` has all that the session says."""

    def __init__(
        self, registers: tuple[Register, ...] = REGISTERS, seed: int = 1, rate: float = 0.0
    ) -> None:
        self.rng = random.Random(seed)
        self.dut = Device(registers)
        self.session = Session(self.rng.randrange(1 << 16), BAUD)
        self.up = HostileLine(self.rng, rate, OCTET_US, hold_us=400)
        self.down = HostileLine(self.rng, rate, OCTET_US, hold_us=400)
        self.heard: list[Answered | Occurred | Over] = []
        self.clock = 0
        self.bad = 0
        self.watchers: list[Any] = []
        """Run beside the script."""
        self._rows: dict[int, int] = {}

    @property
    def now(self) -> int:
        return self.clock * US_A_CLOCK

    def connect(self) -> None:
        """Another conversation over the same line."""
        self.session = Session(self.rng.randrange(1 << 16), BAUD)

    async def ask(self, ctx: Any, ask: Ask, patience: int = 400_000) -> Answered | Over:
        """The end of one request."""
        token = self.session.ask(ask)
        self._take(self.session.pump(self.now))
        start = len(self.heard)
        for _ in range(patience // OCTET_CLOCKS):
            await self.step(ctx)
            for output in self.heard[start:]:
                if isinstance(output, Over) or (
                    isinstance(output, Answered) and output.token == token
                ):
                    return output
        raise AssertionError(f"{ask}: neither answer nor end")

    async def step(self, ctx: Any) -> None:
        """The time of an octet: at most one each way, and the session's timers."""
        link = self.dut.link
        octets = self.up.arrived(self.now)[:1]
        ctx.set(link.i.valid, len(octets))
        ctx.set(link.i.payload, octets[0] if octets else 0)
        sent = b""
        for n in range(OCTET_CLOCKS):
            ctx.set(link.o.ready, n == OCTET_CLOCKS - 1)
            _, _, valid, octet = await ctx.tick().sample(link.o.valid, link.o.payload)
            ctx.set(link.i.valid, 0)
            if valid and n == OCTET_CLOCKS - 1:
                sent = bytes((octet,))
        self.clock += OCTET_CLOCKS
        self.down.send(sent, self.now)
        arrived = self.down.arrived(self.now)
        if arrived:
            self._take(self.session.receive(arrived, self.now))
        self._take(self.session.expire(self.now))

    def _take(self, outputs: list[Any]) -> None:
        for output in outputs:
            if isinstance(output, Send):
                self.up.send(output.octets, self.now)
            else:
                self.heard.append(output)

    def run(self, script: Any) -> None:
        simulator = Simulator(self.dut)
        simulator.add_clock(8e-9)
        simulator.add_testbench(script)
        for watcher in self.watchers:
            simulator.add_testbench(watcher, background=True)
        for register in self.dut.registers:
            if register.home is Home.RAM:
                simulator.add_testbench(self._ram(register), background=True)
        simulator.run()

    def _ram(self, register: Register) -> Any:
        """The owner of a RAM area: keeps what may be written, answers after a random while."""
        request = getattr(self.dut.bank, f"o_ram_{register.name}")
        response = getattr(self.dut.bank, f"i_ram_{register.name}")
        masks: dict[int, int] = {}
        places: dict[int, tuple[int, int, int]] = {}  # row, shift, bits
        for index in range(register.count):
            for unit in units_of(register, index):
                at = register.address(index) + unit.first
                kept = [f for f in unit.fields if f.access is Access.RW]
                masks[at] = sum((1 << f.width) - 1 << unit.shift(f) for f in kept)
                self._rows[at] = sum(
                    register.reset_of(f, index) << unit.shift(f) for f in unit.fields
                )
                places[at] = at, 0, ANSWER_BITS
                if unit.words * WORD_BITS > ANSWER_BITS:  # read word by word
                    for n in range(unit.words):
                        places[at + n] = at, n * WORD_BITS, WORD_BITS

        def read(address: int) -> int:
            at, shift, bits = places[address]
            return self._rows[at] >> shift & ((1 << bits) - 1)

        async def serve(ctx: Any) -> None:
            while True:
                _, _, valid, access = await ctx.tick().sample(request.valid, request.payload)
                if not valid:
                    continue
                if access.write:
                    self._rows[access.address] = access.data & masks[access.address]
                await ctx.tick().repeat(self.rng.randrange(15) + 1)
                ctx.set(response.payload.data, read(access.address))
                ctx.set(response.valid, 1)
                await ctx.tick()
                ctx.set(response.valid, 0)

        return serve
