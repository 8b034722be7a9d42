"""Slots of the board as the host keeps them, without a board."""

from __future__ import annotations

from harp.offload.device import Notice, SlotKey, SlotMoved, SlotSpec, SlotStarted
from harp.offload.programs import Program
from harp.offload.registers import words_of
from harp.offload.running import Then, nothing
from harp.offload.session import Ask
from harp.offload.slot_rows import SlotRows

HELLO = SlotKey(7, "lan0")


class Runner:
    """Keeps what was to be run."""

    def __init__(self) -> None:
        self.done: Then = nothing

    def run(self, program: Program, done: Then = nothing, failed: Then | None = None) -> None:
        self.done = done

    def ask(self, ask: Ask) -> int:
        return 0


def test_what_a_slot_counted_for_another_host_is_not_told() -> None:
    """The board goes on to answer kicks with it until the slot is written."""
    said: list[Notice] = []
    runner = Runner()
    rows = SlotRows(runner, said.append)  # type: ignore[arg-type]
    rows.rows = 8
    rows.put(SlotSpec(HELLO, bytes(78), 54, sequence=5))
    assert rows.work(resign=False)
    rows.kicked(words_of("kick_answer", sequence_0=40_000))
    assert said == [] and rows.sequences() == {HELLO: 0}
    runner.done()
    rows.kicked(words_of("kick_answer", sequence_0=6, sequence_1=3))
    assert said == [SlotStarted(HELLO), SlotMoved(HELLO, 6)]
