"""The configuration file as tables of settings, made from the dataclasses that they fill.

A field of the engine's or the daemon's configuration is a key of the file by being there: nothing
is listed twice, nothing can be out of reach. A duration, kept in µs, may be written in µs, ms or s:
`hello_interval_us`, `hello_interval_ms` and `hello_interval_s` are one setting.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import IPv6Address, IPv6Network
from pathlib import Path
from typing import Annotated, Any, get_type_hints

from msgspec import Meta

from harp.daemon.config import model
from harp.daemon.config.values import LARGEST, UNITS_US
from harp.engine import config as engine
from harp.tables.codepoints import CodePoints

REQUIRED = dataclasses.MISSING
"""Default of a setting that must be given."""
DURATION = "_us"
_IN_FILE: Mapping[Any, Any] = {
    int: Annotated[int, Meta(ge=0, le=LARGEST)],
    bytes: IPv6Address,
    tuple[bytes, ...]: tuple[IPv6Address, ...],
    tuple[engine.Prefix, ...]: tuple[IPv6Network, ...],
}
"""The engine's type → how it stands in the file."""


@dataclass(frozen=True, slots=True)
class Setting:
    """One key of a table."""

    key: str
    """Without the unit if it is a duration."""
    field: str
    """Field of `owner` that it fills."""
    owner: type
    """Dataclass; its docstrings say what the setting means."""
    kind: Any
    """Type in the file."""
    default: object
    """As `owner` has it; `REQUIRED`: none."""

    @property
    def is_duration(self) -> bool:
        """Its key ends in a unit of one's choice."""
        return self.field.endswith(DURATION)

    @property
    def spellings(self) -> tuple[str, ...]:
        """Keys that mean it."""
        return tuple(self.key + unit for unit in UNITS_US) if self.is_duration else (self.key,)


@dataclass(frozen=True, slots=True)
class Table:
    """A table of the file, or one of an array of tables."""

    name: str
    """Last part of its name: `member` of `[[group.member]]`."""
    settings: tuple[Setting, ...]
    """In the order of the reference page."""
    tables: tuple[Table, ...] = ()
    """Inside it."""
    many: bool = False
    """`[[name]]`, any number; else `[name]`, at most one."""
    label: str = ""
    """Setting that names one of many in messages."""


@dataclass(frozen=True, slots=True)
class GroupFile:
    """Keys of `[[group]]` that the engine does not know under their names."""

    me: str
    """Name of the member that this machine is."""
    home_interface: str = ""
    """Interface of the home link, where virtual and home addresses are; empty: the first link."""
    on_role: tuple[str, ...] = ()
    """Command for each change of role: program and arguments; Group ID, old role, new role and
    reason are added."""


class Source(StrEnum):
    """What watches members beside HELLOs."""

    BFD = "bfd"
    """Sessions of FRR's bfdd."""
    VRRP = "vrrp"
    """An instance of keepalived."""


@dataclass(frozen=True, slots=True)
class DetectionFile:
    """Something that watches members beside HELLOs (harp.md §4)."""

    source: Source
    """Who."""
    link: str
    """Interface on which it watches."""
    socket: Path = Path("/run/frr/bfdd.sock")
    """`bfd`: control socket of bfdd (`bfdd --bfdctl`)."""
    peer: str = ""
    """`vrrp`: the member that is the instance's master."""
    instance: str = ""
    """`vrrp`: its name in keepalived.conf."""
    fifo: Path = Path("/run/harp/vrrp.fifo")
    """`vrrp`: keepalived's `vrrp_notify_fifo`."""


@dataclass(frozen=True, slots=True)
class KeyFile:
    """Where a key of `[[group.key]]` is. Exactly one of `file` and `credential`."""

    spi: int
    """Security Parameter Index, 256 to 4294967295."""
    file: str = ""
    """File with the key in hexadecimal, at least 32 digits; nobody else may read it."""
    credential: str = ""
    """systemd credential with the same content (`LoadCredential=` in the unit)."""


@dataclass(frozen=True, slots=True)
class MobileNetwork:
    """What a mobile router may register (RFC 3963 §6)."""

    home_address: bytes
    """Of the mobile router."""
    prefixes: tuple[engine.Prefix, ...]
    """Behind it."""


@dataclass(frozen=True, slots=True)
class MobileKeys:
    """Keys shared with mobile nodes (RFC 4285)."""

    mn_keys_file: str = ""
    """File of lines `HOME-ADDRESS SPI KEY`, the key in hexadecimal; nobody else may read it."""
    mn_keys_credential: str = ""
    """systemd credential with the same content."""


def settings(
    owner: type, *, rename: Mapping[str, str] | None = None, without: Iterable[str] = ()
) -> tuple[Setting, ...]:
    """The fields of a dataclass as settings of the file."""
    hints = get_type_hints(owner, include_extras=True)
    found = []
    for each in dataclasses.fields(owner):
        if each.name in without:
            continue
        key = (rename or {}).get(each.name, each.name)
        kind = hints[each.name]
        default = each.default_factory() if callable(each.default_factory) else each.default
        found.append(
            Setting(key.removesuffix(DURATION), each.name, owner, _IN_FILE.get(kind, kind), default)
        )
    return tuple(found)


_HOME_AGENT = Table(
    "home_agent",
    settings(engine.HomeAgentConfig, without=("mobile_prefixes", "mn_keys")) + settings(MobileKeys),
    (Table("mobile_network", settings(MobileNetwork), many=True, label="home_address"),),
)
_GROUP = Table(
    "group",
    settings(GroupFile)
    + settings(
        engine.GroupConfig,
        rename={"group": "id"},
        without=(
            *("links", "members", "self_index"),
            *("protection", "sync", "home_agent", "code_points"),
        ),
    )
    + settings(engine.Protection, without=("keys",)),
    (
        Table(
            "link",
            settings(engine.LinkConfig, rename={"name": "interface"}),
            many=True,
            label="interface",
        ),
        Table("member", settings(engine.MemberConfig), many=True, label="name"),
        Table("key", settings(KeyFile), many=True, label="spi"),
        Table("detection", settings(DetectionFile), many=True, label="source"),
        Table("sync", settings(engine.SyncConfig)),
        _HOME_AGENT,
    ),
    many=True,
    label="id",
)
ROOT = Table(
    "",
    (),
    (
        Table(
            "daemon",
            settings(
                model.DaemonConfig,
                without=(
                    *("engine", "groups", "scheduling", "tables"),
                    *("control", "offload", "filter"),
                ),
            ),
        ),
        Table("scheduling", settings(model.Scheduling)),
        Table("tables", settings(model.Tables)),
        Table("control", settings(model.ControlSettings)),
        Table("offload", settings(model.OffloadSettings)),
        Table("filter", settings(model.FilterSettings)),
        Table("code_points", settings(CodePoints)),
        _GROUP,
    ),
)
"""The whole file."""

EXAMPLES: Mapping[str, str] = {
    "daemon.state_dir": '"/var/lib/harp"',
    "control.group": '"harp"',
    "offload.device": '"/dev/ttyUSB1"',
    "group.id": "7",
    "group.me": '"ha1"',
    "group.virtual_address": '"2001:db8:1::100"',
    "group.home_prefixes": '["2001:db8:1::/64"]',
    "group.home_interface": '"eth0"',
    "group.on_role": '["/usr/local/bin/harp-role"]',
    "group.quorum": "2",
    "group.signing_spi": "256",
    "group.link.interface": '"eth0"',
    "group.member.name": '"ha1"',
    "group.member.addresses": '["2001:db8:1::1"]',
    "group.detection.source": '"bfd"',
    "group.detection.link": '"eth0"',
    "group.detection.peer": '"ha2"',
    "group.detection.instance": '"to-ha2"',
    "group.key.spi": "256",
    "group.key.file": '"/etc/harp/group7.key"',
    "group.key.credential": '"group7.key"',
    "group.home_agent.mn_keys_file": '"/etc/harp/mobile-nodes.keys"',
    "group.home_agent.mn_keys_credential": '"mobile-nodes.keys"',
    "group.home_agent.mobile_network.home_address": '"2001:db8:1::1000"',
    "group.home_agent.mobile_network.prefixes": '["2001:db8:1000::/56"]',
}
"""Full name → how it may be written, where the default is no example."""
