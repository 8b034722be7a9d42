"""A board's top at its pins: frames at full rate both ways, faults of a line, links that go.

Ref: offload.md §1 (no loss, bad frames), §6 (per port); IEEE 802.3 §4.4.2; RGMII 2.0 §3
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from dataclasses import replace
from itertools import chain, repeat
from typing import Any

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import Timer
from cocotbext.eth import GmiiFrame, RgmiiSink, RgmiiSource

from harp.offload.client import Client
from harp.tables.link import MAX_BAUD
from harp.tables.offload import MAX_FRAME_OCTETS
from harp_gateware.mac.phys import BASIC_CONTROL, NEGOTIATE, POWER_DOWN
from harp_sim.bench.bench import write
from harp_sim.build import Draft, mobility
from harp_sim.pins.bench import UP, Bench
from harp_sim.pins.line import GAP_OCTETS, LEAST_GAP_OCTETS, MIN_OCTETS, Line
from harp_sim.pins.traffic import EXPERIMENTAL, HOME, OWN, SIDES, UDP, Traffic

BOARD = os.environ.get("HARP_BOARD", "")
FRAMES = int(os.environ.get("HARP_FLOOD_FRAMES", "5000"))
"""Minimum frames of a flood each way; of 1,518 octets there are 2 % of it, of 9,216 0.1 %."""
LONG_OCTETS = 1518
LATENCY_NS = 2000
"""Of a minimum frame at most; a Mobility Header is held until its end has come."""
RGMII = ("data", "ctl", "clk")
PACES = {
    "even": (0.0, 0.0, GAP_OCTETS),
    "net_fast": (100.0, -100.0, LEAST_GAP_OCTETS),
    "host_fast": (-100.0, 100.0, LEAST_GAP_OCTETS),
}
"""Clocks of the partners against the board's, ppm, and gap."""


async def running(dut: Any, ppm: tuple[float, float] = (0.0, 0.0)) -> Bench:
    """A board with both links up, filter on, lease live."""
    bench = Bench(dut, BOARD, MAX_BAUD, ppm)
    await bench.start()
    await bench.host(filtering)
    return bench


def filtering(client: Client) -> None:
    """In a `host` thread."""
    client.write("control", filter_enable=1)
    client.kick()


def counters(client: Client) -> list[dict[str, int]]:
    """Of both ports."""
    return [client.read("port", n) for n in range(2)]


async def check(bench: Bench, traffic: Traffic) -> None:
    """Nothing lost that must not be, nothing bad made good, every counter as it was sent."""
    for port, stream in zip(reversed(bench.ports), traffic.streams, strict=True):
        good = [frame.octets for frame in port.taken if frame.good]
        assert good == stream.whole, first_difference(good, stream.whole)
        assert all(f.er for f in port.taken if not f.good), "a bad frame that left without TX_ER"
        assert min(f.gap for f in port.taken) >= LEAST_GAP_OCTETS
    found = await bench.host(counters)
    wanted = traffic.model.counters.snapshot()
    names = {"frames": "rx_frames", "octets": "rx_octets", "fcs_errors": "rx_fcs_errors"}
    names |= {"errors": "rx_errors", "runts": "rx_runts", "oversize": "rx_oversize"}
    for number, port in enumerate(bench.ports):
        side, taken = SIDES[number], port.taken
        rows = {field: wanted[f"port.{side}.{name}"] for name, field in names.items()}
        rows |= {"tx_frames": len(taken), "tx_octets": sum(len(f.octets) for f in taken)}
        rows |= {"tx_errors": sum(f.er for f in taken), "rx_overruns": 0}
        assert found[number] == rows, f"port {number}: {found[number]} for {rows}"
    sticky = await bench.host(lambda client: client.read("sticky"))
    assert {name for name, value in sticky.items() if value} == {"reset"}


def first_difference(found: list[bytes], wanted: list[bytes]) -> str:
    """For people."""
    at = next((n for n, (a, b) in enumerate(zip(found, wanted, strict=False)) if a != b), -1)
    return f"{len(found)} good frames for {len(wanted)}, the first other one is number {at}"


def sizes(rng: random.Random) -> list[int]:
    """Of a flood, in random order."""
    counts = {MIN_OCTETS: FRAMES, LONG_OCTETS: FRAMES // 50, MAX_FRAME_OCTETS: FRAMES // 1000}
    found = list(chain.from_iterable(repeat(size, n or 1) for size, n in counts.items()))
    rng.shuffle(found)
    return found


@cocotb.test()
@cocotb.parametrize(pace=list(PACES))
async def flood(dut: Any, pace: str) -> None:
    """Both ways at full rate at once."""
    *ppm, gap = PACES[pace]
    bench = await running(dut, (ppm[0], ppm[1]))
    traffic = Traffic(bench.rng)
    for number, port in enumerate(bench.ports):
        traffic.flood(number, iter(sizes(bench.rng)), int(gap))
        port.play(traffic.streams[number].lines)
    await bench.settle()
    await check(bench, traffic)


@cocotb.test()
async def faults(dut: Any) -> None:
    """FCS errors, RX_ER, carrier drops, runts and overlong frames among good ones, both ways."""
    bench = await running(dut, (50.0, -50.0))
    traffic = Traffic(bench.rng)
    for number, port in enumerate(bench.ports):
        traffic.faults(number, max(200, FRAMES // 10))
        port.play(traffic.streams[number].lines)
    await bench.settle()
    await check(bench, traffic)


@cocotb.test()
async def monitor(dut: Any) -> None:
    """A board of one port: all is counted, nothing leaves."""
    bench = await running(dut, (100.0, 0.0))
    traffic = Traffic(bench.rng)
    traffic.faults(0, 300)
    bench.ports[0].play(traffic.streams[0].lines)
    await bench.settle()
    assert not bench.ports[0].taken
    found = await bench.host(lambda client: client.read("port"))
    wanted = traffic.model.counters.snapshot()
    assert found["rx_frames"] == wanted[f"port.{SIDES[0]}.frames"]
    assert found["rx_octets"] == wanted[f"port.{SIDES[0]}.octets"]
    assert found["rx_fcs_errors"] == wanted[f"port.{SIDES[0]}.fcs_errors"]


def follows(port: Any, sent: list[bytes]) -> int:
    """Every good frame that left was sent, in that order; how many there are."""
    rest = iter(sent)
    good = [frame.octets for frame in port.taken if frame.good]
    assert all(any(octets == each for each in rest) for octets in good), "order or content"
    return len(good)


async def carries(bench: Bench, count: int = 60) -> None:
    """From now on every frame passes, both ways."""
    for port in bench.ports:
        port.taken.clear()
    traffic = Traffic(bench.rng)
    for number, port in enumerate(bench.ports):
        traffic.flood(number, iter([MIN_OCTETS, 200, LONG_OCTETS] * (count // 3)), GAP_OCTETS)
        port.play(traffic.streams[number].lines)
    await bench.settle()
    for port, stream in zip(reversed(bench.ports), traffic.streams, strict=True):
        good = [frame.octets for frame in port.taken]
        assert good == stream.whole, first_difference(good, stream.whole)


def states(client: Client) -> list[dict[str, int]]:
    """Of both ports."""
    return [client.read("port_state", n) for n in range(2)]


@cocotb.test()
@cocotb.parametrize(number=[0, 1])
async def reset_in_frame(dut: Any, number: int) -> None:
    """A PHY is reset in the middle of a frame, again and again, while both ways are busy."""
    bench = await running(dut)
    hit, traffic = bench.ports[number], Traffic(bench.rng)
    sent = [[traffic.frame(MAX_FRAME_OCTETS) for _ in range(60)] for _ in bench.ports]
    for port, frames in zip(bench.ports, sent, strict=True):
        port.play(Line(octets) for octets in frames)
    for _ in range(3):
        await Timer(bench.rng.randrange(60_000, 140_000), "ns")
        bench.vanish(number)
        hit.set("stopped", 1)
        await Timer(500, "us")  # a round of polls: the manager misses it, and sets it up again
        state = (await bench.host(states))[number]
        assert (state["no_clock"], state["link"]) == (1, 0)
        bench.reset_phy(number)
        hit.set("stopped", 0)
        await bench.host(bench.wait_for_links)
    await bench.settle()
    for port, frames in zip(reversed(bench.ports), sent, strict=True):
        assert 3 <= follows(port, frames) < len(frames)
    await bench.host(filtering)
    await carries(bench)


@cocotb.test()
async def no_clock(dut: Any) -> None:
    """A PHY that never gives one: it is said, and all else runs; the clock comes at last."""
    bench = Bench(dut, BOARD, MAX_BAUD)
    bench.ports[0].set("stopped", 1)
    await bench.start(link=False)

    def look(client: Client) -> None:
        client.write("control", link_mirror=0)
        bench.wait_for_links(client, ports=(1,))
        found = states(client)
        assert [state["no_clock"] for state in found] == [1, 0]
        assert [state["link"] for state in found] == [0, 1]

    await bench.host(look)
    sent = [Traffic(bench.rng).frame(MIN_OCTETS) for _ in range(20)]
    bench.ports[1].play(Line(octets) for octets in sent)
    await bench.settle()
    assert not bench.ports[0].taken
    found = await bench.host(counters)
    assert found[1]["rx_frames"] == len(sent)
    bench.ports[0].set("stopped", 0)
    await bench.host(bench.wait_for_links)
    await bench.host(filtering)
    await carries(bench)


@cocotb.test()
async def other_speeds(dut: Any) -> None:
    """A link at 100 Mb/s is said to be one that is not carried, and carries nothing."""
    bench = await running(dut)
    bench.link(1, True, hundred=True)
    await Timer(500, "us")
    state = (await bench.host(states))[1]
    assert (state["unsupported_speed"], state["link"], state["speed"]) == (1, 0, 1)
    for port in bench.ports:
        port.play(Line(Traffic(bench.rng).frame(MIN_OCTETS)) for _ in range(5))
    await bench.settle()
    assert not any(port.taken for port in bench.ports)
    bench.link(1, True)
    await bench.host(bench.wait_for_links)
    await carries(bench)


@cocotb.test()
async def stranger(dut: Any) -> None:
    """Another PHY than the board's answers: its link stays down, and it is said."""
    bench = Bench(dut, BOARD, MAX_BAUD)
    bench.registers(1)[2] ^= 1
    await bench.start(link=False)
    await bench.host(lambda client: bench.wait_for_links(client, ports=(0,)))
    found = await bench.host(states)
    assert [state["unknown_phy"] for state in found] == [0, 1]
    assert found[1]["link"] == 0


@cocotb.test()
async def link_lost(dut: Any) -> None:
    """The network's link goes: the in-band status tells, the host's PHY loses its power."""
    bench = await running(dut)

    def powered(client: Client) -> list[int]:
        client.wait(600)
        return [value for _, register, value in bench.writes(1) if register == BASIC_CONTROL]

    before = await bench.host(powered)
    bench.ports[0].set("status", 0)
    assert (await bench.host(powered))[len(before) :] == [POWER_DOWN]
    assert (await bench.host(states))[0]["link"] == 0
    bench.ports[0].set("status", UP)
    assert (await bench.host(powered))[len(before) :] == [POWER_DOWN, NEGOTIATE]
    await bench.host(bench.wait_for_links)
    await carries(bench)


@cocotb.test()
async def lock_lost(dut: Any) -> None:
    """The PLL loses its lock under traffic: every domain is reset, and comes back."""
    bench = await running(dut)
    for port in bench.ports:
        port.play(Line(Traffic(bench.rng).frame(LONG_OCTETS)) for _ in range(4))
    await Timer(20, "us")
    dut.lock.value = 0
    await Timer(3, "us")
    dut.lock.value = 1
    await bench.settle()
    await bench.host(bench.wait_for_links)
    assert (await bench.host(lambda client: client.read("control")))["filter_enable"] == 0
    await bench.host(filtering)
    await carries(bench)


def lone_frames(bench: Bench) -> Iterator[tuple[str, bytes]]:
    """Of each kind and size."""
    for size in (MIN_OCTETS, 128, LONG_OCTETS, MAX_FRAME_OCTETS):
        base = Draft(HOME, OWN, size=size, hop_limit=64)
        yield "IPv6", replace(base, payload=bench.rng.randbytes(size - 58), last=UDP).octets()
        yield "other", replace(base, payload=bytes(size - 58), ethertype=EXPERIMENTAL).octets()
    for size in (78, LONG_OCTETS):
        yield "mobility", Draft(HOME, OWN, mobility(5, bytes(6)), size=size, hop_limit=64).octets()


@cocotb.test()
async def latency(dut: Any) -> None:
    """Pin to pin, each frame alone: first nibble in to first nibble out, both ways; a report."""
    bench = await running(dut)
    rows = []
    for number in range(2):
        into, out = bench.ports[number], bench.ports[1 - number]
        for kind, octets in lone_frames(bench):
            into.stamps.clear()
            out.taken.clear()
            into.play([Line(octets, 100)])
            await bench.settle()
            (taken,), (stamp,) = out.taken, into.stamps
            ns = (taken.begin_ps - stamp) // 1000
            rows.append({"from": SIDES[number], "frame": kind, "octets": len(octets), "ns": ns})
            held_ns = 8 * len(octets) if kind == "mobility" and number == 0 else 0
            assert ns <= LATENCY_NS + held_ns, rows[-1]
    write("latency.json", rows)


@cocotb.test()
async def judged(dut: Any) -> None:
    """Another's RGMII at both ports: cocotbext-eth makes and checks preamble, FCS and nibbles.

    It sends no in-band status, so that management alone brings the links up.
    """
    bench = Bench(dut, BOARD, MAX_BAUD)
    sources, sinks = [], []
    for n in range(2):
        bench.ports[n].set("by_hand", 1)
        hand, tx = (
            [getattr(dut, f"{side}_{part}_{n}") for part in RGMII] for side in ("hand", "tx")
        )
        Clock(hand[2], 8, unit="ns").start()
        sources.append(RgmiiSource(*hand))
        sinks.append(RgmiiSink(*tx))
        for end in (sources[-1], sinks[-1]):
            end.log.setLevel("WARNING")
    await bench.start()
    await bench.host(filtering)
    traffic = Traffic(bench.rng)
    for n, source in enumerate(sources):
        traffic.flood(n, iter([64, 65, 66, 67, 68, 69, 70, 71, 128, LONG_OCTETS] * 2), GAP_OCTETS)
        for line in traffic.streams[n].lines:
            source.send_nowait(GmiiFrame.from_raw_payload(line.octets))
    await bench.settle()
    for sink, stream in zip(reversed(sinks), traffic.streams, strict=True):
        found = [sink.recv_nowait() for _ in range(sink.count())]
        assert [frame.get_payload(strip_fcs=False) for frame in found] == stream.whole
        assert all(frame.check_fcs() for frame in found)
