"""Counters: 48 bits, wrapping, never cleared.

Each frame from the network counts once in `reasons` and once in `outcomes`. The counters of a port
are independent of each other: a short frame with a wrong FCS counts as runt and as FCS error.

Ref: offload.md §2 and §6
"""

from dataclasses import dataclass, field

from harp.tables.reasons import Outcome, Reason
from harp_sim.model import golden
from harp_sim.model.config import Port

_MASK = (1 << golden.COUNTER_BITS) - 1


@dataclass(slots=True)
class Counter48:
    """One counter."""

    value: int = 0

    def add(self, amount: int = 1) -> None:
        """Count on, around the 48 bits."""
        self.value = (self.value + amount) & _MASK


@dataclass(slots=True)
class PortCounters:
    """What came in by one port."""

    frames: Counter48 = field(default_factory=Counter48)
    octets: Counter48 = field(default_factory=Counter48)
    """FCS included."""
    fcs_errors: Counter48 = field(default_factory=Counter48)
    errors: Counter48 = field(default_factory=Counter48)
    """RX_ER."""
    runts: Counter48 = field(default_factory=Counter48)
    oversize: Counter48 = field(default_factory=Counter48)


class Counters:
    """All counters of the offload."""

    def __init__(self) -> None:
        self.reasons = {reason: Counter48() for reason in golden.DEFAULT_ACTION}
        self.outcomes = {outcome: Counter48() for outcome in golden.OUTCOME_ORDER}
        self.ports = {port: PortCounters() for port in Port}
        self.fenced = Counter48()

    def receive(self, port: Port, octets: bytes, fcs_ok: bool, rx_er: bool) -> None:
        """A frame came in, good or bad."""
        counters, size = self.ports[port], len(octets)
        counters.frames.add()
        counters.octets.add(size)
        counters.fcs_errors.add(not fcs_ok)
        counters.errors.add(rx_er)
        counters.runts.add(size < golden.MIN_FRAME_OCTETS)
        counters.oversize.add(size > golden.MAX_FRAME_OCTETS)

    def judge(self, reason: Reason, outcome: Outcome) -> None:
        """A frame from the network was judged."""
        self.reasons[reason].add()
        self.outcomes[outcome].add()

    def snapshot(self) -> dict[str, int]:
        """Every counter by name, zeros too: `reason.…`, `outcome.…`, `port.….…`, `fenced`."""
        flat = {f"reason.{reason}": counter.value for reason, counter in self.reasons.items()}
        flat |= {f"outcome.{outcome}": counter.value for outcome, counter in self.outcomes.items()}
        for port, counters in self.ports.items():
            for name in PortCounters.__slots__:
                flat[f"port.{port}.{name}"] = getattr(counters, name).value
        return flat | {"fenced": self.fenced.value}
