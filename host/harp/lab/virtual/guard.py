"""The guard process of a simulated member (harp.md §9): withdraws and says goodbye for a daemon
that died (within 10 ms) or stalls (unfed for its own detection time)."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from harp.lab.virtual.network import Packet
from harp.lab.virtual.observed import timestamp_of
from harp.tables.constants import GOODBYE_HELLOS
from harp.tables.harp_types import HarpFlag, HarpType
from harp.wire.codec import DEFAULT_CODEC
from harp.wire.messages import Detection, Harp
from harp.wire.sequence import next_harp_sequence

if TYPE_CHECKING:
    from harp.engine.effects import SendPacket
    from harp.lab.virtual.nodes import Node

WITHDRAW_US = 10_000
"""From the daemon's death to the withdrawal (harp.md §9)."""
GOODBYE_GAP_US = 5_000
"""Between the goodbye HELLOs."""
_TYPE = 6
"""Octet of a HARP message that holds its Type (harp.md §2.1)."""


class Guard:
    """Outlives the daemon of its node; knows the last HELLO of each link and cast."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._mh_type = node.config.code_points.mh_type_harp
        self._hellos: dict[tuple[str, bytes], SendPacket] = {}
        self._timestamp = 0
        self._watch = 0
        self._fired = False

    def saw(self, effect: SendPacket) -> None:
        """The daemon keeps its guard informed, in shared memory."""
        payload = effect.payload
        self._timestamp = timestamp_of(payload) or self._timestamp
        if payload[2] == self._mh_type and payload[_TYPE] == HarpType.HELLO:
            self._hellos[effect.link, effect.destination] = effect

    def starve(self) -> None:
        """The daemon feeds it no more: it waits the member's own detection time."""
        self._watch += 1
        network = self._node.network
        network.at(network.now + self._node.config.detection_us, self._unfed, self._watch)

    def feed(self) -> bool:
        """The daemon is back; returns whether the guard withdrew meanwhile."""
        self._watch += 1
        fired, self._fired = self._fired, False
        return fired

    def daemon_died(self) -> None:
        """The pipe to the daemon closed."""
        self._watch += 1
        network = self._node.network
        network.at(network.now + WITHDRAW_US, self._unfed, self._watch)

    def power_lost(self) -> None:
        """The machine is off: the guard too."""
        self._watch += 1
        self._hellos.clear()

    def _unfed(self, watch: int) -> None:
        if watch != self._watch:
            return
        self._fired = True
        self._node.withdraw()
        for repeat in range(GOODBYE_HELLOS):
            when = self._node.network.now + repeat * GOODBYE_GAP_US
            self._node.network.at(when, self._say, watch)

    def _say(self, watch: int) -> None:
        if watch == self._watch:
            for effect in self._hellos.values():
                self._node.speak(self._goodbye(effect))

    def _goodbye(self, effect: SendPacket) -> Packet:
        """HA Lifetime 0, without A, where the daemon sent this HELLO (harp.md §4)."""
        hello = DEFAULT_CODEC.parse(effect.source, effect.destination, effect.payload)
        assert isinstance(hello, Harp), "the daemon's own HELLO"
        kept = tuple(option for option in hello.options if isinstance(option, Detection))
        goodbye = replace(
            hello,
            sequence=next_harp_sequence(hello.sequence),
            flags=hello.flags & ~(HarpFlag.A | HarpFlag.R | HarpFlag.S),
            lifetime_s=0,
            options=kept,
        )
        return Packet(
            effect.link,
            effect.source,
            effect.destination,
            self._octets(effect.source, effect.destination, goodbye),
        )

    def _octets(self, source: bytes, destination: bytes, goodbye: Harp) -> bytes:
        key = self._node.config.protection.signing_key
        if key is None:
            return DEFAULT_CODEC.build(source, destination, goodbye)
        self._timestamp += 1  # among those that the daemon leaves to its guard (harp.md §7)
        timestamp = self._timestamp
        return DEFAULT_CODEC.build_signed(source, destination, goodbye, key.spi, key.key, timestamp)
