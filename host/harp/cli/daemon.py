"""The command `harpd`: what it may be told."""

from __future__ import annotations

from pathlib import Path

import click

from harp.daemon.config.check import check as check_file
from harp.daemon.config.load import load
from harp.daemon.config.model import RUN_DIR
from harp.daemon.config.option import config_option
from harp.daemon.config.problem import BadConfig
from harp.daemon.main import run
from harp.daemon.undo import undo as undo_all
from harp.daemon.undo import undo_noted


@click.command(
    name="harpd",
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Example: harpd -c /etc/harp/harpd.toml --check",
)
@config_option()
@click.option("--undo", is_flag=True, help="Withdraw what a dead harpd left behind, and stop.")
@click.option("--check", is_flag=True, help="Say whether the configuration is right, and stop.")
@click.option("--json", "as_json", is_flag=True, help="With --check: print a JSON object.")
@click.version_option(package_name="harp-offload")
@click.pass_context
def harpd(context: click.Context, config: Path, undo: bool, check: bool, as_json: bool) -> None:
    """Run HARP on a router, in the foreground, until SIGTERM."""
    if as_json and not check:
        raise click.UsageError("--json goes with --check")
    if check and undo:
        raise click.UsageError("--check and --undo are two different things")
    if check:
        context.exit(check_file(config, as_json))
    if undo:
        _undo(config)
    else:
        run(load(config), config)


def _undo(config: Path) -> None:
    """A file that was broken since keeps nothing from being withdrawn."""
    try:
        lines = undo_all(load(config))
    except BadConfig:
        for line in undo_noted(RUN_DIR):
            click.echo(line)
        raise
    for line in lines:
        click.echo(line)
