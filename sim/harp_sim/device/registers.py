"""The register map in plain Python: samples, kinds of access, what does not exist.

Ref: `harp.tables.register_schema` (words, samples, arrays); offload.md §6
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from harp.tables.register_schema import WORD_BITS, Access, Field, Register
from harp.tables.registers import REGISTERS

_WORD = (1 << WORD_BITS) - 1


@dataclass(frozen=True, slots=True)
class Unit:
    """What is read or written at once: a field wider than a word, or the fields of one word."""

    register: Register
    index: int
    first: int
    """First word in the element."""
    words: int
    fields: tuple[Field, ...]

    def shift(self, field: Field) -> int:
        """Where a field begins in the unit."""
        return field.at - WORD_BITS * self.first


def units_of(register: Register, index: int) -> list[Unit]:
    """The units of an element, upwards."""
    found, word = [], 0
    while word < register.words:
        inside = tuple(f for f in register.fields if f.at // WORD_BITS == word)
        words = max((-(-f.width // WORD_BITS) for f in inside), default=1)
        found.append(Unit(register, index, word, words, inside))
        word += words
    return found


class Registers:
    """Words by address. Whoever owns the values overrides `sample`, `refuses` and `commit`.

    `counts`: elements of the registers that this device has fewer of than the map."""

    declared: tuple[Register, ...] = REGISTERS
    """What there is."""

    def __init__(self, counts: Mapping[str, int] | None = None) -> None:
        counts = counts or {}
        self.held: dict[tuple[str, int, str], int] = {}
        """RW and W1C fields."""
        self._units: dict[int, tuple[Unit, int]] = {}
        self._sampled = self._holds = 0
        for register in self.declared:
            for index in range(min(register.count, counts.get(register.name, register.count))):
                for unit in units_of(register, index):
                    start = register.address(index) + unit.first
                    for n in range(unit.words):
                        self._units[start + n] = unit, n
                for field in register.fields:
                    key = register.name, index, field.name
                    self.held[key] = register.reset_of(field, index)

    def sample(self, name: str, index: int, field: str) -> int:
        """What a field reads as; PULSE fields are never asked."""
        return self.held[name, index, field]

    def refuses(self, name: str, index: int, fields: Mapping[str, int]) -> bool:
        """Whether this device does not take such a write."""
        return False

    def commit(self, name: str, index: int, fields: Mapping[str, int]) -> None:
        """RW, W1C and PULSE fields of a unit were written; RW fields hold their values already."""

    def read(self, address: int, first: bool) -> tuple[int, bool]:
        """A word, and whether it is an error. `first`: of its request."""
        if address not in self._units:
            return 0, True
        unit, n = self._units[address]
        if n == 0 or first:
            self._sampled = 0
            for field in unit.fields:
                if field.access is not Access.PULSE:
                    value = self.sample(unit.register.name, unit.index, field.name)
                    self._sampled |= (value & ((1 << field.width) - 1)) << unit.shift(field)
        return self._sampled >> WORD_BITS * n & _WORD, False

    def write(self, address: int, data: int) -> bool:
        """A word; whether it is an error. A unit takes effect with its last word."""
        if address not in self._units:
            return True
        unit, n = self._units[address]
        self._holds = self._holds & ~(_WORD << WORD_BITS * n) | data << WORD_BITS * n
        if n < unit.words - 1:
            return False
        fields = {
            field.name: self._holds >> unit.shift(field) & ((1 << field.width) - 1)
            for field in unit.fields
            if field.access is not Access.RO
        }
        name = unit.register.name
        if self.refuses(name, unit.index, fields):
            return True
        for field in unit.fields:
            if field.access is Access.RW:
                self.held[name, unit.index, field.name] = fields[field.name]
            elif field.access is Access.W1C:
                self.held[name, unit.index, field.name] &= ~fields[field.name]
        self.commit(name, unit.index, fields)
        return False
