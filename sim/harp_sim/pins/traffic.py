"""Frames for both directions of a board, with what the model says of each.

The core's own bench has every verdict; here frames of each fate are enough: what is no IPv6, what
is no Mobility Header, Mobility Headers that pass and that are dropped, and whatever a line does to
them.

Ref: offload.md §1, §2; IEEE 802.3 §4.4.2
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from harp.tables.offload import MAX_FRAME_OCTETS
from harp_sim.build import Draft, mobility, with_fcs
from harp_sim.model.config import Config, Port
from harp_sim.model.model import Egress, Model
from harp_sim.pins.line import LEAST_GAP_OCTETS, MIN_OCTETS, Line, fcs_right

SIDES = (Port.NETWORK, Port.HOST)
"""By the number of the board's port."""
HOME = bytes.fromhex("20010db8000100000000000000000100")
OWN = bytes.fromhex("20010db800010000000000000000000b")
EXPERIMENTAL = 0x88B5
"""Local Experimental EtherType (IEEE 802)."""
UDP = 17
PAUSE = with_fcs(bytes.fromhex("0180c2000001020000000001880800010000") + bytes(42))
"""Of MAC Control (IEEE 802.3 §31B): it ends at the MAC and is counted nowhere."""
PAUSE_EVERY = 100


@dataclass
class Stream:
    """Frames to one port of the board; the others are what must leave by the other port."""

    lines: list[Line] = field(default_factory=list)
    whole: list[bytes] = field(default_factory=list)
    """That must leave as they came, in this order."""


class Traffic:
    """Both directions through one model, filter on and lease live."""

    def __init__(self, rng: random.Random) -> None:
        self.model = Model(Config(filter_enable=True))
        self.model.kick(0)
        self.streams = (Stream(), Stream())
        self._rng = rng

    def add(self, port: int, line: Line) -> None:
        """One more frame to that port."""
        stream = self.streams[port]
        stream.lines.append(line)
        fcs_ok, rx_er = fcs_right(line.octets), line.error_at is not None
        judged = self.model.frame(SIDES[port], line.octets, 1, fcs_ok, rx_er)
        if judged.egress is Egress.WHOLE:
            stream.whole.append(line.octets)

    def flood(self, port: int, sizes: Iterator[int], gap: int) -> None:
        """Good frames of these sizes, and now and then one for the MAC alone."""
        for number, size in enumerate(sizes):
            self.add(port, Line(self.frame(size), gap))
            if number % PAUSE_EVERY == 0:
                self.streams[port].lines.append(Line(PAUSE, gap))

    def faults(self, port: int, count: int) -> None:
        """Good frames and all that goes wrong on a line, gaps from 8 octets on."""
        rng = self._rng
        for _ in range(count):
            size = rng.choice((64, 65, 71, 72, 100, 128, rng.randint(64, 300), 1518))
            line = Line(self.frame(size), rng.choice((LEAST_GAP_OCTETS, 9, 10, 11, 12, 40)))
            self.add(port, self._harmed(line) if rng.random() < 0.5 else line)

    def frame(self, size: int) -> bytes:
        """A frame of that size, FCS included."""
        rng = self._rng
        base = Draft(HOME, OWN, size=size, hop_limit=64)
        match rng.randrange(6):
            case 0:
                return replace(base, payload=mobility(5, bytes(6))).octets()
            case 1:
                wrong = 1 + rng.getrandbits(15)
                return replace(base, payload=mobility(5, bytes(6)), sum_error=wrong).octets()
            case 2 | 3:
                return replace(base, payload=rng.randbytes(size - 58), last=UDP).octets()
        addresses = b"\x02\0\0\0\0\x01\x02\0\0\0\0\x02"
        return with_fcs(addresses + EXPERIMENTAL.to_bytes(2, "big") + rng.randbytes(size - 18))

    def _harmed(self, line: Line) -> Line:
        rng, octets = self._rng, line.octets
        match rng.randrange(5):
            case 0:
                at = rng.randrange(len(octets))
                flipped = bytes((octets[at] ^ 1 << rng.randrange(8),))
                return replace(line, octets=octets[:at] + flipped + octets[at + 1 :])
            case 1:
                return replace(line, error_at=rng.randrange(len(octets)))
            case 2:  # the carrier drops in the middle
                return replace(line, octets=octets[: rng.randrange(1, len(octets))])
            case 3:  # a runt, whole but for its length
                body = rng.randbytes(rng.randrange(14, MIN_OCTETS - 4))
                return replace(line, octets=with_fcs(body))
        excess = rng.choice((1, 2, 8, 60))
        return replace(line, octets=self.frame(MAX_FRAME_OCTETS + excess))
