"""The benchmark of a quiet group measures a group that works."""

from __future__ import annotations

import pytest

from harp.lab import bench_group as bench


def test_figures() -> None:
    figures = bench.bench_group(simulated_s=10)
    assert figures["simulated_s"] == 10
    assert figures["simulated_s_per_s"] > 0


def test_a_group_without_an_active_is_no_figure() -> None:
    with pytest.raises(RuntimeError, match="one active wanted"):
        bench.bench_group(simulated_s=1)
