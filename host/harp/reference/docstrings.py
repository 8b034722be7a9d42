"""Docstrings of constants, enum members and fields: they are for people, so pages quote them.

Python keeps none of a string that stands below an assignment; they are read from the source.
"""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator
from itertools import pairwise
from types import ModuleType


def attribute_docs(module: ModuleType) -> dict[str, str]:
    """`NAME` or `Class.NAME` → the string below its assignment, in order, white space joined."""
    tree = ast.parse(inspect.getsource(module))
    found = dict(_documented(tree.body, ""))
    for node in tree.body:
        if isinstance(node, ast.ClassDef):
            found |= _documented(node.body, f"{node.name}.")
    return found


def _documented(body: list[ast.stmt], prefix: str) -> Iterator[tuple[str, str]]:
    for statement, after in pairwise(body):
        name = _assigned(statement)
        text = _string(after)
        if name and text:
            yield prefix + name, " ".join(text.split())


def _assigned(statement: ast.stmt) -> str | None:
    match statement:
        case ast.Assign(targets=[ast.Name(id=name)]) | ast.AnnAssign(target=ast.Name(id=name)):
            return name
    return None


def _string(statement: ast.stmt) -> str | None:
    match statement:
        case ast.Expr(value=ast.Constant(value=str(text))):
            return text
    return None
