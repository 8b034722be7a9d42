"""What a build says of itself in its first registers: version, commit, board."""

from __future__ import annotations

import subprocess
from importlib import metadata
from pathlib import Path

from harp_boards.board import Board
from harp_gateware.core import Identity

HASH_DIGITS = 8


def identity(board: Board) -> Identity:
    """From the package's version and the git work tree it stands in; without one: hash 0, dirty."""
    major, minor, patch = (int("".join(filter(str.isdigit, n)) or 0) for n in _version())
    commit = _git("rev-parse", "HEAD")
    return Identity(
        version=(major, minor, patch),
        git_hash=int(commit[:HASH_DIGITS], 16) if commit else 0,
        dirty=not commit or bool(_git("status", "--porcelain", "--untracked-files=no")),
        board=board.number,
    )


def _version() -> list[str]:
    try:
        installed = metadata.version("harp-offload")
    except metadata.PackageNotFoundError:  # built from a source tree that is not installed
        installed = ""
    return [*installed.split("."), "0", "0"][:3]


def _git(*words: str) -> str:
    try:
        done = subprocess.run(
            ["git", *words],
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            check=False,
        )
    except FileNotFoundError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
