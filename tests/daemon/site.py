"""The configuration that tests of harpd's parts share: group 7 of `network.home_network`."""

from __future__ import annotations

from ipaddress import IPv6Address
from pathlib import Path

from harp.daemon.config.model import DaemonConfig, GroupSettings
from harp.engine.config import (
    EngineConfig,
    GroupConfig,
    Key,
    LinkConfig,
    MemberConfig,
    Prefix,
    Protection,
    Security,
)

GROUP = 7


def address(text: str) -> bytes:
    """Sixteen octets."""
    return IPv6Address(text).packed


VIRTUAL = address("2001:db8:1::1")
OWN, PEER = address("2001:db8:1::a1"), address("2001:db8:1::c1")
HOME, CARE_OF = address("2001:db8:1::beef"), address("2001:db8:2::9")


def group_config(
    protection: Protection | None = None, hello_interval_us: int = 10_000
) -> GroupConfig:
    """Two members on the home link; the correspondent's address is the peer's."""
    return GroupConfig(
        GROUP,
        (LinkConfig("home"),),
        (MemberConfig("ha1", (OWN,)), MemberConfig("ha2", (PEER,))),
        0,
        virtual_address=VIRTUAL,
        home_prefixes=(Prefix(address("2001:db8:1::"), 64),),
        hello_interval_us=hello_interval_us,
        protection=protection or Protection(Security.NONE, insecure=True),
    )


def daemon_config(run_dir: Path, group: GroupConfig | None = None) -> DaemonConfig:
    """Of the one group."""
    return DaemonConfig(
        EngineConfig((group or group_config(),)),
        ((GROUP, GroupSettings("home")),),
        state_dir=run_dir,
        run_dir=run_dir,
    )


def psk(spi: int = 256) -> Protection:
    """One key."""
    return Protection(Security.PSK, keys=(Key(spi, bytes(range(spi - 256, spi - 240))),))
