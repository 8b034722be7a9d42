"""Configuration: what cannot work is refused with a message that names it (harp.md §4 to §8)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from harp.engine.config import (
    EngineConfig,
    GroupConfig,
    HomeAgentConfig,
    Key,
    LinkConfig,
    MemberConfig,
    Prefix,
    Protection,
    Security,
    SwitchMode,
    SyncConfig,
)
from harp.tables.codepoints import CodePoints

from .group_net import VIRTUAL, address, config

KEY = Key(300, bytes(16))


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"group": 256}, "group = 256"),
        ({"preference": 0}, "preference = 0"),
        ({"links": ()}, "links"),
        ({"links": (LinkConfig("eth0"), LinkConfig("eth0"))}, "each name once"),
        ({"self_index": 3}, "self_index = 3"),
        ({"links": (LinkConfig("eth0"), LinkConfig("eth1"))}, "one for each of the 2 links"),
        ({"virtual_address": address(1)}, "used twice"),
        ({"virtual_address": b""}, "wanted in virtual mode"),
        ({"hello_interval_us": 0}, "hello_interval_us"),
        ({"multiplier": 1}, "multiplier = 1"),
        ({"jitter_percent": 51}, "jitter_percent"),
        ({"ha_lifetime_s": 2}, "at least the detection time"),
        ({"ha_lifetime_s": 65536}, "ha_lifetime_s"),
        ({"takeover_skew_us": -1}, "takeover_skew_us"),
        ({"switch_timer_us": 0}, "switch_timer_us"),
        ({"quorum": 1}, "more than half"),
        ({"quorum": 4}, "at most all"),
    ],
)
def test_group_refuses(changes: dict[str, Any], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        config(**changes)


@pytest.mark.parametrize(
    ("make", "named"),
    [
        (lambda: Prefix(b"", 64), "16 octets"),
        (lambda: Prefix(bytes(16), 129), "0 to 128"),
        (lambda: Prefix(bytes(15) + b"\x01", 64), "must be zero"),
        (lambda: LinkConfig(""), "interface"),
        (lambda: MemberConfig("a", ()), "one address a link"),
        (lambda: MemberConfig("a", (bytes(16),)), "unicast"),
        (lambda: Key(255, bytes(16)), "256 to"),
        (lambda: Key(256, bytes(15)), "at least 16 octets"),
        (lambda: Protection(Security.NONE), "insecure = true"),
        (lambda: Protection(Security.PSK), "at least one key"),
        (lambda: Protection(Security.PSK, keys=(KEY, KEY)), "each SPI once"),
        (lambda: Protection(Security.PSK, keys=(KEY,), signing_spi=301), "one of"),
        (lambda: Protection(replay_window_us=0), "replay_window_us"),
        (lambda: HomeAgentConfig(max_lifetime_s=6), "multiple of 4"),
        (lambda: HomeAgentConfig(min_refresh_s=-4), "min_refresh_s"),
        (lambda: HomeAgentConfig(refresh_margin_s=-1), "refresh_margin_s"),
        (lambda: HomeAgentConfig(mn_clock_window_us=1), "above 3 s"),
        (lambda: HomeAgentConfig(dad_timeout_us=0), "dad_timeout_us"),
        (lambda: HomeAgentConfig(max_bindings=0), "max_bindings"),
        (lambda: SyncConfig(durability_timeout_us=0), "durability_timeout_us"),
        (lambda: SyncConfig(ss_rep_timer_max_us=1), "ss_rep_timer_max_us"),
        (lambda: SyncConfig(mtu_octets=1000), "at least 1280"),
        (lambda: EngineConfig((config(), config())), "each Group ID once"),
        (
            lambda: EngineConfig(
                (config(), replace(config(), group=8, code_points=CodePoints(option_aaa=250)))
            ),
            "the same in every group",
        ),
    ],
)
def test_parts_refuse(make: Any, named: str) -> None:
    with pytest.raises(ValueError, match=named):
        make()


def test_a_key_never_stands_in_a_message() -> None:
    with pytest.raises(ValueError, match="SPI 300") as caught:
        Key(300, b"secret")
    assert "secret" not in str(caught.value)
    assert "key" not in repr(Key(300, b"0123456789abcdef")).replace("Key(", "")


def test_without_a_word_about_it_a_group_wants_ipsec() -> None:
    plain = config(1)
    bare = GroupConfig(7, plain.links, plain.members, 1, virtual_address=VIRTUAL)
    assert bare.protection == Protection(Security.IPSEC)


def test_derived_values() -> None:
    plain = config()
    assert plain.identity == address(0)
    assert plain.detection_us == 3_000_000
    assert plain.skew_us == 2_000_000
    assert plain.initial_wait_us == 3_000_000
    assert plain.lifetime_s == 9
    fast = config(hello_interval_us=1_500, takeover_skew_us=7, init_wait_us=9)
    assert (fast.skew_us, fast.initial_wait_us, fast.hello_interval_ms) == (7, 9, 2)
    assert config(hello_interval_us=1_500).initial_wait_us == 1_000_000
    assert config(hello_interval_us=1_500).lifetime_s == 1


def test_signing_key_is_the_first_unless_named() -> None:
    other = Key(301, bytes(16))
    assert Protection().signing_key is None
    assert Protection(Security.PSK, keys=(KEY, other)).signing_key == KEY
    assert Protection(Security.PSK, keys=(KEY, other), signing_spi=301).signing_key == other


@pytest.mark.parametrize(
    ("security", "keys", "multicast", "wanted"),
    [
        (Security.IPSEC, (), True, False),  # ESP cannot carry it (harp.md §7)
        (Security.IPSEC, (KEY,), True, True),
        (Security.PSK, (KEY,), True, True),
        (Security.PSK, (KEY,), False, False),
    ],
)
def test_multicast_hellos(
    security: Security, keys: tuple[Key, ...], multicast: bool, wanted: bool
) -> None:
    links = (LinkConfig("eth0", multicast=multicast),)
    assert config(links=links, protection=Protection(security, keys=keys)).multicast_on(0) is wanted


def test_settings_hash_covers_what_members_share_and_no_more() -> None:
    mine, other = config(0), config(1)
    assert mine.settings_hash() == other.settings_hash()
    assert len(mine.settings_hash()) == 8
    assert config(hello_interval_us=5_000).settings_hash() == mine.settings_hash()
    changed = [
        config(group=9),
        config(members=4),
        config(home_prefixes=()),
        config(mode=SwitchMode.HARD),
        config(virtual_address=VIRTUAL[:-1] + b"\xfe"),
        config(quorum=2),
    ]
    # harp.md §5: with quorum "interval and multiplier belong to Configuration".
    changed.append(config(quorum=2, hello_interval_us=5_000))
    hashes = {each.settings_hash() for each in changed}
    assert len(hashes) == len(changed)
    assert mine.settings_hash() not in hashes


def test_prefix_contains() -> None:
    prefix = Prefix(bytes.fromhex("20010db8000000010000000000000000"), 64)
    assert prefix.contains(address(1))
    assert not prefix.contains(bytes(16))
