"""The engine: many groups, one input, one deadline; no I/O (harp.md §3 to §10).

Times are int µs, monotonic, from the caller; UNIX time is `now` + clock offset. Start with
`restore` for each group's journal, then `start`; after every call do the effects and call `expire`
at `deadline`. Calling `expire` early does nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, TypeAlias

from harp.engine.config import EngineConfig, GroupConfig
from harp.engine.effects import Effect
from harp.engine.events import (
    ClockStepped,
    CommandGiven,
    DadFinished,
    DetectorAttached,
    DetectorLost,
    Event,
    Fenced,
    HelloSlotChanged,
    IcmpReceived,
    JournalWritten,
    LinkChanged,
    PacketReceived,
    PeerReported,
    SequenceSeen,
    StopRequested,
)
from harp.engine.group import Group
from harp.engine.reception import Reception
from harp.tables.codepoints import DEFAULT_CODE_POINTS
from harp.wire.codec import codec_for

if TYPE_CHECKING:
    from random import Random

GroupEvent: TypeAlias = (
    JournalWritten
    | DadFinished
    | CommandGiven
    | HelloSlotChanged
    | PeerReported
    | DetectorAttached
    | DetectorLost
    | SequenceSeen
)
"""Events that name their group."""


class Engine:
    """All groups of one process, independent of each other."""

    def __init__(self, config: EngineConfig, rng: Random, clock_offset_us: int) -> None:
        points = config.groups[0].code_points if config.groups else DEFAULT_CODE_POINTS
        codec = codec_for(points)
        self.groups = {
            each.group: Group(each, codec, rng, clock_offset_us) for each in config.groups
        }
        """By Group ID; for status, and for tests to look inside."""
        self.reception = Reception(self.groups, codec)
        self._stopped = False

    @property
    def deadline(self) -> int | None:
        """When to call `expire` next, µs; None: not before something arrives."""
        first: int | None = None
        for group in self.groups.values():
            due = group.deadline
            if due is not None and (first is None or due < first):
                first = due
        return first

    def restore(self, group: int, records: Iterable[bytes]) -> None:
        """Takes what the journal kept of a group, oldest record first; before `start`."""
        self.groups[group].restore(records)

    def reconfigure(self, config: GroupConfig, now: int) -> list[Effect]:
        """New settings of a running group; it says so at once. ValueError, and nothing taken, if
        there is no such group or one that may not change is another (`reconfigure.LIVE`)."""
        group = self.groups.get(config.group)
        if group is None:
            raise ValueError(f"group {config.group}: not there at the start")
        return group.reconfigure(config, now)

    def start(self, now: int) -> list[Effect]:
        """Every group enters INIT and says HELLO with R."""
        effects: list[Effect] = []
        for group in self.groups.values():
            effects += group.start(now)
        return effects

    def receive(self, event: Event, now: int) -> list[Effect]:
        """One thing that happened at `now`."""
        if self._stopped:
            return []
        effects = self._give(event, now)
        self._stopped = isinstance(event, StopRequested)
        return effects

    def expire(self, now: int) -> list[Effect]:
        """All that is due at `now`; deliver waiting packets first."""
        effects: list[Effect] = []
        for group in self.groups.values():
            effects += group.expire(now)
        return effects

    def _give(self, event: Event, now: int) -> list[Effect]:
        """To whom it may concern; an event about a group that is not here is dropped silently: the
        caller's other half has a configuration of its own."""
        match event:
            case PacketReceived():
                return self.reception.packet(event, now)
            case IcmpReceived():
                return self.reception.icmp(event, now)
            case LinkChanged() | Fenced() | ClockStepped() | StopRequested():
                effects: list[Effect] = []
                for group in self.groups.values():
                    effects += _tell(group, event, now)
                return effects
            case _:
                found = self.groups.get(event.group)
                return _tell_one(found, event, now) if found else []


def _tell(
    group: Group, event: LinkChanged | Fenced | ClockStepped | StopRequested, now: int
) -> list[Effect]:
    """An event that is about the whole process."""
    match event:
        case LinkChanged():
            return group.link_changed(event.link, event.up, now)
        case Fenced():
            return group.fenced(event.fenced, now)
        case ClockStepped():
            group.clock_stepped(event.offset_us)
            return []
        case _:
            return group.stop(now)


def _tell_one(group: Group, event: GroupEvent, now: int) -> list[Effect]:
    """An event that is about one group."""
    match event:
        case JournalWritten():
            return group.journal_written(event.token, now)
        case DadFinished():
            return group.dad_finished(event.address, event.duplicate, now)
        case CommandGiven():
            return group.command(event, now)
        case HelloSlotChanged():
            return group.hello_slot(event)
        case _:
            return group.detection(event, now)
