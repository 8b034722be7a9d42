"""What the laboratory asks a daemon: its group, its counters, its binding cache."""

from __future__ import annotations

from ipaddress import IPv6Address
from pathlib import Path
from typing import Any

from harp.cli.common import Failure
from harp.daemon.control.client import ControlClient
from harp.daemon.control.protocol import Question

PATIENCE_S = 30.0
"""A machine whose every core is busy takes its time."""


class Control(ControlClient):
    """Questions to one daemon, about its only group; a context manager."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, PATIENCE_S)

    def status(self) -> dict[str, Any]:
        """The group (`engine.status.GroupStatus`)."""
        found: dict[str, Any] = self.call(Question.STATUS)["groups"][0]
        return found

    def counters(self) -> dict[str, int]:
        """Counters of the group."""
        found: dict[str, int] = self.status()["counters"]
        return found

    def offload(self) -> dict[str, Any]:
        """The board (`parts.OffloadStatus`)."""
        found: dict[str, Any] = self.call(Question.OFFLOAD)["offload"]
        return found

    def events(self, since: int = 0) -> tuple[list[dict[str, Any]], int]:
        """What happened above a number, and the number of the newest."""
        answer = self.call(Question.EVENTS, since=since)
        return answer["events"], answer["last"]

    def order(self, question: Question, **arguments: object) -> None:
        """A command. Failure has every reason against it."""
        answer = self.call(question, **arguments)
        if not answer["done"]:
            reasons = "; ".join(one["text"] for one in answer["refusals"])
            raise Failure(f"{question} is refused: {reasons}")

    def sequences(self) -> dict[bytes, int]:
        """The binding cache: Sequence # by home address, 16 octets."""
        return {
            IPv6Address(row["home_address"]).packed: row["sequence"]
            for page in self.bindings()
            for row in page
        }
