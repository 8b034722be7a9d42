"""The scenarios by name, each with what it shows."""

from __future__ import annotations

from harp.lab.netns.run import USUAL_HELLO_MS, Scenario
from harp.lab.netns.scenarios.bindings import (
    full_sync,
    random_kills,
    takeover_size,
    update_rate,
)
from harp.lab.netns.scenarios.board import board_kill, board_pull_active, board_pull_standby
from harp.lab.netns.scenarios.faults import graceful_stop, kill_active, pause_active
from harp.lab.netns.scenarios.links import link_flap, partition_heal
from harp.lab.netns.scenarios.odd import busy, flood, mixed_versions, psk_rollout
from harp.lab.netns.scenarios.planned import hard_switch, planned_switch
from harp.lab.netns.scenarios.start import cold_start, restart_all
from harp.tables.simulated import MIN_HELLO_MS

SCENARIOS: dict[str, Scenario] = {
    "cold-start": cold_start,
    "kill-active": kill_active,
    "graceful-stop": graceful_stop,
    "planned-switch": planned_switch,
    "partition-heal": partition_heal,
    "link-flap": link_flap,
    "pause-active": pause_active,
    "restart-all": restart_all,
    "hard-switch": hard_switch,
    "flood": flood,
    "busy": busy,
    "full-sync": full_sync,
    "psk-rollout": psk_rollout,
    "mixed-versions": mixed_versions,
    "random-kills": random_kills,
    "takeover-size": takeover_size,
    "update-rate": update_rate,
    "board-kill": board_kill,
    "board-pull-standby": board_pull_standby,
    "board-pull-active": board_pull_active,
}
BOARDED = frozenset(name for name in SCENARIOS if name.startswith("board-"))
"""Those with a simulated board."""


def hello_ms(name: str) -> int:
    """HELLO interval of a scenario, unless told otherwise."""
    return MIN_HELLO_MS if name in BOARDED else USUAL_HELLO_MS


def about(name: str) -> str:
    """First paragraph of what a scenario says about itself, in one line."""
    return " ".join((SCENARIOS[name].__doc__ or "").partition("\n\n")[0].split())
