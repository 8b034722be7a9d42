"""What a reload takes at once, and what waits; never a key in the words."""

from pathlib import Path
from random import Random

import pytest
from tests.daemon.config.kit import RIGHT, changed, examined

from harp.daemon.config.difference import difference, live_part
from harp.daemon.config.model import DaemonConfig
from harp.engine.engine import Engine

KEY = '[[group.key]]\nspi = {spi}\ncredential = "{name}"\n'
PSK = changed('"none"\ninsecure = true', '"psk"')


def config(text: str, credentials: Path | None = None) -> DaemonConfig:
    found = examined(text, credentials)
    assert found.config, found.problems
    return found.config


LIVE = {
    "preference": (changed("id = 7", "id = 7\npreference = 9"), "group 7: preference: 100 → 9"),
    "interval": (
        changed("hello_interval_ms = 10", "hello_interval_ms = 50"),
        "group 7: hello_interval_us: 10 ms → 50 ms",
    ),
    "table of the group": (
        changed("[group.sync]", "[group.sync]\nresync_min_s = 90"),
        "group 7: sync.resync_min_us: 60 s → 90 s",
    ),
    "rate of the filter": (
        "[filter]\npeer_rate = 5\n" + RIGHT,
        "filter.peer_rate: 10000 → 5",
    ),
    "capacity": (
        changed("[group.home_agent]", "[group.home_agent]\nmax_bindings = 5"),
        "group 7: home_agent.max_bindings: 1000000 → 5",
    ),
    "log": (changed("[daemon]", '[daemon]\nlog_level = "debug"'), 'log_level: "info" → "debug"'),
    "command": (
        changed("id = 7", 'id = 7\non_role = ["/bin/true"]'),
        'group 7: on_role: [] → ["/bin/true"]',
    ),
}
WAITS = {
    "interface": (
        changed('"eth0"', '"eth1"'),
        [
            'group 7: links: [["eth0", true, false]] → [["eth1", true, false]]',
            'group 7: home_interface: "eth0" → "eth1"',
        ],
    ),
    "virtual address": (
        changed("2001:db8:1::100", "2001:db8:1::101"),
        ['group 7: virtual_address: "2001:db8:1::100" → "2001:db8:1::101"'],
    ),
    "socket": (
        '[control]\nsocket = "/tmp/x"\n' + RIGHT,
        ['control.socket: "/run/harp/control" → "/tmp/x"'],
    ),
    "protection": (
        changed('"none"\ninsecure = true', '"ipsec"'),
        ['group 7: security: "none" → "ipsec"', "group 7: insecure: true → false"],
    ),
    "filter as a whole": (
        "[filter]\nenabled = false\n" + RIGHT,
        ["filter.enabled: true → false"],
    ),
}


@pytest.mark.parametrize(("text", "line"), LIVE.values(), ids=LIVE)
def test_taken_at_once(text: str, line: str) -> None:
    old, new = config(RIGHT), config(text)
    found = difference(old, new)
    assert found.live == (line,) and not found.restart
    assert live_part(old, new) == new


@pytest.mark.parametrize(("text", "lines"), WAITS.values(), ids=WAITS)
def test_waits_for_the_next_start(text: str, lines: list[str]) -> None:
    old, new = config(RIGHT), config(text)
    found = difference(old, new)
    assert not found.live
    assert found.restart == tuple(f"{line} (at the next start)" for line in lines)
    assert live_part(old, new) == old


def test_nothing_changed() -> None:
    assert not difference(config(RIGHT), config(RIGHT)).changes


def test_groups_come_and_go() -> None:
    two = RIGHT + RIGHT[RIGHT.index("[[group]]") :].replace("id = 7", "id = 8").replace(
        "::100", "::101"
    )
    old, new = config(RIGHT), config(two)
    assert difference(old, new).restart == ("group 8: not there → new (at the next start)",)
    assert difference(new, old).restart == ("group 8: there → gone (at the next start)",)
    assert live_part(old, new) == old and live_part(new, old) == new


def test_keys_change_without_being_shown(tmp_path: Path) -> None:
    for name, digits in {"a": "00" * 16, "b": "11" * 16, "c": "22" * 16}.items():
        (tmp_path / name).write_text(digits)
        (tmp_path / name).chmod(0o600)
    one = config(PSK + KEY.format(spi=256, name="a"), tmp_path)
    two = config(PSK + KEY.format(spi=256, name="a") + KEY.format(spi=257, name="b"), tmp_path)
    other = config(PSK + KEY.format(spi=256, name="c"), tmp_path)
    assert difference(one, two).live == ('group 7: keys: ["SPI 256"] → ["SPI 256", "SPI 257"]',)
    assert difference(one, other).live == ('group 7: keys: ["SPI 256"] → other keys of these SPIs',)
    assert live_part(one, two).engine == two.engine


@pytest.mark.parametrize("text", [*(text for text, _ in LIVE.values())])
def test_the_engine_takes_what_is_said_to_be_taken(text: str) -> None:
    old, new = config(RIGHT), config(text)
    engine = Engine(old.engine, Random(1), 0)
    engine.start(0)
    for group in live_part(old, new).engine.groups:
        engine.reconfigure(group, 1)


def test_the_engine_refuses_what_is_said_to_wait() -> None:
    for text, _ in WAITS.values():
        old, new = config(RIGHT), config(text)
        if old.engine != new.engine:
            engine = Engine(old.engine, Random(1), 0)
            engine.start(0)
            with pytest.raises(ValueError, match="is fixed while the group runs"):
                engine.reconfigure(new.engine.groups[0], 1)
