"""The board's slots: which frame is in which, and what each has counted. Sans-IO.

Ref: offload.md §4 (slots, what is new while a slot sends), §6 (kicks)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

from harp.offload import programs
from harp.offload.device import (
    Notice,
    SlotKey,
    SlotMoved,
    SlotRejected,
    SlotSpec,
    SlotStarted,
    SlotStopped,
)
from harp.offload.programs import Words, once, stop_slot, template_of
from harp.offload.registers import fields_of
from harp.offload.running import Runner, first_free


class SlotRows:
    """Of one connection.

    A slot that is to say something else stands still first, before whatever else is under way: its
    host has said the news above all that the old may count to in some periods, and no longer
    (offload.md §4)."""

    def __init__(self, runner: Runner, say: Callable[[Notice], None]) -> None:
        self.rows = 0
        """That the board has."""
        self._runner = runner
        self._say = say
        self._wanted: dict[SlotKey, SlotSpec] = {}
        self._rows: dict[SlotKey, int] = {}
        self._held: dict[int, Words] = {}
        """Templates that are whole."""
        self._sequences: dict[int, int] = {}
        """Of slots that have had a frame since this connection began: what is in the others the
        host before left."""
        self._dirty: dict[SlotKey, None] = {}
        self._to_halt: dict[int, None] = {}
        self._standing: set[int] = set()
        """Rows whose slots were told to stand still, and nothing since."""
        self._under_way: int | None = None
        """The row that the program writes."""

    @property
    def settled(self) -> bool:
        """Nothing is to be written."""
        return not self._dirty

    def put(self, spec: SlotSpec) -> None:
        """Adds or updates a slot."""
        self._wanted[spec.key] = spec
        self._dirty[spec.key] = None
        row = self._rows.get(spec.key)
        if row is None or spec.key.resign:
            return
        if self._held.get(row, ()) != template_of(spec.frame):
            self._to_halt[row] = None

    def delete(self, key: SlotKey) -> None:
        """Stops a slot."""
        if self._wanted.pop(key, None) is not None:
            self._dirty[key] = None

    def sequences(self) -> dict[SlotKey, int]:
        """Sequence # that each slot had at the last kick; 0: none."""
        return {key: self._sequences.get(row, 0) for key, row in self._rows.items()}

    def kicked(self, words: Words) -> None:
        """What the answer to a kick carries."""
        found = fields_of("kick_answer", words)
        self._sequences = {row: found[f"sequence_{row}"] for row in self._sequences}
        for key, sequence in self.sequences().items():
            if sequence and not key.resign:
                self._say(SlotMoved(key, sequence))

    def halt(self) -> None:
        """Beside the program under way, whose slots do not move."""
        for row in self._to_halt:
            self._runner.ask(stop_slot(row))
            if row != self._under_way:
                self._standing.add(row)
        self._to_halt.clear()

    def work(self, *, resign: bool) -> bool:
        """Starts the next change, of HELLOs or of goodbyes; False: there is none."""
        key = next((key for key in self._dirty if key.resign is resign), None)
        if key is not None:
            self._start(key)
        return key is not None

    def _start(self, key: SlotKey) -> None:
        del self._dirty[key]
        spec, row = self._wanted.get(key), self._rows.get(key)
        if spec is None:
            if row is None:
                self._say(SlotStopped(key, 0))
            else:
                self._runner.run(once(stop_slot(row)), partial(self._stopped, key))
            return
        row = first_free(set(self._rows.values()), self.rows) if row is None else row
        if row is None:
            self._reject(key, "every slot of the board is taken")
            return
        self._rows[key] = row
        counts_on = self._rows.get(key._replace(resign=False), row)
        held, stands = self._held.pop(row, ()), row in self._standing
        self._standing.discard(row)
        self._under_way = row
        self._runner.run(
            programs.install_slot(row, counts_on, spec, held, stands=stands),
            partial(self._done, key, row, spec),
            partial(self._reject, key, "the board refuses it"),
        )

    def _done(self, key: SlotKey, row: int, spec: SlotSpec) -> None:
        self._under_way = None
        self._held[row] = template_of(spec.frame)
        if spec.sequence is None:
            self._sequences.setdefault(row, 0)
        else:
            self._sequences[row] = spec.sequence
            if self._wanted.get(key) == spec:
                self._wanted[key] = replace(spec, sequence=None)
        self._say(SlotStarted(key))

    def _stopped(self, key: SlotKey) -> None:
        self._say(SlotStopped(key, self.sequences()[key]))
        self._sequences.pop(self._rows.pop(key), None)

    def _reject(self, key: SlotKey, reason: str) -> None:
        self._under_way = None
        self._wanted.pop(key, None)
        self._sequences.pop(self._rows.pop(key, -1), None)
        self._say(SlotRejected(key, reason))
