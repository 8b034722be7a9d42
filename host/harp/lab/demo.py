"""`make demo`: the main job, shown.

Three home agents in network namespaces, real daemons and packets: cold start, registration, a kill,
a pulled cable, a planned switch, a flood; then the same group with the gateware, simulated, before
one of them: heartbeats absorbed, a flood stopped, a kill and a silence that hardware notices. A
timeline as it happens, a report with plots, a verdict.

Two halves, since the members of a group share one HELLO interval: the first has 10 ms, which
software keeps up with; the simulated board, some hundred times slower than an FPGA, wants 50 ms.
Where no board can be simulated the second half is left out; where no namespaces can be made,
engines on a virtual network tell a shorter story instead.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import click

from harp.cli.common import Failure, run
from harp.cli.harpctl import harpctl
from harp.lab.conversation import KEY, KEY_SPI, write_capture
from harp.lab.netns import board, privilege
from harp.lab.netns.cli import show, write_report
from harp.lab.netns.run import Options, execute
from harp.lab.netns.scenarios.board_story import board_story
from harp.lab.netns.scenarios.story import story
from harp.lab.virtual.scenario import Scenario, seconds
from harp.lab.virtual.world import World
from harp.tables.simulated import MIN_HELLO_MS
from harp.wire.codec import DEFAULT_CODEC

MAP = """\
     ha1   ha2   ha3                  mn   away from home, registers with
      |     |     |                   |    the virtual home agent address
      +-- home link --- router ---- visited link
                          |
                          cn   pings the mobile node's home address
"""
BOARD_MAP = """\
     ha1   ha2   ha3
      |     |     |
    board   |     |    in the wire: the gateware, simulated, driven by harpd's serial port
      |     |     |
      +-- home link --- router
"""
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


REPORT = Path("build/demo.html")


@click.command(name="demo", epilog="Example: harp-lab demo --seed 2")
@click.option("--seed", type=click.IntRange(0), default=1, show_default=True, metavar="S")
@click.option("--virtual", is_flag=True, help="Simulated time and network, no privileges.")
def demo(seed: int, virtual: bool) -> None:
    """A group of three home agents fails, takes over and heals.

    Exit status: 0 all went as it should, 1 not.
    """
    reason = None if virtual else privilege.why_not()
    if virtual or reason:
        if reason:
            click.echo(f"No network namespaces: {reason}. So on a virtual network:\n")
        _tell_story()
        _decode_capture()
        return
    privilege.ensure()
    _show(seed)


def _show(seed: int) -> None:
    begin = time.monotonic()
    reason = board.why_not()
    building = None if reason else board.Building()
    try:
        click.secho(
            "Three home agents on one link, a mobile node abroad, a correspondent:", bold=True
        )
        click.echo(MAP)
        results = [execute("demo", story, Options(seed=seed), click.echo)]
        show(results[0])
        if building is None:
            click.echo(f"No simulated board: {reason}. So it ends here.")
        else:
            building.program(click.echo)
            click.secho("\nThe same group, ha1 behind a board, HELLOs every 50 ms:", bold=True)
            click.echo(BOARD_MAP)
            options = Options(seed=seed, hello_ms=MIN_HELLO_MS)
            results.append(execute("demo with a board", board_story, options, click.echo))
            show(results[1])
    finally:
        if building is not None:
            building.end()
    write_report(results, REPORT)
    click.echo(f"\nreport with plots: {REPORT}")
    _judge(results, time.monotonic() - begin)


def _judge(results: list[dict[str, Any]], took_s: float) -> None:
    why = [line for result in results for line in result["why"]]
    click.secho(f"{'FAIL' if why else 'PASS'} after {took_s:.1f} s", bold=True)
    if why:
        raise Failure("; ".join(why))


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
