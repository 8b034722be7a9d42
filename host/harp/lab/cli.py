"""`harp-lab`: the laboratory's command line."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from harp.cli.common import run
from harp.lab.bench import bench
from harp.lab.demo import demo
from harp.lab.netns.cli import COMMANDS
from harp.lab.schema import SCHEMA
from harp.lab.virtual.faults import FAULTS
from harp.lab.virtual.generate import generate
from harp.lab.virtual.scenario import Scenario, seconds
from harp.lab.virtual.settings import SETTINGS
from harp.lab.virtual.shrink import shrink
from harp.lab.virtual.sweep import Tally, sweep
from harp.lab.virtual.world import World

SHRUNK = 3
"""Failing scenarios that a sweep shrinks and shows."""


@click.group(
    name="harp-lab",
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Example: harp-lab bench --part wire --json",
)
@click.version_option(package_name="harp-offload")
def harp_lab() -> None:
    """Laboratory of HARP Offload: scenarios, sweeps, benchmarks."""


@harp_lab.command(
    "sweep", epilog="Example: harp-lab sweep --scenarios 3000 --seed 1 --jobs 2 --json"
)
@click.option("--scenarios", type=click.IntRange(1), default=1000, show_default=True, metavar="N")
@click.option("--seed", type=click.IntRange(0), default=1, show_default=True, metavar="S")
@click.option("--jobs", type=click.IntRange(1), default=1, show_default=True, metavar="J")
@click.option("--dask", metavar="ADDRESS", help="Scheduler of a Dask cluster to run on.")
@click.option(
    "--replay",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Run this one scenario and tell what happens in it.",
)
@click.option("--shrink/--no-shrink", "do_shrink", default=True, help="Shorten what fails.")
@click.option(
    "--words",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=lambda context, _, wanted: _tell_words(context) if wanted else None,
    help="List the steps and settings that a scenario may use.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object as the last line.")
def sweep_command(
    scenarios: int,
    seed: int,
    jobs: int,
    dask: str | None,
    replay: Path | None,
    do_shrink: bool,
    as_json: bool,
) -> None:
    """Run N random scenarios of engines and mobile nodes on a virtual network.

    The scenarios are those of the seeds S to S + N - 1; the same seed is the same scenario. Every
    invariant is checked after every step. A failing scenario is shrunk to a short script, which
    --replay runs. Exit status: 0 no violation, 1 a violation, 2 wrong usage.
    """
    errors = Console(stderr=True)
    if replay is not None:
        tally = _replay(replay, errors)
    else:
        tally = _sweep(scenarios, seed, jobs, dask, errors)
        if do_shrink:
            _show(tally, errors)
    summary = tally.summary()
    if as_json:
        click.echo(json.dumps({"schema": SCHEMA} | summary))
    else:
        times = " ".join(f"{name} {ms:.0f}" for name, ms in summary["takeover_ms"].items())
        click.echo(
            f"{tally.scenarios} scenarios, {summary['simulated_s']} s simulated, "
            f"{len(tally.failures)} violations; takeover ms: {times or 'none'}"
        )
    sys.exit(1 if tally.failures else 0)


def _tell_words(context: click.Context) -> None:
    """The vocabulary of scenarios, from the tables that run them."""
    click.echo("Steps: TIME VERB ARGUMENTS [for TIME], times in seconds")
    for verb, fault in FAULTS.items():
        click.echo(f"  {verb} {fault.usage}")
    click.echo("Settings: set NAME VALUE")
    for name, setting in SETTINGS.items():
        click.echo(f"  {name} {setting.default}: {setting.doc}")
    context.exit()


def _sweep(scenarios: int, seed: int, jobs: int, dask: str | None, errors: Console) -> Tally:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=errors, disable=not errors.is_terminal) as bar:
        task = bar.add_task("scenarios", total=scenarios)
        tenths: list[int] = []

        def told(tally: Tally) -> None:
            found = len(tally.failures)
            bar.update(task, completed=tally.scenarios, description=f"{found} violations")
            if not errors.is_terminal and tally.scenarios * 10 // scenarios > len(tenths):
                tenths.append(tally.scenarios)
                errors.out(f"{tally.scenarios} of {scenarios} scenarios, {found} violations")

        try:
            return sweep(scenarios, seed, jobs, dask, told)
        except ModuleNotFoundError as problem:
            raise click.UsageError(f"--dask: {problem}; install harp-offload[cluster]") from problem
        except OSError as problem:
            raise click.UsageError(f"--dask {dask}: {problem}") from problem


def _replay(path: Path, errors: Console) -> Tally:
    try:
        scenario = Scenario.parse(path.read_text("utf-8"))
        world = World(scenario, tell=lambda now, text: errors.out(f"{seconds(now):>10} {text}"))
        outcome = world.run()
    except (ValueError, KeyError) as problem:
        raise click.UsageError(f"{path}: {problem}") from problem
    tally = Tally()
    tally.add(outcome)
    return tally


def _show(tally: Tally, errors: Console) -> None:
    """The first failing scenarios, shortened, as scripts for --replay."""
    for failure in tally.failures[:SHRUNK]:
        errors.out(f"\n# seed {failure.seed}: {failure.invariant}: {failure.text}")
        errors.out(str(shrink(generate(failure.seed))))


harp_lab.add_command(bench)
harp_lab.add_command(demo)
for _command in COMMANDS:
    harp_lab.add_command(_command)


def main() -> None:
    """Entry point."""
    run(harp_lab)


if __name__ == "__main__":
    main()
