"""Fixed fields of a message or option: a `struct` whose errors name the field."""

from __future__ import annotations

import re
import struct
from collections.abc import Callable
from functools import partial
from operator import attrgetter
from typing import Any

from harp.tables.mh import LIFETIME_UNIT_S


def range_error(owner: object, name: str, wanted: str) -> ValueError:
    """A value that its field cannot carry: the caller's mistake, named."""
    return ValueError(f"{type(owner).__name__}.{name} = {getattr(owner, name)!r}: {wanted}")


def _getter(names: tuple[str, ...]) -> Callable[[object], tuple[Any, ...]]:
    """Gets the attributes of these names; `attrgetter` gives no tuple for fewer than two."""
    if len(names) > 1:
        return attrgetter(*names)
    return lambda owner: tuple(getattr(owner, name) for name in names)


class Fixed:
    """Fields in the order of the wire, big-endian.

    `items`: one of B H I Q (unsigned), Ns (exactly N octets) a field, x for a reserved octet.
    A field whose name ends in `_s` and that is in `in_units_of_4_s` travels in units of 4 s,
    rounded up.
    """

    def __init__(self, items: str, names: tuple[str, ...], in_units_of_4_s: str = "") -> None:
        self._struct = struct.Struct("!" + items)
        self.octets = self._struct.size
        self._names = names
        self._values = _getter(names)
        self._items = tuple(re.findall(r"\d+s|[BHIQ]", items))
        self._scaled = names.index(in_units_of_4_s) if in_units_of_4_s else None
        self.unpack: Callable[..., tuple[Any, ...]] = self._struct.unpack_from
        """The fields' values in octets that are long enough, from an octet on."""
        if self._scaled is not None:
            self.unpack = partial(self._unpack_scaled, self._scaled)
        self._exact = tuple(
            (at, int(item[:-1]))
            for at, (_, item) in enumerate(zip(names, self._items, strict=True))
            if item.endswith("s")
        )

    def _unpack_scaled(self, place: int, data: bytes, at: int = 0) -> tuple[Any, ...]:
        values = self._struct.unpack_from(data, at)
        return (*values[:place], values[place] * LIFETIME_UNIT_S, *values[place + 1 :])

    def pack(self, owner: object) -> bytes:
        """The octets of `owner`'s attributes; ValueError names one that does not fit."""
        values = [*self._values(owner)]
        for at, octets in self._exact:
            if len(values[at]) != octets:
                raise range_error(owner, self._names[at], f"must be {octets} octets")
        if self._scaled is not None:
            values[self._scaled] = -(-values[self._scaled] // LIFETIME_UNIT_S)
        try:
            return self._struct.pack(*values)
        except struct.error:
            raise self._misfit(owner, values) from None

    def _misfit(self, owner: object, values: list[Any]) -> ValueError:
        for name, item, value in zip(self._names, self._items, values, strict=True):
            limit = None if item.endswith("s") else 1 << 8 * struct.calcsize("!" + item)
            if limit and not (isinstance(value, int) and 0 <= value < limit):
                return range_error(owner, name, f"must be 0 to {limit - 1} on the wire")
        raise AssertionError("every value fits")
