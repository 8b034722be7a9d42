"""`-c FILE` of every command that reads the configuration of harpd."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from harp.daemon.config.load import DEFAULT_FILE

F = TypeVar("F", bound=Callable[..., Any])


def config_option(text: str = "Configuration file.") -> Callable[[F], F]:
    """The path, as `config`; whether it can be read is told by who reads it."""
    return click.option(
        "-c",
        "--config",
        type=click.Path(path_type=Path, dir_okay=False, readable=False),
        default=DEFAULT_FILE,
        show_default=True,
        help=text,
    )
