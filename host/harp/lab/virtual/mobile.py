"""Mobile nodes: they register, move, refresh, retry, and remember what they were promised.

Ref: RFC 6275 §11.7.1 (sending), §11.7.3 (acknowledgements), §11.8 (retransmission); RFC 5142 §5.2
(Home Agent Switch); harp.md §6, §9
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from harp.lab.virtual.network import Network, Packet
from harp.lab.virtual.settings import care_of_address, home_address, link_name
from harp.tables.mh import BaStatus, BuFlag
from harp.wire.codec import DEFAULT_CODEC
from harp.wire.messages import (
    BindingAcknowledgement,
    BindingRefreshRequest,
    BindingUpdate,
    HomeAgentSwitch,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

FIRST_WAIT_US = 150_000
"""INITIAL_BINDACK_TIMEOUT of RFC 6275 §12, a second there: scaled like all scenario timers."""
MAX_WAIT_US = 1_000_000
"""MAX_BINDACK_TIMEOUT, scaled."""
REFUSED_WAIT_US = 300_000
"""After a refusal that may pass (RFC 6275 §11.7.3 leaves it to the node)."""
REFUSED = 128
"""Least Status that rejects a Binding Update (RFC 6275 §6.1.8)."""


@dataclass(frozen=True, slots=True)
class Registration:
    """A Binding Update as sent."""

    sequence: int
    care_of: bytes
    lifetime_s: int
    """Asked for; 0: de-registration."""
    home_agent: bytes
    """Where it was sent."""
    sent_us: int


class MobileNode:
    """One mobile node on the home link's far side."""

    def __init__(
        self,
        number: int,
        network: Network,
        rng: Random,
        home_agents: tuple[bytes, ...],
        lifetime_s: int,
        refresh_us: int,
    ) -> None:
        self.name = f"mn{number}"
        self.number = number
        self.home_address = home_address(number)
        self.home_agents = home_agents
        """Where it may register: the virtual address, or each member's own (hard mode)."""
        self.sent: dict[int, Registration] = {}
        """By Sequence #, the latest of that number."""
        self.latest: Registration | None = None
        self.acknowledged: Registration | None = None
        """The last that was accepted; None: nothing promised."""
        self.wants = False
        """Whether it wants to be registered."""
        self.answers: dict[int, int] = {}
        """Acknowledgements by status."""
        self.on_send: Callable[[MobileNode, Registration], None] = lambda node, sent: None
        """Told of every Binding Update before it leaves."""
        self._network = network
        self._rng = rng
        self._lifetime_s, self._refresh_us = lifetime_s, refresh_us
        self._home_agent = 0
        self._place = 0
        self._sequence = rng.randrange(1 << 16)
        self._wait_us = FIRST_WAIT_US
        self._timer = 0
        self._resting = False
        self._corrected = False
        self._link = network.links[link_name(0)]
        self._port = self._link.attach(self, self.care_of, joined=False)

    @property
    def care_of(self) -> bytes:
        """Its address now."""
        return care_of_address(self.number, self._place)

    def register(self) -> None:
        """Wants a binding from now on."""
        self.wants = True
        self._send()

    def deregister(self) -> None:
        """Wants none any more (RFC 6275 §11.7.1: Lifetime 0)."""
        self.wants = False
        self._send()

    def move(self) -> None:
        """Is at a new place: the old address is gone."""
        self._link.disown(self._port, self.care_of)
        self._place += 1
        self._link.own(self._port, self.care_of)
        if self.wants:
            self._send()

    def rest(self) -> None:
        """Sends nothing more."""
        self._timer += 1
        self._resting = True

    def arrive(self, packet: Packet) -> None:
        """Takes what the network brings; whatever is damaged or not for it is ignored."""
        if packet.destination != self.home_address:
            return
        message = DEFAULT_CODEC.parse(packet.source, packet.destination, packet.payload)
        match message:
            case BindingAcknowledgement():
                self._answered(message)
            case BindingRefreshRequest() if self.wants:
                self._send()
            case HomeAgentSwitch() if message.addresses and self.wants:
                self._switch(message.addresses[0])
            case _:
                pass

    def _switch(self, address: bytes) -> None:
        """Moves to another home agent (RFC 5142 §5.2)."""
        if address in self.home_agents:
            self._home_agent = self.home_agents.index(address)
            self._send()

    def _send(self, again: bool = False) -> None:
        """RFC 6275 §11.8: a retransmission has a greater Sequence #."""
        if self._resting:
            return
        self._wait_us = min(2 * self._wait_us, MAX_WAIT_US) if again else FIRST_WAIT_US
        self._sequence = (self._sequence + 1) & 0xFFFF
        lifetime_s = self._lifetime_s if self.wants else 0
        address = self.home_agents[self._home_agent]
        sent = Registration(self._sequence, self.care_of, lifetime_s, address, self._network.now)
        self.sent[sent.sequence] = self.latest = sent
        flags = BuFlag.ACKNOWLEDGE | BuFlag.HOME_REGISTRATION
        update = BindingUpdate(sent.sequence, flags, lifetime_s)
        payload = DEFAULT_CODEC.build(self.home_address, address, update)
        self.on_send(self, sent)
        self._network.send(
            self.name,
            Packet(self._link.name, self.home_address, address, payload, care_of=self.care_of),
        )
        self._arm(self._wait_us)

    def _arm(self, wait_us: int) -> None:
        if self._resting:
            return
        self._timer += 1
        self._network.at(self._network.now + wait_us, self._timed_out, self._timer)

    def _timed_out(self, timer: int) -> None:
        """No answer, or time to refresh."""
        if timer != self._timer:
            return
        self._corrected = False
        waiting = self.latest is not None and self.acknowledged is not self.latest
        if waiting and len(self.home_agents) > 1 and self._wait_us >= MAX_WAIT_US:
            # Hard mode: a home agent that never answers is given up; DHAAD would name the next.
            self._home_agent = (self._home_agent + 1) % len(self.home_agents)
        if waiting or self.wants:
            self._send(again=waiting)

    def _answered(self, message: BindingAcknowledgement) -> None:
        """RFC 6275 §11.7.3: only the answer to the latest Binding Update counts."""
        self.answers[message.status] = self.answers.get(message.status, 0) + 1
        latest = self.latest
        if latest is None:
            return
        if message.status == BaStatus.SEQUENCE_OUT_OF_WINDOW:
            # Once for what is under way: a duplicate of the answer must not breed Binding Updates.
            if not self._corrected:
                self._sequence = message.sequence
                self._send(again=True)
                self._corrected = True
        elif message.sequence != latest.sequence:
            return
        elif message.status >= REFUSED:
            self._arm(REFUSED_WAIT_US)
        else:
            self.acknowledged = latest
            self._corrected = False
            self._arm(self._refresh_us)
            if not self.wants:
                self._timer += 1
