"""A private copy of a gateware module, with parts of its text replaced.

Constants are made small so that a solver can follow them, and bugs are planted to see that a proof
finds them; the gateware itself has no parameter for either.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from unittest.mock import patch

PACKAGE = "harp_gateware"


class EditError(ValueError):
    """The text to replace does not occur exactly once: the gateware has changed."""


@dataclass(frozen=True, slots=True)
class Edit:
    """In `harp_gateware/<file>.py`, `old` (there once) becomes `new`."""

    file: str
    old: str
    new: str


def edited(file: str, edits: Iterable[Edit]) -> str:
    """The source of a module after its edits. Raises EditError."""
    text = _path(file).read_text(encoding="utf-8")
    for edit in edits:
        if edit.file != file:
            continue
        if text.count(edit.old) != 1:
            raise EditError(f"{file}.py has {edit.old!r} {text.count(edit.old)} times, not once")
        text = text.replace(edit.old, edit.new)
    return text


def load(file: str, edits: tuple[Edit, ...] = ()) -> ModuleType:
    """A fresh copy of a module; what it imports from edited files is edited too."""
    others = {edit.file for edit in edits} - {file}
    copies = {f"{PACKAGE}.{name}": _execute(name, edits) for name in sorted(others)}
    with patch.dict(sys.modules, copies):
        return _execute(file, edits)


def _execute(file: str, edits: Iterable[Edit]) -> ModuleType:
    module = ModuleType(f"{PACKAGE}.{file}")
    exec(compile(edited(file, edits), _path(file), "exec", dont_inherit=True), module.__dict__)
    return module


def _path(file: str) -> Path:
    spec = importlib.util.find_spec(f"{PACKAGE}.{file}")
    if spec is None or spec.origin is None:
        raise EditError(f"no module {file} in {PACKAGE}")
    return Path(spec.origin)
