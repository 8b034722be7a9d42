"""Frames of a line as chunks for `phy.v`, and back.

Ref: IEEE 802.3 §3.2 (preamble, SFD, FCS), §4.4.2 (gap)
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass

CHUNK_OCTETS = 128
PREAMBLE = bytes((0x55,)) * 7 + bytes((0xD5,))
GAP_OCTETS = 12
LEAST_GAP_OCTETS = 8
"""From where on frames back to back must not be lost (offload.md §1)."""
MIN_OCTETS = 64
"""Of a frame that is no runt, FCS included."""
NO_ERROR = 255
PHY_DELAY_PS = 2_000
"""From a nibble at the pins to the clock's edge, both ways."""


@dataclass(frozen=True, slots=True)
class Line:
    """What a partner sends: a frame and the gap before it."""

    octets: bytes
    """From the destination to the FCS."""
    gap: int = GAP_OCTETS
    """Octets of idle before the preamble."""
    error_at: int | None = None
    """Octet of the frame with RX_ER."""

    @property
    def good(self) -> bool:
        """Whether a station takes it (but for its length above the maximum)."""
        return self.error_at is None and len(self.octets) >= MIN_OCTETS and fcs_right(self.octets)


@dataclass(frozen=True, slots=True)
class Taken:
    """What the board sent."""

    octets: bytes
    """Behind the SFD, FCS included."""
    gap: int
    """Octets of idle before it, 65,535 at most."""
    begin_ps: int
    """When the preamble's first nibble was at the pins."""
    er: bool
    """TX_ER was seen."""

    @property
    def good(self) -> bool:
        """Whether its receiver takes it."""
        return not self.er and len(self.octets) >= MIN_OCTETS and fcs_right(self.octets)


def fcs_right(octets: bytes) -> bool:
    """Whether the last four octets are the FCS of the others."""
    return zlib.crc32(octets[:-4]).to_bytes(4, "little") == octets[-4:]


def chunks(line: Line) -> Iterator[int]:
    """The frame as `phy.v` takes it."""
    octets = PREAMBLE + line.octets
    error = -1 if line.error_at is None else line.error_at + len(PREAMBLE)
    for at in range(0, len(octets), CHUNK_OCTETS):
        part = octets[at : at + CHUNK_OCTETS]
        last = at + CHUNK_OCTETS >= len(octets)
        here = error - at if at <= error < at + len(part) else NO_ERROR
        yield (
            int.from_bytes(part, "little")
            | len(part) << 1024
            | last << 1032
            | here << 1033
            | (line.gap if at == 0 else 0) << 1041
        )


class Collector:
    """Chunks that a PHY took, to frames."""

    def __init__(self) -> None:
        self._octets = bytearray()
        self._er = False

    def chunk(self, value: int) -> Taken | None:
        """The frame that ends with this chunk. Raises ValueError for a wrong preamble."""
        size = value >> 1024 & 0xFF
        self._octets += (value & (1 << 1024) - 1).to_bytes(CHUNK_OCTETS, "little")[:size]
        self._er |= value >> 1034 & 0xFF != NO_ERROR
        if not value >> 1032 & 1:
            return None
        octets, er = bytes(self._octets), self._er
        self._octets, self._er = bytearray(), False
        if not octets.startswith(PREAMBLE):
            raise ValueError(f"a frame began with {octets[:8].hex()}")
        begin = (value >> 1042 & (1 << 64) - 1) - PHY_DELAY_PS
        return Taken(octets[len(PREAMBLE) :], value >> 1106, begin, er)
