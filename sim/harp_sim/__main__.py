"""`python -m harp_sim`: the gateware in simulation against its model.

Exit status: 0 done and equal, 1 a mismatch or a failed simulation, 2 wrong usage.
"""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

import click

from harp_sim.capture import CaptureError, read_capture, read_settings
from harp_sim.cases import CASES, MONITOR, NETLIST, PINS, chosen
from harp_sim.simulator import Build, SimulationFailed, design, run

EXAMPLE = """Examples:

\b
  python -m harp_sim --frames 20000 --seed 7 --json
  python -m harp_sim --case line_rate
  python -m harp_sim --pcap trace.pcap --config board.toml --json
"""


@click.command(name="harp_sim", epilog=EXAMPLE)
@click.option("--frames", type=click.IntRange(1), help="Random mix of so many frames.")
@click.option("--seed", default=1, show_default=True, help="Of every random choice.")
@click.option("--case", help="A case, or every one of a module: wire, slots.four, line_rate ...")
@click.option(
    "--pcap",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="What would the board do with this capture?",
)
@click.option(
    "--config",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Settings for --pcap as TOML; else those after reset, with filter and lease.",
)
@click.option("--icarus", is_flag=True, help="Icarus instead of Verilator.")
@click.option("--waves", is_flag=True, help="Write waves beside the log.")
@click.option("--json", "as_json", is_flag=True, help="JSON on standard output.")
def main(
    frames: int | None,
    seed: int,
    case: str | None,
    pcap: Path | None,
    config: Path | None,
    icarus: bool,
    waves: bool,
    as_json: bool,
) -> None:
    """Simulates the core of the offload and compares it with the reference model."""
    build = Build(simulator="icarus" if icarus else "verilator", waves=waves)
    if sum(option is not None for option in (frames, case, pcap)) > 1:
        raise click.UsageError("one of --frames, --case and --pcap at a time")
    if config is not None and pcap is None:
        raise click.UsageError("--config needs --pcap")
    if pcap is not None:
        _capture(build, pcap, config, as_json)
    elif case is not None:
        _cases(build, case, seed)
    else:
        _mix(build, frames or 20_000, seed, as_json)


def _begin() -> None:
    click.echo("building and simulating; the first build takes some minutes", err=True)


def _mix(build: Build, frames: int, seed: int, as_json: bool) -> None:
    """The random mix; last line one object with frames, mismatches, coverage and latency."""
    _begin()
    name = f"mix-{frames}-{seed}"
    failed = None
    try:
        run(build, "mix.mix", seed, {"HARP_FRAMES": str(frames)}, name)
    except SimulationFailed as error:
        failed = str(error).splitlines()[0]
    report = _report(name, "report.json")
    if report is None:
        raise SimulationFailed(failed or "the simulation left no report")
    for text in report.pop("first_mismatches"):
        click.echo(text, err=True)
    if as_json:
        click.echo(json.dumps(report))
    else:
        click.echo(f"{frames} frames, {report['mismatches']} mismatches, {report['coverage']}")
    if failed:
        raise SimulationFailed(failed)


def _cases(build: Build, name: str, seed: int) -> None:
    cases = chosen(name)
    if not cases:
        known = sorted({case.split(".")[0] for case in (*CASES, *MONITOR, *NETLIST, *PINS)})
        raise click.UsageError(f"no case {name}; there are {', '.join(known)}")
    _begin()
    for case in cases:
        this = replace(
            build, params=design(case), netlist=case in NETLIST, board=PINS.get(case, "")
        )
        directory = run(this, case, seed)
        click.echo(f"{case}: passed, log in {directory}")


def _capture(build: Build, pcap: Path, config: Path | None, as_json: bool) -> None:
    """One line a frame with the reason and outcome of the gateware and of the model."""
    settings = read_settings(config)
    frames = read_capture(pcap)
    task = {
        "settings": settings,
        "frames": [[at_us, octets.hex()] for at_us, octets in frames],
    }
    _begin()
    path = Path("build/sim/capture.json").absolute()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(task), encoding="utf-8")
    run(build, "replay.replay", 1, {"HARP_CAPTURE": str(path)}, "replay")
    rows = _report("replay", "verdicts.json") or []
    for row in rows:
        model = row["model"]
        text = f"{row['frame']}: {row['reason']} {row['outcome']}"
        if (row["reason"], row["outcome"]) != (model["reason"], model["outcome"]):
            text += f"; the model says {model['reason']} {model['outcome']}"
        click.echo(json.dumps(row) if as_json else text)


def _report(name: str, file: str) -> Any:
    path = Path("build/sim/runs") / name / file
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None


def _say(message: str, status: int) -> NoReturn:
    click.echo(f"harp_sim: {' '.join(message.split())}", err=True)
    raise SystemExit(status)


if __name__ == "__main__":
    os.environ.setdefault("PYTHONHASHSEED", "0")
    try:
        main.main(prog_name="python -m harp_sim", standalone_mode=False)
    except click.UsageError as error:
        _say(f"{error.format_message()} (see --help)", 2)
    except click.ClickException as error:
        _say(error.format_message(), 1)
    except (SimulationFailed, CaptureError) as error:
        _say(str(error), 1)
    except click.Abort:
        _say("interrupted", 1)
