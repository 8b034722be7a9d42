"""Files that people write, read without more memory than they fill.

A daemon that has locked its memory pays for every page that it asks for, used or not (mlockall(2),
MCL_FUTURE): a buffer of 64 MiB takes the kernel 30 ms.
"""

from __future__ import annotations

from typing import BinaryIO

_PIECE_OCTETS = 1 << 16


def read_at_most(file: BinaryIO, octets: int) -> bytes:
    """The first so many octets of a file. Raises OSError."""
    pieces: list[bytes] = []
    while octets and (piece := file.read(min(octets, _PIECE_OCTETS))):
        pieces.append(piece)
        octets -= len(piece)
    return b"".join(pieces)
