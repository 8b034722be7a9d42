"""Python values as Lua source."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeAlias

Value: TypeAlias = (
    "bool | int | str | Sequence[Value] | Mapping[str, Value] | Mapping[int, Value] | None"
)

_WIDTH = 100


def literal(value: Value, indent: int = 0) -> str:
    """A Lua expression for `value`, on one line if that fits in 100 columns.

    None items of a mapping are left out, as Lua has it.
    """
    flat = _flat(value)
    if not isinstance(value, list | dict) or indent + len(flat) <= _WIDTH - 20:
        return flat
    inner = " " * (indent + 4)
    return (
        "{\n"
        + "".join(f"{inner}{row},\n" for row in _rows(value, indent + 4))
        + (" " * indent + "}")
    )


def _flat(value: Value) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case int():
            return str(value)
        case str():
            return _quoted(value)
        case list():
            return "{ " + ", ".join(map(_flat, value)) + " }" if value else "{}"
        case dict():
            return "{ " + ", ".join(_flat_pairs(value)) + " }"
    raise ValueError("nil has no place of its own")


def _flat_pairs(value: Mapping[str, Value] | Mapping[int, Value]) -> list[str]:
    return [f"{_key(key)} = {_flat(item)}" for key, item in value.items() if item is not None]


def _rows(
    value: Sequence[Value] | Mapping[str, Value] | Mapping[int, Value], indent: int
) -> list[str]:
    if isinstance(value, Sequence):
        return [literal(item, indent) for item in value]
    return [
        f"{_key(key)} = {literal(item, indent)}" for key, item in value.items() if item is not None
    ]


def _key(key: str | int) -> str:
    return f"[{key}]" if isinstance(key, int) else key


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'
