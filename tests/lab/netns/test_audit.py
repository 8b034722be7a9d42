"""What counts as lost."""

from types import SimpleNamespace
from typing import Any

import pytest

from harp.lab.netns import plan
from harp.lab.netns.audit import is_older, lost_bindings


@pytest.mark.parametrize(
    ("held", "promised", "older"),
    [(5, 5, False), (4, 5, True), (6, 5, False), (65_535, 0, True), (0, 65_535, False)],
)
def test_sequence_numbers_wrap(held: int, promised: int, older: bool) -> None:
    assert is_older(held, than=promised) is older


class FakeControl:
    def __init__(self, held: dict[bytes, int]) -> None:
        self.sequences = lambda: held

    def __enter__(self) -> "FakeControl":
        return self

    def __exit__(self, *_: object) -> None:
        pass


def test_missing_and_older_are_lost_unpromised_is_not() -> None:
    held = {plan.home_address(0): 7, plan.home_address(1): 6, plan.home_address(3): 9}
    lab: Any = SimpleNamespace(control=lambda name: FakeControl(held))
    assert lost_bindings(lab, "ha1", [7, 7, 1, 8, -1]) == [1, 2]
