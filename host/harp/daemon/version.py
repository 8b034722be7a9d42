"""Which harpd this is."""

from __future__ import annotations

from functools import cache
from importlib import metadata


@cache
def version() -> str:
    """Of the installed distribution."""
    try:
        return metadata.version("harp-offload")
    except metadata.PackageNotFoundError:  # run from the source tree
        return "unpackaged"
