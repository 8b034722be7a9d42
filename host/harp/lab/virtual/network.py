"""Simulated links: one heap of events, integer microseconds, one seeded source of chance.

A `Link` joins ports. A packet crosses it from port to port, each receiver judged by itself: blocked
(a partition, one way or both), lost, duplicated, delayed, and, where the quality says so, overtaken
by later ones; without that the order between two ports is kept. Unicast goes to the port that a
neighbor would choose for the address: the last one that announced it, if it still owns it.

Nothing here knows HARP: a packet is its addresses, hop limit and what follows the IPv6 header.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

if TYPE_CHECKING:
    import random

MULTICAST = 0xFF
"""First octet of every IPv6 multicast address (RFC 4291 §2.7)."""


class Packet(NamedTuple):
    """An IPv6 packet on its way."""

    link: str
    """Name of the link it crosses."""
    source: bytes
    """16 octets."""
    destination: bytes
    """16 octets."""
    payload: bytes
    """What follows the IPv6 header and its extension headers."""
    next_header: int = 135
    """Of the payload: 135 Mobility Header, 58 ICMPv6."""
    hop_limit: int = 255
    care_of: bytes = b""
    """Where the packet was sent from if a Home Address option names `source` (RFC 6275 §6.3)."""
    via: bytes = b""
    """Where the link takes it if a type 2 routing header leads on to `destination` (§6.4)."""
    forged: bool = False
    """Made or damaged by a fault: a receiver may well find it malformed."""
    again: bool = False
    """A packet of before, as it was; it is new to whom the first one never reached."""


class Station(Protocol):
    """What sits behind a port."""

    name: str

    def arrive(self, packet: Packet) -> None:
        """Takes a packet from the link, now."""


@dataclass(slots=True)
class Quality:
    """What a link does to the packets of every pair of ports. Chances are 0 to 1."""

    delay_us: int = 500
    """Least time on the way."""
    jitter_us: int = 200
    """Uniformly more, up to this."""
    loss: float = 0.0
    duplicate: float = 0.0
    """The copy comes after an own delay."""
    reorder: float = 0.0
    """Chance to be held back by up to `reorder_us`, so that later packets overtake."""
    reorder_us: int = 5_000
    damage: float = 0.0
    """Chance that one octet is changed on the way."""


@dataclass(slots=True)
class Port:
    """A station's end of a link."""

    station: Station
    link: Link
    addresses: set[bytes] = field(default_factory=set)
    joined: bool = True
    """Whether it is a member of the multicast groups that are used here (RFC 3810)."""


class Link:
    """One link: ports, who owns which address, who cannot be heard by whom."""

    def __init__(self, name: str, quality: Quality) -> None:
        self.name = name
        self.quality = quality
        self.ports: dict[str, Port] = {}
        self.blocked: set[tuple[str, str]] = set()
        """(sender, receiver): nothing passes that way."""
        self._neighbors: dict[bytes, Port] = {}
        self.last_at: dict[tuple[str, str], int] = {}
        """When the last packet in order from sender to receiver arrives, µs."""

    def attach(self, station: Station, *addresses: bytes, joined: bool = True) -> Port:
        """Gives the station a port with these addresses; `joined`: multicasts reach it."""
        port = self.ports[station.name] = Port(station, self, set(), joined)
        for address in addresses:
            self.own(port, address)
        return port

    def own(self, port: Port, address: bytes) -> None:
        """The station behind the port now answers for the address."""
        port.addresses.add(address)
        self._neighbors.setdefault(address, port)

    def disown(self, port: Port, address: bytes) -> None:
        """The station no longer answers for the address."""
        port.addresses.discard(address)

    def announce(self, port: Port, address: bytes) -> None:
        """An unsolicited Neighbor Advertisement with Override has reached the neighbors."""
        if address in port.addresses:
            self._neighbors[address] = port

    def resolve(self, address: bytes) -> Port | None:
        """The port that a neighbor sends to: the one cached, while it owns the address; else, as
        after a failed reachability probe (RFC 4861 §7.3), the first that owns it."""
        port = self._neighbors.get(address)
        if port is not None and address in port.addresses:
            return port
        for other in self.ports.values():
            if address in other.addresses:
                self._neighbors[address] = other
                return other
        return None


class Network:
    """All links and the one event heap of a scenario; `now` in µs from its start."""

    def __init__(self, rng: random.Random) -> None:
        self.now = 0
        self.links: dict[str, Link] = {}
        self.sent = 0
        """Packets given to links, each receiver of a multicast counted."""
        self.lost: dict[str, int] = {"blocked": 0, "loss": 0, "nobody": 0}
        self.stirred: dict[str, int] = {"duplicate": 0, "reorder": 0, "damage": 0}
        self._rng = rng
        self._heap: list[tuple[int, int, Callable[..., Any], tuple[Any, ...]]] = []
        self._order = 0

    def add_link(self, name: str, quality: Quality) -> Link:
        """Makes a link of that name."""
        link = self.links[name] = Link(name, quality)
        return link

    def at(self, when: int, action: Callable[..., Any], *arguments: Any) -> None:
        """Calls `action` at `when` µs, at once if that is past; equal times in the order given."""
        self._order += 1
        heapq.heappush(self._heap, (max(when, self.now), self._order, action, arguments))

    def run(self, until: int) -> None:
        """Works off everything up to and including `until` µs."""
        heap = self._heap
        while heap and heap[0][0] <= until:
            self.now, _, action, arguments = heapq.heappop(heap)
            action(*arguments)
        self.now = until

    def send(self, sender: str, packet: Packet) -> None:
        """Puts a packet on its link. A station never hears itself."""
        link = self.links[packet.link]
        if packet.destination[0] == MULTICAST:
            for name, port in link.ports.items():
                if port.joined and name != sender:
                    self._carry(link, sender, port.station, packet)
            return
        found = link.resolve(packet.via or packet.destination)
        if found is None or found.station.name == sender:
            self.lost["nobody"] += 1
        else:
            self._carry(link, sender, found.station, packet)

    def _carry(self, link: Link, sender: str, receiver: Station, packet: Packet) -> None:
        self.sent += 1
        pair = (sender, receiver.name)
        if pair in link.blocked:
            self.lost["blocked"] += 1
            return
        quality, chance = link.quality, self._rng.random
        if quality.loss and chance() < quality.loss:
            self.lost["loss"] += 1
            return
        when = self.now + quality.delay_us + int(chance() * quality.jitter_us)
        if quality.damage and chance() < quality.damage:
            packet = self._damaged(packet)
        if quality.duplicate and chance() < quality.duplicate:
            self.stirred["duplicate"] += 1
            self.at(when + int(chance() * quality.reorder_us), receiver.arrive, packet)
        if quality.reorder and chance() < quality.reorder:
            self.stirred["reorder"] += 1
            when += int(chance() * quality.reorder_us)
        else:
            last = link.last_at.get(pair, 0)
            link.last_at[pair] = when = when if when > last else last
        self._order += 1
        heapq.heappush(self._heap, (when, self._order, receiver.arrive, (packet,)))

    def _damaged(self, packet: Packet) -> Packet:
        self.stirred["damage"] += 1
        octets = bytearray(packet.payload)
        if octets:
            octets[self._rng.randrange(len(octets))] ^= 1 << self._rng.randrange(8)
        return packet._replace(payload=bytes(octets), forged=True)
