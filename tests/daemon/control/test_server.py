"""Server and client over a real socket."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import stat
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from tests.daemon.control.living import Living, living

from harp.cli.common import Failure
from harp.daemon.config.difference import Change, Difference
from harp.daemon.config.model import ControlSettings
from harp.daemon.config.problem import BadConfig, Problem
from harp.daemon.control.client import ControlClient, ControlRefused
from harp.daemon.control.protocol import MAX_REQUEST_OCTETS, Question
from harp.daemon.control.server import MAX_CONNECTIONS
from harp.daemon.filter.nft import FilterStatus
from harp.engine.checks import Refusal
from harp.engine.effects import Role

PATIENCE_S = 20.0

Body = Callable[[Living], Awaitable[None]]


def run(tmp_path: Path, body: Body, **options: Any) -> None:
    """A body beside a running server."""

    async def whole() -> None:
        async with asyncio.timeout(PATIENCE_S), living(tmp_path / "control", **options) as here:
            await body(here)

    asyncio.run(whole())


async def call(here: Living, command: str, **arguments: object) -> dict[str, Any]:
    def ask() -> dict[str, Any]:
        with ControlClient(here.socket) as control:
            return control.call(command, **arguments)

    return await asyncio.to_thread(ask)


async def becomes(here: Living, role: Role, group: int = 7) -> None:
    """Waits for a role; events are how the test hears of it."""
    if here.runtime.engine.groups[group].role is role:
        return
    with here.events.feed() as feed:
        while here.runtime.engine.groups[group].role is not role:
            await feed.next()


async def until(true: Callable[[], bool]) -> None:
    """The loop turns until something is true; `run` bounds it."""
    loop = asyncio.get_running_loop()
    turned = asyncio.Event()
    while not true():
        turned.clear()
        loop.call_soon(turned.set)
        await turned.wait()


GROUP_KEYS = {
    *("group", "member", "mode", "security", "role", "for_us", "reason", "active", "service"),
    *("preference", "held", "fenced", "quorum", "quorum_met", "term_known", "position", "base"),
    *("synchronised", "syncing", "reconciling", "bindings", "tombstones", "unprotected"),
    *("links", "peers", "counters"),
}
PEER_KEYS = {
    *("name", "identity", "configured", "up", "active", "synchronised", "draining", "durable"),
    *("preference", "silence_us", "restart_counter", "position", "agrees", "links"),
}


def test_status_has_the_keys_that_were_shipped(tmp_path: Path) -> None:
    async def body(here: Living) -> None:
        found = await call(here, "status")
        assert list(found) == ["harpd", "groups", "data_plane", "guard", "offload"]
        keys = ["version", "pid", "configuration", "since", "lost", "rested_us"]
        keys += ["unsent", "neighbors"]
        assert list(found["harpd"]) == keys
        assert found["harpd"]["lost"] == {"members": 0, "mobility": 3, "discovery": 0}
        assert found["harpd"]["pid"] == os.getpid()
        (group,) = found["groups"]
        assert set(group) >= GROUP_KEYS
        assert set(group["peers"][0]) >= PEER_KEYS
        assert set(group["peers"][0]["links"][0]) >= {"link", "address", "state", "for_us"}
        assert set(group["links"][0]) >= {"name", "up", "slot"}
        assert set(group["position"]) == {"term", "position"}
        assert group["peers"][0]["name"] == "ha2" and group["member"] == "ha1"
        assert set(found["data_plane"]) >= {
            *("name", "serving", "routes", "queued", "counters", "detail"),
        }
        assert set(found["guard"]) >= {"running", "armed", "fired"}
        assert set(found["offload"]) >= {"device", "attached", "version", "counters", "detail"}

    run(tmp_path, body)


def test_offload_and_filter(tmp_path: Path) -> None:
    async def counted() -> FilterStatus:
        return FilterStatus({"bad_length": 5}, {"bad_length": 3})

    async def body(here: Living) -> None:
        found = await call(here, "offload")
        assert found["offload"]["device"] == "none"
        assert found["filter"] == {"frames": {"bad_length": 5}, "dropped": {"bad_length": 3}}

    run(tmp_path, body, filter_counts=counted)


def test_an_answer_may_come_in_pieces(tmp_path: Path) -> None:
    """What is read is a whole line, however the kernel cuts it."""

    async def dribble(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        for octet in b'{"schema": 1, "ok": true, "result": {"groups": []}}\n':
            writer.write(bytes((octet,)))
            await writer.drain()
        writer.close()

    async def body() -> None:
        server = await asyncio.start_unix_server(dribble, str(tmp_path / "slow"))

        def ask() -> dict[str, Any]:
            with ControlClient(tmp_path / "slow") as control:
                return control.call("status")

        assert await asyncio.to_thread(ask) == {"groups": []}
        server.close()

    asyncio.run(body())


def test_socket_has_its_permissions(tmp_path: Path) -> None:
    async def body(here: Living) -> None:
        assert stat.S_IMODE(here.socket.stat().st_mode) == 0o620

    run(tmp_path, body, settings=ControlSettings(mode="0620"))
    assert not (tmp_path / "control").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files to other groups")
def test_socket_has_its_group(tmp_path: Path) -> None:
    async def body(here: Living) -> None:
        assert here.socket.stat().st_gid == 1

    run(tmp_path, body, settings=ControlSettings(group="daemon"))


def failing(tmp_path: Path, **options: Any) -> str:
    async def body(here: Living) -> None:
        raise AssertionError("it opened")

    with pytest.raises(Failure) as failure:
        run(tmp_path, body, **options)
    return failure.value.format_message()


def test_group_that_is_not_there(tmp_path: Path) -> None:
    line = failing(tmp_path, settings=ControlSettings(group="no-such-group"))
    assert line == (
        '[control] group = "no-such-group": no such group;'
        " `groupadd --system no-such-group` makes it"
    )


def test_a_dead_daemons_socket_is_replaced(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(tmp_path / "control"))

    async def body(here: Living) -> None:
        assert await call(here, "status")

    run(tmp_path, body)


def test_a_living_daemons_socket_is_left_alone(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(tmp_path / "control"))
        other.listen()
        assert "another harpd listens there" in failing(tmp_path)
    assert (tmp_path / "control").exists()


def test_a_file_in_the_way_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "control").write_text("precious")
    assert "there is something that is no socket" in failing(tmp_path)
    assert (tmp_path / "control").read_text() == "precious"


def test_a_path_that_is_too_long(tmp_path: Path) -> None:
    deep = tmp_path / ("x" * 120)
    deep.mkdir()
    assert failing(deep).endswith("AF_UNIX path too long; [control] socket says where")


def test_commands_are_refused_by_name(tmp_path: Path) -> None:
    async def body(here: Living) -> None:
        await becomes(here, Role.ACTIVE)
        found = await call(here, "switchback")
        assert list(found) == ["group", "command", "done", "refusals"]
        assert found["done"] is False and found["command"] == "switchback"
        assert found["refusals"] == [{"name": "no_standby", "text": "No eligible standby is up."}]
        found = await call(here, "check", to="ha2")
        assert [each["name"] for each in found["refusals"]] == ["peer_down"]
        found = await call(here, "check", to="2001:db8:7::2", group=7)
        assert [each["name"] for each in found["refusals"]] == ["peer_down"]

    run(tmp_path, body, lonely=True)


def test_every_reason_has_a_sentence() -> None:
    from harp.daemon.control.answers import sentence

    for each in Refusal:
        assert sentence(each.value).endswith(".")


def test_hold_and_release(tmp_path: Path) -> None:
    async def body(here: Living) -> None:
        group = here.runtime.engine.groups[7]
        assert (await call(here, "hold"))["done"]
        assert group.roles.held
        assert (await call(here, "release"))["done"]
        assert not group.roles.held
        assert (await call(here, "resync"))["done"]
        assert (await call(here, "rekey"))["refusals"][0]["name"] == "not_active"

    run(tmp_path, body)


@pytest.mark.parametrize(
    ("command", "arguments", "name", "words"),
    [
        ("switchover", {"group": 9}, "unknown_group", "no group 9 here; there are 7, 8"),
        ("switchover", {}, "unknown_group", "say which group with --group; there are 7, 8"),
        ("bindings", {}, "unknown_group", "say which group"),
        ("check", {"group": 7, "to": "ha9"}, "unknown_member", "there are ha2"),
        ("check", {"group": 7, "to": "ha1"}, "unknown_member", "there are ha2"),
        ("dance", {}, "unknown_command", "no command 'dance'; there are status, bindings"),
        ("status", {"group": "seven"}, "bad_request", "Expected `int | null`, got `str`"),
        ("status", {"grop": 7}, "bad_request", "unknown field `grop`"),
        ("bindings", {"group": 7, "home_address": "x"}, "bad_request", "not an IPv6 address"),
    ],
)
def test_refused_requests(
    tmp_path: Path, command: str, arguments: dict[str, object], name: str, words: str
) -> None:
    async def body(here: Living) -> None:
        with pytest.raises(ControlRefused) as refused:
            await call(here, command, **arguments)
        assert refused.value.name == name
        assert words in refused.value.format_message()

    run(tmp_path, body, groups=(7, 8))


RUBBISH = [
    b"hello\n",
    b"\n",
    b"[]\n",
    b"{}\n",
    b'{"schema": 2, "command": "status"}\n',
    b'{"schema": "1", "command": "status"}\n',
    b"\xff\x00\n",
    b"[" * 30000 + b"\n",
    b"x" * (MAX_REQUEST_OCTETS + 1) + b"\n",
]


@pytest.mark.parametrize("octets", RUBBISH, ids=range(len(RUBBISH)))
def test_rubbish_is_answered_with_a_line(tmp_path: Path, octets: bytes) -> None:
    async def body(here: Living) -> None:
        reader, writer = await asyncio.open_unix_connection(str(here.socket))
        writer.write(octets)
        answer = json.loads(await reader.readline())
        assert answer["schema"] == 1 and answer["ok"] is False
        assert answer["error"]["name"] == "bad_request"
        writer.close()
        assert await call(here, "status")

    run(tmp_path, body)


def test_many_requests_on_one_connection(tmp_path: Path) -> None:
    async def body(here: Living) -> None:
        def ask() -> list[str]:
            with ControlClient(here.socket) as control:
                names = [control.call("status")["groups"][0]["member"] for _ in range(5)]
                with pytest.raises(ControlRefused):
                    control.call("dance")
                return [*names, control.call("status")["groups"][0]["member"]]

        assert await asyncio.to_thread(ask) == ["ha1"] * 6

    run(tmp_path, body)


def test_askers_beyond_the_limit_are_told(tmp_path: Path) -> None:
    async def body(here: Living) -> None:
        open_ones = []
        for _ in range(MAX_CONNECTIONS):
            reader, writer = await asyncio.open_unix_connection(str(here.socket))
            writer.write(b'{"schema": 1, "command": "events"}\n')
            await reader.readline()
            open_ones.append(writer)
        with pytest.raises(ControlRefused, match="64 others are connected"):
            await call(here, "status")
        for writer in open_ones:
            writer.close()
            await writer.wait_closed()
        await until(lambda: here.control.connections == 0)
        assert await call(here, "status")

    run(tmp_path, body)


def test_an_asker_that_goes_amid_an_answer_harms_nobody(tmp_path: Path) -> None:
    async def body(here: Living) -> None:
        here.fill(5_000)
        for _ in range(3):
            reader, writer = await asyncio.open_unix_connection(str(here.socket))
            writer.write(b'{"schema": 1, "command": "bindings"}\n')
            await reader.readline()
            writer.transport.abort()
        assert await call(here, "status")

    run(tmp_path, body)


def read_bindings(path: Path, **arguments: object) -> list[dict[str, Any]]:
    with ControlClient(path) as control:
        return [each for page in control.bindings(**arguments) for each in page]


def test_bindings_come_whole(tmp_path: Path) -> None:
    async def body(here: Living) -> None:
        here.fill(1_000)
        found = await asyncio.to_thread(read_bindings, here.socket)
        assert len(found) == 1_000
        assert len({each["home_address"] for each in found}) == 1_000
        assert found[0] == {
            "group": 7,
            "home_address": "2001:db8:7::1:0",
            "bid": None,
            "care_of_address": "2001:db8:99::1",
            "flags": ["ACKNOWLEDGE", "HOME_REGISTRATION"],
            "sequence": 5,
            "lifetime_s": 3600,
            "prefixes": [],
        }
        assert found[-1]["bid"] == 9 and found[-1]["prefixes"] == ["2001:db8:1000::/56"]

    run(tmp_path, body)


def test_bindings_of_one_mobile_node(tmp_path: Path) -> None:
    async def body(here: Living) -> None:
        here.fill(10)
        home = "2001:db8:7::beef"
        (only,) = await asyncio.to_thread(read_bindings, here.socket, home_address=home)
        assert only["home_address"] == home and only["bid"] == 9
        assert not await asyncio.to_thread(read_bindings, here.socket, home_address="::9")

    run(tmp_path, body)


def test_no_page_keeps_the_loop(tmp_path: Path) -> None:
    """Between two pages everybody else has a turn: counted, not timed."""

    async def body(here: Living) -> None:
        here.fill(6_400)
        turns = 0

        async def others() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        beside = asyncio.create_task(others())
        found = await asyncio.to_thread(read_bindings, here.socket)
        beside.cancel()
        assert len(found) == 6_400 and turns >= 100

    run(tmp_path, body)


def test_events_are_numbered_and_kept(tmp_path: Path) -> None:
    async def body(here: Living) -> None:
        await becomes(here, Role.ACTIVE)
        await call(here, "hold")
        found = await call(here, "events")
        numbers = [each["number"] for each in found["events"]]
        assert numbers == list(range(1, found["last"] + 1))
        roles = [each for each in found["events"] if each["kind"] == "role"]
        assert roles[0] == {
            "number": roles[0]["number"],
            "time": "2026-01-02T03:04:05.678+00:00",
            "kind": "role",
            "group": 7,
            "old": "INIT",
            "new": "STANDBY",
            "reason": "no_active",
        }
        assert found["events"][-1]["kind"] == "command"
        later = await call(here, "events", since=found["last"] - 1)
        assert later["events"] == found["events"][-1:]

    run(tmp_path, body, lonely=True)


def test_watch_tells_what_happens(tmp_path: Path) -> None:
    async def body(here: Living) -> None:
        await becomes(here, Role.ACTIVE)
        before = here.events.last

        def read() -> list[dict[str, Any]]:
            with ControlClient(here.socket) as control:
                events = control.watch(since=before, timeout_s=PATIENCE_S)
                return [next(events), next(events)]

        reading = asyncio.create_task(asyncio.to_thread(read))
        await call(here, "resync")
        await call(here, "resync")
        found = await reading
        assert [each["number"] for each in found] == [before + 1, before + 2]
        assert all(each["kind"] == "command" and each["lost"] == 0 for each in found)

    run(tmp_path, body, lonely=True)


def test_a_watcher_that_goes_is_forgotten(tmp_path: Path) -> None:
    async def body(here: Living) -> None:
        _, writer = await asyncio.open_unix_connection(str(here.socket))
        writer.write(b'{"schema": 1, "command": "watch"}\n')
        await until(lambda: here.events.watchers == 1)
        writer.close()
        await until(lambda: here.events.watchers == 0)

    run(tmp_path, body)


def test_a_watcher_leaves_nothing_behind_when_harpd_ends(tmp_path: Path) -> None:
    async def body(here: Living) -> None:
        reader, writer = await asyncio.open_unix_connection(str(here.socket))
        writer.write(b'{"schema": 1, "command": "watch"}\n')
        await until(lambda: here.events.watchers == 1)
        await here.control.close()
        await reader.read()
        writer.close()
        await until(lambda: asyncio.all_tasks() == {asyncio.current_task()})

    run(tmp_path, body)


def test_watch_ends_when_nothing_happens(tmp_path: Path) -> None:
    async def body(here: Living) -> None:
        await becomes(here, Role.ACTIVE)

        def read() -> list[dict[str, Any]]:
            with ControlClient(here.socket) as control:
                return list(control.watch(timeout_s=0.02))

        assert await asyncio.to_thread(read) == []

    run(tmp_path, body, lonely=True)


def test_a_mistake_of_ours_is_told_and_survived(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def reload() -> Difference:
        raise ZeroDivisionError

    async def body(here: Living) -> None:
        with pytest.raises(ControlRefused, match="a mistake in harpd: ZeroDivisionError"):
            await call(here, "reload")
        assert await call(here, "status")

    run(tmp_path, body, reload=reload)
    assert "control: Request" in caplog.text


def test_reload(tmp_path: Path) -> None:
    changes = (Change("log_level", "a", "b", True), Change("control.socket", "c", "d", False))

    async def body(here: Living) -> None:
        assert await call(here, "reload") == {
            "taken": ["log_level: a → b"],
            "at_next_start": ["control.socket: c → d (at the next start)"],
        }

    async def reload() -> Difference:
        return Difference(changes)

    run(tmp_path, body, reload=reload)


def test_reload_of_a_bad_file(tmp_path: Path) -> None:
    async def reload() -> Difference:
        raise BadConfig(Path("/etc/x.toml"), [Problem("", "group", "is missing")])

    async def body(here: Living) -> None:
        with pytest.raises(ControlRefused, match=r"^/etc/x.toml: group: is missing$") as refused:
            await call(here, "reload")
        assert refused.value.name == "bad_configuration"

    run(tmp_path, body, reload=reload)


def test_questions_are_commands_of_the_engine_or_our_own() -> None:
    from harp.daemon.control.answers import COMMANDS
    from harp.engine.events import Command

    assert {each.value for each in COMMANDS} == {each.value for each in Command}
    assert set(Question) - set(COMMANDS) == {
        *(Question.STATUS, Question.BINDINGS, Question.EVENTS, Question.WATCH, Question.RELOAD),
        Question.OFFLOAD,
    }
