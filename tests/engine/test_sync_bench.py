"""The benchmark of synchronisation does what it says, in small."""

from __future__ import annotations

from harp.lab.bench_sync import bench_sync


def test_all_bindings_arrive_and_all_updates_are_durable() -> None:
    figures = bench_sync(bindings=2_000, updates=640)
    assert figures["full_sync_bindings"] == 2_000
    assert figures["log_updates"] == 640
    assert figures["full_sync_messages"] >= 2 * 2_000 / 42
    assert all(figure > 0 for figure in figures.values())
