"""What changed between two configurations, and whether a running daemon can take it.

A reload keeps the role (harp.md §5 knows no pause for it): what would need a new socket, device or
group waits for a restart, and says so.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv6Address
from typing import Any

from harp.daemon.config.model import DaemonConfig
from harp.daemon.config.values import readable_us, shown
from harp.engine import reconfigure
from harp.engine.config import GroupConfig, Key, Prefix

LIVE = frozenset(("log_level", "metrics_listen", "scheduling", "filter", "on_role"))
"""Settings of the daemon that it takes while it runs; of a group `engine.reconfigure.LIVE`."""
_FIXED_INSIDE = frozenset(("filter.enabled",))
"""Makes or removes the filter's table: at a start."""


@dataclass(frozen=True, slots=True)
class Change:
    """One setting that is another now."""

    name: str
    """`daemon.log_level`, `group 7: preference`."""
    old: str
    """For people; never a key."""
    new: str
    """The same."""
    live: bool
    """Taken at once; else at the next start."""

    def __str__(self) -> str:
        when = "" if self.live else " (at the next start)"
        return f"{self.name}: {self.old} → {self.new}{when}"


@dataclass(frozen=True, slots=True)
class Difference:
    """All changes, in the order of the settings."""

    changes: tuple[Change, ...]

    @property
    def live(self) -> tuple[str, ...]:
        """What is taken at once."""
        return tuple(str(each) for each in self.changes if each.live)

    @property
    def restart(self) -> tuple[str, ...]:
        """What waits for the next start."""
        return tuple(str(each) for each in self.changes if not each.live)


def difference(old: DaemonConfig, new: DaemonConfig) -> Difference:
    """From the running configuration to the one just read."""
    return Difference(tuple(_changes(old, new)))


def live_part(old: DaemonConfig, new: DaemonConfig) -> DaemonConfig:
    """The old configuration with everything new that can be taken while running."""
    groups = {group.group: group for group in new.engine.groups}
    settings = dict(new.groups)
    daemon = {name: getattr(new, name) for name in _fields(old) & LIVE}
    daemon["filter"] = dataclasses.replace(new.filter, enabled=old.filter.enabled)
    engine = tuple(
        _live_group(group, groups.get(group.group, group)) for group in old.engine.groups
    )
    own = tuple(
        (group, dataclasses.replace(each, on_role=settings.get(group, each).on_role))
        for group, each in old.groups
    )
    return dataclasses.replace(
        old, **daemon, engine=dataclasses.replace(old.engine, groups=engine), groups=own
    )


def _live_group(old: GroupConfig, new: GroupConfig) -> GroupConfig:
    changed = {name: getattr(new, name) for name in reconfigure.LIVE}
    if new.protection.security is not old.protection.security:
        changed["protection"] = old.protection
    return dataclasses.replace(old, **changed)


def _fields(value: Any) -> set[str]:
    return {each.name for each in dataclasses.fields(value)}


def _changes(old: DaemonConfig, new: DaemonConfig) -> Iterator[Change]:
    yield from _inside("", old, new, without={"engine", "groups"})
    before = {group.group: group for group in old.engine.groups}
    after = {group.group: group for group in new.engine.groups}
    for group in sorted(before.keys() | after.keys()):
        name = f"group {group}"
        if group not in after:
            yield Change(name, "there", "gone", live=False)
        elif group not in before:
            yield Change(name, "not there", "new", live=False)
        else:
            yield from _group(f"{name}: ", before[group], after[group])
            yield from _inside(f"{name}: ", old.group(group), new.group(group), {"key_sources"})


def _group(name: str, old: GroupConfig, new: GroupConfig) -> Iterator[Change]:
    for path, was, now in _pairs("", old, new, {"protection"}):
        live = path.partition(".")[0] in reconfigure.LIVE
        yield Change(name + path, _text(path, was), _text(path, now), live)
    live = old.protection.security is new.protection.security
    for path, was, now in _pairs("", old.protection, new.protection, set()):
        before, after = _text(path, was), _text(path, now)
        if path == "keys" and before == after:
            after = "other keys of these SPIs"
        yield Change(name + path, before, after, live)


def _inside(name: str, old: Any, new: Any, without: set[str]) -> Iterator[Change]:
    for path, was, now in _pairs("", old, new, without):
        live = path.partition(".")[0] in LIVE and path not in _FIXED_INSIDE
        yield Change(name + path, _text(path, was), _text(path, now), live)


def _pairs(prefix: str, old: Any, new: Any, without: set[str]) -> Iterator[tuple[str, Any, Any]]:
    """(name, old, new) of everything that differs; tables of settings are entered."""
    for each in dataclasses.fields(old):
        was, now = getattr(old, each.name), getattr(new, each.name)
        if each.name in without or was == now:
            continue
        if dataclasses.is_dataclass(was) and dataclasses.is_dataclass(now):
            yield from _pairs(f"{prefix}{each.name}.", was, now, set())
        else:
            yield f"{prefix}{each.name}", was, now


def _text(path: str, value: object) -> str:
    """A value for people: keys by their SPIs, addresses and durations readable."""
    if path.endswith("mn_keys") and isinstance(value, tuple):
        return f"{len(value)} keys"
    if path.endswith("_us") and isinstance(value, int):
        return readable_us(value)
    return shown(_plain(value))


def _plain(value: object) -> object:
    if isinstance(value, Key):
        return f"SPI {value.spi}"
    if isinstance(value, bytes):
        return str(IPv6Address(value)) if len(value) == 16 else value.hex()
    if isinstance(value, Prefix):
        return f"{IPv6Address(value.address)}/{value.length}"
    if isinstance(value, tuple):
        return [_plain(each) for each in value]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return [_plain(getattr(value, each.name)) for each in dataclasses.fields(value)]
    return "none" if value is None else value
