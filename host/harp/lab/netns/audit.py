"""Comparing what mobile nodes were promised with what a home agent has.

Ref: harp.md §6 (durability): "every acknowledged binding that is not `unprotected` survives"
"""

from __future__ import annotations

from collections.abc import Sequence

from harp.lab.netns import plan
from harp.lab.netns.lab import Lab

_HALF, _WHOLE = 1 << 15, 1 << 16


def is_older(sequence: int, than: int) -> bool:
    """Whether a Sequence # is before another (RFC 6275 §9.5.1): modulo 2^16."""
    return 0 < (than - sequence) % _WHOLE < _HALF


def lost_bindings(lab: Lab, member: str, promised: Sequence[int]) -> list[int]:
    """Mobile nodes whose acknowledged binding a member does not have, or only an older one.

    `promised`: by node, the Sequence # acknowledged last; -1: none.
    """
    with lab.control(member) as control:
        held = control.sequences()
    lost = []
    for number, sequence in enumerate(promised):
        if sequence < 0:
            continue
        has = held.get(plan.home_address(number))
        if has is None or is_older(has, sequence):
            lost.append(number)
    return lost
