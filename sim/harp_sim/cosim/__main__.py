"""`python -m harp_sim.cosim --network IF --host IF --serial LINK`: runs the simulated device."""

from __future__ import annotations

import os
from pathlib import Path

import click

from harp.cli.common import Failure, run
from harp.tables.simulated import (
    MAX_FRAMES_A_SECOND,
    MIN_HELLO_MS,
    MIN_LEASE_MS,
    MIN_MULTIPLIER,
)
from harp_sim.cosim.build import BuildFailed, program

LIMITS = (
    f"Its limits: HELLO intervals from {MIN_HELLO_MS} ms x {MIN_MULTIPLIER} on, a lease of "
    f"{MIN_LEASE_MS} ms, floods up to {MAX_FRAMES_A_SECOND:,} frames a second."
)


@click.command(
    name="harp_sim.cosim",
    epilog="Example: python -m harp_sim.cosim --network veth0 --host veth1 --serial /run/tty",
)
@click.option("--network", metavar="IF", help="Interface toward the network.")
@click.option("--host", metavar="IF", help="Interface toward the home agent.")
@click.option("--serial", type=click.Path(path_type=Path), help="Link to the serial port.")
@click.option("--build-only", is_flag=True, help="Build the program and print its path.")
def cosim(network: str | None, host: str | None, serial: Path | None, build_only: bool) -> None:
    """Run the gateware, simulated, between two interfaces; harpd drives it by the serial port.

    SIGUSR1 pulls the serial cable, SIGUSR2 plugs it in again.
    """
    if not build_only and not (network and host and serial):
        raise click.UsageError("--network, --host and --serial are needed")
    try:
        device = program()
    except BuildFailed as error:
        raise Failure(str(error)) from None
    if build_only:
        click.echo(device)
        return
    click.echo(LIMITS, err=True)
    os.execv(device, [str(device), str(network), str(host), str(serial)])


if __name__ == "__main__":
    run(cosim)
