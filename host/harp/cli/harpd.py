"""`harpd`: the daemon on a router."""

from __future__ import annotations

from pathlib import Path

import click

from harp.cli.common import run

DEFAULT_FILE = Path("/etc/harp/harpd.toml")


@click.command(
    name="harpd",
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Example: harpd -c /etc/harp/harpd.toml --check",
)
@click.option(
    "-c",
    "--config",
    type=click.Path(path_type=Path, dir_okay=False),
    default=DEFAULT_FILE,
    show_default=True,
    help="Configuration file.",
)
@click.option("--check", is_flag=True, help="Say whether the configuration is right, and stop.")
@click.option("--json", "as_json", is_flag=True, help="With --check: print a JSON object.")
@click.version_option(package_name="harp-offload")
@click.pass_context
def harpd(context: click.Context, config: Path, check: bool, as_json: bool) -> None:
    """Run HARP on a router, in the foreground, until SIGTERM."""
    if as_json and not check:
        raise click.UsageError("--json goes with --check")
    if check:
        from harp.daemon.config.check import check as check_file

        context.exit(check_file(config, as_json))
    from harp.daemon import main as daemon
    from harp.daemon.config.load import load

    daemon.run(load(config), config)


def main() -> None:
    """Entry point."""
    run(harpd)


if __name__ == "__main__":
    main()
