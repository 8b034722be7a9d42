"""How a register is declared, and the checks that every declaration passes at import.

Ref: offload.md §6 (serial link and registers)

**Words.** The map is an array of 32-bit words, addressed by word. A register is one or more words;
its fields are packed from bit 0 of its first word in the order given. A field of up to 32 bits
never crosses a word (`at` skips bits); a wider one starts a word, low word first.

**Samples.** A read samples a whole field when its lowest word is reached, or the first word of the
request if that lies inside the field; the other words come from the sample. A write holds the
lower words and takes effect as a whole with the highest one. So wide fields are read and written
in one request, upwards. No read has a side effect.

**Arrays.** Element n lies at `offset + n * stride`. Stride and span are powers of two and the
offset is a multiple of the span, so that an area can be a RAM whose address is a bit slice.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from itertools import pairwise

WORD_BITS = 32
ADDRESS_BITS = 16


class Access(StrEnum):
    """What the host may do with a field."""

    RO = "ro"
    """Read; written by the gateware."""
    RW = "rw"
    """Read back as written, unless the field says that the gateware writes it too."""
    PULSE = "pulse"
    """Seen by the gateware for the one clock of the write; reads 0."""
    W1C = "w1c"
    """Set by the gateware; a bit written as one is cleared."""


class Home(StrEnum):
    """Where the gateware keeps a register."""

    FLOPS = "flops"
    """In the register bank: all bits at all times beside the data path; resets."""
    RAM = "ram"
    """In a RAM of the component that uses it, through that RAM's host port; the reset value is its
    content after configuration."""


@dataclass(frozen=True, slots=True)
class Field:
    """One value in a register."""

    name: str
    """Unique in its register."""
    width: int
    """Bits, 1 to 128."""
    access: Access
    reset: int | tuple[int, ...] = 0
    """Value after reset; of an array either one for all or one for each element."""
    unit: str = ""
    """"µs", "frames", "octets" ...; "" for a code, a flag or an address."""
    doc: str = ""
    """One sentence."""
    at: int = -1
    """Bit position in the register; -1: next to the field before, or on the next word if wide."""


@dataclass(frozen=True, slots=True)
class Register:
    """A named group of fields, or an array of such groups."""

    name: str
    offset: int
    """Word address of (the first element of) the register."""
    fields: tuple[Field, ...]
    """After import every field's `at` is resolved."""
    count: int = 1
    """Elements."""
    stride: int = 0
    """Words from one element to the next; 0: the register's own words."""
    home: Home = Home.FLOPS
    doc: str = ""

    @property
    def words(self) -> int:
        """Words of one element that hold fields."""
        end = max(field.at + field.width for field in self.fields)
        return -(-end // WORD_BITS)

    @property
    def span(self) -> int:
        """Words of the whole area, a power of two."""
        return 1 << (self.count * self.stride - 1).bit_length()

    def address(self, index: int = 0) -> int:
        """Word address of element `index`. Raises IndexError past the end."""
        if not 0 <= index < self.count:
            raise IndexError(f"{self.name}[{index}]: has {self.count} elements")
        return self.offset + index * self.stride

    def field(self, name: str) -> Field:
        """The field of that name. Raises KeyError."""
        for field in self.fields:
            if field.name == name:
                return field
        raise KeyError(f"{self.name}.{name}: no such field")

    def reset_of(self, field: Field, index: int = 0) -> int:
        """Reset value of `field` in element `index`."""
        return field.reset[index] if isinstance(field.reset, tuple) else field.reset

    def reset_words(self, index: int = 0) -> tuple[int, ...]:
        """The words of element `index` after reset."""
        value = sum(self.reset_of(field, index) << field.at for field in self.fields)
        return tuple(value >> WORD_BITS * n & 0xFFFF_FFFF for n in range(self.words))


def _placed(fields: Sequence[Field]) -> Iterator[Field]:
    """The fields with their positions resolved."""
    end = 0
    for field in fields:
        at = field.at if field.at >= 0 else end
        if field.at < 0 and field.width > WORD_BITS:
            at = -(-end // WORD_BITS) * WORD_BITS
        end = at + field.width
        yield replace(field, at=at)


def _check_field(register: Register, field: Field, end: int) -> None:
    """Raises ValueError, naming the field, if its declaration is wrong."""
    name = f"{register.name}.{field.name}"
    if not 1 <= field.width <= 4 * WORD_BITS:
        raise ValueError(f"{name}: width {field.width} is not 1 to {4 * WORD_BITS}")
    if not field.doc:
        raise ValueError(f"{name}: no doc")
    if field.at < end:
        raise ValueError(f"{name}: overlaps the field before it")
    if field.width > WORD_BITS and field.at % WORD_BITS:
        raise ValueError(f"{name}: wider than a word, must start one")
    if field.width <= WORD_BITS and field.at % WORD_BITS + field.width > WORD_BITS:
        raise ValueError(f"{name}: crosses a word")
    if isinstance(field.reset, tuple) and len(field.reset) != register.count:
        raise ValueError(f"{name}: {len(field.reset)} resets for {register.count} elements")
    for index in range(register.count):
        reset = register.reset_of(field, index)
        if not 0 <= reset < 1 << field.width:
            raise ValueError(f"{name}: reset {reset} is wider than {field.width} bits")
        if reset and field.access in (Access.PULSE, Access.W1C):
            raise ValueError(f"{name}: {field.access} field with a reset value")


def checked(registers: Sequence[Register]) -> tuple[Register, ...]:
    """The registers with positions and strides resolved.

    Raises ValueError, naming the register or field: overlap, misaligned array, past the end of the
    map, name used twice, missing `doc`, reset too wide, wide field not on a word.
    """
    resolved: list[Register] = []
    names: set[str] = set()
    for declared in registers:
        register = replace(declared, fields=tuple(_placed(declared.fields)))
        register = replace(register, stride=register.stride or register.words)
        _check_register(register)
        end = 0
        for field in register.fields:
            _check_field(register, field, end)
            end = field.at + field.width
        if register.name in names or len({f.name for f in register.fields}) < len(register.fields):
            raise ValueError(f"{register.name}: name used twice")
        names.add(register.name)
        resolved.append(register)
    for low, high in pairwise(resolved):
        if low.offset + low.count * low.stride > high.offset:
            raise ValueError(f"{high.name}: overlaps {low.name} or is out of order")
    return tuple(resolved)


def _check_register(register: Register) -> None:
    """Raises ValueError, naming the register, if its place in the map is wrong."""
    if not register.doc:
        raise ValueError(f"{register.name}: no doc")
    if register.words > register.stride:
        raise ValueError(
            f"{register.name}: {register.words} words in a stride of {register.stride}"
        )
    if register.count > 1:
        if register.stride & (register.stride - 1):
            raise ValueError(f"{register.name}: stride {register.stride} is no power of two")
        if register.offset % register.span:
            raise ValueError(f"{register.name}: offset is no multiple of {register.span}")
    if not 0 <= register.offset <= (1 << ADDRESS_BITS) - register.count * register.stride:
        raise ValueError(f"{register.name}: past the end of the map")
