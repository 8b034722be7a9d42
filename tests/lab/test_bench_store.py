"""The benchmark of the store measures what it says, at a size that takes no time."""

from __future__ import annotations

from harp.lab.bench_store import binding_updates, expiry, filled, memory, store_rates


def test_memory_is_that_of_fresh_processes() -> None:
    figures = memory(bindings=20_000)
    assert figures["bindings"] == 20_000
    assert 0 < figures["octets_per_binding_without_interpreter"] < 400
    assert figures["process_octets"] > figures["empty_process_octets"]


def test_rates_are_positive() -> None:
    for figures in (
        store_rates(bindings=2_000),
        expiry(bindings=3_000, over=2_000),
        binding_updates(nodes=200),
    ):
        assert all(value > 0 for value in figures.values()), figures


def test_a_store_with_bids() -> None:
    store = filled(8, bids=4)
    assert len(store) == 8
    assert {entry.bid for _, entry in store.entries()} == {1, 2, 3, 4}
