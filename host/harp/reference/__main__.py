"""`python -m harp.reference [--check] [--root DIR]`: writes or checks the generated documents."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from harp.reference.dissector import dissector
from harp.reference.page import page
from harp.reference.registers import registers_page

GENERATED: dict[str, Callable[[], str]] = {
    "docs/wireshark/harp.lua": dissector,
    "docs/reference.md": page,
    "docs/registers.md": registers_page,
}
"""Path below the project's root → what makes its content."""
_ROOT = Path(__file__).resolve().parents[3]


def stale(root: Path) -> list[str]:
    """Generated files below `root` that are missing or differ from what the tables say."""
    return [name for name, make in GENERATED.items() if _content(root / name) != make()]


def _content(path: Path) -> str | None:
    return path.read_text(encoding="utf-8") if path.is_file() else None


def write(root: Path) -> list[str]:
    """Writes what is stale; returns its names."""
    names = stale(root)
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(GENERATED[name](), encoding="utf-8")
    return names


def main(arguments: list[str] | None = None) -> int:
    """0: written, or fresh; 1: `--check` found a stale file; 2: usage."""
    parser = argparse.ArgumentParser(
        prog="python -m harp.reference",
        description="Writes the Wireshark dissector and the reference pages from the tables.",
        epilog="example: python -m harp.reference --check",
    )
    parser.add_argument(
        "--check", action="store_true", help="write nothing; exit 1 if one is stale"
    )
    parser.add_argument("--root", type=Path, default=_ROOT, help="the project's root directory")
    options = parser.parse_args(arguments)
    if not (options.root / "docs").is_dir():
        parser.error(f"{options.root} has no docs directory: give the project's root with --root")
    if options.check:
        names = stale(options.root)
        for name in names:
            print(f"{name} is stale: run python -m harp.reference", file=sys.stderr)
        return 1 if names else 0
    for name in write(options.root):
        print(f"wrote {name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
