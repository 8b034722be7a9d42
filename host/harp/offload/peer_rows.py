"""The board's peer table: which peer has which row, and what the board says of it. Sans-IO.

Ref: offload.md §3 (monitor), §5 (events)
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from harp.offload import programs
from harp.offload.device import (
    Notice,
    PeerChanged,
    PeerInstalled,
    PeerKey,
    PeerRejected,
    PeerSpec,
    SequenceMoved,
)
from harp.offload.polls import Polls
from harp.offload.programs import Program, read
from harp.offload.registers import fields_of
from harp.offload.running import Runner, first_free
from harp.offload.session import Occurred, Urgency
from harp.tables.offload import EventKind, PeerState

PEER_EVENTS = frozenset((EventKind.PEER_DOWN, EventKind.PEER_LEFT, EventKind.PEER_UP))
"""Events whose index is a row."""
_TOLD = {
    PeerState.UP: PeerState.UP,
    PeerState.LATE: PeerState.UP,
    PeerState.DOWN: PeerState.DOWN,
    PeerState.LEFT: PeerState.LEFT,
}
"""States that a bridge hears of; a late peer is up."""


class PeerRows:
    """Of one connection. Every program looks up what is wanted when it starts, so a burst of
    changes of one peer costs one write."""

    def __init__(self, runner: Runner, say: Callable[[Notice], None], polls: Polls) -> None:
        self.rows = 0
        """That the board has."""
        self._runner = runner
        self._say = say
        self._polls = polls
        self._wanted: dict[PeerKey, PeerSpec] = {}
        self._rows: dict[PeerKey, int] = {}
        self._used: set[int] = set()
        """Rows that somebody had since `prepare`."""
        self._watching: set[PeerKey] = set()
        self._dirty: dict[PeerKey, None] = {}
        self._look_at: dict[PeerKey, None] = {}
        self._said: dict[PeerKey, PeerState] = {}

    @property
    def watched(self) -> list[PeerKey]:
        """What the board watches, always in the same order."""
        return sorted(self._watching)

    @property
    def settled(self) -> bool:
        """Nothing is to be written or looked at."""
        return not self._dirty and not self._look_at

    def put(self, spec: PeerSpec) -> None:
        """Adds or updates a peer."""
        self._wanted[spec.key] = spec
        self._dirty[spec.key] = None

    def delete(self, key: PeerKey) -> None:
        """Forgets a peer."""
        if self._wanted.pop(key, None) is not None:
            self._dirty[key] = None

    def look(self) -> bool:
        """Starts to ask what the board itself says of a peer; False: nobody is to be looked at."""
        if not self._look_at:
            return False
        key = next(iter(self._look_at))
        del self._look_at[key]
        self._runner.run(self.read(key))
        return True

    def work(self) -> bool:
        """Starts the next change; False: there is none."""
        if not self._dirty:
            return False
        self._start(next(iter(self._dirty)))
        return True

    def occurred(self, event: Occurred) -> None:
        """Silence is told at once. All else, and whether that still holds, is what the device says
        now: events are not ordered among each other."""
        rows = self._rows.items()
        key = next((k for k, n in rows if n == event.index and k in self._watching), None)
        if key is None:
            return
        if event.kind is EventKind.PEER_DOWN:
            self._tell(key, PeerState.DOWN)
        self._look_at[key] = None

    def read(self, key: PeerKey) -> Program:
        """What the device itself says of a peer."""
        row = self._rows.get(key)
        if row is None:
            return
        words = yield read("peer_state", row, urgency=Urgency.NOW)
        if key not in self._watching or self._rows.get(key) != row:
            return
        state = fields_of("peer_state", words)
        self._tell(key, PeerState(state["state"]))
        for multicast, name in ((True, "last_multicast"), (False, "last_unicast")):
            if state[name] and self._polls.moved(key, multicast, state[name]):
                self._say(SequenceMoved(key, multicast, state[name]))

    def _start(self, key: PeerKey) -> None:
        del self._dirty[key]
        spec, row = self._wanted.get(key), self._rows.get(key)
        failed = partial(self._reject, key, "the board refuses it")
        if spec is None:
            if row is not None:
                self._drop(key)
                self._runner.run(programs.remove_peer(row))
            return
        done = partial(self._done, spec)
        if row is not None and spec.watched and key in self._watching:
            self._runner.run(programs.update_peer(row, spec), done, failed)
            return
        row = first_free(set(self._rows.values()), self.rows) if row is None else row
        if row is None:
            self._reject(key, "every row of the board's peer table is taken")
            return
        self._rows[key] = row
        self._watching.discard(key)
        self._said.pop(key, None)
        install = programs.install_peer(row, spec, fresh=row not in self._used)
        self._used.add(row)
        self._runner.run(install, done, failed)

    def _done(self, spec: PeerSpec) -> None:
        """What was wanted when the program began is there; it may be something else by now."""
        if not spec.watched or spec.key not in self._rows:
            return
        self._watching.add(spec.key)
        self._said[spec.key] = PeerState.UP  # armed
        if self._wanted.get(spec.key) == spec:
            self._say(PeerInstalled(spec.key))

    def _reject(self, key: PeerKey, reason: str) -> None:
        self._drop(key)
        self._wanted.pop(key, None)
        self._say(PeerRejected(key, reason))

    def _drop(self, key: PeerKey) -> None:
        self._rows.pop(key, None)
        self._watching.discard(key)
        self._said.pop(key, None)
        self._look_at.pop(key, None)

    def _tell(self, key: PeerKey, state: PeerState) -> None:
        """Says what is new."""
        told = _TOLD.get(state)
        if told is not None and self._said.get(key) != told:
            self._said[key] = told
            self._say(PeerChanged(key, told))
