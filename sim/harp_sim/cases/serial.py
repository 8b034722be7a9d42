"""Registers by the serial pins of a board: every one, every element, against what is declared.

Ref: harp.tables.register_schema; offload.md §6 (no read has a side effect)
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

import cocotb

from harp.offload.client import Client, DeviceFailed
from harp.offload.session import Ask
from harp.tables.link import MAX_BAUD, MAX_WORDS, LinkOp
from harp.tables.register_schema import WORD_BITS, Access, Field, Register
from harp.tables.registers import BOARD_PAGE, REGISTERS
from harp_sim.pins.bench import Bench
from harp_sim.pins.selftest import Outcome, sheet

BOARD = os.environ.get("HARP_BOARD", "")
SINGLES = int(os.environ.get("HARP_REGISTER_SINGLES", "300"))
"""Accesses of one element each, behind the rounds over the whole map."""
STILL = {("guard", "armed"): 0}
"""Fields that are left alone: an armed watchdog without a host's link fires."""
ALIVE = frozenset(
    {
        *("now", "uart", "guard_state", "port_state", "event_pending", "event"),
        *("kick_answer", "peer_state", "mdio_answer"),
    }
)
"""RO registers whose value is not that after reset: time, links, events, others' sequences."""
Element = tuple[Register, int]
ALL = tuple(sorted((*REGISTERS, *BOARD_PAGE), key=lambda register: register.offset))


@dataclass
class Mirror:
    """What every element must read as, by (register, element)."""

    held: dict[tuple[str, int], int] = field(default_factory=dict)

    def value(self, element: Element) -> int:
        """Of all fields together."""
        register, index = element
        reset = sum(register.reset_of(f, index) << f.at for f in register.fields)
        return self.held.setdefault((register.name, index), reset)

    def write(self, element: Element, value: int) -> None:
        """As the declared access has it."""
        register, index = element
        held = self.value(element)
        for each in register.fields:
            written = value & mask(each)
            if each.access is Access.RW:
                held = held & ~mask(each) | written
            elif each.access is Access.W1C:
                held &= ~written
        self.held[register.name, index] = held


def mask(each: Field) -> int:
    """Its bits in the register."""
    return ((1 << each.width) - 1) << each.at


def compared(register: Register) -> int:
    """Bits whose value is known. What the gateware writes is known to answer, not with what."""
    return sum(
        mask(each)
        for each in register.fields
        if each.access is not Access.W1C and (each.access is not Access.RO or static(register))
    )


def static(register: Register) -> bool:
    """Nothing that happens here changes it, and its reset value is declared."""
    named = {"magic", "map_version"}
    return register.name in named or not (register.name in ALIVE or register.offset < 0x20)


def runs(elements: list[Element]) -> Iterator[list[Element]]:
    """Neighbours that one request can reach."""
    part: list[Element] = []
    for register, index in elements:
        if part:
            (first, low), (last, high) = part[0], part[-1]
            end = last.address(high) + last.words
            words = register.address(index) + register.words - first.address(low)
            if register.address(index) != end or words > MAX_WORDS:
                yield part
                part = []
        part.append((register, index))
    yield part


def words_of(register: Register, value: int) -> list[int]:
    """An element's words, lowest first."""
    return [value >> WORD_BITS * n & 0xFFFF_FFFF for n in range(register.words)]


class Walk:
    """Reads and writes by a client."""

    def __init__(self, client: Client, rng: random.Random) -> None:
        self._client, self._rng = client, rng
        self.mirror = Mirror()
        self.read_words = self.written_words = 0

    def read(self, run: list[Element]) -> None:
        """Every element must show what the mirror has."""
        start = run[0][0].address(run[0][1])
        count = sum(register.words for register, _ in run)
        words = list(self._client.ask(Ask(LinkOp.READ, start, count)))
        self.read_words += count
        for register, index in run:
            own, words = words[: register.words], words[register.words :]
            found = sum(word << WORD_BITS * n for n, word in enumerate(own))
            wrong = (found ^ self.mirror.value((register, index))) & compared(register)
            names = [each.name for each in register.fields if wrong & mask(each)]
            assert not names, f"{register.name}[{index}].{names[0]}: {found:#x} is not as declared"

    def write(self, run: list[Element]) -> None:
        """Random values, into RO fields too."""
        words: list[int] = []
        for register, index in run:
            value = self._rng.getrandbits(WORD_BITS * register.words)
            for each in register.fields:
                if (still := STILL.get((register.name, each.name))) is not None:
                    value = value & ~mask(each) | still << each.at
                if each.access is Access.PULSE:
                    value &= ~mask(each)
            self.mirror.write((register, index), value)
            words += words_of(register, value)
        self._client.write_words(run[0][0].address(run[0][1]), words)
        self.written_words += len(words)

    def refused(self, address: int) -> bool:
        """Whether the board says that there is no such word."""
        try:
            self._client.ask(Ask(LinkOp.READ, address, 1))
        except DeviceFailed as error:
            assert "refused" in str(error), error
            return True
        return False


def every_element() -> list[Element]:
    """In order of addresses."""
    return [(r, n) for r in ALL for n in range(r.count)]


def gaps() -> list[int]:
    """Words between elements and between registers, and the last one."""
    used = {r.address(n) + w for r, n in every_element() for w in range(r.words)}
    behind = {address + 1 for address in used} - used
    return sorted({*behind, 0xFFFF} - {1 << 16})


@cocotb.test()
async def every_register(dut: Any) -> None:
    """All as after reset; all written, in random order; all read; then one by one."""
    bench = Bench(dut, BOARD, MAX_BAUD)
    await bench.start(link=False, core_alone=True)
    elements, rng = every_element(), bench.rng

    def work(client: Client) -> tuple[int, int]:
        walk = Walk(client, rng)
        pieces = list(runs(elements))
        writable = [
            run
            for _, same in groupby(elements, lambda e: any_written(e[0]))
            for run in runs(list(same))
            if any_written(run[0][0])
        ]
        for each in pieces:
            walk.read(each)
        for each in rng.sample(writable, len(writable)):
            walk.write(each)
        for each in rng.sample(pieces, len(pieces)):
            walk.read(each)
        single = [element for element in elements if any_written(element[0])]
        for _ in range(SINGLES):
            one = [rng.choice(single)]
            walk.write(one) if rng.random() < 0.5 else walk.read([rng.choice(elements)])
            walk.read(one)
        holes = gaps()
        for address in rng.sample(holes, 40):
            assert walk.refused(address), f"{address:#06x} answered"
        assert client.read("sticky")["reset"] == 0  # a one was written to it
        return walk.read_words, walk.written_words

    read, written = await bench.host(work)
    dut._log.info(f"{len(elements)} elements, {read} words read, {written} written")


def any_written(register: Register) -> bool:
    """Whether the host can change something that stays."""
    return any(each.access in (Access.RW, Access.W1C) for each in register.fields)


@cocotb.test()
async def selftest(dut: Any) -> None:
    """`harp-board selftest` on the simulated top: good, then with eyes that are too narrow."""
    bench = Bench(dut, BOARD, MAX_BAUD)
    await bench.start()
    good = await bench.host(lambda client: sheet(bench.board, client))
    for result in good.values():
        dut._log.info(f"{result.check}: {result.outcome} {result.detail}")
    skipped = {name for name, result in good.items() if result.outcome is Outcome.SKIPPED}
    assert skipped == {"cable loop"}, good
    assert not [result for result in good.values() if result.outcome is Outcome.FAIL], good
    await bench.host(bench.wait_for_links)
    bench.eye = (0, 10)
    narrow = await bench.host(lambda client: sheet(bench.board, client))
    failed = {name for name, result in narrow.items() if result.outcome is Outcome.FAIL}
    assert failed == {"receive delay"}, narrow
    bench.eye = (4, 60)
    closed = await bench.host(lambda client: sheet(bench.board, client))
    failed = {name for name, result in closed.items() if result.outcome is Outcome.FAIL}
    assert failed == {"port loopback", "receive delay"}, closed
