"""`harpctl`: looks into HARP from the command line, and tells a running harpd what to do."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

import click

from harp.cli.asking import keep_socket
from harp.cli.common import run

COMMANDS = {
    "status": "looking",
    "peers": "looking",
    "bindings": "looking",
    "events": "looking",
    "offload": "looking",
    "watch": "watching",
    "switchover": "ordering",
    "switchback": "ordering",
    "hold": "ordering",
    "release": "ordering",
    "resync": "ordering",
    "rekey": "ordering",
    "reload": "ordering",
    "ipsec-config": "ipsec",
    "decode": "decode",
}
"""Name → module of `harp.cli`, loaded when it is wanted: `status` reads no captures."""


class Commands(click.Group):
    """The commands in the order of `COMMANDS`."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Their names."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """One of them; None: there is no such command."""
        if cmd_name not in COMMANDS:
            return None
        module = import_module(f"harp.cli.{COMMANDS[cmd_name]}")
        found: click.Command = getattr(module, cmd_name.replace("-", "_"))
        return found


@click.group(
    name="harpctl",
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Example: harpctl status",
)
@click.version_option(package_name="harp-offload")
@click.option("--json", "as_json", is_flag=True, help="JSON from every command.")
@click.option(
    "--socket",
    type=click.Path(readable=False, path_type=Path),
    help="Socket of harpd; else HARP_SOCKET, else /run/harp/control.",
)
@click.pass_context
def harpctl(context: click.Context, as_json: bool, socket: Path | None) -> None:
    """Look into HARP, the Home Agent Reliability Protocol, and control a running harpd."""
    context.obj = as_json
    keep_socket(context, socket)


def main() -> None:
    """Entry point."""
    run(harpctl)


if __name__ == "__main__":
    main()
