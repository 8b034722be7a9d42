"""Moving mobile nodes: Home Agent Switch, SW-COMP, HA-REKEY (harp.md §9).

Ref: RFC 5142 §5.1, §8 (Home Agent Switch); harp.md §2.1 (SW-COMP, HA-REKEY), §8
"""

from __future__ import annotations

from collections import Counter, deque
from typing import TYPE_CHECKING

from harp.engine.config import GroupConfig, SwitchMode
from harp.engine.effects import Effect, SendHarp, SendPacket
from harp.engine.entries import Entry
from harp.engine.exchange import Exchange
from harp.engine.pacing import Walk
from harp.engine.peers import PeerTable
from harp.engine.store import BindingStore
from harp.tables.constants import HA_SWITCH_FIRST_US, HA_SWITCH_MAX_US, US_PER_S
from harp.tables.harp_types import SEQUENCE_MODULUS, HarpType
from harp.wire.codec import Codec
from harp.wire.messages import AddressKind, Harp, HomeAgentSwitch, IpAddress
from harp.wire.sequence import next_harp_sequence

if TYPE_CHECKING:
    from random import Random

SENDINGS = 5
"""Home Agent Switches to one mobile node; then it is left to the expiry of its binding."""

MIN_SPACING_US = US_PER_S
"""RFC 5142 §8: not more than one a second to each mobile node, whatever roles do meanwhile."""


class Mover:
    """Hard switch: tells every mobile node that this home agent serves it now; its Binding Update
    is the answer. When all have moved, the draining home agent is told (SW-COMP)."""

    def __init__(
        self, config: GroupConfig, store: BindingStore, peers: PeerTable, codec: Codec, rng: Random
    ) -> None:
        self.counters: Counter[str] = Counter()
        """`switches_sent`, `moved`, `not_moved`."""
        self._config = config
        self._store = store
        self._peers = peers
        self._codec = codec
        self._walk = Walk(store, config.switch_rate)
        self._again: list[deque[tuple[int, bytes]]] = [deque() for _ in range(SENDINGS)]
        self._asked: set[bytes] = set()
        self._moved: set[bytes] = set()
        self._rested_us = 0
        self._gave_up = False
        self._running = False
        self._sequence = rng.randrange(1, SEQUENCE_MODULUS + 1)
        self._completing: dict[bytes, Exchange] = {}
        self._complete_at: dict[bytes, int] = {}
        self._complete_until = 0

    def reconfigured(self) -> None:
        """Another `switch_rate`."""
        self._walk.pace(self._config.switch_rate)

    @property
    def deadline(self) -> int | None:
        """When `expire` is due, µs."""
        times = [queue[0][0] for queue in self._again if queue]
        times += self._complete_at.values()
        if self._walk.deadline is not None:
            times.append(self._walk.deadline)
        return min(times, default=None)

    def start(self, now: int) -> list[Effect]:
        """The member became active: only in hard mode is there something to do."""
        if self._config.mode is not SwitchMode.HARD:
            return []
        self.stop()
        self._running = True
        self._walk.start(max(now, self._rested_us))
        return self.expire(now)

    def stop(self) -> None:
        """The member is active no more."""
        self._walk.stop()
        for queue in self._again:
            queue.clear()
        self._asked.clear()
        self._moved.clear()
        self._completing.clear()
        self._complete_at.clear()
        self._gave_up = self._running = False

    def moved(self, home_address: bytes) -> None:
        """A mobile node's Binding Update was granted here."""
        if self._running and home_address not in self._moved:
            self._moved.add(home_address)
            self._asked.discard(home_address)
            self.counters["moved"] += 1

    def expire(self, now: int) -> list[Effect]:
        """The messages that are due."""
        effects: list[Effect] = []
        for tries, queue in enumerate(self._again):
            while queue and queue[0][0] <= now:
                effects += self._repeat(queue.popleft()[1], tries, now)
        for entry in self._walk.take(now):
            if entry.home_address not in self._moved:
                self._asked.add(entry.home_address)
                effects.append(self._send(entry, 0, now))
        if self._running and not self._asked and self._walk.deadline is None:
            self._running = False
            if not self._gave_up:
                effects += self._complete(now)
        return effects + self._repeat_complete(now)

    def _send(self, entry: Entry, tries: int, now: int) -> SendPacket:
        """harp.md §8: "first 5 s, doubling to 20 s"."""
        wait_us = min(HA_SWITCH_FIRST_US << tries, HA_SWITCH_MAX_US)
        self._again[tries].append((now + wait_us, entry.home_address))
        self._rested_us = now + MIN_SPACING_US
        self.counters["switches_sent"] += 1
        home, me = entry.home_address, self._config.identity
        # harp.md §9: "its own address alone, RFC 5142 §5.1".
        payload = self._codec.build(me, home, HomeAgentSwitch((me,)))
        return SendPacket(me, home, payload, via=entry.care_of_address, group=self._config.group)

    def _repeat(self, home_address: bytes, tries: int, now: int) -> list[Effect]:
        """One mobile node that has not answered; or has, or is gone."""
        if home_address not in self._asked:
            return []
        bids = self._store.bids(home_address)
        if bids and tries + 1 < SENDINGS:
            entry = self._store.get(home_address, bids[0])
            assert entry is not None, "it is among the live ones"
            return [self._send(entry, tries + 1, now)]
        self._asked.discard(home_address)
        if bids:
            self._gave_up = True
            self.counters["not_moved"] += 1
        return []

    def _complete(self, now: int) -> list[Effect]:
        """SW-COMP to whoever drains."""
        self._sequence = next_harp_sequence(self._sequence)
        message = Harp(HarpType.SW_COMP, self._config.group, self._sequence)
        self._complete_until = now + self._config.reliability_timeout_us
        effects: list[Effect] = []
        for peer in self._peers:
            if peer.draining:
                exchange = Exchange(peer.identity, message, self._config.switch_timer_us)
                self._completing[peer.identity] = exchange
                self._complete_at[peer.identity] = now + exchange.wait_us
                effects.append(SendHarp(peer.identity, message))
        return effects

    def _repeat_complete(self, now: int) -> list[Effect]:
        """harp.md §9: "SW-COMP repeats (backoff) until D is clear"."""
        effects: list[Effect] = []
        for identity in [peer for peer, due in self._complete_at.items() if due <= now]:
            exchange = self._completing[identity]
            if not self._peers.peers[identity].draining or now >= self._complete_until:
                del self._completing[identity], self._complete_at[identity]
                continue
            self._complete_at[identity] = now + exchange.repeat()
            effects.append(SendHarp(identity, exchange.message))
        return effects


class Rekeyer:
    """HA-REKEY to every mobile node, once, paced: it is to run IKE again with this home agent."""

    def __init__(
        self, config: GroupConfig, store: BindingStore, codec: Codec, address: bytes, rng: Random
    ) -> None:
        self._config = config
        self._codec = codec
        self._address = address
        self._walk = Walk(store, config.switch_rate)
        self._sequence = rng.randrange(1, SEQUENCE_MODULUS + 1)

    def reconfigured(self) -> None:
        """Another `switch_rate`."""
        self._walk.pace(self._config.switch_rate)

    @property
    def deadline(self) -> int | None:
        """When `expire` is due, µs."""
        return self._walk.deadline

    def start(self, now: int) -> list[Effect]:
        """From the first binding on."""
        self._walk.start(now)
        return self.expire(now)

    def stop(self) -> None:
        """The member is active no more."""
        self._walk.stop()

    def expire(self, now: int) -> list[Effect]:
        """The messages that are due. No HA-HA option: mobile nodes have no such key."""
        effects: list[Effect] = []
        for entry in self._walk.take(now):
            self._sequence = next_harp_sequence(self._sequence)
            message = Harp(
                HarpType.REKEY,
                self._config.group,
                self._sequence,
                options=(IpAddress(AddressKind.HOME_AGENT, self._address),),
            )
            payload = self._codec.build(self._address, entry.home_address, message)
            effects.append(
                SendPacket(
                    self._address,
                    entry.home_address,
                    payload,
                    via=entry.care_of_address,
                    group=self._config.group,
                )
            )
        return effects
