"""The home agents list: what one group knows of its other members (harp.md §4)."""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum

from harp.engine.config import DetectionSource, GroupConfig, MemberConfig
from harp.tables.constants import US_PER_S
from harp.tables.harp_types import HarpFlag
from harp.wire.messages import SyncPosition

FLAG_A, FLAG_S, FLAG_D = int(HarpFlag.A), int(HarpFlag.S), int(HarpFlag.D)
"""As plain numbers: an `IntFlag` costs ten times as much to test, and HELLOs are many."""


class LinkState(StrEnum):
    """A peer as seen on one link."""

    UNKNOWN = "unknown"
    """Not heard since the start."""
    UP = "up"
    DOWN = "down"
    """Silent."""
    LEFT = "left"
    """Said goodbye."""


class PeerLink:
    """One member on one link."""

    __slots__ = (
        "address",
        "ask_at",
        "asked_us",
        "deadline",
        "down_by",
        "index",
        "multicast_sequence",
        "since_us",
        "state",
        "unicast_sequence",
    )

    def __init__(self, address: bytes, index: int) -> None:
        self.address = address
        """The member's address there."""
        self.index = index
        """Which of the group's links."""
        self.state = LinkState.UNKNOWN
        self.since_us: int | None = None
        """When the state was entered, µs."""
        self.deadline: int | None = None
        """Silence until then makes it down, µs; None: the engine does not watch."""
        self.ask_at: int | None = None
        """Silence until then makes the engine ask, µs (harp.md §4); None: asked already."""
        self.asked_us: int | None = None
        """When a HELLO that looked like a replay was last answered by a question, µs."""
        self.down_by: set[DetectionSource] = set()
        """Sources that say it is down, other than the engine's deadlines."""
        self.multicast_sequence = 0
        """Last Sequence # heard; 0: none."""
        self.unicast_sequence = 0
        """Last Sequence # heard; 0: none."""


class Peer:
    """One other member: its last valid HELLO and its links."""

    __slots__ = (
        "configuration",
        "flags",
        "identity",
        "interval_us",
        "late_us",
        "lifetime_s",
        "links",
        "links_up",
        "multiplier",
        "name",
        "position",
        "preference",
        "restart_counter",
        "silence_us",
    )

    def __init__(self, member: MemberConfig) -> None:
        self.name = member.name
        self.identity = member.identity
        self.links = [PeerLink(address, i) for i, address in enumerate(member.addresses)]
        self.links_up = 0
        """On how many links it is up."""
        self.preference = 0
        """HA Preference; 0 until the first valid HELLO."""
        self.flags = 0
        """`HarpFlag`s of its last HELLO, R apart."""
        self.lifetime_s = 0
        """HA Lifetime, seconds; 0: no valid HELLO yet."""
        self.interval_us = 0
        """µs; 0: none planned, only HA Lifetime bounds."""
        self.multiplier = 0
        """HELLO intervals until it is down."""
        self.silence_us = 0
        """Silence after which it is down, µs: multiplier x interval, at most HA Lifetime."""
        self.late_us = 0
        """Silence after which it is asked, µs: the last but one HELLO is missing; 0: never."""
        self.restart_counter: int | None = None
        """None: never heard."""
        self.position: SyncPosition | None = None
        """As last announced."""
        self.configuration: bytes | None = None
        """8 octets as last announced."""

    @property
    def up(self) -> bool:
        """Up on at least one link."""
        return self.links_up > 0

    @property
    def active(self) -> bool:
        """Up, and its last HELLO carried A."""
        return self.links_up > 0 and bool(self.flags & FLAG_A)

    @property
    def synchronised(self) -> bool:
        """Its last HELLO carried S."""
        return bool(self.flags & FLAG_S)

    @property
    def draining(self) -> bool:
        """Up, and its last HELLO carried D."""
        return self.links_up > 0 and bool(self.flags & FLAG_D)

    @property
    def strength(self) -> tuple[int, bytes]:
        """Which of two actives stays: the greater (harp.md §5)."""
        return self.preference, self.identity

    def set_timing(self, interval_us: int, multiplier: int, lifetime_s: int) -> None:
        """Takes what a HELLO says of the next ones."""
        lifetime_us = lifetime_s * US_PER_S
        self.interval_us, self.multiplier, self.lifetime_s = interval_us, multiplier, lifetime_s
        self.silence_us = min(interval_us * multiplier, lifetime_us) or lifetime_us
        self.late_us = min(interval_us * (multiplier - 1), self.silence_us)

    def best_link(self) -> PeerLink:
        """Where to send to: the first link on which it is up, else the first of all."""
        for link in self.links:
            if link.state is LinkState.UP:
                return link
        return self.links[0]


class PeerTable:
    """All other members of one group."""

    def __init__(self, config: GroupConfig) -> None:
        self.peers = {member.identity: Peer(member) for member in config.peers}
        """By identity, in the order of the configuration."""
        self.by_address = {
            link.address: (peer, link) for peer in self.peers.values() for link in peer.links
        }
        """Any address of a member: the member and the link."""
        self.last_active_us: int | None = None
        """When a HELLO with A was last heard from anyone, µs; None: never."""
        self.silence_us = config.detection_us
        """Largest multiplier x interval heard, µs (harp.md §5, "no active")."""

    def add(self, member: MemberConfig) -> tuple[Peer, PeerLink]:
        """One more member, of one link: it was discovered."""
        peer = self.peers[member.identity] = Peer(member)
        found = self.by_address[member.identity] = (peer, peer.links[0])
        return found

    def __iter__(self) -> Iterator[Peer]:
        return iter(self.peers.values())

    def best_active(self) -> Peer | None:
        """The strongest peer that is up and active: whom a standby follows (harp.md §5)."""
        best: Peer | None = None
        for peer in self.peers.values():
            if peer.active and (best is None or peer.strength > best.strength):
                best = peer
        return best

    def count_agreeing(self, configuration: bytes) -> int:
        """Peers that count for a quorum: up, and of the same settings as far as known."""
        return sum(
            peer.up and peer.configuration in (None, configuration) for peer in self.peers.values()
        )
