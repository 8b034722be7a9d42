"""Who is there: the home agents list kept by HELLOs and other detection sources (harp.md §4).

Ref: harp.md §3 ("HELLO replay"), §4; RFC 6275 §9.5.1 and RFC 1982 (sequence arithmetic)

Whoever watches a link — the engine's own deadlines, the offload, BFD, VRRP — the events that come
out are the same: `PeerUp`, `PeerDown`, `PeerLeft`, `PeerChanged`, and `PeerLinkChanged` for one of
several links. What each state of a link does about each happening stands in `liveness_table.TABLE`.
"""

from __future__ import annotations

from collections import Counter

from harp.engine.config import DetectionSource, GroupConfig, Security
from harp.engine.effects import (
    Effect,
    HelloKind,
    HelloWanted,
    Level,
    Log,
    WatchPeer,
)
from harp.engine.events import (
    DetectorAttached,
    DetectorLost,
    PeerChanged,
    PeerDown,
    PeerLeft,
    PeerLinkChanged,
    PeerReport,
    PeerReported,
    PeerUp,
    SequenceSeen,
)
from harp.engine.liveness_table import TABLE, Happening
from harp.engine.peers import FLAG_A, LinkState, Peer, PeerLink, PeerTable
from harp.tables.constants import US_PER_MS
from harp.tables.harp_types import HarpFlag
from harp.wire.messages import Configuration, Detection, Harp, RestartCounter, SyncPosition
from harp.wire.sequence import newer16, newer32

_NEWS = int(HarpFlag.A | HarpFlag.V | HarpFlag.S | HarpFlag.D)
"""Flags whose change is a change of the peer."""


class Detector:
    """Liveness and last HELLO of one group's members."""

    def __init__(self, config: GroupConfig, peers: PeerTable) -> None:
        self.peers = peers
        self.counters: Counter[str] = Counter()
        self._config = config
        self.reconfigured()
        self._links = {link.name: i for i, link in enumerate(config.links)}
        self._sources: dict[int, set[DetectionSource]] = {}
        self._warned: set[bytes] = set()
        self._allowed: tuple[LinkState, ...] = ()
        """Where the row at hand may lead to."""
        self.deadline: int | None = None
        """Nothing is due before it, µs. It may be early: a HELLO only moves deadlines back."""

    def reconfigured(self) -> None:
        """With a quorum the own settings that members share may be others."""
        self._hash = self._config.settings_hash()

    # The machine of one link

    def hear(self, happening: Happening, peer: Peer, link: PeerLink, at: int) -> list[Effect]:
        """One row of the table. `at`: from when on silence is counted, or a state holds, µs."""
        row = TABLE[link.state, happening]
        self._allowed = row.targets
        effects: list[Effect] = getattr(self, f"_{row.handler}")(peer, link, at)
        return effects

    def _turn(self, peer: Peer, link: PeerLink, state: LinkState, now: int) -> list[Effect]:
        """Writes a link's state; the only place that does."""
        if state not in self._allowed:
            raise AssertionError(f"{peer.name}: {link.state} may not lead to {state} here")
        link.state, link.since_us = state, now
        if state is not LinkState.UP:
            link.deadline = link.ask_at = None
        if len(peer.links) == 1:
            return []
        name = self._config.links[link.index].name
        return [PeerLinkChanged(self._config.group, peer.identity, name, up=state is LinkState.UP)]

    def _ignore(self, peer: Peer, link: PeerLink, at: int) -> list[Effect]:
        return []

    def _keep(self, peer: Peer, link: PeerLink, at: int) -> list[Effect]:
        """Up as before: silence is counted anew, if nobody else does."""
        if link.index not in self._sources:
            self._rearm(peer, link, at)
        return []

    def _watch_again(self, peer: Peer, link: PeerLink, at: int) -> list[Effect]:
        """Up as before, and to be watched in another way."""
        if link.index in self._sources:
            return [self._watch(peer, link)]
        self._rearm(peer, link, at)
        return []

    def _rise(self, peer: Peer, link: PeerLink, at: int) -> list[Effect]:
        """A sign of life; the peer is up when this is its first link."""
        if link.down_by:
            return []  # whoever watches the link says it is down, and will say when it is not
        effects = self._watch_again(peer, link, at)
        effects += self._turn(peer, link, LinkState.UP, at)
        peer.links_up += 1
        if peer.links_up == 1:
            effects.append(PeerUp(self._config.group, peer.identity))
        return effects

    def _lose(self, peer: Peer, link: PeerLink, at: int) -> list[Effect]:
        """The peer is down when it was its last link (harp.md §4)."""
        effects = self._turn(peer, link, LinkState.DOWN, at)
        peer.links_up -= 1
        if not peer.links_up:
            self._gone(peer)
            effects.append(PeerDown(self._config.group, peer.identity))
        return effects

    def _goodbye(self, peer: Peer, link: PeerLink, at: int) -> list[Effect]:
        """One link of a peer that left; `_leave` does the rest."""
        return self._turn(peer, link, LinkState.LEFT, at)

    def _question(self, peer: Peer, link: PeerLink, at: int) -> list[Effect]:
        """A HELLO with R, at most one an interval."""
        if link.asked_us is not None and at - link.asked_us < self._config.hello_interval_us:
            return []
        link.asked_us = at
        return [HelloWanted(HelloKind.ASK, peer.identity, link.index)]

    def _question_late(self, peer: Peer, link: PeerLink, at: int) -> list[Effect]:
        """A HELLO with R, once before the peer is silent."""
        link.ask_at = None
        return [HelloWanted(HelloKind.ASK, peer.identity, link.index)]

    def _hand_over(self, peer: Peer, link: PeerLink, at: int) -> list[Effect]:
        """Another source counts silence; it has to know how long."""
        link.deadline = link.ask_at = None
        return [self._watch(peer, link)]

    # HELLOs

    def replayed(self, peer: Peer, link: PeerLink, hello: Harp, multicast: bool) -> bool:
        """harp.md §3 rule 12: whether a HELLO is old by Restart Counter or Sequence #."""
        counter = _restart_counter(hello)
        if counter is not None and peer.restart_counter is not None:
            if newer32(counter, peer.restart_counter):
                return False
            if counter != peer.restart_counter:
                return True
        last = link.multicast_sequence if multicast else link.unicast_sequence
        return last != 0 and not newer16(hello.sequence, last)

    def heard(
        self, peer: Peer, link: PeerLink, hello: Harp, multicast: bool, now: int
    ) -> list[Effect]:
        """A valid HELLO."""
        before = peer.preference, peer.flags
        timing = peer.interval_us, peer.multiplier, peer.lifetime_s
        restarted, changed = self._take(peer, hello)
        if multicast:
            link.multicast_sequence = hello.sequence
        else:
            link.unicast_sequence = hello.sequence
        # What an offload absorbed with A was not heard here, but not missed either: up to now.
        absorbed = before[1] & FLAG_A and peer.links_up and link.index in self._sources
        if hello.flags & FLAG_A or absorbed:
            self.peers.last_active_us = now
        if not hello.lifetime_s:
            return self._leave(peer, now)
        retimed = timing != (peer.interval_us, peer.multiplier, peer.lifetime_s)
        if retimed:
            self.peers.silence_us = max(p.silence_us for p in self.peers)
        was_up = peer.links_up > 0
        kind = Happening.HELLO
        if restarted or retimed:
            kind = Happening.RESTARTED if restarted else Happening.RETIMED
        effects = self.hear(kind, peer, link, now)
        if was_up and (restarted or changed or before != (peer.preference, peer.flags)):
            effects.append(PeerChanged(self._config.group, peer.identity, restarted))
        if changed:
            effects += self._compare(peer)
        return effects

    def replay_heard(self, peer: Peer, link: PeerLink, now: int) -> list[Effect]:
        """A HELLO that looks like a replay, of a peer that is not up: it may have restarted, and
        its first HELLO with the new Restart Counter been lost. It is asked, once an interval."""
        return self.hear(Happening.REPLAY, peer, link, now)

    def ask(self, peer: Peer, link: PeerLink, now: int) -> list[Effect]:
        """A HELLO with R to one peer because what it sends cannot be judged without its answer;
        at most one an interval."""
        return self.hear(Happening.UNJUDGED, peer, link, now)

    def heard_late(self, peer: Peer, link: PeerLink, hello: Harp, now: int) -> list[Effect]:
        """harp.md §7: a HELLO of a clock that is off, but with a right MAC and newer than the last,
        "counts as a sign of life, its A flag and Lifetime 0 count as heard, nothing else"."""
        if hello.flags & FLAG_A:
            self.peers.last_active_us = now
        if not hello.lifetime_s:
            return self._leave(peer, now)
        flags = peer.flags & ~FLAG_A | hello.flags & FLAG_A
        changed, peer.flags = peer.links_up > 0 and flags != peer.flags, flags
        effects = self.hear(Happening.WRONG_CLOCK, peer, link, now)
        if changed:
            effects.append(PeerChanged(self._config.group, peer.identity))
        return effects

    def _take(self, peer: Peer, hello: Harp) -> tuple[bool, bool]:
        """Takes the values of a HELLO; whether it tells of a restart, and of other settings."""
        interval_us, multiplier = hello.interval_ms * US_PER_MS, self._config.multiplier
        restarted = False
        configuration = peer.configuration
        for option in hello.options:
            if isinstance(option, Detection):
                # harp.md §2.3: "Where present it decides"; a zero would be no statement at all.
                if option.interval_us and option.multiplier:
                    interval_us, multiplier = option.interval_us, option.multiplier
            elif isinstance(option, SyncPosition):
                peer.position = option
            elif isinstance(option, Configuration):
                configuration = option.hash
            elif isinstance(option, RestartCounter):
                restarted = peer.restart_counter not in (None, option.value)
                if restarted:
                    self._forget(peer)
                peer.restart_counter = option.value
        changed, peer.configuration = configuration != peer.configuration, configuration
        peer.preference = hello.preference
        peer.flags = hello.flags & _NEWS
        if hello.lifetime_s:
            peer.set_timing(interval_us, multiplier, hello.lifetime_s)
        return restarted, changed

    def _compare(self, peer: Peer) -> list[Effect]:
        """Says once that a member's settings differ (harp.md §2.3, Configuration)."""
        if peer.configuration == self._hash:
            self._warned.discard(peer.identity)
            return []
        if peer.identity in self._warned:
            return []
        self._warned.add(peer.identity)
        text = f"{peer.name} has other settings: no planned switch with it until they agree"
        return [Log(Level.WARNING, text, self._config.group)]

    def _leave(self, peer: Peer, now: int) -> list[Effect]:
        """HA Lifetime 0: "left" at once, on all links."""
        was_up = peer.links_up > 0
        effects: list[Effect] = []
        for link in peer.links:
            effects += self.hear(Happening.GOODBYE, peer, link, now)
        peer.links_up = 0
        self._gone(peer)  # at each of three goodbyes: the last one's number must not stay either
        if was_up:
            effects.append(PeerLeft(self._config.group, peer.identity))
        return effects

    def _gone(self, peer: Peer) -> None:
        """harp.md §3: "In unprotected groups, and without [a Restart Counter], the last [Sequence
        #] is forgotten when the peer is down or left"."""
        if self._config.protection.security is Security.NONE or peer.restart_counter is None:
            self._forget(peer)

    def _forget(self, peer: Peer) -> None:
        """No Sequence # of a peer is known any more."""
        for link in peer.links:
            link.multicast_sequence = link.unicast_sequence = 0

    # Deadlines of the engine itself

    def _rearm(self, peer: Peer, link: PeerLink, start: int) -> None:
        """Silence is counted from `start` on."""
        silence_us = peer.silence_us or self._config.detection_us
        link.deadline = start + silence_us
        link.ask_at = start + peer.late_us if 0 < peer.late_us < silence_us else None
        first = link.ask_at or link.deadline
        if self.deadline is None or first < self.deadline:
            self.deadline = first

    def restart(self, start: int) -> None:
        """Every deadline that runs is counted anew from `start` on: after a pause."""
        for peer in self.peers:
            for link in peer.links:
                self.hear(Happening.PAUSED, peer, link, start)

    def expire(self, now: int) -> list[Effect]:
        """Peers that are silent, and those to ask before they are."""
        effects: list[Effect] = []
        following: list[int] = []
        for peer in self.peers:
            for link in peer.links:
                if link.deadline is None:
                    continue
                if link.deadline <= now:
                    effects += self.hear(Happening.SILENT, peer, link, now)
                    continue
                if link.ask_at is not None and link.ask_at <= now:
                    effects += self.hear(Happening.LATE, peer, link, now)
                following.append(link.ask_at or link.deadline)
        self.deadline = min(following, default=None)
        return effects

    # Other sources

    def _find(self, address: bytes, link_name: str) -> tuple[Peer, PeerLink] | None:
        found, index = self.peers.by_address.get(address), self._links.get(link_name)
        return None if found is None or index is None else (found[0], found[0].links[index])

    def reported(self, event: PeerReported, now: int) -> list[Effect]:
        """Another source says what a peer is. Down holds until the same source says otherwise or
        is lost; up counts for a peer of which a valid HELLO is known."""
        found = self._find(event.peer, event.link)
        if found is None:
            self.counters["unknown_report"] += 1
            return []
        peer, link = found
        if event.state is PeerReport.LEFT:
            return self._leave(peer, now)
        if event.state is PeerReport.DOWN:
            link.down_by.add(event.source)
            return self.hear(Happening.REPORTED_DOWN, peer, link, now)
        link.down_by.discard(event.source)
        if link.down_by or not peer.lifetime_s:
            return []
        return self.hear(Happening.REPORTED_UP, peer, link, now)

    def attached(self, event: DetectorAttached) -> list[Effect]:
        """A source takes a link over: the engine's deadlines there rest."""
        index = self._links.get(event.link)
        if index is None:
            return []
        self._sources.setdefault(index, set()).add(event.source)
        effects: list[Effect] = []
        for peer in self.peers:
            effects += self.hear(Happening.ATTACHED, peer, peer.links[index], 0)
        return effects

    def lost(self, event: DetectorLost, now: int) -> list[Effect]:
        """A source is gone: "the host restarts every peer deadline in software" (offload.md §6)."""
        index = self._links.get(event.link)
        if index is None:
            return []
        sources = self._sources.get(index, set())
        if event.source not in sources:  # it only added to the engine's own deadlines
            for peer in self.peers:
                peer.links[index].down_by.discard(event.source)
            return []
        sources.discard(event.source)
        if not sources:
            del self._sources[index]
        effects: list[Effect] = []
        for peer in self.peers:
            link = peer.links[index]
            link.down_by.discard(event.source)
            effects += self.hear(Happening.LOST, peer, link, now + event.grace_us)
        return effects

    def sequence_seen(self, event: SequenceSeen) -> list[Effect]:
        """HELLOs that an offload absorbed move the last Sequence # on (offload.md §3)."""
        found = self._find(event.peer, event.link)
        if found is None:
            return []
        link = found[1]
        # What it tells may be older than a HELLO that it passed on meanwhile.
        last = link.multicast_sequence if event.multicast else link.unicast_sequence
        if last and not newer16(event.sequence, last):
            return []
        if event.multicast:
            link.multicast_sequence = event.sequence
        else:
            link.unicast_sequence = event.sequence
        return []

    def _watch(self, peer: Peer, link: PeerLink) -> WatchPeer:
        """How the other sources are to watch a peer; 0 µs before its first valid HELLO."""
        return WatchPeer(
            self._config.group,
            link.address,
            self._config.links[link.index].name,
            peer.silence_us,
            peer.late_us,
            link.multicast_sequence,
            link.unicast_sequence,
        )


def _restart_counter(hello: Harp) -> int | None:
    for option in hello.options:
        if isinstance(option, RestartCounter):
            return option.value
    return None
