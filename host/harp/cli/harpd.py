"""`harpd`: the daemon. It is not in this version; the command says so instead of being absent."""

from __future__ import annotations

import click

from harp.cli.common import Failure, run


@click.command(name="harpd", context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="harp-offload")
def harpd() -> None:
    """Run HARP on a router (not in this version)."""
    raise Failure("this version has no daemon yet; see README.md for what there is")


def main() -> None:
    """Entry point."""
    run(harpd)
