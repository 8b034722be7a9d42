"""The report: one HTML file that needs nothing else, plots included.

Colours are those of Wong's palette, which colour-blind readers tell apart too; every plot says in
words what it shows.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import jinja2
import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.patches import Patch

COLOURS = {"active": "#009E73", "standby": "#56B4E9", "behind": "#E69F00", "silent": "#E5E5E5"}
MEANINGS = {
    "active": "active",
    "standby": "standby, synchronised",
    "behind": "not synchronised",
    "silent": "silent",
}
LOST = "#D55E00"
TEMPLATE = "report.html.j2"


def write(results: Sequence[dict[str, Any]], path: Path) -> None:
    """Writes the report of some runs (`run.execute`)."""
    environment = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.filters["figure"] = _figure
    text = files("harp.lab.netns").joinpath(TEMPLATE).read_text("utf-8")
    page = environment.from_string(text).render(
        runs=[{**result, "plots": _plots(result)} for result in results],
        verdict="pass" if all(r["verdict"] == "pass" for r in results) else "fail",
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(page, "utf-8")


def _plots(result: dict[str, Any]) -> list[dict[str, str]]:
    records = result["records"]
    plots = [
        {"svg": _svg(_roles(lab)), "text": _roles_text(lab)} for lab in records.get("labs", ())
    ]
    times = {name: values for name, values in records.get("takeovers_ms", {}).items() if values}
    if times:
        text = "Takeover times: each dot one takeover, the bar their median."
        plots.append({"svg": _svg(_takeovers(times)), "text": text})
    kept = records.get("kept_away", {})
    if kept:
        each = "; ".join(
            f"{what}: {reached:,} of {sent:,}" for what, (sent, reached) in kept.items()
        )
        text = f"What the board let through to its host, of what came from the network: {each}."
        plots.append({"svg": _svg(_kept_away(kept)), "text": text})
    return plots


def _roles(lab: dict[str, Any]) -> Figure:
    """Who was what, and below the pings that were lost."""
    names = list(lab["roles"])
    pings = lab["pings"]
    rows = len(names) + len(pings)
    figure = Figure(figsize=(10, 0.9 + 0.42 * rows), layout="constrained")
    axes = figure.add_subplot()
    for row, name in enumerate(names):
        for begin, end, role in lab["roles"][name]:
            axes.barh(row, end - begin, left=begin, height=0.7, color=COLOURS[role])
    for row, name in enumerate(pings, start=len(names)):
        axes.barh(
            row, lab["end_s"] - lab["begin_s"], left=lab["begin_s"], height=0.08, color="#999"
        )
        outages = pings[name]["outages"]
        # An outage of milliseconds in a minute would be invisible: none is drawn thinner than this.
        least = (lab["end_s"] - lab["begin_s"]) / 400
        for begin, end, _ in outages:
            axes.barh(row, max(end - begin, least), left=begin, height=0.7, color=LOST)
    axes.set_yticks(range(rows), [*names, *pings])
    axes.invert_yaxis()
    axes.set_xlim(lab["begin_s"], lab["end_s"])
    axes.set_xlabel("seconds")
    axes.spines[["top", "right", "left"]].set_visible(False)
    handles = [Patch(color=COLOURS[role], label=text) for role, text in MEANINGS.items()]
    if pings:
        handles.append(Patch(color=LOST, label="pings without an answer"))
    figure.legend(handles=handles, loc="outside upper left", ncols=5, frameon=False, fontsize=9)
    return figure


def _roles_text(lab: dict[str, Any]) -> str:
    lost = [
        f"{sum(lost for _, _, lost in row['outages'])} of {row['sent']} {name} lost"
        for name, row in lab["pings"].items()
    ]
    return "Role of each home agent over time, from its HELLOs on the wire" + "".join(
        f"; {text}" for text in lost
    )


def _takeovers(times: dict[str, list[float]]) -> Figure:
    figure = Figure(figsize=(10, 1.0 + 0.42 * len(times)), layout="constrained")
    axes = figure.add_subplot()
    for row, values in enumerate(times.values()):
        ordered = sorted(values)
        axes.plot(values, [row] * len(values), "o", color=COLOURS["active"], alpha=0.6)
        axes.plot([ordered[len(ordered) // 2]] * 2, [row - 0.3, row + 0.3], color="black")
    axes.set_yticks(range(len(times)), [name.replace("_", " ") for name in times])
    axes.set_ylim(len(times) - 0.5, -0.5)
    axes.set_xlim(0, 1.03 * max(max(values) for values in times.values()))
    axes.set_xlabel("ms until the first Neighbor Advertisement of the new active")
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def _kept_away(kept: dict[str, tuple[int, int]]) -> Figure:
    """Both bars of each row on one scale, the second drawn over the first."""
    figure = Figure(figsize=(10, 1.1 + 0.42 * len(kept)), layout="constrained")
    axes = figure.add_subplot()
    for row, (sent, reached) in enumerate(kept.values()):
        axes.barh(row, 100, height=0.7, color=COLOURS["standby"])
        axes.barh(row, 100 * reached / max(1, sent), height=0.7, color=LOST)
    axes.set_yticks(range(len(kept)), list(kept))
    axes.invert_yaxis()
    axes.set_xlim(0, 100)
    axes.set_xlabel("% of the packets")
    axes.spines[["top", "right"]].set_visible(False)
    handles = [
        Patch(color=COLOURS["standby"], label="ended in the board"),
        Patch(color=LOST, label="reached the host"),
    ]
    figure.legend(handles=handles, loc="outside upper left", ncols=2, frameon=False, fontsize=9)
    return figure


def _svg(figure: Figure) -> str:
    out = io.StringIO()
    # Text stays text, and the same run draws the same octets.
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "harp"}):
        figure.savefig(out, format="svg", metadata={"Date": None})
    text = out.getvalue()
    return text[text.index("<svg") :]


def _figure(value: object) -> str:
    """A figure for people."""
    if isinstance(value, dict):
        return ", ".join(f"{name.replace('_', ' ')} {_figure(one)}" for name, one in value.items())
    if isinstance(value, list):
        return ", ".join(_figure(one) for one in value)
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "–"}[value]
    return f"{value:,}" if isinstance(value, int | float) else str(value)
