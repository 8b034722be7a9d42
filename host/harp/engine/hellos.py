"""Our own HELLOs: what is in them and when they leave (harp.md §4, §2.1, §2.3)."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from harp.engine.config import GroupConfig, SwitchMode
from harp.engine.effects import Effect, HelloKind, HelloTemplate
from harp.engine.peers import Peer, PeerTable
from harp.engine.protection import Protector
from harp.tables.constants import US_PER_MS, US_PER_S
from harp.tables.harp_types import HarpFlag, HarpType
from harp.wire.maker import maker
from harp.wire.messages import Configuration, Detection, Harp, Options, RestartCounter
from harp.wire.sequence import newer16, next_harp_sequence

if TYPE_CHECKING:
    from random import Random

_make_hello = maker(Harp)
REPEAT_US = 20 * US_PER_MS
"""Between the copies of a HELLO that is sent three times (harp.md §5)."""
_V, _R = int(HarpFlag.V), int(HarpFlag.R)
_FULL = frozenset((HelloKind.FIRST, HelloKind.ANSWER))
"""harp.md §2.1, §2.3: these carry Restart Counter, Sync Position and Configuration."""
_ASKING = frozenset((HelloKind.FIRST, HelloKind.ASK))


class HelloSender:
    """Schedule, sequences and content of one group's HELLOs."""

    def __init__(
        self, config: GroupConfig, peers: PeerTable, protector: Protector, rng: Random
    ) -> None:
        self.restart_counter = 0
        """Ours; set before the first HELLO."""
        self.deadline: int | None = None
        """When the next HELLO is due, µs; None: not started, or no link is up."""
        self._config = config
        self._peers = peers
        self._protector = protector
        self._rng = rng
        self._multicast = config.code_points.multicast_group.packed
        self._virtual = config.mode is SwitchMode.VIRTUAL
        self._flags = 0
        self._preference = 0
        links = range(len(config.links))
        self._due: list[int | None] = [None for _ in links]
        self._repeats = [0 for _ in links]
        self._up = [True for _ in links]
        self._slots = [False for _ in links]
        self._in_template: list[tuple[int, int] | None] = [None for _ in links]
        self._multicast_sequence = [0 for _ in links]
        self._unicast_sequence: dict[bytes, int] = {}
        self._answers: dict[bytes, deque[int]] = {}
        self.reconfigured()

    def reconfigured(self) -> None:
        """What HELLOs say of their own timing, and where they go, is another."""
        config = self._config
        self._detection = Detection(config.hello_interval_us, config.multiplier)
        self._configuration = Configuration(config.settings_hash())
        self._by_multicast = [config.multicast_on(i) for i in range(len(config.links))]
        self._in_template = [None for _ in self._in_template]
        self._answers.clear()

    def update(self, flags: int, preference: int) -> bool:
        """What the next HELLO says; whether that is new. A, S, D of `HarpFlag`; V is added."""
        if self._virtual:
            flags |= _V
        if flags == self._flags and preference == self._preference:
            return False
        self._flags, self._preference = flags, preference
        return True

    def say(
        self,
        kind: HelloKind,
        now: int,
        peer: bytes | None = None,
        link: int | None = None,
        times: int = 1,
        options: Options = (),
    ) -> list[Effect]:
        """One HELLO now; `options` are Sync Position and Cache Digest as its kind wants them.

        To all, it takes the place of the next one that is due."""
        links = range(len(self._up)) if link is None else (link,)
        effects: list[Effect] = []
        if peer is not None:
            member = self._peers.peers[peer]
            if link is None:
                links = (member.best_link().index,)
            for index in links:
                effects += self._unicast(kind, member, index, options, now)
            return effects
        for index in links:
            if self._up[index]:
                if self._slots[index] and self._is_new(index):
                    effects += self._news(kind, index, options, now)
                else:
                    effects += self._template(index)
                    effects += self._to_all(kind, index, options, now)
                self._repeats[index] = times - 1
                self._schedule(index, now)
        return effects

    def link_up(self, index: int) -> bool:
        """HELLOs leave on a link."""
        return self._up[index]

    def slot_runs(self, index: int) -> bool:
        """An offload sends the multicast HELLOs on a link."""
        return self._slots[index]

    def goodbye(self, now: int) -> list[Effect]:
        """HA Lifetime 0 to all, three times at once: nobody is there to wait (harp.md §9)."""
        effects: list[Effect] = []
        for _ in range(3):
            effects += self.say(HelloKind.GOODBYE, now)
        self._due = [None for _ in self._due]
        self.deadline = None
        return effects

    def may_answer(self, peer: bytes, now: int) -> bool:
        """harp.md §4: on request "<= `MAX_HELLO_RATE` a second per asker"; counts this one."""
        sent = self._answers.get(peer)
        if sent is None:
            sent = self._answers[peer] = deque(maxlen=self._config.max_hello_rate)
        if len(sent) == sent.maxlen and now - sent[0] < US_PER_S:
            return False
        sent.append(now)
        return True

    def expire(self, now: int) -> list[Effect]:
        """The HELLOs that are due."""
        effects: list[Effect] = []
        for index, due in enumerate(self._due):
            if due is not None and due <= now:
                effects += self._to_all(HelloKind.PLAIN, index, (), now)
                self._repeats[index] = max(0, self._repeats[index] - 1)
                self._schedule(index, now)
        return effects

    def link_changed(self, index: int, up: bool, now: int) -> list[Effect]:
        """A local link is lost, or back: then all are asked for their HELLO."""
        self._up[index] = up
        if up:
            return self.say(HelloKind.ASK, now, link=index)
        self._due[index] = None
        self._next()
        return []

    def slot_changed(self, index: int, running: bool, sequence: int) -> list[Effect]:
        """An offload sends our multicast HELLOs on a link, or does no longer (offload.md §4).

        With `sequence` 0 it is about to: from the template that this returns it takes the last
        Sequence # used, and nothing is sent beside it any more but what is new."""
        self._slots[index] = running
        last = self._multicast_sequence[index]
        if sequence and (not last or newer16(sequence, last)):
            self._multicast_sequence[index] = sequence
        if sequence or not running:
            return []
        self._in_template[index] = None
        return self._template(index)

    def _schedule(self, index: int, now: int) -> None:
        """harp.md §4: jitter 0 to -10 %."""
        interval_us = self._config.hello_interval_us
        spread_us = interval_us * self._config.jitter_percent // 100
        due = now + interval_us - self._rng.randrange(spread_us + 1)
        if self._repeats[index]:
            due = min(due, now + REPEAT_US)
        self._due[index] = due
        self._next()

    def _next(self) -> None:
        self.deadline = min((due for due in self._due if due is not None), default=None)

    def _to_all(self, kind: HelloKind, index: int, options: Options, now: int) -> list[Effect]:
        """To all members on one link, as the link has it: multicast, one unicast to each, or by
        an offload's slot, which sends nothing but the plain one."""
        if self._slots[index] and kind is HelloKind.PLAIN:
            return []
        if self._slots[index] or not self._by_multicast[index]:
            effects: list[Effect] = []
            for member in self._peers:
                effects += self._unicast(kind, member, index, options, now)
            return effects
        self._count_on(index)
        return self._by_multicast_now(kind, index, options, now)

    def _news(self, kind: HelloKind, index: int, options: Options, now: int) -> list[Effect]:
        """What is new while a slot sends: from here, above whatever the slot may still say of the
        old, which is a replay then; the slot counts on from this one (offload.md §4)."""
        self._count_on(index)
        return [*self._template(index), *self._by_multicast_now(kind, index, options, now)]

    def _count_on(self, index: int) -> None:
        self._multicast_sequence[index] = next_harp_sequence(self._multicast_sequence[index])

    def _by_multicast_now(
        self, kind: HelloKind, index: int, options: Options, now: int
    ) -> list[Effect]:
        hello = self._hello(kind, self._multicast_sequence[index], options)
        source, name = self._config.me.addresses[index], self._config.links[index].name
        return self._protector.send(source, self._multicast, name, hello, now)

    def _unicast(
        self, kind: HelloKind, member: Peer, index: int, options: Options, now: int
    ) -> list[Effect]:
        """To one member on one link, if that is up."""
        if not self._up[index]:
            return []
        destination = member.links[index].address
        sequence = next_harp_sequence(self._unicast_sequence.get(destination, 0))
        self._unicast_sequence[destination] = sequence
        hello = self._hello(kind, sequence, options)
        source, name = self._config.me.addresses[index], self._config.links[index].name
        return self._protector.send(source, destination, name, hello, now)

    def _hello(self, kind: HelloKind, sequence: int, options: Options) -> Harp:
        """The message; options in the order of harp.md §2.1."""
        flags, lifetime_s = self._flags, self._config.lifetime_s
        if kind in _ASKING:
            flags |= _R
        elif kind is HelloKind.GOODBYE:
            flags, lifetime_s = flags & _V, 0
        if kind in _FULL:
            options = (
                RestartCounter(self.restart_counter),
                self._detection,
                *options,
                self._configuration,
            )
        else:
            options = (self._detection, *options)
        config, preference = self._config, self._preference
        timing = lifetime_s, config.hello_interval_ms
        return _make_hello(
            HarpType.HELLO, config.group, sequence, 0, flags, preference, *timing, 0, options
        )

    def _is_new(self, index: int) -> bool:
        """No template for this link has said it yet."""
        return self._in_template[index] != (self._flags, self._preference)

    def _template(self, index: int) -> list[Effect]:
        """What a slot on this link is to send, where that is new."""
        config = self._config
        if not config.links[index].slots or not self._is_new(index):
            return []
        self._in_template[index] = self._flags, self._preference
        hello = self._hello(HelloKind.PLAIN, max(1, self._multicast_sequence[index]), ())
        source = config.me.addresses[index]
        payload = self._protector.unsigned(source, self._multicast, hello)
        name = config.links[index].name
        return [HelloTemplate(config.group, name, source, self._multicast, payload)]
