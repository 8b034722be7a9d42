"""Registers as the host uses them: fields ⇄ words, from the one declaration.

Ref: `harp.tables.registers`, `harp.tables.register_schema` (words, samples, arrays)
"""

from __future__ import annotations

from collections.abc import Sequence

from harp.tables.register_schema import WORD_BITS
from harp.tables.registers import BY_NAME

_WORD = (1 << WORD_BITS) - 1


def words_of(name: str, index: int = 0, **fields: int) -> tuple[int, ...]:
    """All words of an element; a field that is not named has its reset value.

    Raises KeyError for a field that the register has not, ValueError for one that is too wide."""
    register = BY_NAME[name]
    values = {field.name: register.reset_of(field, index) for field in register.fields}
    total = 0
    for key, value in fields.items():
        if not 0 <= int(value) < 1 << register.field(key).width:
            raise ValueError(f"{name}.{key} = {value}: wider than the field")
        values[key] = int(value)
    for field in register.fields:
        total |= values[field.name] << field.at
    return tuple(total >> WORD_BITS * n & _WORD for n in range(register.words))


def fields_of(name: str, words: Sequence[int]) -> dict[str, int]:
    """Every field of an element whose words were read from the first one on."""
    total = sum(word << WORD_BITS * n for n, word in enumerate(words))
    return {
        field.name: total >> field.at & ((1 << field.width) - 1) for field in BY_NAME[name].fields
    }


def word_of(name: str, field: str) -> int:
    """Which word of an element a field begins in."""
    return BY_NAME[name].field(field).at // WORD_BITS


def address_value(octets: bytes) -> int:
    """An IPv6 address as a field: its first octet lowest."""
    return int.from_bytes(octets, "little")
