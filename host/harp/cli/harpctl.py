"""`harpctl`: looks into HARP from the command line, and tells a running harpd what to do."""

from __future__ import annotations

from pathlib import Path

import click

from harp.cli.asking import keep_socket
from harp.cli.common import run
from harp.cli.decode import decode
from harp.cli.ipsec import ipsec_config
from harp.cli.looking import bindings, events, offload, peers, status
from harp.cli.ordering import hold, rekey, release, reload, resync, switchback, switchover
from harp.cli.watching import watch


@click.group(
    name="harpctl",
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Example: harpctl status",
)
@click.version_option(package_name="harp-offload")
@click.option("--json", "as_json", is_flag=True, help="JSON from every command.")
@click.option(
    "--socket",
    type=click.Path(path_type=Path),
    help="Socket of harpd; else HARP_SOCKET, else /run/harp/control.",
)
@click.pass_context
def harpctl(context: click.Context, as_json: bool, socket: Path | None) -> None:
    """Look into HARP, the Home Agent Reliability Protocol, and control a running harpd."""
    context.obj = as_json
    keep_socket(context, socket)


for _command in (
    *(status, peers, bindings, events, offload, watch),
    *(switchover, switchback, hold, release, resync, rekey, reload),
    *(ipsec_config, decode),
):
    harpctl.add_command(_command)


def main() -> None:
    """Entry point."""
    run(harpctl)


if __name__ == "__main__":
    main()
