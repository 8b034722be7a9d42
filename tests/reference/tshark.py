"""tshark with the generated dissector, and its JSON as plain Python."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any, TypeAlias

import pytest

Layer: TypeAlias = dict[str, Any]

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "docs/wireshark/harp.lua"
needs_tshark = pytest.mark.skipif(
    shutil.which("tshark") is None, reason="tshark is not installed (Debian: apt install tshark)"
)


def run(capture: Path, *arguments: str) -> str:
    """Output of tshark; fails on an error of the script, at load or on a packet."""
    done = subprocess.run(
        ["tshark", "-X", f"lua_script:{SCRIPT}", "-n", "-r", str(capture), *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert "Lua" not in done.stderr, done.stderr
    assert "Lua Error" not in done.stdout, done.stdout
    return done.stdout


def harp_layers(capture: Path, *arguments: str) -> list[Layer | None]:
    """The `harp` layer of each packet; None where there is none."""
    out = run(capture, "-T", "json", "--no-duplicate-keys", "-J", "harp", *arguments)
    return [packet["_source"]["layers"].get("harp") for packet in json.loads(out)]


def columns(capture: Path, *fields: str, also: tuple[str, ...] = ()) -> list[list[str]]:
    """For each packet the fields' values; several of one field joined with ","."""
    chosen = [word for field in fields for word in ("-e", field)]
    out = run(capture, "-T", "fields", "-E", "separator=\t", *chosen, *also)
    return [line.split("\t") for line in out.splitlines()]


def listed(layer: Layer, key: str) -> list[Any]:
    """Values under a key, which tshark writes bare when there is one."""
    value = layer.get(key, [])
    return value if isinstance(value, list) else [value]
