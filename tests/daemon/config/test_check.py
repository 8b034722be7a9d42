"""`harpd --check`: the JSON object, the lines for people, the examples of the documentation."""

import json
from dataclasses import replace
from ipaddress import IPv6Interface
from pathlib import Path

import pytest
from tests.daemon.config.kit import RIGHT, changed, examined, warned

from harp.daemon.config.check import check
from harp.daemon.config.load import examine
from harp.daemon.config.machine import Machine, misfits

EXAMPLES = sorted((Path(__file__).parents[3] / "docs/examples").glob("*.toml"))
SECRET = "00112233445566778899aabbccddeeff"


@pytest.fixture
def credentials(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("group7.key", "group7-2025.key", "group7-2026.key"):
        path = tmp_path / name
        path.write_text(SECRET)
        path.chmod(0o600)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize("path", EXAMPLES, ids=[path.stem for path in EXAMPLES])
def test_examples_are_right_and_without_doubts(path: Path, credentials: Path) -> None:
    found = examine(path)
    assert found.config and not found.warnings


def test_there_are_examples() -> None:
    assert {path.stem for path in EXAMPLES} >= {"pair", "quorum", "board", "hard-switch"}


def test_json_keys_are_kept(credentials: Path, capsys: pytest.CaptureFixture[str]) -> None:
    quorum = next(path for path in EXAMPLES if path.stem == "quorum")
    assert check(quorum, as_json=True) == 0
    out, err = capsys.readouterr()
    found = json.loads(out)
    assert not err and out.count("\n") == 1 and SECRET not in out
    assert list(found) == ["schema", "file", "valid", "problems", "warnings", "plan"]
    assert found["schema"] == 1 and found["valid"] is True and found["problems"] == []
    assert list(found["plan"]) == [
        *("data_plane", "state_dir", "control_socket", "metrics", "guard", "offload", "tunnel"),
        "groups",
    ]
    (group,) = found["plan"]["groups"]
    assert list(group) == [
        *("id", "me", "mode", "preference", "virtual_address", "home_interface", "home_prefixes"),
        *("route_table", "rule_preference", "fwmark", "links", "peers", "hello_interval_us"),
        *("detection_us", "skew_us", "quorum", "security", "auth", "keys", "durability"),
    ]
    assert group["links"][1] == {
        "interface": "backup",
        "address": "2001:db8:ff::1",
        "hello": "unicast",
        "slot": False,
        "watched_by": [],
    }
    assert group["keys"] == [
        {"spi": 257, "source": "credential group7-2026.key", "signs": True},
        {"spi": 256, "source": "credential group7-2025.key", "signs": False},
    ]
    assert group["detection_us"] == 30_000 and group["rule_preference"] == 11407


def test_lines_for_people(credentials: Path, capsys: pytest.CaptureFixture[str]) -> None:
    quorum = next(path for path in EXAMPLES if path.stem == "quorum")
    assert check(quorum, as_json=False) == 0
    out, _ = capsys.readouterr()
    assert "HELLO unicast on backup from 2001:db8:ff::1" in out
    assert "every 10 ms; a member is down after 30 ms of silence" in out
    assert "2001:db8:1::100 on home, rule 11407: mark 283 to table 11407" in out
    assert "psk, enforce, SPI 257 from credential group7-2026.key (signs), SPI 256" in out
    assert "warning: interface: home is not on this machine" in out


def test_a_wrong_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "harp.toml"
    path.write_text(changed("id = 7", "id = 7\nquorum = 1").replace("me =", "mee ="))
    assert check(path, as_json=False) == 1
    out, err = capsys.readouterr()
    assert not out and all(line.startswith(f"{path}: group 1") for line in err.splitlines())
    assert check(path, as_json=True) == 1
    found = json.loads(capsys.readouterr().out)
    assert found["plan"] is None and found["valid"] is False
    assert list(found["problems"][0]) == ["place", "key", "what", "example"]


def test_no_file_no_toml(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "harp.toml"
    assert check(path, as_json=False) == 1
    assert capsys.readouterr().err == f"{path}: cannot be read: No such file or directory\n"
    path.write_text("[[group]\n")
    assert check(path, as_json=False) == 1
    assert capsys.readouterr().err.startswith(f"{path}: not TOML: ")


ADVICE = {
    "nothing protects": (RIGHT, 'security: "none": everybody on the link can take over'),
    "insecure beside a protection": (
        changed('"none"', '"ipsec"'),
        'insecure: true has no effect without security = "none"',
    ),
    "multicast under IPsec": (changed('"none"', '"ipsec"'), "IPsec cannot protect multicast"),
    "metrics for all": (
        changed('metrics_listen = ""', 'metrics_listen = "[::]:9342"'),
        ":: is not loopback",
    ),
    "everybody commands": ('[control]\nmode = "0666"\n' + RIGHT, "lets everybody command harpd"),
    "not in time": ('[scheduling]\npolicy = "other"\n' + RIGHT, "takeovers are late"),
    "no guard": (changed("[daemon]", "[daemon]\nguard = false"), "when harpd is killed"),
    "nobody can register": (
        changed('home_prefixes = ["2001:db8:1::/64"]\n', ""),
        "no mobile node can register",
    ),
    "virtual address elsewhere": (
        changed("2001:db8:1::100", "2001:db8:9::100"),
        "2001:db8:9::100 is in no home prefix",
    ),
    "alone": (
        changed('[[group.member]]\nname = "ha2"\naddresses = ["2001:db8:1::2"]\n', ""),
        "ha1 is alone",
    ),
    "slots without a board": (
        changed('"eth0"', '"eth0"\nslots = true'),
        "slots = true has no effect without a board",
    ),
    "too fast for software": (
        changed("hello_interval_ms = 10", "hello_interval_ms = 1"),
        "1 ms is short for a timer in software",
    ),
    "too fast for a slot": (
        '[offload]\ndevice = "/dev/ttyUSB1"\n'
        + changed("hello_interval_ms = 10", "hello_interval_us = 50").replace(
            '"eth0"', '"eth0"\nslots = true'
        ),
        "50 µs: a slot sends every 100 µs at most",
    ),
    "more jitter than a slot has": (
        '[offload]\ndevice = "/dev/ttyUSB1"\n'
        + changed("id = 7", "id = 7\njitter_percent = 20").replace(
            '"eth0"', '"eth0"\nslots = true'
        ),
        "jitter_percent: 20: a slot has a jitter of 10 % at most",
    ),
    "short lease": (
        '[offload]\ndevice = "/dev/ttyUSB1"\nlease_ms = 5\n' + RIGHT,
        "the lease of 5 ms is short for a serial link",
    ),
    "skew": (
        changed("id = 7", "id = 7\ntakeover_skew_ms = 5"),
        "5 ms is less than a HELLO interval",
    ),
    "quorum of two": (changed("id = 7", "id = 7\nquorum = 2"), "neither member serves alone"),
    "auth without keys": (
        changed("id = 7", 'id = 7\nauth = "sign"'),
        "auth: has no effect without a [[group.key]]",
    ),
}


@pytest.mark.parametrize(("text", "words"), ADVICE.values(), ids=ADVICE)
def test_doubts_are_told(text: str, words: str) -> None:
    assert [line for line in warned(text) if words in line]


def test_steps_on_the_way_to_enforce(credentials: Path) -> None:
    text = changed('"none"\ninsecure = true', '"psk"\nauth = "permissive"')
    found = examined(text + '[[group.key]]\nspi = 256\ncredential = "group7.key"\n', credentials)
    assert [each.key for each in found.warnings] == ["auth"]


def machine(*addresses: str, interfaces: tuple[str, ...] = ("lo", "eth0")) -> Machine:
    on_link = tuple(("eth0", IPv6Interface(each)) for each in addresses)
    return Machine(frozenset(interfaces), on_link, frozenset(("root",)))


def misfit(text: str, fits: Machine) -> list[str]:
    config = examined(text).config
    assert config
    return [str(each) for each in misfits(config, fits)]


def test_a_machine_that_fits() -> None:
    assert not misfit(RIGHT, machine("2001:db8:1::1/64", "fe80::1/64"))


def test_machines_that_do_not_fit() -> None:
    assert misfit(RIGHT, machine(interfaces=("lo",))) == [
        "interface: eth0 is not on this machine; there are lo"
    ]
    (line,) = misfit(RIGHT, machine("2001:db8:1::9/64"))
    assert "eth0 does not have 2001:db8:1::1: `ip -6 address add" in line
    (line,) = misfit(RIGHT, machine("2001:db8:1::1/128"))
    assert "2001:db8:1::2 is not on the link" in line and "require_hop_limit = false" in line
    (line,) = misfit(RIGHT, machine("2001:db8:1::1/64", "2001:db8:1::100/64"))
    assert "2001:db8:1::100 is on eth0 already" in line
    (line,) = misfit(RIGHT, replace(machine("2001:db8:1::1/64"), forwards=False))
    assert "sysctl net.ipv6.conf.all.forwarding=1" in line
    (line,) = misfit('[control]\ngroup = "harp"\n' + RIGHT, machine("2001:db8:1::1/64"))
    assert "groupadd --system harp" in line


def test_this_machine_can_be_read() -> None:
    assert "lo" in Machine.this().interfaces
