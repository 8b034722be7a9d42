"""Fast construction of frozen dataclasses, for the paths that run once a message."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import make_dataclass
from typing import Any, TypeVar

T = TypeVar("T")
_TWINS: dict[type, Any] = {}
"""The mutable twin of each class: made once, a codec has dozens."""


def maker(cls: type[T]) -> Callable[..., T]:
    """A constructor of `cls`, a frozen dataclass with slots, by position.

    A frozen dataclass's own `__init__` goes through `object.__setattr__` field by field and takes
    four times as long. This fills a mutable twin with the same slots and turns it into a `cls`:
    nobody ever sees it thawed.
    """
    names: tuple[str, ...] = vars(cls)["__slots__"]
    if cls not in _TWINS:
        _TWINS[cls] = make_dataclass(f"_{cls.__name__}", names, slots=True)
    twin: Any = _TWINS[cls]

    def make(*values: Any) -> T:
        made: Any = twin(*values)
        made.__class__ = cls
        result: T = made
        return result

    return make
