"""What the host reads from time to time, though events tell of it: its own view of the device.

Ref: offload.md §3 ("at least every 2^14 heartbeats"), §6 ("After any gap the host reads everything
again"); architecture: counters are read without a side effect
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from harp.offload.device import Identity, PeerKey
from harp.offload.programs import MAX_WORDS, Words
from harp.offload.registers import fields_of
from harp.offload.session import Ask, Urgency
from harp.tables.constants import US_PER_MS
from harp.tables.link import LinkOp
from harp.tables.offload import EventKind
from harp.tables.reasons import OFFLOAD_REASONS, OUTCOMES
from harp.tables.register_schema import WORD_BITS
from harp.tables.registers import BY_NAME, PORTS

SPACING_US = 20 * US_PER_MS
"""Between two polls: 50 a second, so 32 peers are read every second or so."""
PORT_NAMES = ("network", "host")


def _areas(ports: int) -> list[tuple[str, Ask]]:
    """Reads that bring all counters once, and what the board is doing."""
    asks = [("guard_state", _ask("guard_state", 0, 1)), ("sticky", _ask("sticky", 0, 1))]
    for name, rows in (("reason_frames", len(OFFLOAD_REASONS)), ("outcome_frames", len(OUTCOMES))):
        register = BY_NAME[name]
        step = MAX_WORDS // register.stride
        for index in range(0, rows, step):
            words = min(step, rows - index) * register.stride
            asks.append((name, _ask(name, index, words)))
    for port in range(min(ports, PORTS)):
        words = BY_NAME["port"].words
        asks += [("port", _ask("port", port, at, word)) for word, at in _parts(words)]
    return asks


def _parts(words: int) -> list[tuple[int, int]]:
    return [(at, min(MAX_WORDS, words - at)) for at in range(0, words, MAX_WORDS)]


def _ask(name: str, index: int, count: int, word: int = 0) -> Ask:
    address = BY_NAME[name].address(index) + word
    return Ask(LinkOp.READ, address, count, (), Urgency.POLL)


class Polls:
    """Whose turn it is, and what was found."""

    def __init__(self, counters: Counter[str]) -> None:
        """`counters`: where the device's are put by name, and events are counted by kind."""
        self.due = 0
        """When the next one is due, µs."""
        self.counters = counters
        self.sticky: dict[str, int] = {}
        self.guard: dict[str, int] = {}
        self._areas: list[tuple[str, Ask]] = []
        self._turn = self._area = self._peer = 0
        self._last: dict[tuple[PeerKey, bool], int] = {}

    def begin(self, identity: Identity, now: int) -> None:
        """From now on, of this device."""
        self._areas = _areas(identity.ports)
        self.due = now + SPACING_US

    def count(self, kind: EventKind) -> None:
        """An event came."""
        self.counters[f"event_{kind}"] += 1

    def next(self, watched: Sequence[PeerKey], now: int) -> tuple[Ask | None, PeerKey | None]:
        """What to read: every other time a peer, by turns."""
        self.due = now + SPACING_US
        self._turn += 1
        if watched and self._turn % 2:
            self._peer = (self._peer + 1) % len(watched)
            return None, watched[self._peer]
        self._area = (self._area + 1) % len(self._areas)
        return self._areas[self._area][1], None

    def moved(self, key: PeerKey, multicast: bool, sequence: int) -> bool:
        """Whether a Sequence # is another than the last that was seen."""
        before, self._last[key, multicast] = self._last.get((key, multicast)), sequence
        return before != sequence

    def take(self, ask: Ask, words: Words) -> None:
        """What a read brought."""
        name = next(name for name, one in self._areas if one == ask)
        if name == "guard_state":
            self.guard = fields_of(name, words)
        elif name == "sticky":
            self.sticky = fields_of(name, words)
        elif name == "port":
            self._ports(ask, words)
        else:
            register = BY_NAME[name]
            names = OFFLOAD_REASONS if name == "reason_frames" else OUTCOMES
            first = (ask.address - register.offset) // register.stride
            for n in range(0, len(words), register.stride):
                kind = names[first + n // register.stride]
                self.counters[f"{name}_{kind}"] = words[n] | words[n + 1] << WORD_BITS

    def _ports(self, ask: Ask, words: Words) -> None:
        register = BY_NAME["port"]
        port, word = divmod(ask.address - register.offset, register.stride)
        for field in register.fields:
            at = field.at // WORD_BITS - word
            if 0 <= at < len(words) - 1:
                value = words[at] | words[at + 1] << WORD_BITS
                self.counters[f"{PORT_NAMES[port]}_{field.name}"] = value
