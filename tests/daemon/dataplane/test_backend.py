"""What harpd keeps for a worker that takes nothing; no kernel."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest

from harp.daemon.clock import SystemClock
from harp.daemon.dataplane import backend as module
from harp.daemon.dataplane.kernel import KernelBackend
from harp.daemon.dataplane.leftovers import Made
from harp.daemon.dataplane.plan import Plan
from harp.engine.effects import PrepareRoute


class Stopped:
    """A worker that takes nothing."""

    def __init__(self) -> None:
        self.octets = 0
        self.killed = False

    def put(self, frame: bytes) -> None:
        self.octets += len(frame)

    def kill(self) -> None:
        self.killed, self.octets = True, 0


def test_a_worker_that_takes_nothing_fills_no_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_OCTETS", 1_000)
    said: list[str] = []
    made = Made(Path("/nonexistent"), (), (), (), "harp0")
    backend = KernelBackend(Plan((), "harp0"), (), made, SystemClock(), said.append, lambda: ())
    child = Stopped()
    backend._child = cast(Any, child)
    for number in range(100):
        backend.prepare(PrepareRoute(7, number.to_bytes(16), 0, bytes(16)))
        assert child.octets <= 1_000
    assert child.killed and child.octets == 0, "the next worker is told everything"
    assert said == ["data plane: its worker takes nothing any more, and is ended"]
