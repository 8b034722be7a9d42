"""Whatever arrives: counted or answered, never an exception, never half applied (harp.md §3)."""

from __future__ import annotations

from random import Random

import pytest

from harp.engine import events as ev
from harp.engine.effects import Dropped
from harp.engine.events import PacketReceived
from harp.tables.harp_types import FIXED_OCTETS
from harp.tables.mh import NEXT_HEADER
from harp.wire.checksum import checksum

from .group_net import Net, S, address

ROUNDS = 400


def traffic() -> list[PacketReceived]:
    """HARP messages of every kind that a group at work sends."""
    net = Net()
    kept: list[PacketReceived] = []
    net.tap = kept
    net.run(4 * S)
    for number in range(5):
        net.register(2, number, sequence=1)
    net.run(S)
    net.order(0, ev.Command.SWITCHOVER)
    net.run(S)
    net.order(0, ev.Command.SWITCHBACK)
    net.run(S)
    return kept


def stirred(event: PacketReceived, rng: Random) -> PacketReceived:
    """Some octets changed, the checksum right again; now and then cut or from elsewhere."""
    octets = bytearray(event.payload)
    first = 6 if rng.random() < 0.8 else 0
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(first, FIXED_OCTETS if rng.random() < 0.5 else len(octets))
        octets[at] = rng.choice((0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256)))
    if rng.random() < 0.1:
        del octets[rng.randrange(1, len(octets)) :]
    if len(octets) >= 8:
        octets[4:6] = bytes(2)
        octets[4:6] = checksum(event.source, event.destination, octets, NEXT_HEADER).to_bytes(2)
    return PacketReceived(event.source, event.destination, bytes(octets))


@pytest.mark.parametrize("seed", range(5))
def test_stirred_messages_never_raise_and_the_group_works_on(seed: int) -> None:
    rng, messages = Random(seed), traffic()
    net = Net(seed=seed)
    net.run(4 * S)
    dropped = 0
    for _ in range(ROUNDS):
        event = stirred(rng.choice(messages), rng)
        for member in range(3):
            if event.source != address(member):
                dropped += sum(isinstance(e, Dropped) for e in net.tell(member, event))
        net.run(rng.randrange(20_000))
    assert dropped > 0
    counted = sum(net.engine(m).reception.counters.total() for m in range(3))
    counted += sum(sum(net.group(m).counters.values()) for m in range(3))
    assert counted >= dropped
    # Unprotected, they may have made anybody believe anything; it passes.
    for member in range(3):
        net.crash(member)
        net.journals[member].clear()
        net.boot(member)
    net.run(10 * S)
    assert [role and role.value for role in net.roles] == ["STANDBY", "STANDBY", "ACTIVE"]
