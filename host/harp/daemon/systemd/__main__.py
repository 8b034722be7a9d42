"""`python -m harp.daemon.systemd [unit|sysusers] [-c FILE]`: prints a file for systemd.

The unit names the harpd of this installation, wherever that is.
"""

from __future__ import annotations

import sys
from pathlib import Path

import click

from harp.cli.common import run
from harp.daemon.config.load import DEFAULT_FILE
from harp.daemon.config.option import config_option

_FILES = {"unit": "harpd.service", "sysusers": "harp.sysusers.conf"}
_HARPD = "/usr/bin/harpd"


def text(which: str, config: Path = DEFAULT_FILE, harpd: Path = Path(_HARPD)) -> str:
    """A file with the paths of an installation."""
    found = (Path(__file__).parent / _FILES[which]).read_text(encoding="utf-8")
    return found.replace(str(DEFAULT_FILE), str(config)).replace(_HARPD, str(harpd))


@click.command(
    name="harp.daemon.systemd",
    epilog="Example: python -m harp.daemon.systemd unit > /etc/systemd/system/harpd.service",
)
@click.argument("which", type=click.Choice(list(_FILES)), default="unit")
@config_option("Configuration file that the unit names.")
def systemd(which: str, config: Path) -> None:
    """Print the unit of harpd, or the sysusers file that makes its user."""
    click.echo(text(which, config, Path(sys.executable).with_name("harpd")), nl=False)


if __name__ == "__main__":
    run(systemd)
