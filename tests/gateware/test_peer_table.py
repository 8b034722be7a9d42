"""The peer table against a list of keys: random tables, requests that differ in one thing."""

import random
from collections import Counter
from typing import Any

from amaranth.sim import Simulator

from harp.tables.registers import BY_NAME
from harp_gateware.peer_table import PeerTable

WORD_MASK = 0xFFFF_FFFF
PEER = BY_NAME["peer"]
Key = dict[str, int]


def match(keys: list[Key], source: int, group: int, vlan: int) -> tuple[bool, int, bool]:
    enabled = [(n, key) for n, key in enumerate(keys) if key["enable"]]
    known = any(key["address"] == source for _, key in enabled)
    for index, key in enabled:
        judged = key["mode"] or not key["authenticate"]
        if key["address"] == source and key["group"] == group and judged:
            if key["any_vlan"] or key["vlan"] == vlan:
                return True, index, known
    return False, 0, known


def some_keys(rng: random.Random, count: int) -> list[Key]:
    """Few addresses, groups and VLANs, so that keys share parts."""
    addresses = [rng.getrandbits(128) for _ in range(6)]
    addresses += [addresses[0] ^ 1 << bit for bit in (0, 31, 32, 64, 127)]
    return [
        {
            "address": rng.choice(addresses),
            "group": rng.choice((1, 2, 0x81)),
            "vlan": rng.choice((0, 1, 0x801)),
            "any_vlan": rng.random() < 0.2,
            "mode": rng.getrandbits(1),
            "authenticate": rng.getrandbits(1),
            "enable": rng.random() < 0.8,
        }
        for _ in range(count)
    ]


async def host(ctx: Any, dut: PeerTable, address: int, data: int | None = None) -> int:
    ctx.set(
        dut.i_ram_peer.payload, {"address": address, "write": data is not None, "data": data or 0}
    )
    ctx.set(dut.i_ram_peer.valid, 1)
    await ctx.tick()
    ctx.set(dut.i_ram_peer.valid, 0)
    for _ in range(100):
        _, _, valid, answer = await ctx.tick().sample(dut.o_ram_peer.valid, dut.o_ram_peer.payload)
        if valid:
            return int(answer.data)
    raise AssertionError("no answer within 100 clocks")


def test_the_lowest_enabled_key_matches_three_clocks_later() -> None:
    rng = random.Random(12)
    keys = some_keys(rng, 32)
    keys[7] |= {"address": rng.getrandbits(128), "enable": 0}  # nobody else has its address
    dut, got, asked = PeerTable(), list[tuple[int, tuple[bool, int, bool]]](), list[int]()
    requests = []
    for _ in range(1500):
        key = dict(rng.choice(keys))
        if rng.random() < 0.5:
            key["address"] ^= 1 << rng.randrange(128)
        if rng.random() < 0.3:
            key["group"] = rng.choice((1, 2, 0x81))
        if rng.random() < 0.5:
            key["vlan"] = rng.choice((0, 1, 0x801))
        requests.append((key["address"], key["group"], key["vlan"]))
    seen = 0

    async def drive(ctx: Any) -> None:
        nonlocal seen
        for index, key in enumerate(keys):
            second = sum(key[f.name] << f.at - 128 for f in PEER.fields if f.name != "address")
            await host(ctx, dut, PEER.address(index), key["address"])
            await host(ctx, dut, PEER.address(index) + 4, second)
            words = [await host(ctx, dut, PEER.address(index) + n) for n in range(5)]
            assert (
                sum((word & WORD_MASK) << 32 * n for n, word in enumerate(words[:4]))
                == (key["address"])
            )
            assert words[4] & WORD_MASK == second
        seen = ctx.get(dut.seen)
        for source, group, vlan in requests:
            while rng.random() < 0.3:
                ctx.set(dut.i.valid, 0)
                await ctx.tick()
            ctx.set(dut.i.payload, {"source": source, "group": group, "vlan": vlan})
            ctx.set(dut.i.valid, 1)
            await ctx.tick()
        ctx.set(dut.i.valid, 0)
        await ctx.tick().repeat(4)

    async def watch(ctx: Any) -> None:
        clock = 0
        async for _, _, asks, valid, answer in ctx.tick().sample(
            dut.i.valid, dut.o.valid, dut.o.payload
        ):
            clock += 1
            if asks:
                asked.append(clock)
            if valid:
                got.append((clock, (bool(answer.hit), answer.index, bool(answer.known))))

    simulator = Simulator(dut)
    simulator.add_clock(6.4e-9)
    simulator.add_testbench(drive)
    simulator.add_testbench(watch, background=True)
    simulator.run()
    want = [match(keys, *request) for request in requests]
    assert [answer for _, answer in got] == want
    assert [clock for clock, _ in got] == [clock + 3 for clock in asked]
    assert seen == sum(key["mode"] << n for n, key in enumerate(keys))
    kinds = Counter((hit, known) for hit, _, known in want)
    assert kinds.keys() == {(True, True), (False, True), (False, False)}
