"""Puts one mutant of the engine in the place of the original, for the process that asks for it."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mutants import Mutant

ENGINE = Path(__file__).parents[3] / "host/harp/engine"


def mutated(mutant: Mutant, source: str) -> str:
    """The module's text with the one change. Raises ValueError if its place is not found once."""
    found = source.count(mutant.old)
    if found != 1:
        raise ValueError(f"{mutant.name}: {mutant.module}.py has {found} places, not one")
    return source.replace(mutant.old, mutant.new)


class _Loader(SourceFileLoader):
    def __init__(self, name: str, path: str, mutant: Mutant) -> None:
        super().__init__(name, path)
        self._mutant = mutant

    def get_code(self, fullname: str) -> Any:
        """From the changed text, never from a cache."""
        text = mutated(self._mutant, Path(self.path).read_text("utf-8"))
        return compile(text, self.path, "exec", dont_inherit=True)


class _Finder(MetaPathFinder):
    def __init__(self, mutant: Mutant) -> None:
        self._mutant = mutant

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Only the mutant's module; all others as ever."""
        if fullname != f"harp.engine.{self._mutant.module}":
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        assert spec is not None and spec.origin is not None
        spec.loader = _Loader(fullname, spec.origin, self._mutant)
        return spec


def install(mutant: Mutant) -> None:
    """From here on the engine that is imported is the mutant. Before anything imports it."""
    assert not any(name.startswith("harp.engine") for name in sys.modules)
    sys.meta_path.insert(0, _Finder(mutant))
