"""A group's settings change while it runs: role, peers, store and sequences stay.

Ref: harp.md §7 ("a running group can be moved to a key without an outage")

Every part of a group reads its settings where it needs them, from one copy that is the group's own.
A change is written into that copy: frozen for all others, it is thawed here alone.
"""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

from harp.engine.config import GroupConfig

LIVE = frozenset(
    (
        *("preference", "hello_interval_us", "multiplier", "jitter_percent", "ha_lifetime_s"),
        *("takeover_skew_us", "init_wait_us", "preempt", "preempt_delay_us"),
        *("switch_timer_us", "switch_drain_us", "reliability_timeout_us"),
        *("max_hello_rate", "na_rate", "switch_rate", "rekey_on_takeover"),
        *("protection", "sync", "home_agent"),
    )
)
"""Settings of a group that may change while it runs; of `protection` not `security` itself."""
_NESTED = ("sync", "home_agent")


def own_copy(config: GroupConfig) -> GroupConfig:
    """The same settings, shared with nobody outside the group."""
    return replace(config, **{name: replace(getattr(config, name)) for name in _NESTED})


def check(current: GroupConfig, new: GroupConfig) -> None:
    """ValueError names a setting that may not change."""
    for each in fields(new):
        if each.name not in LIVE and getattr(new, each.name) != getattr(current, each.name):
            raise ValueError(f"group {current.group}: {each.name} is fixed while the group runs")
    if new.protection.security is not current.protection.security:
        raise ValueError(f"group {current.group}: security is fixed while the group runs")


def take(current: GroupConfig, new: GroupConfig) -> None:
    """Writes new settings into a group's own copy. ValueError as `check`; then nothing has
    changed."""
    check(current, new)
    for name in LIVE:
        if name in _NESTED:
            _overwrite(getattr(current, name), getattr(new, name))
        else:
            object.__setattr__(current, name, getattr(new, name))


def _overwrite(current: Any, new: Any) -> None:
    for each in fields(new):
        object.__setattr__(current, each.name, getattr(new, each.name))
