"""What happened and when: one list for people, the report and the JSON.

Times are nanoseconds of the wall clock (CLOCK_REALTIME), as the kernel stamps packets.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

NS_PER_S = 1_000_000_000
NS_PER_MS = 1_000_000


@dataclass(frozen=True, slots=True)
class Entry:
    """One thing that happened."""

    at_ns: int
    who: str
    """A node, or `lab`."""
    what: str
    kind: str
    """`action` (the laboratory did it), `role`, `service`, `traffic`, `note`."""


class Timeline:
    """Entries in order of time; told to people as they come."""

    def __init__(self, tell: Callable[[str], None] | None = None) -> None:
        self.start_ns = time.time_ns()
        self.entries: list[Entry] = []
        self._tell = tell

    def add(self, who: str, what: str, kind: str = "note", at_ns: int | None = None) -> int:
        """Adds an entry, now unless told otherwise; returns its time."""
        entry = Entry(time.time_ns() if at_ns is None else at_ns, who, what, kind)
        self.entries.append(entry)
        if self._tell is not None:
            self._tell(self.text(entry))
        return entry.at_ns

    def text(self, entry: Entry) -> str:
        """An entry as a line."""
        return f"{self.seconds(entry.at_ns):9.3f} s  {entry.who:5} {entry.what}"

    def seconds(self, at_ns: int) -> float:
        """Seconds since the start."""
        return (at_ns - self.start_ns) / NS_PER_S

    def as_json(self) -> list[dict[str, object]]:
        """In order of time, for the last line."""
        return [
            {
                "at_s": round(self.seconds(entry.at_ns), 6),
                "who": entry.who,
                "kind": entry.kind,
                "what": entry.what,
            }
            for entry in sorted(self.entries, key=lambda entry: entry.at_ns)
        ]
