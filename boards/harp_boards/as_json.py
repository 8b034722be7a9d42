"""What `harp-board` prints for programs."""

from __future__ import annotations

import json
from collections.abc import Mapping

import click

SCHEMA = 1
"""It grows when a key goes away or changes its meaning."""


def print_json(values: Mapping[str, object]) -> None:
    """One object in one line."""
    click.echo(json.dumps({"schema": SCHEMA} | dict(values)))
