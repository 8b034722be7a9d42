"""A state machine as a total table: what each state does about each happening.

Every pair (state, happening) has one row, so nothing can happen that nobody thought of. The code
looks its handler up in the table, and its state may only change as the row says; `diagram` draws
the same table for docs/.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum
from typing import Generic, NamedTuple, TypeVar

State = TypeVar("State", bound=Enum)
Event = TypeVar("Event", bound=Enum)


class Row(NamedTuple, Generic[State]):
    """What one state does about one happening."""

    handler: str
    """Name of the method that does it, without its leading underscore."""
    targets: tuple[State, ...]
    """States that it may lead to, besides staying."""
    note: str
    """For people: what is done, or why nothing is."""


Rule = tuple[Event, tuple[State, ...], str, tuple[State, ...], str]
"""One happening in some states: handler, targets and note are the same in all of them."""
Table = dict[tuple[State, Event], Row[State]]
"""(state, happening) to row: total."""


def expand(
    states: type[State], happenings: type[Event], rules: Iterable[Rule[Event, State]]
) -> Table[State, Event]:
    """The table of some rules. Raises ValueError for a pair with two rows, or with none."""
    table: Table[State, Event] = {}
    for happening, at, handler, targets, note in rules:
        for state in at:
            if (state, happening) in table:
                raise ValueError(f"two rows for {state.name} and {happening.name}")
            table[state, happening] = Row(handler, targets, note)
    missing = [(s.name, h.name) for s in states for h in happenings if (s, h) not in table]
    if missing:
        raise ValueError(f"no row for {missing}")
    return table
