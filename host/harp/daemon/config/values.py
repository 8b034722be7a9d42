"""Values of the configuration file: from TOML to Python's types, and what a setting wants in words.

msgspec judges; the words are ours, so that every message reads alike and shows how it is written.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from enum import Enum
from ipaddress import IPv6Address, IPv6Network
from pathlib import PurePath
from types import NoneType, UnionType
from typing import Annotated, Any, Union, get_args, get_origin

import msgspec
from msgspec import Meta

from harp.tables.constants import US_PER_MS, US_PER_S

UNITS_US: Mapping[str, int] = {"_us": 1, "_ms": US_PER_MS, "_s": US_PER_S}
"""Ending of a duration's key → µs in its unit."""
LARGEST = (1 << 32) - 1
"""No number is greater; where less is the limit, the setting's own rule says so."""
LONGEST_US = 366 * 24 * 3600 * US_PER_S
"""No setting waits longer."""
LONGEST_SHOWN = 60
"""Characters of a wrong value that a message shows."""


class Unfit(Exception):
    """A value that a setting does not take; its text says what is wanted."""


def convert(value: object, kind: Any) -> Any:
    """A TOML value as `kind`. Raises `Unfit`."""
    try:
        return msgspec.convert(value, kind, dec_hook=_from_text)
    except (msgspec.ValidationError, ValueError, OverflowError):
        raise Unfit(wanted(kind)) from None


def duration_us(value: object, unit: str, kind: Any = int) -> int:
    """A duration in µs; `unit`: the ending of its key; `kind` bounds it. Raises `Unfit`."""
    want = f"wants a number from 0 to {LONGEST_US // UNITS_US[unit]}"
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise Unfit(want)
    if not 0 <= value <= LONGEST_US // UNITS_US[unit]:  # neither is NaN
        raise Unfit(want)
    exact = value * UNITS_US[unit]
    if abs(exact - round(exact)) > 1e-6:
        raise Unfit("wants a whole number of µs")
    metas = getattr(kind, "__metadata__", ())
    meta = next((each for each in metas if isinstance(each, Meta)), None)
    if meta and meta.le is not None and round(exact) > meta.le:
        raise Unfit(f"wants at most {readable_us(int(meta.le))}")
    return round(exact)


def _from_text(kind: type, value: object) -> object:
    """What TOML has no type for stands as text."""
    if not isinstance(value, str):
        raise ValueError
    if kind is IPv6Network and "/" not in value:
        raise ValueError
    if issubclass(kind, PurePath) and (not value or "\0" in value):
        raise ValueError
    if kind is IPv6Address and "%" in value:
        raise ValueError  # the link says the interface
    return kind(value)


def wanted(kind: Any) -> str:
    """What a setting takes, as a sentence without subject."""
    return f"wants {_words(kind)}"


def _words(kind: Any) -> str:
    origin = get_origin(kind)
    if origin is Annotated:
        base, *metas = get_args(kind)
        return _bounded(base, next(each for each in metas if isinstance(each, Meta)))
    if origin is tuple:
        return f"a list, each {_words(get_args(kind)[0])}"
    if origin in (Union, UnionType):
        return _words(next(each for each in get_args(kind) if each is not NoneType))
    if issubclass(kind, Enum):
        return "one of " + ", ".join(f'"{each.value}"' for each in kind)
    return _WORDS[next(base for base in kind.__mro__ if base in _WORDS)]


_WORDS: Mapping[type, str] = {
    bool: "true or false",
    int: "a whole number",
    str: "text in quotes",
    IPv6Address: "an IPv6 address",
    IPv6Network: "an IPv6 prefix with its length, host bits zero",
    PurePath: "a path",
}


def _bounded(base: Any, meta: Meta) -> str:
    words = _words(base)
    if meta.ge == 0 and meta.le == LARGEST:
        return f"{words} from 0 on"
    if meta.ge is not None and meta.le is not None:
        return f"{words} from {meta.ge} to {meta.le}"
    if meta.max_length is not None:
        return f"{words} of {meta.min_length or 0} to {meta.max_length} characters"
    if meta.min_length == 1:
        return f"{words}, not empty"
    if meta.pattern is not None:
        return f"{words} that matches {meta.pattern}"
    return words


def toml(value: object) -> str:
    """A value as it stands in the file."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return str(value)
    if isinstance(value, Enum):
        return json.dumps(value.value)
    if isinstance(value, tuple | list):
        return "[" + ", ".join(map(toml, value)) + "]"
    return json.dumps(str(value), ensure_ascii=False)


def shown(value: object) -> str:
    """A wrong value in a message: one line, not long."""
    if isinstance(value, dict):
        return "a table"
    try:
        text = toml(value)
    except ValueError:  # a number of more digits than Python writes
        return "a huge number"
    return text if len(text) <= LONGEST_SHOWN else text[: LONGEST_SHOWN - 1] + "…"


def readable_us(us: int) -> str:
    """A duration for people: the largest unit in which it is a whole number."""
    for ending, factor in reversed(tuple(UNITS_US.items())):
        if us % factor == 0:
            return f"{us // factor} {ending[1:].replace('us', 'µs')}"
    raise AssertionError("every µs is a whole number of µs")
