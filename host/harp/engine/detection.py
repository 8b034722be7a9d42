"""Who is there: the home agents list kept by HELLOs and other detection sources (harp.md §4).

Ref: harp.md §3 ("HELLO replay"), §4; RFC 6275 §9.5.1 and RFC 1982 (sequence arithmetic)

Whoever watches a link — the engine's own deadlines, the offload, BFD, VRRP — the events that come
out are the same: `PeerUp`, `PeerDown`, `PeerLeft`, `PeerChanged`, and `PeerLinkChanged` for one of
several links.
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
        self._hash = config.settings_hash()
        self._links = {link.name: i for i, link in enumerate(config.links)}
        self._sources: dict[int, set[DetectionSource]] = {}
        self._warned: set[bytes] = set()
        self.deadline: int | None = None
        """Nothing is due before it, µs. It may be early: a HELLO only moves deadlines back."""

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
        if hello.flags & FLAG_A:
            self.peers.last_active_us = now
        if not hello.lifetime_s:
            return self._leave(peer, now)
        retimed = timing != (peer.interval_us, peer.multiplier, peer.lifetime_s)
        if retimed:
            self.peers.silence_us = max(p.silence_us for p in self.peers)
        was_up = peer.links_up > 0
        effects = self._alive(peer, link, now, rewatch=retimed or restarted)
        if was_up and (restarted or changed or before != (peer.preference, peer.flags)):
            effects.append(PeerChanged(self._config.group, peer.identity, restarted))
        if changed:
            effects += self._compare(peer)
        return effects

    def replay_heard(self, peer: Peer, link: PeerLink, now: int) -> list[Effect]:
        """A HELLO that looks like a replay, of a peer that is not up: it may have restarted, and
        its first HELLO with the new Restart Counter been lost. It is asked, once an interval."""
        return [] if link.state is LinkState.UP else self.ask(peer, link, now)

    def ask(self, peer: Peer, link: PeerLink, now: int) -> list[Effect]:
        """A HELLO with R to one peer because what it sends cannot be judged without its answer;
        at most one an interval."""
        spacing_us = self._config.hello_interval_us
        if link.asked_us is not None and now - link.asked_us < spacing_us:
            return []
        link.asked_us = now
        return [HelloWanted(HelloKind.ASK, peer.identity, link.index)]

    def heard_late(self, peer: Peer, link: PeerLink, hello: Harp, now: int) -> list[Effect]:
        """harp.md §7: a HELLO of a clock that is off, but with a right MAC and newer than the last,
        "counts as a sign of life, its A flag and Lifetime 0 count as heard, nothing else"."""
        if hello.flags & FLAG_A:
            self.peers.last_active_us = now
        if not hello.lifetime_s:
            return self._leave(peer, now)
        flags = peer.flags & ~FLAG_A | hello.flags & FLAG_A
        changed, peer.flags = peer.links_up > 0 and flags != peer.flags, flags
        effects = self._alive(peer, link, now, rewatch=False)
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

    def _alive(self, peer: Peer, link: PeerLink, now: int, *, rewatch: bool) -> list[Effect]:
        """A sign of life on a link."""
        if link.down_by:
            return []  # whoever watches the link says it is down, and will say when it is not
        if link.index not in self._sources:
            self._rearm(peer, link, now)
        elif rewatch or link.state is not LinkState.UP:
            return [self._watch(peer, link), *self._rise(peer, link, now)]
        return self._rise(peer, link, now) if link.state is not LinkState.UP else []

    def _rise(self, peer: Peer, link: PeerLink, now: int) -> list[Effect]:
        """A link comes up, if it is not."""
        if link.state is LinkState.UP:
            return []
        effects = self._turn(peer, link, LinkState.UP, now)
        peer.links_up += 1
        if peer.links_up == 1:
            effects.append(PeerUp(self._config.group, peer.identity))
        return effects

    def _turn(self, peer: Peer, link: PeerLink, state: LinkState, now: int) -> list[Effect]:
        """Writes a link's state; the only place that does."""
        link.state, link.since_us = state, now
        if state is not LinkState.UP:
            link.deadline = link.ask_at = None
        if len(peer.links) == 1:
            return []
        name = self._config.links[link.index].name
        return [PeerLinkChanged(self._config.group, peer.identity, name, up=state is LinkState.UP)]

    def _lose(self, peer: Peer, link: PeerLink, now: int) -> list[Effect]:
        """A link that was up is silent; the peer is down when it was the last (harp.md §4)."""
        effects = self._turn(peer, link, LinkState.DOWN, now)
        peer.links_up -= 1
        if not peer.links_up:
            self._gone(peer)
            effects.append(PeerDown(self._config.group, peer.identity))
        return effects

    def _leave(self, peer: Peer, now: int) -> list[Effect]:
        """HA Lifetime 0: "left" at once, on all links."""
        was_up = peer.links_up > 0
        effects: list[Effect] = []
        for link in peer.links:
            if link.state is not LinkState.LEFT:
                effects += self._turn(peer, link, LinkState.LEFT, now)
        peer.links_up = 0
        if was_up:
            self._gone(peer)
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
        """Every deadline that runs is counted anew from `start` on: after a pause, and when the
        engine takes a link over from another source."""
        for peer in self.peers:
            for link in peer.links:
                if link.deadline is not None:
                    self._rearm(peer, link, start)

    def expire(self, now: int) -> list[Effect]:
        """Peers that are silent, and those to ask before they are."""
        effects: list[Effect] = []
        following: list[int] = []
        for peer in self.peers:
            for link in peer.links:
                if link.deadline is None:
                    continue
                if link.deadline <= now:
                    effects += self._lose(peer, link, now)
                    continue
                if link.ask_at is not None and link.ask_at <= now:
                    link.ask_at = None
                    effects.append(HelloWanted(HelloKind.ASK, peer.identity, link.index))
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
            return self._lose(peer, link, now) if link.state is LinkState.UP else []
        link.down_by.discard(event.source)
        if link.down_by or not peer.lifetime_s:
            return []
        return self._alive(peer, link, now, rewatch=False)

    def attached(self, event: DetectorAttached) -> list[Effect]:
        """A source takes a link over: the engine's deadlines there rest."""
        index = self._links.get(event.link)
        if index is None:
            return []
        self._sources.setdefault(index, set()).add(event.source)
        effects: list[Effect] = []
        for peer in self.peers:
            link = peer.links[index]
            link.deadline = link.ask_at = None
            effects.append(self._watch(peer, link))
        return effects

    def lost(self, event: DetectorLost, now: int) -> list[Effect]:
        """A source is gone: "the host restarts every peer deadline in software" (offload.md §6)."""
        index = self._links.get(event.link)
        sources = self._sources.get(index, set()) if index is not None else set()
        if index is None or event.source not in sources:
            return []
        sources.discard(event.source)
        for peer in self.peers:
            peer.links[index].down_by.discard(event.source)
        if not sources:
            del self._sources[index]
            for peer in self.peers:
                if peer.links[index].state is LinkState.UP:
                    self._rearm(peer, peer.links[index], now + event.grace_us)
        return []

    def sequence_seen(self, event: SequenceSeen) -> list[Effect]:
        """HELLOs that an offload absorbed move the last Sequence # on (offload.md §3)."""
        found = self._find(event.peer, event.link)
        if found and event.multicast:
            found[1].multicast_sequence = event.sequence
        elif found:
            found[1].unicast_sequence = event.sequence
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
        )


def _restart_counter(hello: Harp) -> int | None:
    for option in hello.options:
        if isinstance(option, RestartCounter):
            return option.value
    return None
