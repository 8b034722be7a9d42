"""Synchronisation end to end: several members over a network that loses, repeats and reorders."""

from __future__ import annotations

import pytest

from .sync_net import MS, Net, S, binding, group


def test_standby_takes_everything_and_then_follows() -> None:
    net = Net(2)
    net.nodes[0].sync.lead(net.now)
    for number in range(200):
        net.register(0, binding(number))
    net.start(0)
    net.run(100 * MS)
    assert net.nodes[1].sync.synchronised
    assert net.same() and len(net.nodes[1].store) == 200
    token = net.register(0, binding(7, sequence=2))
    net.run(2 * MS)
    assert net.nodes[0].durable[token] is True
    assert net.same()


@pytest.mark.parametrize("seed", range(15))
def test_members_converge_whatever_the_network_does(seed: int) -> None:
    net = Net(3, seed=seed, loss=0.2, twice=0.1, delay_us=(100, 30_000))
    net.start(0)
    for step in range(300):
        net.register(0, binding(net.rng.randrange(40), sequence=step + 1))
        net.run(net.rng.randrange(10 * MS))
    net.loss = 0
    net.run(30 * S)
    assert net.same()
    assert all(node.sync.synchronised for node in net.nodes)


@pytest.mark.parametrize("seed", range(15))
def test_what_a_standby_acknowledged_survives_the_active(seed: int) -> None:
    net = Net(3, seed=seed, delay_us=(100, 5_000))
    net.start(0)
    net.run(5 * S)
    net.loss, net.twice = 0.1, 0.05
    protected: dict[int, int] = {}
    tokens: dict[int, tuple[int, int]] = {}
    for step in range(200):
        number = net.rng.randrange(50)
        tokens[net.register(0, binding(number, sequence=step + 1))] = number, step + 1
        net.run(net.rng.randrange(5 * MS))
    for token, safe in net.nodes[0].durable.items():
        if safe:
            number, sequence = tokens[token]
            protected[number] = max(sequence, protected.get(number, 0))
    assert len(protected) > 20
    net.crash(0)
    net.lead(net.rng.choice((1, 2)))
    net.loss = 0
    net.run(40 * S)
    assert net.same()
    for node in net.nodes[1:]:
        for number, sequence in protected.items():
            entry = node.store.get(binding(number)[0].home_address)
            assert entry is not None and entry.sequence >= sequence


@pytest.mark.parametrize("seed", range(15))
def test_two_actives_merge_what_each_registered(seed: int) -> None:
    net = Net(3, seed=seed, delay_us=(100, 3_000))
    net.start(0)
    net.run(5 * S)
    net.loss = 0.05
    for number in range(30):
        net.register(0, binding(number, sequence=1))
    net.run(1 * S)
    net.cut(0, 2)
    net.cut(1, 2)
    net.lead(2)
    net.run(100 * MS)
    for number in range(0, 30, 2):
        net.register(2, binding(number, sequence=5))
    for number in range(0, 30, 3):
        net.register(0, binding(number, sequence=7))
    net.register(0, binding(1, sequence=2, lifetime_s=0))
    net.run(500 * MS)
    net.heal(0, 2)
    net.heal(1, 2)
    net.loss = 0
    net.run(60 * S)
    assert [node.sync.leading for node in net.nodes] == [False, False, True]
    assert net.same()
    for number in range(30):
        want = 7 if number % 3 == 0 else 5 if number % 2 == 0 else 1
        entry = net.nodes[1].store.get(binding(number)[0].home_address)
        if number == 1:
            assert entry is None
        else:
            assert entry is not None and entry.sequence == want, number


def test_a_member_that_returns_with_more_is_heard_before_it_is_swept() -> None:
    net = Net(3, config=group(3))
    net.start(0)
    net.run(1 * S)
    net.register(0, binding(1))
    net.run(1 * S)
    net.cut(0, 2)
    net.cut(1, 2)
    token = net.register(0, binding(2))
    net.run(500 * MS)
    assert net.nodes[0].durable[token]
    net.crash(0)
    net.cuts.add((1, 2))
    net.lead(2)  # has never heard of binding 2
    net.run(5 * S)
    assert len(net.nodes[2].store) == 1
    net.heal(1, 2)
    net.run(20 * S)
    assert net.same() and len(net.nodes[2].store) == 2
    assert net.nodes[1].sync.synchronised


@pytest.mark.parametrize("seed", range(15))
def test_nothing_protected_is_lost_over_many_takeovers(seed: int) -> None:
    net = Net(3, seed=seed, delay_us=(100, 4_000))
    net.start(0)
    net.run(5 * S)
    active, sequence = 0, 0
    safe: dict[int, int] = {}
    for _ in range(6):
        net.loss, net.twice = 0.1, 0.1
        tokens: dict[int, tuple[int, int]] = {}
        for _ in range(60):
            sequence += 1
            number = net.rng.randrange(20)
            tokens[net.register(active, binding(number, sequence))] = number, sequence
            net.run(net.rng.randrange(20 * MS))
        for token, (number, last) in tokens.items():
            if net.nodes[active].durable.get(token):
                safe[number] = max(last, safe.get(number, 0))
        dead = active
        net.crash(dead)
        active = net.rng.choice(net.numbers())
        net.lead(active)
        net.run(net.rng.randrange(3 * S))
        net.restart(dead)
        net.run(net.rng.choice((5, 25)) * S)  # a lost SS-REQ is repeated after 3 s
        for number, last in safe.items():
            entry = net.nodes[active].store.get(binding(number)[0].home_address)
            assert entry is not None and entry.sequence >= last
    net.loss = 0
    net.run(60 * S)
    assert net.same() and all(node.sync.synchronised for node in net.nodes)
    assert len(safe) > 10
