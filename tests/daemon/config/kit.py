"""A small right configuration, to be made wrong."""

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from harp.daemon.config.keys import KeyStore
from harp.daemon.config.load import Examined, parse

FILE = Path("/etc/harp/harp.toml")
RIGHT = """
[daemon]
metrics_listen = ""
[[group]]
id = 7
me = "ha1"
virtual_address = "2001:db8:1::100"
home_prefixes = ["2001:db8:1::/64"]
hello_interval_ms = 10
security = "none"
insecure = true
[[group.link]]
interface = "eth0"
[[group.member]]
name = "ha1"
addresses = ["2001:db8:1::1"]
[[group.member]]
name = "ha2"
addresses = ["2001:db8:1::2"]
[group.sync]
[group.home_agent]
"""


def examined(text: str, credentials: Path | None = None) -> Examined:
    """A text as `load.examine` sees the file."""
    return parse(tomllib.loads(text), FILE, KeyStore(credentials))


def changed(old: str, new: str) -> str:
    """The right configuration with one part replaced."""
    assert RIGHT.count(old) >= 1, old
    return RIGHT.replace(old, new, 1)


def problems(text: str) -> list[str]:
    """Lines against a configuration."""
    found = examined(text)
    assert (found.config is None) == bool(found.problems)
    return [str(each) for each in found.problems]


def warned(text: str) -> list[str]:
    """Warnings about a configuration that is right."""
    found = examined(text)
    assert found.config, found.problems
    return [str(each) for each in found.warnings]


def group_of(document: Mapping[str, Any]) -> dict[str, Any]:
    """The first group of a document."""
    group: dict[str, Any] = document["group"][0]
    return group
