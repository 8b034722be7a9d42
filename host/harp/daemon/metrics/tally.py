"""Counts what happens between two scrapes and leaves no trace in a status."""

from __future__ import annotations

from collections import Counter

from harp.daemon.control.events import change_word
from harp.daemon.names import MemberNames
from harp.daemon.parts import PeerEffect
from harp.engine.config import EngineConfig
from harp.engine.effects import CommandAnswered, Dropped, Log, StateChanged


class Tally:
    """`parts.Observer` that counts."""

    def __init__(self, config: EngineConfig) -> None:
        self.roles: Counter[tuple[int, str, str]] = Counter()
        """By group, new role, reason."""
        self.peers: Counter[tuple[int, str, str]] = Counter()
        """By group, peer, change."""
        self.drops: Counter[str] = Counter()
        """By reason: what belongs to no group."""
        self.commands: Counter[tuple[int, str]] = Counter()
        """By group, and whether it was `done` or `refused`."""
        self._names = MemberNames(config)

    def role(self, change: StateChanged) -> None:
        """A role changed."""
        self.roles[change.group, change.new.value, str(change.reason)] += 1

    def peer(self, change: PeerEffect) -> None:
        """A peer changed."""
        name = self._names.of(change.group, change.peer)
        self.peers[change.group, name, change_word(change)] += 1

    def dropped(self, drop: Dropped) -> None:
        """May come 50,000 times a second; groups count their own."""
        if drop.group is None:
            self.drops[drop.reason] += 1

    def log(self, line: Log) -> None:
        """Not counted."""

    def answered(self, answer: CommandAnswered) -> None:
        """A command was answered."""
        self.commands[answer.group, "refused" if answer.refusals else "done"] += 1
