"""Functional coverage of the verdict path: a declared set of bins that must close.

Bins: reason x residue modulo 8 of the frame's length (FCS included) x VLAN depth; every action and
outcome, and every pair of them that can be; every way of leaving; every event.

Ref: offload.md §2 and §5
"""

from collections import Counter
from collections.abc import Iterable
from itertools import product

from harp.tables.reasons import Action, Outcome, Reason
from harp_sim.model import golden
from harp_sim.model.events import EventKind
from harp_sim.model.model import Egress, Judgement

Bin = tuple[str, ...]

_PAIRS = {
    Action.PASS: (Outcome.PASS, Outcome.LIMITED_PASS, Outcome.LIMITED_DROP),
    Action.LIMIT: (Outcome.PASS, Outcome.LIMITED_PASS, Outcome.LIMITED_DROP),
    Action.DROP: (Outcome.PASS, Outcome.DROP),
    Action.ABSORB: (Outcome.PASS, Outcome.ABSORB),
}
"""Outcomes of each action; `pass` of the others is the plain wire and the `pass_every`-th."""


def _declared() -> Iterable[Bin]:
    for reason, residue, depth in product(golden.DEFAULT_ACTION, range(8), range(3)):
        yield ("verdict", reason, str(residue), str(depth))
    for action, outcomes in _PAIRS.items():
        yield from (("outcome", action, outcome) for outcome in outcomes)
    yield from (("egress", egress) for egress in Egress)
    yield from (("event", kind) for kind in EventKind)


def _unreachable() -> Iterable[tuple[Bin, str]]:
    why = "judged by HMAC in hardware, which this build has not (capability bit clear)"
    for residue, depth in product(range(8), range(3)):
        yield ("verdict", Reason.AUTH, str(residue), str(depth)), why


BINS: frozenset[Bin] = frozenset(_declared())
UNREACHABLE: dict[Bin, str] = dict(_unreachable())
"""Declared bins that nothing can hit, with the reason."""
REACHABLE: frozenset[Bin] = BINS - UNREACHABLE.keys()


class Coverage:
    """Hits of each bin. One outside the declared set, or an unreachable one, is an error."""

    def __init__(self) -> None:
        self.hits: Counter[Bin] = Counter()

    def judged(self, judgement: Judgement, octets: int) -> None:
        """A frame of so many octets from the network was judged; the host's are not counted."""
        reason, action = judgement.reason, judgement.action
        if reason is None or action is None:
            return
        self.hit("verdict", reason, str(octets % 8), str(judgement.depth))
        self.hit("outcome", action, judgement.outcome)
        self.hit("egress", judgement.egress)

    def event(self, kind: str, times: int = 1) -> None:
        """An event occurred."""
        if times:
            self.hit("event", kind)

    def hit(self, *parts: str) -> None:
        """Count a bin; `KeyError` if it is not declared or declared unreachable."""
        if parts not in REACHABLE:
            raise KeyError(f"not a reachable bin: {parts}")
        self.hits[parts] += 1

    def missing(self) -> list[Bin]:
        """Reachable bins without a hit."""
        return sorted(REACHABLE - self.hits.keys())

    def summary(self) -> dict[str, int]:
        """Figures for a report: bins `declared`, `unreachable`, `hit`, `missing`."""
        return {
            "declared": len(BINS),
            "unreachable": len(UNREACHABLE),
            "hit": len(REACHABLE & self.hits.keys()),
            "missing": len(self.missing()),
        }
