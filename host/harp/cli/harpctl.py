"""`harpctl`: looks into HARP from the command line."""

from __future__ import annotations

import click

from harp.cli.common import run
from harp.cli.decode import decode


@click.group(
    name="harpctl",
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Example: harpctl decode --pcap capture.pcap --json",
)
@click.version_option(package_name="harp-offload")
@click.option("--json", "as_json", is_flag=True, help="JSON from every command.")
@click.pass_context
def harpctl(context: click.Context, as_json: bool) -> None:
    """Look into HARP, the Home Agent Reliability Protocol."""
    context.obj = as_json


harpctl.add_command(decode)


def main() -> None:
    """Entry point."""
    run(harpctl)


if __name__ == "__main__":
    main()
