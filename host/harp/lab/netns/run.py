"""One run of a scenario: options in, figures, checks and timeline out.

A scenario is a function of a `Run`. It measures and it checks; the verdict is "pass" if every check
held, and a run that fails says why in words.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from harp.cli.common import Failure
from harp.lab.netns.lab import Lab
from harp.lab.netns.member import Settings
from harp.lab.netns.timeline import Timeline
from harp.lab.schema import SCHEMA

USUAL_HELLO_MS = 10


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line may say."""

    seed: int = 1
    runs: int = 5
    """Faults of a scenario that repeats one."""
    hello_ms: int = USUAL_HELLO_MS
    multiplier: int = 3
    nodes: int = 1000
    """Mobile nodes of the load generator."""
    seconds: float = 5.0
    """Length of what lasts: a flood, a load."""
    load: bool = False
    """Every core busy beside it."""


@dataclass(slots=True)
class Run:
    """A scenario being run."""

    options: Options
    timeline: Timeline
    figures: dict[str, Any] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)
    records: dict[str, Any] = field(default_factory=dict)
    """For the report's plots: rows that the JSON needs not hold."""

    def settings(self, **changes: Any) -> Settings:
        """A group's settings as the options want them."""
        usual = Settings(hello_ms=self.options.hello_ms, multiplier=self.options.multiplier)
        return replace(usual, **changes)

    @contextmanager
    def lab(self, **changes: Any) -> Iterator[Lab]:
        """A laboratory, under CPU load if that is wanted; its last words go into a failure."""
        with Lab(self.settings(**changes), self.timeline, seed=self.options.seed) as lab:
            if self.options.load:
                lab.world.load()
                self.timeline.add("lab", f"{os.cpu_count()} busy processes", "action")
            try:
                yield lab
            finally:
                self.records.setdefault("labs", []).append(lab.history())
                self.records["logs"] = lab.logs()

    def check(self, holds: bool, otherwise: str) -> None:
        """One thing that must hold."""
        if not holds:
            self.failures.append(otherwise)
            self.timeline.add("lab", f"FAILED: {otherwise}", "note")

    def at_most(self, name: str, value: float | None, limit: float, unit: str) -> None:
        """A figure that may not be greater than a limit."""
        found = "was never measured" if value is None else f"is {value:g} {unit}"
        self.check(
            value is not None and value <= limit, f"{name} {found}, at most {limit:g} {unit} wanted"
        )


Scenario = Callable[[Run], None]


def execute(
    name: str, scenario: Scenario, options: Options, tell: Callable[[str], None] | None = None
) -> dict[str, Any]:
    """Runs a scenario; returns what its last line says."""
    run = Run(options, Timeline(tell))
    begin = time.monotonic()
    try:
        scenario(run)
    except Failure as failure:
        run.check(False, failure.format_message())
    return {
        "schema": SCHEMA,
        "scenario": name,
        "verdict": "fail" if run.failures else "pass",
        "why": run.failures,
        "seed": options.seed,
        "seconds": round(time.monotonic() - begin, 1),
        "machine": machine(),
        "figures": run.figures,
        "timeline": run.timeline.as_json(),
        "records": run.records,
    }


def last_line(result: dict[str, Any]) -> str:
    """The one JSON object of a run, as a line."""
    shown = {key: value for key, value in result.items() if key != "records"}
    return json.dumps(shown)


def machine() -> dict[str, Any]:
    """What the figures were measured on."""
    name = os.uname()
    return {
        "cores": os.cpu_count(),
        "kernel": name.release,
        "load_average": round(os.getloadavg()[0], 1),
    }
