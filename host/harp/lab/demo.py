"""`make demo`: what there is, shown.

Until the laboratory of network namespaces exists this makes a capture of a HARP conversation and
decodes it with the same code as `harpctl decode`.
"""

from __future__ import annotations

from pathlib import Path

import click

from harp.cli.common import run
from harp.cli.harpctl import harpctl
from harp.lab.conversation import KEY, KEY_SPI, write_capture
from harp.wire.codec import DEFAULT_CODEC


@click.command(name="demo")
def demo() -> None:
    """Make a capture of a HARP conversation and decode it."""
    path = Path("build/demo.pcap")
    path.parent.mkdir(exist_ok=True)
    frames = write_capture(path, DEFAULT_CODEC)
    click.secho(f"{path}: {frames} frames of a group of three home agents", bold=True)
    command = ["decode", "--pcap", str(path)]
    click.secho("$ harpctl " + " ".join(command), bold=True)
    harpctl.main(command, prog_name="harpctl", standalone_mode=False)
    key = f"{KEY_SPI}:{KEY.hex()}"
    click.secho(f"\nThe same with a key ($ harpctl decode … --key {KEY_SPI}:…): ", bold=True)
    harpctl.main([*command, "--key", key], prog_name="harpctl", standalone_mode=False)
    click.echo("\nIn Wireshark: tshark -X lua_script:docs/wireshark/harp.lua -r build/demo.pcap -V")


if __name__ == "__main__":
    run(demo)
