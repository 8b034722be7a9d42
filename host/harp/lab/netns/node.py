"""A mobile node: registers, retries, refreshes, follows a Home Agent Switch. Without I/O.

Ref: RFC 6275 §11.7.1 (sending Binding Updates), §11.7.3 (acknowledgements), §11.8 (retransmission),
     §12 (constants); RFC 5142 §5.2 (Home Agent Switch); RFC 2473 (tunnel)

Packets are whole IPv6 packets; times are µs of any clock that does not go back.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from harp.lab.netns import packets
from harp.tables.constants import US_PER_S
from harp.tables.mh import BaStatus, BuFlag
from harp.wire.codec import DEFAULT_CODEC
from harp.wire.messages import (
    BindingAcknowledgement,
    BindingError,
    BindingRefreshRequest,
    BindingUpdate,
    HomeAgentSwitch,
    Malformed,
)
from harp.wire.packet import find_mobility_header

INITIAL_BINDACK_TIMEOUT_US = 1 * US_PER_S
"""First wait for an acknowledgement (RFC 6275 §12)."""
MAX_BINDACK_TIMEOUT_US = 32 * US_PER_S
"""Longest wait (RFC 6275 §12)."""
GIVE_UP_AFTER = 4
"""Unanswered Binding Updates after which the next home agent is tried (hard mode)."""
REFUSED = 128
"""Least Status that rejects a Binding Update (RFC 6275 §6.1.8)."""


@dataclass(frozen=True, slots=True)
class NodeConfig:
    """What a mobile node is told."""

    home_address: bytes
    """16 octets."""
    agents: tuple[bytes, ...]
    """Home agents it may register with; the first is tried first."""
    lifetime_s: int = 600
    """Asked for; a multiple of 4."""
    first_wait_us: int = INITIAL_BINDACK_TIMEOUT_US
    """First wait for an acknowledgement; the laboratory may hurry."""


class MobileNode:
    """One mobile node away from home."""

    def __init__(self, config: NodeConfig, care_of_address: bytes, rng: Random) -> None:
        self.config = config
        self.care_of_address = care_of_address
        self.bound: bytes | None = None
        """The home agent that has a binding of this node; None: nobody."""
        self.deadline: int | None = None
        """When to call `expire` next, µs."""
        self.answers: list[tuple[int, int]] = []
        """(time, status) of each acknowledgement that counted."""
        self.switches = 0
        """Home Agent Switches followed."""
        self._agent = 0
        self._sequence = rng.randrange(1 << 16)
        self._wait_us = config.first_wait_us
        self._unanswered = 0
        self._wants = self._waiting = False
        self._valid_until = 0

    @property
    def agent(self) -> bytes:
        """The home agent it registers with."""
        return self.config.agents[self._agent]

    def register(self, now: int) -> list[bytes]:
        """Wants a binding from now on."""
        self._wants = True
        return self._start(now)

    def move(self, care_of_address: bytes, now: int) -> list[bytes]:
        """Is at a new place."""
        self.care_of_address = care_of_address
        return self._start(now) if self._wants else []

    def deregister(self, now: int) -> list[bytes]:
        """Wants no binding any more (RFC 6275 §11.7.1: Lifetime 0)."""
        self._wants = False
        return self._start(now)

    def expire(self, now: int) -> list[bytes]:
        """No answer in time, or time to refresh."""
        if self.deadline is None or now < self.deadline:
            return []
        if not self._waiting:
            return self._start(now)
        if now >= self._valid_until:
            self.bound = None
        # RFC 6275 §11.8: "the new retransmission timeout ... twice the ... last"
        self._wait_us = min(2 * self._wait_us, MAX_BINDACK_TIMEOUT_US)
        self._unanswered += 1
        if self._unanswered >= GIVE_UP_AFTER:
            self._turn_to((self._agent + 1) % len(self.config.agents))
        return self._send(now)

    def receive(self, packet: bytes, now: int) -> list[bytes]:
        """A packet with a Mobility Header that came to the care-of address."""
        found = find_mobility_header(packet)
        if found is None or isinstance(found, Malformed):
            return []
        # RFC 6275 §11.3.3: only what the type 2 routing header brings to the home address
        if found.destination != self.config.home_address:
            return []
        message = DEFAULT_CODEC.parse(found.source, found.destination, found.payload)
        match message:
            case BindingAcknowledgement() if found.source == self.agent:
                return self._answered(message, now)
            case BindingRefreshRequest() if self._wants:
                return self._start(now)
            case BindingError() if self._wants and not self._waiting:
                return self._start(now)
            case HomeAgentSwitch() if self._wants:
                return self._switched(message, now)
            case _:
                return []

    def wrap(self, packet: bytes) -> bytes | None:
        """A packet of its own into the tunnel (RFC 6275 §11.3.1); None: it has no binding."""
        if self.bound is None:
            return None
        return packets.tunnelled(self.care_of_address, self.bound, packet)

    def unwrap(self, packet: bytes) -> bytes | None:
        """A packet out of the tunnel; None: it is none for this node."""
        found = packets.inner(packet)
        if found is None or packets.source_of(packet) not in self.config.agents:
            return None
        return found if packets.destination_of(found) == self.config.home_address else None

    def _start(self, now: int) -> list[bytes]:
        self._wait_us = self.config.first_wait_us
        self._unanswered = 0
        return self._send(now)

    def _send(self, now: int) -> list[bytes]:
        """RFC 6275 §11.8: "MUST use a Sequence Number value greater than that used" before."""
        self._sequence = (self._sequence + 1) & 0xFFFF
        self._waiting = True
        self.deadline = now + self._wait_us
        flags = BuFlag.ACKNOWLEDGE | BuFlag.HOME_REGISTRATION
        lifetime_s = self.config.lifetime_s if self._wants else 0
        update = BindingUpdate(self._sequence, flags, lifetime_s)
        return [
            packets.from_mobile_node(
                self.care_of_address, self.config.home_address, self.agent, update
            )
        ]

    def _answered(self, message: BindingAcknowledgement, now: int) -> list[bytes]:
        """RFC 6275 §11.7.3."""
        if message.status == BaStatus.SEQUENCE_OUT_OF_WINDOW:
            self._sequence = message.sequence
            return self._send(now)
        if message.sequence != self._sequence:
            return []
        self.answers.append((now, message.status))
        if message.status >= REFUSED:
            self.deadline = now + self.config.first_wait_us
            return []
        self._waiting = False
        if self._wants:
            granted_us = message.lifetime_s * US_PER_S
            self.bound, self._valid_until = self.agent, now + granted_us
            # Refreshed in time for several tries (RFC 6275 §11.7.1).
            self.deadline = now + granted_us * 3 // 4
        else:
            self.bound, self.deadline = None, None
        return []

    def _switched(self, message: HomeAgentSwitch, now: int) -> list[bytes]:
        """RFC 5142 §5.2: registers with the home agent named."""
        for address in message.addresses:
            if address in self.config.agents:
                self.switches += 1
                self._turn_to(self.config.agents.index(address))
                return self._start(now)
        return []

    def _turn_to(self, agent: int) -> None:
        if agent != self._agent:  # one does not wait because another did not answer
            self._wait_us = self.config.first_wait_us
        self._agent = agent
        self._unanswered = 0
