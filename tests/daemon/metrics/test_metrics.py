"""Metrics over a real socket: what is shown, how it is named, who asks."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import pytest
from prometheus_client.core import Metric
from prometheus_client.parser import text_string_to_metric_families
from tests.daemon.control.living import Living, group_config, living, octets

from harp.cli.common import Failure
from harp.daemon.filter.nft import FilterStatus
from harp.daemon.metrics.families import Snapshot, families
from harp.daemon.metrics.server import MAX_CONNECTIONS, MAX_HEAD_OCTETS, MetricsServer
from harp.daemon.metrics.taking import Taker
from harp.daemon.metrics.tally import Tally
from harp.daemon.parts import DataPlaneStatus, GuardStatus, OffloadStatus
from harp.engine.config import EngineConfig
from harp.engine.effects import CommandAnswered, Dropped, Level, Log, Role, StateChanged
from harp.engine.events import PeerDown, PeerUp
from harp.tables.reasons import Reason

FILTER = FilterStatus({"bad_length": 5}, {"bad_length": 3})
BOARD = {
    "reason_frames_heartbeat": 4,
    "outcome_frames_absorb": 3,
    "event_peer_news": 2,
    "link_retries": 1,
    "network_rx_frames": 5,
    "host_tx_octets": 640,
}
Get = Callable[[bytes], Awaitable[bytes]]


def scraping(tmp_path: Path, body: Callable[[Living, Get], Awaitable[None]]) -> None:
    """A body that may send octets to the server."""

    async def whole() -> None:
        tallies: list[Tally] = []

        def observers(config: EngineConfig) -> tuple[Tally]:
            tallies.append(Tally(config))
            return (tallies[0],)

        async with asyncio.timeout(20), living(tmp_path / "c", observers=observers) as here:
            taker = Taker(here.runtime, here.parts, tallies[0], lambda: FILTER)
            server = MetricsServer(taker)
            await server.listen("127.0.0.1:" + str(await free_port()))
            ((host, port),) = server.addresses

            async def get(request: bytes) -> bytes:
                reader, writer = await asyncio.open_connection(host, port)
                writer.write(request)
                writer.write_eof()
                answer = await reader.read()
                writer.close()
                await writer.wait_closed()
                return answer

            try:
                await body(here, get)
            finally:
                await server.close()
                taker.close()

    asyncio.run(whole())


async def free_port() -> int:
    """One that the kernel gave and took back."""
    server = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
    port: int = server.sockets[0].getsockname()[1]
    server.close()
    await server.wait_closed()
    return port


async def scraped(get: Get) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """Series → value."""
    head, _, body = (await get(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK") and b"text/plain; version=" in head
    assert f"Content-Length: {len(body)}".encode() in head
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(body.decode())
        for sample in family.samples
    }


def test_a_scrape(tmp_path: Path) -> None:
    async def body(here: Living, get: Get) -> None:
        here.fill(25)
        found = await scraped(get)
        g = ("group", "7")
        assert found["harp_group_bindings", (g,)] == 25
        roles = {role.value: found["harp_group_role", (g, ("role", role.value))] for role in Role}
        assert roles.pop("INIT") == 1 and set(roles.values()) == {0}
        assert found["harp_group_service", (g, ("service", "off"))] == 1
        assert found["harp_peer_up", (g, ("peer", "ha2"))] == 0
        assert ("harp_peer_same_configuration", (g, ("peer", "ha2"))) not in found
        assert found["harp_link_up", (g, ("link", "home"))] == 1
        assert found["harp_group_insecure", (g,)] == 1
        assert found["harp_group_unprotected_total", (g,)] == 0
        assert found["harp_filter_packets_total", (("reason", "bad_length"),)] == 5
        assert found["harp_filter_dropped_total", (("reason", "bad_length"),)] == 3
        assert found["harp_guard_running", ()] == 0
        assert found["process_resident_memory_bytes", ()] > 0
        assert not any("beef" in str(series) for series in found)

    scraping(tmp_path, body)


def test_series_do_not_grow_with_bindings(tmp_path: Path) -> None:
    async def body(here: Living, get: Get) -> None:
        before = await scraped(get)
        here.fill(500)
        assert (await scraped(get)).keys() == before.keys()

    scraping(tmp_path, body)


def test_counts_between_scrapes(tmp_path: Path) -> None:
    async def body(here: Living, get: Get) -> None:
        tally = next(each for each in here.parts.observers if isinstance(each, Tally))
        ha2 = octets("2001:db8:7::2")
        tally.role(StateChanged(7, Role.STANDBY, Role.ACTIVE, "takeover"))
        tally.peer(PeerUp(7, ha2))
        tally.peer(PeerDown(7, ha2))
        tally.peer(PeerDown(7, ha2))
        tally.dropped(Dropped(Reason.BAD_CHECKSUM, ha2))
        tally.dropped(Dropped(Reason.BAD_CHECKSUM, ha2, 7))
        tally.answered(CommandAnswered(7, 1, ("held",)))
        tally.log(Log(Level.INFO, "", 7))
        here.runtime.engine.groups[7].counters[Reason.AUTH] += 2
        found = await scraped(get)
        g = ("group", "7")
        changes = (g, ("reason", "takeover"), ("role", "ACTIVE"))
        assert found["harp_group_role_changes_total", changes] == 1
        assert found["harp_peer_changes_total", (("change", "down"), g, ("peer", "ha2"))] == 2
        assert found["harp_commands_total", (g, ("result", "refused"))] == 1
        dropped = "harp_received_dropped_total"
        assert found[dropped, (("group", ""), ("reason", "bad_checksum"))] == 1
        assert found[dropped, (g, ("reason", "auth"))] == 2

    scraping(tmp_path, body)


ASKING = {
    "another page": (b"GET / HTTP/1.1\r\n\r\n", b"404 Not Found"),
    "query": (b"GET /metrics?x=1 HTTP/1.0\r\n\r\n", b"200 OK"),
    "post": (b"POST /metrics HTTP/1.1\r\n\r\n", b"405 Method Not Allowed"),
    "no HTTP": (b"hello\r\n\r\n", b"400 Bad Request"),
    "no end": (b"GET /metrics HTTP/1.1\r\n", b"400 Bad Request"),
    "nothing": (b"", b"400 Bad Request"),
    "another protocol": (b"GET /metrics HTTP/2.0\r\n\r\n", b"400 Bad Request"),
    "too much": (b"GET /" + b"x" * 2 * MAX_HEAD_OCTETS + b"\r\n\r\n", b"400 Bad Request"),
    "binary": (b"\xff\x00\x16\x03\x01\r\n\r\n", b"400 Bad Request"),
}


@pytest.mark.parametrize(("request_", "status"), ASKING.values(), ids=ASKING)
def test_whatever_is_asked(tmp_path: Path, request_: bytes, status: bytes) -> None:
    async def body(here: Living, get: Get) -> None:
        try:
            answer = await get(request_)
        except ConnectionResetError:  # it asked for more than anybody reads
            assert len(request_) > MAX_HEAD_OCTETS
        else:
            assert answer.startswith(b"HTTP/1.1 " + status)
        assert await scraped(get)

    scraping(tmp_path, body)


def test_head_has_no_body(tmp_path: Path) -> None:
    async def body(here: Living, get: Get) -> None:
        answer = await get(b"HEAD /metrics HTTP/1.1\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 200 OK") and answer.endswith(b"\r\n\r\n")

    scraping(tmp_path, body)


def test_an_address_that_cannot_be_had() -> None:
    async def body() -> None:
        server = MetricsServer(unused)
        await server.listen("")
        assert server.addresses == []
        with pytest.raises(Failure, match=r"^metrics at 192.0.2.1:9342: .*metrics_listen says"):
            await server.listen("192.0.2.1:9342")
        await server.listen(f"127.0.0.1:{await free_port()}")
        before = server.addresses
        with pytest.raises(Failure):
            await server.listen("192.0.2.1:9342")
        assert server.addresses == before != []
        await server.listen(f"127.0.0.1:{await free_port()}")
        assert len(server.addresses) == 1 and server.addresses != before
        await server.listen("")
        assert server.addresses == []
        await server.close()

    asyncio.run(body())


def test_two_moves_at_once_leave_one_place() -> None:
    async def body() -> None:
        server = MetricsServer(unused)
        ports = [await free_port() for _ in range(2)]
        await asyncio.gather(*(server.listen(f"127.0.0.1:{port}") for port in ports))
        assert server.addresses == [("127.0.0.1", ports[1])]
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", ports[0])
        await server.close()

    asyncio.run(body())


def test_who_connects_too_often_takes_no_descriptors() -> None:
    async def body() -> None:
        server = MetricsServer(unused)
        port = await free_port()
        await server.listen(f"127.0.0.1:{port}")
        there = [
            await asyncio.open_connection("127.0.0.1", port) for _ in range(MAX_CONNECTIONS + 9)
        ]
        for reader, _ in there[MAX_CONNECTIONS:]:
            with contextlib.suppress(ConnectionResetError):
                assert await asyncio.wait_for(reader.read(), 10) == b""
        assert not any(reader.at_eof() for reader, _ in there[:MAX_CONNECTIONS])
        for _, writer in there:
            writer.close()
        await server.close()

    asyncio.run(body())


async def unused() -> Snapshot:
    raise AssertionError


def all_families() -> list[Metric]:
    """Of a daemon in which everything has happened once."""
    return list(families(everything()))


def everything() -> Snapshot:
    from random import Random

    from harp.engine.engine import Engine
    from harp.engine.status import PositionStatus, status_of

    config = EngineConfig((group_config(),))
    engine = Engine(config, Random(1), 0)
    group = engine.groups[7]
    engine.start(0)
    for counters in (group.counters, group.detector.counters, group.protector.counters):
        counters["x"] = 1
    for more in (group.sync.counters, group.home_agent.counters, group.mover.counters):
        more["x"] = 1
    tally = Tally(config)
    tally.role(StateChanged(7, Role.STANDBY, Role.ACTIVE, "takeover"))
    tally.peer(PeerUp(7, octets("2001:db8:7::2")))
    tally.answered(CommandAnswered(7, 1, ()))
    status = status_of(group, 5)
    heard = replace(status.peers[0], agrees=True, silence_us=30_000, position=PositionStatus(0, 0))
    return Snapshot(
        "1.0",
        (replace(status, peers=(heard,), position=PositionStatus(0, 4)),),
        DataPlaneStatus("tun", (7,), 3, 0, {"sent": 1}),
        GuardStatus(True, (7,), 1),
        OffloadStatus("/dev/ttyUSB1", True, "1", BOARD, "", 1_500),
        FILTER,
        tally,
        {"mobility": 3},
        500_000,
        {"ENOBUFS": 1},
        {"advertised": 2},
    )


def test_names_follow_the_conventions() -> None:
    names = set()
    for family in all_families():
        assert re.fullmatch(r"harp(_[a-z]+)*", family.name), family.name
        assert family.documentation.endswith(".") and family.samples
        assert not re.search(r"_(us|ms|s|count|sum)$", family.name)
        for sample in family.samples:
            assert sample.name.endswith("_total") == (family.type == "counter")
            assert sample.value >= 0
            assert set(sample.labels) <= {
                *("group", "role", "service", "peer", "link", "reason", "change", "event"),
                *("device", "result", "version", "name", "socket", "port", "kind", "outcome"),
            }
        assert family.name not in names
        names.add(family.name)


def test_units_are_base_units() -> None:
    found = {each.name: each.samples[0].value for each in all_families()}
    assert found["harp_peer_detection_seconds"] == 0.03
    assert found["harp_offload_round_trip_seconds"] == 0.0015
    assert found["harp_group_role_duration_seconds"] == 0.000005
    assert found["harp_peer_log_lag_messages"] == 4
    assert found["harp_rested_seconds"] == 0.5


def test_counters_of_a_board_are_not_mixed() -> None:
    found = {
        (sample.name.removeprefix("harp_offload_"), *sample.labels.values()): sample.value
        for family in all_families()
        for sample in family.samples
        if family.name.startswith("harp_offload_") and family.type == "counter"
    }
    assert found == {
        ("verdict_frames_total", "heartbeat"): 4,
        ("outcome_frames_total", "absorb"): 3,
        ("events_total", "peer_news"): 2,
        ("link_events_total", "retries"): 1,
        ("port_frames_total", "network", "rx_frames"): 5,
        ("port_octets_total", "host", "tx"): 640,
    }


def test_states_are_one_series_each_and_one_is_set() -> None:
    for name in ("harp_group_role", "harp_group_service"):
        (family,) = [each for each in all_families() if each.name == name]
        assert sum(sample.value for sample in family.samples) == 1


def exported() -> dict[str, set[str]]:
    """Series → its labels."""
    found: dict[str, set[str]] = {}
    for family in all_families():
        for sample in family.samples:
            found.setdefault(sample.name, set()).update(sample.labels)
    return found
