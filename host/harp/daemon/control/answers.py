"""What is answered to each question: values for JSON, taken at one moment of the loop.

Keys of `status`, kept once shipped: `harpd` (`version`, `pid`, `configuration`, `since`, `lost`,
`rested_us`, `unsent`, `neighbors`),
`groups` (`engine.status.GroupStatus` each), `data_plane`, `guard`, `offload` (`daemon.parts`).
Keys of a command's answer: `group`, `command`, `done`, `refusals` (`name`, `text` each).
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime
from functools import cache
from ipaddress import AddressValueError, IPv6Address
from pathlib import Path

from harp.cli.common import Failure
from harp.daemon.config.difference import Difference
from harp.daemon.control.events import EventLog
from harp.daemon.control.pages import Binding, of_home_address, pages
from harp.daemon.control.protocol import Question, Refused, Request, Wrong
from harp.daemon.filter.nft import FilterStatus
from harp.daemon.parts import Parts
from harp.daemon.runtime import Runtime
from harp.daemon.version import version
from harp.engine import checks
from harp.engine.events import Command
from harp.engine.group import Group
from harp.reference.docstrings import attribute_docs

COMMANDS = {
    Question.SWITCHOVER: Command.SWITCHOVER,
    Question.SWITCHBACK: Command.SWITCHBACK,
    Question.CHECK: Command.CHECK,
    Question.HOLD: Command.HOLD,
    Question.RELEASE: Command.RELEASE,
    Question.RESYNC: Command.RESYNC,
    Question.REKEY: Command.REKEY,
}
"""What the engine does."""
PATIENCE_S = 5.0
"""The engine answers at once, or something is wrong."""

Reload = Callable[[], Awaitable[Difference]]
"""Reads the configuration again and takes what can be taken. Raises Failure."""

FilterCounts = Callable[[], Awaitable[FilterStatus | None]]
"""Asks the software filter for its counters, off the loop; None: there is none."""


async def _no_filter() -> FilterStatus | None:
    return None


class Answers:
    """Answers questions; every method on the loop's thread and quick, or awaited."""

    def __init__(
        self,
        runtime: Runtime,
        parts: Parts,
        events: EventLog,
        reload: Reload,
        path: Path,
        filter_counts: FilterCounts = _no_filter,
    ) -> None:
        """`path`: the configuration file."""
        self._runtime = runtime
        self._parts = parts
        self._events = events
        self._reload = reload
        self._path = path
        self._filter_counts = filter_counts
        self._since = datetime.now(UTC).isoformat(timespec="seconds")

    def status(self) -> dict[str, object]:
        """Everything, at one moment."""
        return {
            "harpd": {
                "version": version(),
                "pid": os.getpid(),
                "configuration": str(self._path),
                "since": self._since,
                "lost": self._parts.listener.lost(),
                "rested_us": self._runtime.rested_us,
                "unsent": dict(self._parts.sender.counters),
                "neighbors": dict(self._parts.announcer.counters),
            },
            "groups": self._runtime.status(),
            "data_plane": self._parts.data_plane.status(),
            "guard": self._parts.guard.status(),
            "offload": self._parts.offload.status(),
        }

    def events(self, request: Request) -> dict[str, object]:
        """What happened last, above a number."""
        return {"events": self._events.since(request.since or 0), "last": self._events.last}

    async def offload(self) -> dict[str, object]:
        """The board, and what the filter in software counted."""
        return {"offload": self._parts.offload.status(), "filter": await self._filter_counts()}

    async def reload(self) -> dict[str, object]:
        """The configuration read again."""
        try:
            found = await self._reload()
        except Failure as failure:
            raise Refused(Wrong.BAD_CONFIGURATION, failure.format_message()) from None
        return {"taken": list(found.live), "at_next_start": list(found.restart)}

    def bindings(self, request: Request) -> Iterator[list[Binding]]:
        """Pages of a group's cache."""
        group = self._group(request)
        clock, number = self._runtime.clock, group.config.group
        if request.home_address is None:
            yield from pages(group.store, number, clock.now_us)
            return
        try:
            home = IPv6Address(request.home_address).packed
        except AddressValueError:
            text = f"{request.home_address!r} is not an IPv6 address such as 2001:db8:1::1000"
            raise Refused(Wrong.BAD_REQUEST, text) from None
        yield of_home_address(group.store, number, home, clock.now_us())

    async def order(self, question: Question, request: Request) -> dict[str, object]:
        """A command, with every reason against it."""
        group = self._group(request)
        to = None if request.to is None else _member(group, request.to)
        number, command = group.config.group, COMMANDS[question]
        try:
            async with asyncio.timeout(PATIENCE_S):
                refusals = await self._runtime.command(number, command, to, request.force)
        except TimeoutError:
            text = f"the engine did not answer within {PATIENCE_S:g} s"
            raise Refused(Wrong.TOO_SLOW, text) from None
        return {
            "group": number,
            "command": question.value,
            "done": not refusals,
            "refusals": [{"name": str(each), "text": sentence(each)} for each in refusals],
        }

    def _group(self, request: Request) -> Group:
        groups = self._runtime.engine.groups
        there = ", ".join(map(str, groups))
        if request.group is None:
            if len(groups) != 1:
                raise Refused(
                    Wrong.UNKNOWN_GROUP, f"say which group with --group; there are {there}"
                )
            return next(iter(groups.values()))
        if request.group not in groups:
            raise Refused(Wrong.UNKNOWN_GROUP, f"no group {request.group} here; there are {there}")
        return groups[request.group]


def _member(group: Group, text: str) -> bytes:
    """Identity of another member, by name or by any of its addresses."""
    for peer in group.peers:
        addresses = {str(IPv6Address(link.address)) for link in peer.links}
        if text == peer.name or text in addresses:
            return peer.identity
    names = ", ".join(peer.name for peer in group.peers)
    raise Refused(
        Wrong.UNKNOWN_MEMBER,
        f"{text!r} is no other member of group {group.config.group}; there are {names}",
    )


@cache
def _sentences() -> dict[str, str]:
    docs = attribute_docs(checks)
    return {each.value: docs[f"Refusal.{each.name}"] for each in checks.Refusal}


def sentence(refusal: str) -> str:
    """What a reason against a command means."""
    return _sentences().get(refusal, "")
