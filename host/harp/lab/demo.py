"""`make demo`: what there is, shown.

Three engines on a virtual network live through a power loss, a partition and a planned switch, in
simulated time; then a capture of a HARP conversation is made and decoded. The laboratory of network
namespaces, with real packets and the simulated offload, is not there yet.
"""

from __future__ import annotations

from pathlib import Path

import click

from harp.cli.common import Failure, run
from harp.cli.harpctl import harpctl
from harp.lab.conversation import KEY, KEY_SPI, write_capture
from harp.lab.virtual.scenario import Scenario, seconds
from harp.lab.virtual.world import World
from harp.wire.codec import DEFAULT_CODEC

STORY = """\
seed 1
seconds 20
members 3
mobiles 3
set hello_interval_ms 100
4.000 crash a memory for 4.000
11.000 partition all b | a c for 2.000
16.000 switchover c - -
"""
CAPTURE = Path("build/demo.pcap")


@click.command(name="demo")
def demo() -> None:
    """A group of three home agents fails, takes over and heals; a capture is decoded."""
    _tell_story()
    _decode_capture()


def _tell_story() -> None:
    click.secho("A group of three home agents (a is preferred) on a virtual network:", bold=True)
    click.echo("".join(f"    {line}\n" for line in STORY.splitlines()))
    told: list[str] = []
    world = World(
        Scenario.parse(STORY), tell=lambda now, text: told.append(f"{seconds(now):>12} s  {text}")
    )
    # Printed afterwards: an output that is gone must not look like a fault of an engine.
    outcome = world.run()
    click.echo("\n".join(told))
    if outcome.violations:
        raise Failure(f"an invariant does not hold: {outcome.violations[0]}")
    takeovers = ", ".join(f"{us / 1000:.0f} ms" for us in outcome.takeovers_us)
    click.echo(
        f"All invariants held after every step; {outcome.acknowledged} Binding Updates were "
        f"acknowledged, none lost; without an active for: {takeovers}.\n"
    )


def _decode_capture() -> None:
    CAPTURE.parent.mkdir(exist_ok=True)
    frames = write_capture(CAPTURE, DEFAULT_CODEC)
    click.secho(f"{CAPTURE}: {frames} frames of such a group", bold=True)
    command = ["decode", "--pcap", str(CAPTURE)]
    _harpctl(command, "harpctl " + " ".join(command))
    key = f"{KEY_SPI}:{KEY.hex()}"
    _harpctl([*command, "--key", key], f"harpctl decode … --key {KEY_SPI}:… (HARP must be signed)")
    click.echo(f"\ntshark -X lua_script:docs/wireshark/harp.lua -r {CAPTURE} -V shows it too.")


def _harpctl(command: list[str], shown: str) -> None:
    click.secho(f"\n$ {shown}", bold=True)
    harpctl.main(command, prog_name="harpctl", standalone_mode=False)


if __name__ == "__main__":
    run(demo)
