"""The register bank against a twin made from the same table: random access to every word."""

import random
from typing import Any

import pytest
from amaranth.sim import Simulator

from harp.tables.register_schema import Access, Home, Register
from harp.tables.registers import BY_NAME, REGISTERS
from harp_gateware.params import CoreParams
from harp_gateware.register_bank import RegisterBank, Unit, elements, units

WORD = 0xFFFF_FFFF
PATIENCE = 200


class Twin:
    """The map as words: what a read must give, what a write must do."""

    def __init__(self, params: CoreParams, inputs: dict[tuple[str, int, str], int]) -> None:
        self.params = params
        self.inputs = inputs
        self.value: dict[tuple[str, int, str], int] = {}
        self.place: dict[int, tuple[Unit, int, int]] = {}
        for register in REGISTERS:
            for index in range(elements(register, params)):
                for unit in units(register):
                    for n in range(unit.words):
                        self.place[register.address(index) + unit.word + n] = (unit, index, n)
                for field in register.fields:
                    key = register.name, index, field.name
                    self.value[key] = inputs.get(key, register.reset_of(field, index))
        self.sample = self.hold = 0

    def unit(self, unit: Unit, index: int) -> int:
        total = 0
        for field in unit.fields:
            if field.access is not Access.PULSE:
                value = self.value[unit.register.name, index, field.name]
                total |= value << field.at - 32 * unit.word
        return total

    def access(self, address: int, write: bool, data: int, first: bool) -> tuple[int, bool]:
        if address not in self.place:
            return 0, True
        unit, index, n = self.place[address]
        if not write:
            if unit.words > 2:
                return self.unit(unit, index) >> 32 * n & WORD, False
            if n == 0 or first:
                self.sample = self.unit(unit, index)
            return self.sample >> 32 * n & WORD, False
        self.hold = self.hold & ~(WORD << 32 * n) | data << 32 * n
        if n == unit.words - 1:
            for field in unit.fields:
                key = unit.register.name, index, field.name
                part = self.hold >> field.at - 32 * unit.word & (1 << field.width) - 1
                if field.access is Access.RW:
                    self.value[key] = part
                elif field.access is Access.W1C:
                    self.value[key] &= ~part
        return 0, False


class Rams:
    """Owners of the RAM areas: rows by unit, answering after a random while."""

    def __init__(self, dut: RegisterBank, twin: Twin, rng: random.Random) -> None:
        self.dut, self.rng = dut, rng
        self.rows = {
            address: twin.unit(unit, index)
            for address, (unit, index, n) in twin.place.items()
            if n == 0 and unit.register.home is Home.RAM
        }
        self.words = {address: twin.place[address][0].words for address in self.rows}
        self.writable = {
            address: sum((1 << f.width) - 1 << f.at - 32 * u.word for f in u.fields)
            for address, (u, _, n) in twin.place.items()
            if n == 0
        }

    def process(self, register: Register) -> Any:
        request = getattr(self.dut, f"o_ram_{register.name}")
        response = getattr(self.dut, f"i_ram_{register.name}")

        async def serve(ctx: Any) -> None:
            while True:
                _, _, valid, access = await ctx.tick().sample(request.valid, request.payload)
                if not valid:
                    continue
                if access.write:
                    self.rows[access.address] = access.data & self.writable[access.address]
                await ctx.tick().repeat(self.rng.randrange(15) + 1)
                row = self.rows.get(access.address)
                if row is None or self.words[access.address] > 2:  # a word alone
                    unit = max(a for a in self.rows if a <= access.address)
                    row = self.rows[unit] >> 32 * (access.address - unit) & WORD
                ctx.set(response.payload.data, row)
                ctx.set(response.valid, 1)
                await ctx.tick()
                ctx.set(response.valid, 0)

        return serve


def inputs_of(params: CoreParams, rng: random.Random) -> dict[tuple[str, int, str], int]:
    """A random value for each input of the bank that lasts."""
    return {
        (register.name, index, field.name): rng.getrandbits(field.width)
        for register in REGISTERS
        for index in range(register.count)
        for field in register.fields
        if register.home is Home.FLOPS and field.access is Access.RO
    }


def port(dut: RegisterBank, register: Register, field: str, index: int) -> Any:
    value = getattr(dut, f"{register.name}__{field}")
    return value if register.count == 1 else value[index]


def accesses(twin: Twin, rng: random.Random, count: int) -> list[tuple[int, bool, int, bool]]:
    """Requests of one to five words, mostly at registers, sometimes next to them."""
    known, result = sorted(twin.place), []
    flops = [a for a in known if twin.place[a][0].register.home is Home.FLOPS]
    while len(result) < count:
        start = rng.choice((rng.choice(known), rng.choice(flops), rng.randrange(1 << 16)))
        start += rng.choice((0, 0, 0, -1, 1))
        write = rng.random() < 0.5
        for n in range(rng.randint(1, 5)):
            address = start + n & 0xFFFF
            result.append((address, write, rng.getrandbits(32), n == 0))
    return result


@pytest.mark.parametrize(
    "params", [CoreParams(), CoreParams(peers=5, slots=3, local_addresses=2, fence_addresses=1)]
)
def test_every_access_answers_as_the_twin(params: CoreParams) -> None:
    rng = random.Random(4)
    inputs = inputs_of(params, rng)
    dut, twin = RegisterBank(params), Twin(params, inputs)
    requests = accesses(twin, rng, 1500)
    # Half a written wide unit may be completed from what an earlier write left: that is the rule.
    want = [twin.access(*request) for request in requests]
    fresh = Twin(params, inputs)
    rams = Rams(dut, fresh, random.Random(6))
    got: list[tuple[int, bool]] = []

    async def host(ctx: Any) -> None:
        for (register, index, field), value in inputs.items():
            ctx.set(port(dut, BY_NAME[register], field, index), value)
        for address, write, data, first in requests:
            while rng.random() < 0.2:
                await ctx.tick()
            ctx.set(dut.i_request.valid, 1)
            ctx.set(
                dut.i_request.payload,
                {"address": address, "write": write, "data": data, "first": first},
            )
            await ctx.tick().until(dut.i_request.ready)
            ctx.set(dut.i_request.valid, 0)
            while rng.random() < 0.2:
                await ctx.tick()
            ctx.set(dut.o_response.ready, 1)
            waits = 0
            while True:
                _, _, valid, answer = await ctx.tick().sample(
                    dut.o_response.valid, dut.o_response.payload
                )
                if valid:
                    break
                waits += 1
                assert waits < PATIENCE
            ctx.set(dut.o_response.ready, 0)
            got.append((answer.data, bool(answer.error)))

    simulator = Simulator(dut)
    simulator.add_clock(6.4e-9)
    simulator.add_testbench(host)
    for register in REGISTERS:
        if register.home is Home.RAM:
            simulator.add_testbench(rams.process(register), background=True)
    simulator.run()
    for request, one, other in zip(requests, got, want, strict=True):
        assert one == other, f"{request[0]:#06x} write={request[1]} data={request[2]:#x}"


def run(dut: RegisterBank, script: Any) -> None:
    simulator = Simulator(dut)
    simulator.add_clock(6.4e-9)
    simulator.add_testbench(script)
    simulator.run()


async def access(ctx: Any, dut: RegisterBank, address: int, data: int | None = None) -> Any:
    """One read, or a write of `data`; also what the strobes of `seen` showed meanwhile."""
    ctx.set(dut.o_response.ready, 1)
    ctx.set(dut.i_request.valid, 1)
    write = {"write": data is not None, "data": data or 0, "first": 1}
    ctx.set(dut.i_request.payload, {"address": address, **write})
    await ctx.tick().until(dut.i_request.ready)
    ctx.set(dut.i_request.valid, 0)
    for _ in range(PATIENCE):
        _, _, valid, answer = await ctx.tick().sample(dut.o_response.valid, dut.o_response.payload)
        if valid:
            return answer
    raise AssertionError("no answer")


def test_pulses_last_one_clock_and_sticky_bits_stay_until_cleared() -> None:
    dut = RegisterBank(CoreParams())
    kicks: list[int] = []

    async def script(ctx: Any) -> None:
        sticky = BY_NAME["sticky"].offset
        ctx.set(dut.sticky__lease_lost, 1)
        await ctx.tick()
        ctx.set(dut.sticky__lease_lost, 0)
        assert (await access(ctx, dut, sticky)).data == 0b10
        assert (await access(ctx, dut, sticky)).data == 0b10, "reading clears nothing"
        await access(ctx, dut, sticky, 0b01)
        assert (await access(ctx, dut, sticky)).data == 0b10
        await access(ctx, dut, sticky, 0b10)
        assert (await access(ctx, dut, sticky)).data == 0
        await access(ctx, dut, BY_NAME["guard"].offset, 1)
        await access(ctx, dut, BY_NAME["event_ack"].offset, 0x0003_0041)

    async def watch(ctx: Any) -> None:
        async for _, _, kick, ack, ident, count in ctx.tick().sample(
            dut.guard__kick, dut.event_ack__id__strobe, dut.event_ack__id, dut.event_ack__count
        ):
            kicks.append(kick)
            if ack:
                acks.append((ident, count))

    acks: list[tuple[int, int]] = []
    simulator = Simulator(dut)
    simulator.add_clock(6.4e-9)
    simulator.add_testbench(script)
    simulator.add_testbench(watch, background=True)
    simulator.run()
    assert sum(kicks) == 1
    assert acks == [(0x41, 3)]


def test_a_monitor_refuses_drop_actions_and_the_fence() -> None:
    dut = RegisterBank(CoreParams(ports=1))

    async def script(ctx: Any) -> None:
        action, guard = BY_NAME["action"].address(4), BY_NAME["guard"].offset
        assert (await access(ctx, dut, action, 0b10)).error
        assert (await access(ctx, dut, action)).data & 3 == BY_NAME["action"].reset_words(4)[0] & 3
        assert not (await access(ctx, dut, action, 0b00)).error
        assert (await access(ctx, dut, guard, 0b0100)).error
        assert not (await access(ctx, dut, guard, 0b1100)).error
        assert (await access(ctx, dut, BY_NAME["fence"].offset)).error

    run(dut, script)
