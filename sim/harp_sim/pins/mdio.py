"""PHYs at a management interface, bit by bit: what a board's manager talks to.

Ref: IEEE 802.3 §22.2.4.5 (frame)
"""

from __future__ import annotations

from dataclasses import dataclass, field

READ, WRITE = 2, 1
"""Operations."""
PREAMBLE_BITS, HEAD_BITS, FRAME_BITS = 32, 14, 32


class MdioBroken(Exception):
    """The master sent no frame of IEEE 802.3."""


@dataclass
class Wire:
    """Samples at rising edges of MDC, drives after them."""

    registers: dict[int, dict[int, int]]
    """By address, then register; a PHY that is not there says nothing."""
    writes: list[tuple[int, int, int]] = field(default_factory=list)
    """Address, register, value."""
    reads: int = 0
    drives: int = 1
    """What the line has while nobody else drives it."""
    _bits: list[int] = field(default_factory=list)
    _ones: int = 0
    _answer: list[int] = field(default_factory=list)
    _answering: bool = False

    @property
    def busy(self) -> bool:
        """Within a frame: also while the master does not drive."""
        return bool(self._bits)

    @property
    def driving(self) -> bool:
        """A PHY answers: the line is its own until the frame ends."""
        return len(self._bits) > HEAD_BITS and self._answering

    def rising(self, bit: int) -> None:
        """An edge of MDC with the line at `bit`. Raises MdioBroken."""
        if not self._bits:
            if bit == 0 and self._ones >= PREAMBLE_BITS:
                self._bits = [0]
            self._ones = self._ones + 1 if bit else 0
            return
        self._bits.append(bit)
        if len(self._bits) == HEAD_BITS:
            self._address()
        elif self._answer and len(self._bits) > HEAD_BITS:
            self.drives = self._answer.pop(0)
        if len(self._bits) == FRAME_BITS:
            self._end()

    def read(self, phy: int, register: int) -> int:
        """What a register says; for those that do more than hold a value."""
        return self.registers[phy].get(register, 0)

    def write(self, phy: int, register: int, value: int) -> None:
        """A register is written."""
        self.registers[phy][register] = value

    def _address(self) -> None:
        number = _number(self._bits)
        if number >> 12 != 1:
            raise MdioBroken(f"start of a frame: {number:014b}")
        self._operation, self._phy, self._register = (
            number >> 10 & 3,
            number >> 5 & 31,
            number & 31,
        )
        self._answering = self._operation == READ and self._phy in self.registers
        if self._answering:
            value = self.read(self._phy, self._register)
            self._answer = [0, *map(int, f"{value:016b}")]
            self.reads += 1

    def _end(self) -> None:
        if self._operation == WRITE:
            if self._bits[HEAD_BITS : HEAD_BITS + 2] != [1, 0]:
                raise MdioBroken("turnaround of a write")
            value = _number(self._bits[HEAD_BITS + 2 :])
            self.writes.append((self._phy, self._register, value))
            if self._phy in self.registers:
                self.write(self._phy, self._register, value)
        self._bits, self._ones, self.drives = [], 0, 1


def _number(bits: list[int]) -> int:
    return int("".join(map(str, bits)), 2)
