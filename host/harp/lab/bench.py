"""`harp-lab bench`: figures, part by part, as JSON and for people."""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib import import_module
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from harp.lab.schema import SCHEMA

PARTS = {
    "wire": "harp.lab.bench_wire:bench_wire",
    "engine": "harp.lab.bench_group:bench_group",
    "store": "harp.lab.bench_store:bench_store",
    "sync": "harp.lab.bench_sync:bench_sync",
}
"""Part → function that measures it and returns its figures by name, units in the names."""


@click.command("bench", epilog="Example: harp-lab bench --part wire --json")
@click.option("--part", "parts", type=click.Choice(sorted(PARTS)), multiple=True, help="Only it.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object as the last line.")
def bench(parts: tuple[str, ...], as_json: bool) -> None:
    """Measure the parts of HARP Offload. Ratios within one run count; the rest is this machine."""
    errors = Console(stderr=True)
    figures: dict[str, dict[str, Any]] = {}
    for part in parts or sorted(PARTS):
        with errors.status(f"measuring {part}"):
            figures[part] = _function(PARTS[part])()
        if not as_json:
            Console().print(_table(part, figures[part]))
    if as_json:
        click.echo(json.dumps({"schema": SCHEMA, "bench": figures}))


def _function(place: str) -> Callable[[], dict[str, Any]]:
    module, _, name = place.partition(":")
    function: Callable[[], dict[str, Any]] = getattr(import_module(module), name)
    return function


def _table(part: str, figures: dict[str, Any]) -> Table:
    table = Table(title=part, title_justify="left", show_header=False)
    table.add_column("figure")
    table.add_column("value", justify="right")
    for name, value in figures.items():
        table.add_row(name, f"{value:,}" if isinstance(value, int | float) else str(value))
    return table
