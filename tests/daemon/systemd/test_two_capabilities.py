"""A whole harpd with the two capabilities that its unit leaves it, asked as an operator asks."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.daemon.network import entered, ip, namespace, wire

from harp.daemon.control.client import ControlClient

SETPRIV = shutil.which("setpriv")
pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 or SETPRIV is None, reason="needs root and setpriv"
)

TWO = "+net_admin,+net_raw"
SECRET = "0f1e2d3c4b5a69788796a5b4c3d2e1f0"
PATIENCE_S = 60.0
PORT = 9342
CONFIG = """
[daemon]
state_dir = "{place}/state"
run_dir = "{place}/run"
metrics_listen = "[::1]:9342"
[control]
socket = "{place}/run/control"
mode = "0600"
[[group]]
id = 7
me = "ha1"
virtual_address = "2001:db8:1::100"
home_prefixes = ["2001:db8:1::/64"]
hello_interval_ms = 50
preference = 100
security = "psk"
[[group.link]]
interface = "home"
[[group.member]]
name = "ha1"
addresses = ["2001:db8:1::1"]
[[group.member]]
name = "ha2"
addresses = ["2001:db8:1::2"]
[[group.key]]
spi = 256
credential = "group7.key"
"""


@dataclass(frozen=True)
class Router:
    """Where harpd runs."""

    netns: str
    place: Path
    process: subprocess.Popen[bytes]

    @property
    def socket(self) -> Path:
        return self.place / "run/control"

    @property
    def addresses(self) -> str:
        command = ["ip", "-n", self.netns, "-6", "addr", "show", "dev", "home"]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout


@pytest.fixture
def router(tmp_path: Path) -> Iterator[Router]:
    """One that is active, alone on its link."""
    (tmp_path / "harpd.toml").write_text(CONFIG.format(place=tmp_path))
    (tmp_path / "group7.key").write_text(SECRET)
    (tmp_path / "group7.key").chmod(0o600)
    with (
        namespace("ha") as here,
        namespace("other") as there,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify,
        (tmp_path / "log").open("wb") as log,
    ):
        wire(here, "home", there, "home")
        ip("-n", here, "addr", "add", "2001:db8:1::1/64", "dev", "home", "nodad")
        notify.bind(str(tmp_path / "notify"))
        notify.settimeout(PATIENCE_S)
        process = subprocess.Popen(
            [
                *("ip", "netns", "exec", here, str(SETPRIV), "--no-new-privs"),
                *(f"--inh-caps=-all,{TWO}", f"--bounding-set=-all,{TWO}"),
                *(sys.executable, "-m", "harp.cli.harpd", "-c", str(tmp_path / "harpd.toml")),
            ],
            stderr=log,
            env=os.environ
            | {"NOTIFY_SOCKET": str(tmp_path / "notify"), "CREDENTIALS_DIRECTORY": str(tmp_path)},
        )
        try:
            assert b"READY=1" in notify.recv(4096), (tmp_path / "log").read_text()
            yield Router(here, tmp_path, process)
        finally:
            process.kill()
            process.wait()


def becomes_active(router: Router) -> None:
    with ControlClient(router.socket) as control:
        events = control.watch(since=0, timeout_s=PATIENCE_S)
        assert any(each.get("new") == "ACTIVE" for each in events)


def scrape(router: Router) -> str:
    with entered(router.netns), socket.create_connection(("::1", PORT), PATIENCE_S) as asking:
        asking.sendall(b"GET /metrics HTTP/1.1\r\n\r\n")
        with asking.makefile("rb") as answer:
            return answer.read().decode()


def test_it_serves_is_reloaded_and_ends(router: Router) -> None:
    becomes_active(router)
    assert "2001:db8:1::100/128" in router.addresses
    page = scrape(router)
    assert 'harp_group_role{group="7",role="ACTIVE"} 1.0' in page
    assert "harp_guard_running 1.0" in page

    file = router.place / "harpd.toml"
    file.write_text(file.read_text().replace("preference = 100", "preference = 90"))
    with ControlClient(router.socket) as control:
        assert control.call("reload")["taken"] == ["group 7: preference: 100 → 90"]
        status = control.call("status")
        assert status["groups"][0]["preference"] == 90
        assert status["groups"][0]["role"] == "ACTIVE"

    router.process.send_signal(signal.SIGTERM)
    assert router.process.wait(PATIENCE_S) == 0
    assert "2001:db8:1::100" not in router.addresses
    assert not router.socket.exists()
    assert "Traceback" not in (router.place / "log").read_text()


def test_keys_are_nowhere_to_be_read(router: Router) -> None:
    becomes_active(router)
    with ControlClient(router.socket) as control:
        told = json.dumps([control.call("status"), control.call("events")])
    process = Path(f"/proc/{router.process.pid}")
    told += (process / "cmdline").read_text() + (process / "environ").read_text()
    told += scrape(router) + (router.place / "log").read_text()
    for text in (SECRET, repr(bytes.fromhex(SECRET))[2:-1]):
        assert text not in told


def test_it_has_two_capabilities(router: Router) -> None:
    lines = Path(f"/proc/{router.process.pid}/status").read_text().splitlines()
    (effective,) = [line.split()[1] for line in lines if line.startswith("CapEff")]
    assert int(effective, 16) == 1 << 12 | 1 << 13  # CAP_NET_ADMIN, CAP_NET_RAW
