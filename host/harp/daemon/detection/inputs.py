"""From sessions and instances to what the engine hears of peers. No I/O.

Ref: harp.md §4; RFC 5882 §4.1: "AdminDown [...] MUST NOT be interpreted as a failure"
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from harp.daemon.detection.bfd import BfdFeed, SessionState, SessionTold
from harp.daemon.detection.vrrp import InstanceState, InstanceTold, VrrpFeed
from harp.engine.config import DetectionSource
from harp.engine.events import DetectorLost, Event, PeerReport, PeerReported


@dataclass(frozen=True, slots=True)
class BfdInput:
    """Sessions of one bfdd that watch a group's members on a link."""

    group: int
    """Group ID."""
    link: str
    """Interface."""
    members: frozenset[bytes]
    """The other members' addresses on it."""
    socket: Path
    """bfdd's control socket."""


@dataclass(frozen=True, slots=True)
class VrrpInput:
    """A VRRP instance that watches one member on a link."""

    group: int
    """Group ID."""
    link: str
    """Interface."""
    peer: bytes
    """The member's address on it."""
    instance: str
    """Its name in keepalived.conf."""
    fifo: Path
    """keepalived's notify FIFO."""


_SESSION = {SessionState.UP: PeerReport.UP, SessionState.DOWN: PeerReport.DOWN}
_INSTANCE = {InstanceState.BACKUP: PeerReport.UP, InstanceState.MASTER: PeerReport.DOWN}


class Opinions:
    """What one source says of the peers on one link of a group.

    INIT of BFD says nothing new. When a source has no opinion of one peer any more, all it said of
    the link is taken back (`DetectorLost`) and the rest said again, since the engine knows no
    smaller measure."""

    def __init__(self, group: int, link: str, source: DetectionSource) -> None:
        self._group, self._link, self._source = group, link, source
        self._said: dict[bytes, PeerReport] = {}

    def says(self, peer: bytes, report: PeerReport | None) -> Iterator[Event]:
        """A peer is up, down, or (None) not known any more."""
        if report is self._said.get(peer):
            return
        if report is not None:
            self._said[peer] = report
            yield self._report(peer, report)
            return
        kept = {each: said for each, said in self._said.items() if each != peer}
        yield from self.silent()
        for each, said in kept.items():
            yield from self.says(each, said)

    def silent(self) -> Iterator[Event]:
        """The source is gone: nothing that it said holds any more."""
        if self._said:
            self._said.clear()
            yield DetectorLost(self._group, self._link, self._source)

    def _report(self, peer: bytes, report: PeerReport) -> PeerReported:
        return PeerReported(self._group, peer, self._link, self._source, report)


class BfdInputs:
    """All inputs that one bfdd serves."""

    def __init__(self, inputs: Iterable[BfdInput]) -> None:
        self._inputs = [
            (each, Opinions(each.group, each.link, DetectionSource.BFD)) for each in inputs
        ]
        self._feed = BfdFeed()

    def hear(self, octets: bytes) -> Iterator[Event]:
        """What came by the connection. Raises `BfdError`."""
        for session in self._feed.feed(octets):
            yield from self._told(session)

    def _told(self, session: SessionTold) -> Iterator[Event]:
        """One state of one session; sessions with others than members are not ours."""
        address = session.peer.packed
        for each, opinions in self._inputs:
            if address not in each.members or session.interface not in ("", each.link):
                continue
            if session.state is SessionState.INIT:
                continue
            yield from opinions.says(address, _SESSION.get(session.state))

    def lost(self) -> Iterator[Event]:
        """The connection is gone."""
        self._feed = BfdFeed()
        for _, opinions in self._inputs:
            yield from opinions.silent()


class VrrpInputs:
    """All inputs of one notify FIFO."""

    def __init__(self, inputs: Iterable[VrrpInput]) -> None:
        self._opinions: dict[tuple[int, str], Opinions] = {}
        self._inputs = list(inputs)
        for each in self._inputs:
            key = each.group, each.link
            self._opinions.setdefault(key, Opinions(*key, DetectionSource.VRRP))
        self._feed = VrrpFeed()

    def hear(self, octets: bytes) -> Iterator[Event]:
        """What came by the FIFO."""
        for instance in self._feed.feed(octets):
            yield from self._told(instance)

    def _told(self, instance: InstanceTold) -> Iterator[Event]:
        """One state of one instance; instances that no input names are not ours."""
        for each in self._inputs:
            if each.instance == instance.name:
                opinions = self._opinions[each.group, each.link]
                yield from opinions.says(each.peer, _INSTANCE.get(instance.state))

    def lost(self) -> Iterator[Event]:
        """Nobody writes any more."""
        self._feed = VrrpFeed()
        for opinions in self._opinions.values():
            yield from opinions.silent()
