"""Reads a configuration file: `load` for the daemon, `examine` for `harpd --check`."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harp.daemon.config.advice import warnings_of
from harp.daemon.config.build import Builder
from harp.daemon.config.files import read_at_most
from harp.daemon.config.keys import KeyStore
from harp.daemon.config.model import DaemonConfig
from harp.daemon.config.problem import BadConfig, Problem
from harp.daemon.config.schema import ROOT
from harp.daemon.config.tree import read

DEFAULT_FILE = Path("/etc/harp/harpd.toml")
"""Where it is unless told."""
MAX_OCTETS = 4 * 1024 * 1024
"""A file longer than this is no configuration."""


@dataclass(frozen=True, slots=True)
class Examined:
    """What a configuration file is."""

    path: Path
    """Where it is."""
    config: DaemonConfig | None
    """None: there are problems."""
    problems: tuple[Problem, ...]
    """What must be changed."""
    warnings: tuple[Problem, ...]
    """What works, but is rarely meant."""


def load(path: Path, credentials: Path | None = None) -> DaemonConfig:
    """The configuration in a file. Raises `BadConfig`, one line.

    `credentials`: directory of systemd credentials; None: as systemd says."""
    found = examine(path, credentials)
    if found.config is None:
        raise BadConfig(path, list(found.problems))
    return found.config


def examine(path: Path, credentials: Path | None = None) -> Examined:
    """The same, with all problems and warnings; raises nothing."""
    problems: list[Problem] = []
    document = _document(path, problems)
    if problems:
        return Examined(path, None, tuple(problems), ())
    keys = KeyStore(credentials) if credentials else KeyStore.of_process()
    return parse(document, path, keys)


def parse(document: Mapping[str, Any], path: Path, keys: KeyStore) -> Examined:
    """A document already read; `path` is for messages."""
    problems: list[Problem] = []
    root = read(document, ROOT, problems)
    config = Builder(keys, problems).daemon(root)
    if problems or config is None:
        return Examined(path, None, tuple(problems), ())
    return Examined(path, config, (), tuple(warnings_of(config)))


def _document(path: Path, problems: list[Problem]) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            text = read_at_most(file, MAX_OCTETS + 1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "no path"
        problems.append(Problem("", "", f"cannot be read: {reason}"))
        return {}
    if len(text) > MAX_OCTETS:
        problems.append(Problem("", "", f"longer than {MAX_OCTETS} octets"))
        return {}
    try:
        return tomllib.loads(text.decode("utf-8"))
    except (tomllib.TOMLDecodeError, ValueError, RecursionError) as error:
        problems.append(Problem("", "", f"not TOML: {' '.join(str(error).split())}"))
        return {}
