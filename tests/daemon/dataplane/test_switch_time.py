"""Taking over costs the same whatever the number of bindings (harp.md §9)."""

from __future__ import annotations

import os
import statistics
import time
from pathlib import Path

import pytest
from tests.daemon.dataplane.test_tun import OFF, ON, Site, block, site
from tests.daemon.guard.test_guard import real_time

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root")
COUNTS = (10, 1000, 100_000 if os.environ.get("HARP_VERIFY") else 10_000)
WORST_MS = 10
SLACK_MS = 0.1
"""20 % of a tenth of a millisecond is less than a busy machine's noise."""


def test_equal_for_few_and_many(tmp_path: Path) -> None:
    medians: dict[int, float] = {}
    for count in COUNTS:
        with site(tmp_path) as there:
            there.plane.prepare_many(block(count))
            there.settle()
            assert there.plane.status().routes == count
            with real_time():
                medians[count] = _median_ms(there)
    few = medians[COUNTS[0]]
    assert max(medians.values()) <= WORST_MS, medians
    assert all(median <= 1.2 * few + SLACK_MS for median in medians.values()), medians


def _median_ms(there: Site) -> float:
    took: list[float] = []
    for _ in range(50):
        begin = time.perf_counter()
        there.plane.serve(ON)
        took.append((time.perf_counter() - begin) * 1000)
        there.plane.serve(OFF)
    assert there.said == []
    return statistics.median(took)
