"""`python -m harp_sim.device`: a board in plain Python behind a pseudo terminal."""

from __future__ import annotations

from pathlib import Path

import click

from harp.cli.common import Failure, run
from harp_sim.device.run import serve


@click.command(
    name="harp_sim.device",
    epilog="Example: python -m harp_sim.device --link /run/harp/board --network b0 --host b1",
)
@click.option("--link", type=click.Path(path_type=Path), help="Symbolic link to make.")
@click.option("--network", default="", metavar="IF", help="Interface of the network port.")
@click.option("--host", default="", metavar="IF", help="Interface of the host port.")
def device(link: Path | None, network: str, host: str) -> None:
    """Simulates the board; prints the pseudo terminal that the host is to open."""
    try:
        serve(link, network, host)
    except OSError as error:
        raise Failure(f"{error.strerror or error}: interfaces up, and CAP_NET_RAW?") from None


if __name__ == "__main__":
    run(device)
