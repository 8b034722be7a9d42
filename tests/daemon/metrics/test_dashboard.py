"""The Grafana dashboard asks for what harpd exports."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.daemon.metrics.test_metrics import exported

DASHBOARD = Path(__file__).parents[3] / "docs/grafana/harp.json"
EXPORTED = exported()
OF_PROMETHEUS = {"instance", "job"}
"""Labels that the scrape adds."""


def dashboard() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(DASHBOARD.read_text(encoding="utf-8"))
    return found


def queries() -> Iterator[tuple[str, str]]:
    """(expression, what is written beside its series)."""
    whole = dashboard()
    for panel in whole["panels"]:
        for target in panel["targets"]:
            yield target["expr"], target["legendFormat"]
    for note in whole["annotations"]["list"]:
        yield note["expr"], note["titleFormat"]
    for variable in whole["templating"]["list"]:
        if variable["type"] == "query":
            yield variable["query"], ""


QUERIES = list(queries())


@pytest.mark.parametrize(("query", "legend"), QUERIES, ids=[query for query, _ in QUERIES])
def test_series_and_labels_exist(query: str, legend: str) -> None:
    names = set(re.findall(r"\bharp_[a-z_]+", query))
    assert names and names <= EXPORTED.keys()
    labels = set.union(*(EXPORTED[name] for name in names)) | OF_PROMETHEUS
    used = set(re.findall(r"([a-z]+)\s*=~?\s*\"", query))
    for listed in re.findall(r"\b(?:by|on) \(([^)]*)\)", query):
        used |= {each.strip() for each in listed.split(",")}
    used |= set(re.findall(r"{{(\w+)}}", legend))
    assert used <= labels


def test_counters_are_read_as_rates() -> None:
    for query, _ in QUERIES:
        for name in re.findall(r"\bharp_[a-z_]+_total", query):
            assert re.search(rf"(rate|increase)\({name}", query), query


def test_panels_do_not_overlap_and_are_explained() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in dashboard()["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken and max(x for x, _ in cells) < 24
        taken |= cells
        assert panel["description"].endswith(".") and panel["title"]
