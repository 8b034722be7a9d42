"""`harpctl` as a program against a process that answers, and against what does not."""

from __future__ import annotations

import io
import json
import os
import pty
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

from harp.cli.harpctl import main

ROOT = Path(__file__).parents[2]
ENVIRONMENT = os.environ | {
    "PYTHONPATH": os.pathsep.join(map(str, (ROOT / "host", ROOT))),
    "COLUMNS": "200",
}
PATIENCE_S = 60
BINDINGS = 2_000


@dataclass(frozen=True)
class Done:
    """How a command ended."""

    returncode: int
    stdout: str
    stderr: str


def harpctl(*arguments: str | Path, **changes: str) -> Done:
    """The entry point in this process: a fresh interpreter for each would take most of the time."""
    octets = io.BytesIO(), io.BytesIO()
    out, err = (io.TextIOWrapper(each, write_through=True) for each in octets)
    with (
        patch.object(sys, "argv", ["harpctl", *map(str, arguments)]),
        patch.dict(os.environ, changes),
        redirect_stdout(out),
        redirect_stderr(err),
        pytest.raises(SystemExit) as end,
    ):
        main()
    return Done(int(end.value.code or 0), *(each.getvalue().decode() for each in octets))


def program(*arguments: str | Path) -> Done:
    """A process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "harp.cli.harpctl", *map(str, arguments)],
        capture_output=True,
        text=True,
        env=ENVIRONMENT,
        timeout=PATIENCE_S,
        check=False,
    )
    return Done(done.returncode, done.stdout, done.stderr)


@contextmanager
def harpd(path: Path, bindings: int = 0, groups: int = 1) -> Iterator[subprocess.Popen[str]]:
    """A process with a control socket; see `tests.daemon.control.living`."""
    program = ROOT / "tests/daemon/control/living.py"
    process = subprocess.Popen(
        [sys.executable, str(program), str(path), str(bindings), str(groups)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=ENVIRONMENT,
    )
    with process:
        assert process.stdout and process.stdout.readline() == "listening\n"
        try:
            yield process
        finally:
            process.send_signal(signal.SIGCONT)
            process.kill()


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The socket of one that serves a group alone, with bindings."""
    path = tmp_path_factory.mktemp("run") / "control"
    with harpd(path, BINDINGS):
        # It becomes active a millisecond after its start.
        watching = harpctl_watch(path)
        assert watching["new"] == "ACTIVE"
        yield path


def harpctl_watch(path: Path) -> dict[str, Any]:
    from harp.daemon.control.client import ControlClient

    with ControlClient(path) as control:
        events = control.watch(since=0, timeout_s=PATIENCE_S)
        return next(each for each in events if each.get("new") == "ACTIVE")


def objects(path: Path, *arguments: str) -> dict[str, Any]:
    """What `--json` prints: one object in one line."""
    done = harpctl("--socket", path, *arguments, "--json")
    assert done.stdout.count("\n") == 1 and not done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    assert found["schema"] == 1
    return found


def one_line(done: Done, status: int = 1) -> str:
    """The line of a failure; nothing else was said."""
    assert done.returncode == status and not done.stdout
    assert done.stderr.startswith("harpctl: ") and done.stderr.count("\n") == 1, done.stderr
    return done.stderr.removeprefix("harpctl: ").strip()


def test_status_for_people(path: Path) -> None:
    done = harpctl("--socket", path, "status")
    assert done.returncode == 0 and not done.stderr
    row = re.search(r"^7 +ha1 +ACTIVE +\d+ .*$", done.stdout, re.MULTILINE)
    assert row and f" {BINDINGS} " in row[0] and "0 of 1" in row[0] and "NOT PROTECTED" in row[0]
    assert "offload: none" in done.stdout and "guard: does not run" in done.stdout


def test_as_a_program(path: Path, tmp_path: Path) -> None:
    done = program("--socket", path, "status", "--json")
    assert done.returncode == 0 and json.loads(done.stdout)["schema"] == 1
    assert one_line(program("--socket", tmp_path / "x", "status")).startswith("no socket")
    assert "--help" in one_line(program("status", "--jsn"), status=2)


def test_status_for_programs(path: Path) -> None:
    found = objects(path, "status")
    assert list(found) == ["schema", "harpd", "groups", "data_plane", "guard", "offload"]
    assert found["groups"][0]["role"] == "ACTIVE"


def test_json_may_stand_first_and_the_socket_in_the_environment(path: Path) -> None:
    done = harpctl("--json", "offload", HARP_SOCKET=str(path))
    found = json.loads(done.stdout)
    assert list(found) == ["schema", "offload", "filter"] and found["offload"]["device"] == "none"


def test_peers(path: Path) -> None:
    found = objects(path, "peers")
    assert list(found) == ["schema", "groups"]
    assert list(found["groups"][0]) == ["group", "member", "peers"]
    done = harpctl("--socket", path, "peers", "--group", "7")
    assert re.search(r"^7 +ha2 +no +no +no ", done.stdout, re.MULTILINE)
    line = one_line(harpctl("--socket", path, "peers", "--group", "9"))
    assert line == "no group 9 here; there are 7"


def test_bindings_for_programs(path: Path) -> None:
    found = objects(path, "bindings")
    assert list(found) == ["schema", "bindings"] and len(found["bindings"]) == BINDINGS
    assert list(found["bindings"][0]) == [
        *("group", "home_address", "bid", "care_of_address", "flags", "sequence", "lifetime_s"),
        "prefixes",
    ]


def test_bindings_for_people(path: Path) -> None:
    done = harpctl("--socket", path, "bindings")
    lines = done.stdout.splitlines()
    assert done.returncode == 0 and len(lines) == BINDINGS + 2
    assert lines[0].startswith("Home address") and lines[-1] == f"{BINDINGS} bindings"
    done = harpctl("--socket", path, "bindings", "2001:db8:7::beef")
    assert re.search(
        r"^2001:db8:7::beef +9 +2001:db8:99::1 +6 .* 2001:db8:1000::/56$", done.stdout, re.M
    )


def test_half_a_cache_is_not_printed(tmp_path: Path) -> None:
    page = b'{"schema":1,"ok":true,"more":true,"result":{"bindings":[{"home_address":"::1"}]}}\n'
    with answering(tmp_path / "control", page):
        done = harpctl("--socket", tmp_path / "control", "bindings", "--json")
    assert "closed the connection" in one_line(done)


def test_events(path: Path) -> None:
    found = objects(path, "events")
    assert list(found) == ["schema", "events", "last"]
    assert found["events"][0]["number"] == 1
    done = harpctl("--socket", path, "events", "--since", "0")
    assert "group 7: INIT → STANDBY (no_active)" in done.stdout


def test_refusals_are_named_and_explained(path: Path) -> None:
    done = harpctl("--socket", path, "switchback")
    assert done.returncode == 1 and not done.stderr
    assert done.stdout == (
        "group 7: switchback refused\n  no_standby: No eligible standby is up.\n"
    )
    done = harpctl(
        "--socket", path, "--json", "switchover", "--check", "--to", "ha2", "--group", "7"
    )
    found = json.loads(done.stdout)
    assert done.returncode == 1 and list(found) == [
        *("schema", "group", "command", "done", "refusals"),
    ]
    assert [each["name"] for each in found["refusals"]] == ["peer_down"]


def test_commands_that_are_done(path: Path) -> None:
    done = harpctl("--socket", path, "rekey")
    assert (done.returncode, done.stdout) == (0, "group 7: rekey done\n")
    done = harpctl("--socket", path, "reload")
    assert (done.returncode, done.stdout) == (0, "nothing changed\n")
    assert objects(path, "reload") == {"schema": 1, "taken": [], "at_next_start": []}


def test_which_group(tmp_path: Path) -> None:
    with harpd(tmp_path / "control", groups=2):
        line = one_line(harpctl("--socket", tmp_path / "control", "resync"))
        assert line == "say which group with --group; there are 7, 8"
        done = harpctl("--socket", tmp_path / "control", "resync", "--group", "8")
        assert done.stdout == "group 8: resync done\n"


def test_no_such_member(path: Path) -> None:
    line = one_line(harpctl("--socket", path, "switchover", "--to", "ha9"))
    assert line == "'ha9' is no other member of group 7; there are ha2"


WRONG_USE = [
    ("status", "--group"),
    ("switchover", "--too", "ha2"),
    ("hold", "--group", "256"),
    ("hold", "--group", "x"),
    ("dance",),
    ("events", "--since", "-1"),
]


@pytest.mark.parametrize("arguments", WRONG_USE, ids=" ".join)
def test_wrong_use_is_status_2(arguments: tuple[str, ...]) -> None:
    assert "--help" in one_line(harpctl(*arguments), status=2)


@pytest.mark.parametrize("name", ["status", "bindings", "watch", "hold", "switchover"])
def test_no_daemon(tmp_path: Path, name: str) -> None:
    line = one_line(harpctl("--socket", tmp_path / "nothing", name))
    assert line == (
        f"no socket {tmp_path}/nothing: harpd does not run, or [control] socket names another"
        " (say which with --socket); `systemctl start harpd`"
    )


def test_dead_daemon(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(tmp_path / "control"))
    line = one_line(harpctl("--socket", tmp_path / "control", "status"))
    assert line.startswith("nobody listens at") and "systemctl restart harpd" in line


def test_no_socket_at_all(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    line = one_line(harpctl("--socket", tmp_path / "file", "status"))
    assert line.startswith(f"nobody listens at {tmp_path}/file")
    line = one_line(harpctl("--socket", "x" * 200, "status"))
    assert line.endswith("AF_UNIX path too long")
    line = one_line(harpctl("--socket", tmp_path / "file" / "deeper", "status"))
    assert line.endswith("Not a directory")


@pytest.mark.skipif(os.geteuid() != 0, reason="another user is needed")
def test_no_permission(tmp_path: Path) -> None:
    for directory in (tmp_path, *tmp_path.parents[:2]):
        directory.chmod(0o755)
    with harpd(tmp_path / "control"):
        (tmp_path / "control").chmod(0o600)
        done = subprocess.run(
            [sys.executable, "-c", _AS_NOBODY, str(tmp_path / "control")],
            capture_output=True,
            text=True,
            env=ENVIRONMENT,
            timeout=PATIENCE_S,
            check=False,
        )
    assert done.stderr == (
        f"harpctl: no permission for {tmp_path}/control: be root, or in the group of"
        " [control] group\n"
    )
    assert done.returncode == 1


_AS_NOBODY = """
import os, sys
import harp.cli.looking
from harp.cli.harpctl import main
os.setgroups([]); os.setgid(65534); os.setuid(65534)
sys.argv = ["harpctl", "--socket", sys.argv[1], "status"]
main()
"""


@contextmanager
def answering(path: Path, answer: bytes) -> Iterator[None]:
    """Something that says the same to everybody."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        yield
        thread.join()


GARBAGE = {
    "nothing": (b"", "harpd closed the connection"),
    "text": (b"220 mail.example.org ESMTP\n", "its answer is no JSON"),
    "half a line": (b'{"schema": 1', "harpd closed the connection"),
    "no object": (b"[1, 2]\n", "its answer has no schema"),
    "another version": (
        b'{"schema": 2, "ok": true, "result": {}}\n',
        "it answers with schema 2, this harpctl knows 1",
    ),
    "no result": (b'{"schema": 1, "ok": true}\n', "its answer has neither result nor error"),
    "no UTF-8": (b"\xff\xfe\n", "its answer is no JSON"),
}


@pytest.mark.parametrize(("answer", "words"), GARBAGE.values(), ids=GARBAGE)
def test_garbage(tmp_path: Path, answer: bytes, words: str) -> None:
    with answering(tmp_path / "control", answer):
        assert words in one_line(harpctl("--socket", tmp_path / "control", "status"))


def test_a_result_of_another_shape(tmp_path: Path) -> None:
    with answering(tmp_path / "control", b'{"schema": 1, "ok": true, "result": {}}\n'):
        line = one_line(harpctl("--socket", tmp_path / "control", "status"))
    assert line == (
        "harpd's answer is not as expected (KeyError: 'groups'): harpctl and harpd must be of one"
        " version"
    )


def test_a_stopped_daemon(tmp_path: Path) -> None:
    from harp.cli.common import Failure
    from harp.daemon.control.client import ControlClient

    with harpd(tmp_path / "control") as process:
        process.send_signal(signal.SIGSTOP)
        with (
            pytest.raises(Failure, match=r"harpd does not answer at .* for 0\.1 s: it is stopped"),
            ControlClient(tmp_path / "control", patience_s=0.1) as control,
        ):
            control.call("status")


def interruptible() -> None:
    """What a shell starts in the background has SIGINT ignored, and its children too."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def test_watch_prints_lines_until_it_is_interrupted(path: Path) -> None:
    command = [sys.executable, "-m", "harp.cli.harpctl", "--socket", str(path), "watch", "--json"]
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=ENVIRONMENT,
        preexec_fn=interruptible,
    ) as watching:
        assert watching.stdout and watching.stderr
        lines = watching.stdout
        found: dict[str, Any] = {}

        def read() -> None:
            found.update(json.loads(lines.readline()))

        reader = threading.Thread(target=read)
        reader.start()
        while reader.is_alive():  # it watches from some moment on
            assert harpctl("--socket", path, "rekey").returncode == 0
            reader.join(0.05)
        watching.send_signal(signal.SIGINT)
        assert watching.wait(PATIENCE_S) == 0
        assert watching.stderr.read() == ""
    assert list(found) == [
        *("schema", "number", "time", "kind", "group", "refusals", "lost"),
    ]


def test_watch_draws_on_a_terminal(path: Path) -> None:
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "harp.cli.harpctl", "--socket", str(path), "watch"]
    with subprocess.Popen(
        command,
        stdout=theirs,
        stderr=theirs,
        env=ENVIRONMENT | {"TERM": "xterm"},
        preexec_fn=interruptible,
    ) as watching:
        os.close(theirs)
        seen = b""
        while b"harpd " not in seen:
            seen += os.read(ours, 65536)
        watching.send_signal(signal.SIGINT)
        assert watching.wait(PATIENCE_S) == 0
    os.close(ours)
    assert b"ACTIVE" in seen and b"Settings" in seen


def test_ipsec_config(tmp_path: Path) -> None:
    example = ROOT / "docs/examples/hard-switch.toml"
    done = harpctl("ipsec-config", "-c", example)
    assert done.returncode == 0 and "local_addrs = 2001:db8:1::1" in done.stdout
    done = harpctl("ipsec-config", "-c", example, "--json")
    assert list(json.loads(done.stdout)) == ["schema", "swanctl"]
    line = one_line(harpctl("ipsec-config", "-c", tmp_path / "none.toml"))
    assert line == f"{tmp_path}/none.toml: cannot be read: No such file or directory"


@pytest.mark.parametrize(
    "name",
    [
        *("status", "peers", "bindings", "events", "offload", "watch", "switchover", "switchback"),
        *("hold", "release", "resync", "rekey", "reload", "ipsec-config"),
    ],
)
def test_help_has_an_example(name: str) -> None:
    from click.testing import CliRunner

    from harp.cli.harpctl import harpctl as command

    done = CliRunner().invoke(command, [name, "--help"])
    assert done.exit_code == 0 and f"Example: harpctl {name}" in done.output
