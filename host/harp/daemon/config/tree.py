"""From a TOML document to typed values by the schema; what deviates is a `Problem`, none raises."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from harp.daemon.config.problem import Problem
from harp.daemon.config.schema import EXAMPLES, REQUIRED, Setting, Table
from harp.daemon.config.values import (
    UNITS_US,
    Unfit,
    convert,
    duration_us,
    shown,
    toml,
)


@dataclass(frozen=True, slots=True)
class Node:
    """A table of the file with its values."""

    table: Table
    """What it is."""
    path: str
    """Full name: `group.member`."""
    place: str = ""
    """For messages."""
    given: dict[str, Any] = field(default_factory=dict)
    """Key without unit → value; durations in µs."""
    keys: dict[str, str] = field(default_factory=dict)
    """Key without unit → as it stands in the file."""
    below: dict[str, list[Node]] = field(default_factory=dict)
    """Tables in it by name; those absent are not here."""

    def get(self, key: str) -> Any:
        """A value, or its default; None if it has neither (a problem by now)."""
        if key in self.given:
            return self.given[key]
        default = self.setting(key).default
        return None if default is REQUIRED else default

    def many(self, name: str) -> list[Node]:
        """The tables of an array."""
        return self.below.get(name, [])

    def one(self, name: str) -> Node:
        """A table; one without values if it is absent."""
        if name in self.below:
            return self.below[name][0]
        table = next(each for each in self.table.tables if each.name == name)
        return Node(table, _join(self.path, name), _place(self.place, name))

    def setting(self, key: str) -> Setting:
        """What a key means."""
        return next(each for each in self.table.settings if each.key == key)

    def problem(self, key: str, what: str) -> Problem:
        """Something against the value of a key."""
        setting = self.setting(key)
        written = self.keys.get(key, spelled(setting))
        return Problem(self.place, written, what, f"{written} = {example(self.path, setting)}")

    def wrong(self, key: str, what: str) -> Problem:
        """The same, with the value in front."""
        return self.problem(key, f"{shown(self.given.get(key, self.get(key)))}: {what}")


def read(document: Mapping[str, object], root: Table, problems: list[Problem]) -> Node:
    """The document as values; what is wrong is left out and added to `problems`."""
    return _table(document, Node(root, ""), problems)


def spelled(setting: Setting) -> str:
    """A key as the reference writes it: a duration in its handiest unit."""
    if not setting.is_duration:
        return setting.key
    us = setting.default if isinstance(setting.default, int) else 0
    whole_s = us and us % UNITS_US["_s"] == 0 and us > 2 * UNITS_US["_s"]
    return setting.key + ("_s" if whole_s else "_ms")


def example(path: str, setting: Setting) -> str:
    """The right side of a line that would do."""
    name = _join(path, setting.key)
    if name in EXAMPLES:
        return EXAMPLES[name]
    if not setting.is_duration:
        return toml(setting.default)
    unit = UNITS_US["_s" if spelled(setting).endswith("_s") else "_ms"]
    return str((setting.default if isinstance(setting.default, int) else 0) // unit or 100)


def _table(values: Mapping[str, object], node: Node, problems: list[Problem]) -> Node:
    inner = {each.name: each for each in node.table.tables}
    spellings = {name: each for each in node.table.settings for name in each.spellings}
    for key, value in values.items():
        if key in inner:
            _inside(key, value, inner[key], node, problems)
        elif key in spellings:
            _value(key, value, spellings[key], node, problems)
        else:
            known = [*inner, *spellings]
            problems.append(
                Problem(node.place, shown_key(key), f"unknown; {_nearest(key, known, node)}")
            )
    for setting in node.table.settings:
        if setting.default is REQUIRED and setting.key not in node.keys:
            problems.append(node.problem(setting.key, "is missing"))
    return node


def shown_key(key: str) -> str:
    """A key that somebody wrote, in one line."""
    return key if key.isidentifier() and len(key) <= 60 else shown(key)


def _nearest(key: str, known: list[str], node: Node) -> str:
    near = difflib.get_close_matches(key, known, 1)
    if near:
        return f"did you mean {near[0]}?"
    names = [each.name for each in node.table.tables] + [spelled(s) for s in node.table.settings]
    return f"there are {', '.join(names)}"


def _inside(key: str, value: object, table: Table, node: Node, problems: list[Problem]) -> None:
    path = _join(node.path, key)
    header = f"[[{path}]]" if table.many else f"[{path}]"
    tables = value if table.many else [value]
    if not isinstance(tables, list) or not all(isinstance(each, dict) for each in tables):
        what = f"is no {'array of tables' if table.many else 'table'}"
        problems.append(Problem(node.place, key, what, f"{header} above its settings"))
        node.keys[key] = key
        return
    found = []
    for number, each in enumerate(tables, 1):
        name = f"{key} {number}{_label(table, each)}" if table.many else key
        found.append(_table(each, Node(table, path, _place(node.place, name)), problems))
    node.below[key] = found


def _label(table: Table, values: Mapping[str, object]) -> str:
    label = values.get(table.label)
    if not isinstance(label, str | int):
        return ""
    text = shown(label).strip('"')
    return f" ({table.label} {text})" if isinstance(label, int) else f" ({text})"


def _value(key: str, value: object, setting: Setting, node: Node, problems: list[Problem]) -> None:
    if setting.key in node.keys:
        problems.append(
            Problem(node.place, key, f"is given twice: there is {node.keys[setting.key]} too")
        )
        return
    node.keys[setting.key] = key
    try:
        if setting.is_duration:
            unit = key.removeprefix(setting.key)
            node.given[setting.key] = duration_us(value, unit, setting.kind)
        else:
            node.given[setting.key] = convert(value, setting.kind)
    except Unfit as unfit:
        problems.append(node.problem(setting.key, f"{shown(value)} {unfit}"))


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _place(place: str, name: str) -> str:
    return f"{place}, {name}" if place else name
