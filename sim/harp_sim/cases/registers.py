"""Registers: random access against the declared kinds of access.

Ref: harp.tables.register_schema; offload.md §6 (no read has a side effect)

A mirror in Python knows what every word of the map must show: RW as written, PULSE 0, RO and words
that the gateware writes are left out of the comparison but must answer without `error`.
"""

import random
from collections.abc import Iterator
from typing import Any

import cocotb

from harp.tables.register_schema import WORD_BITS, Access, Field, Register
from harp.tables.registers import REGISTERS
from harp_sim.bench.device import Device, RegisterError

STEPS = 4000
LIVING = frozenset({"slot", "peer_sequence"})
"""RW registers that the gateware writes too, or whose use would disturb the others."""
HARMLESS = frozenset({"guard", "peer_command", "event_ack"})
"""Registers with PULSE fields: not written here, they have cases of their own."""
UNUSED = (0x0007, 0x0021, 0x0700, 0x1FFF, 0x2000, 0xFFFF)
"""Words that no register claims, but 0x0021, which is the second of `control`."""


def unit(field: Field) -> range:
    """Words of the register that the field lies in."""
    return range(field.at // WORD_BITS, (field.at + field.width - 1) // WORD_BITS + 1)


class Mirror:
    """What the writable fields hold."""

    def __init__(self) -> None:
        self.held: dict[tuple[str, int], dict[str, int]] = {}

    def fields(self, register: Register, index: int) -> dict[str, int]:
        """Fields of an element, from their reset values on."""
        key = (register.name, index)
        if key not in self.held:
            self.held[key] = {f.name: register.reset_of(f, index) for f in register.fields}
        return self.held[key]


def writable(register: Register) -> Iterator[Field]:
    """The fields that read back as they were written."""
    if register.name not in LIVING | HARMLESS:
        yield from (field for field in register.fields if field.access is Access.RW)


@cocotb.test()
async def random_access(dut: Any) -> None:
    """Writes of whole elements and reads of whole and single words, all over the map."""
    rng, device, mirror = random.Random(cocotb.RANDOM_SEED), Device(dut), Mirror()
    await device.start()
    await device.run_time(0)
    weights = [min(register.count, 40) for register in REGISTERS]
    for _ in range(STEPS):
        register = rng.choices(REGISTERS, weights)[0]
        index = rng.randrange(register.count)
        if rng.random() < 0.4 and any(writable(register)):
            await _write(rng, device, mirror, register, index)
        else:
            await _read(device, mirror, register, index)
    for address in UNUSED:
        known = any(
            0 <= address - r.offset < r.count * r.stride
            and (address - r.offset) % r.stride < r.words
            for r in REGISTERS
        )
        try:
            await device.access(address)
            assert known, f"{address:#06x} answered"
        except RegisterError:
            assert not known, f"{address:#06x} refused"


async def _write(
    rng: random.Random, device: Device, mirror: Mirror, register: Register, index: int
) -> None:
    fields = mirror.fields(register, index)
    value = 0
    for field in register.fields:
        if field.access is Access.RW:
            fields[field.name] = rng.getrandbits(field.width)
        noise = rng.getrandbits(field.width) if field.access is Access.RO else 0
        value |= (fields[field.name] if field.access is Access.RW else noise) << field.at
    words = [value >> WORD_BITS * n & 0xFFFF_FFFF for n in range(register.words)]
    await device.write_words(register.address(index), words)


async def _read(device: Device, mirror: Mirror, register: Register, index: int) -> None:
    found, wanted = await device.read(register.name, index), mirror.fields(register, index)
    for field in register.fields:
        name = f"{register.name}[{index}].{field.name}"
        if field.access is Access.PULSE:
            assert found[field.name] == 0, name
        elif field in writable(register):
            assert found[field.name] == wanted[field.name], name


@cocotb.test()
async def identity(dut: Any) -> None:
    """The first words say what this build is."""
    device = Device(dut)
    await device.start()
    assert (await device.read("magic"))["value"] == 0x48415250
    assert (await device.read("map_version"))["value"] == 2
    assert (await device.read("board"))["id"] == 0
    capabilities = await device.read("capabilities")
    assert (capabilities["ports"], capabilities["peers"], capabilities["slots"]) == (2, 32, 8)
    assert capabilities["flags"] == 0


@cocotb.test()
async def samples(dut: Any) -> None:
    """The 64 bits of `now` are one sample, though time runs over a carry between its words."""
    device = Device(dut)
    await device.start(rate=1, now_us=(1 << 32) - 40)
    for _ in range(20):
        low, high = await device.read_words(0x0028, 2)
        assert high == (low < 1 << 31), (low, high)


@cocotb.test()
async def sticky_bits(dut: Any) -> None:
    """Set until one is written; writing 0 leaves them."""
    device = Device(dut)
    await device.start()
    assert (await device.read("sticky"))["reset"] == 1
    await device.pulse("sticky", reset=0)
    assert (await device.read("sticky"))["reset"] == 1
    await device.pulse("sticky", reset=1)
    assert (await device.read("sticky"))["reset"] == 0
